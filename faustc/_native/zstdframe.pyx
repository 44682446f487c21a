"""Zstandard frames (RFC 8878), with their size and, as Java writes them, without."""

import zstandard

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from faustc._native.cursor cimport Cursor, cursor_init, left, take
from faustc._native.room cimport View, fail_size, load_le32, load_le64

from faustc.exceptions import CorruptFrame

cdef enum:
    MAGIC = 0xFD2FB528
    BLOCK = 128 * 1024
    FIRST_GUESS = 1024 * 1024

# A context must not serve two threads at once, and making one costs more than
# a batch. list.pop and append are atomic, so each thread takes one that is free.
cdef list free_decoders = []
cdef dict free_encoders = {}


def compress(data, level):
    cdef list free = free_encoders.setdefault(level, [])
    try:
        encoder = free.pop()
    except IndexError:
        encoder = zstandard.ZstdCompressor(level=3 if level is None else level)
    out = encoder.compress(data)
    free.append(encoder)
    return out


def decompress(data, int64_t max_size):
    """Decode the frames in data (RFC 8878 lets them follow each other)."""
    cdef View view = View(data)
    cdef Cursor c
    cdef Py_ssize_t start
    cdef int64_t bound, room = max_size
    cdef list parts = []
    cdef bytes part
    if view.size == 0:
        raise CorruptFrame("zstd data is empty")
    cursor_init(&c, view.start, view.size)
    raw = memoryview(data)
    try:
        decoder = free_decoders.pop()
    except IndexError:
        decoder = zstandard.ZstdDecompressor()
    while left(&c):
        start = c.pos - c.start
        bound = frame_bound(&c, room)
        frame = raw[start:c.pos - c.start]
        try:
            part = read_frame(decoder, frame, min(bound, room))
        except zstandard.ZstdError as exc:
            if bound <= room:
                raise
            # The library does not say whether it was for want of room.
            raise CorruptFrame(
                f"zstd decompresses to more than {max_size} bytes, or not at all: {exc}"
            ) from exc
        room -= len(part)
        if part:
            parts.append(part)
    free_decoders.append(decoder)
    return parts[0] if len(parts) == 1 else b"".join(parts)


cdef bytes read_frame(decoder, frame, int64_t bound):
    """Decode one frame into at most bound bytes.

    Java's frames do not say their size, and blocks of a few bytes may each
    make 128 KiB, so a large bound is worked up to, in steps that cost a third
    more in all.
    """
    cdef int64_t guess = max(<int64_t>FIRST_GUESS, <int64_t>len(frame) * 8)
    while guess < bound:
        try:
            return decoder.decompress(frame, max_output_size=guess)
        except zstandard.ZstdError:
            guess *= 4
    # 0 would mean that the frame must say its size.
    return decoder.decompress(frame, max_output_size=max(bound, 1))


cdef int64_t frame_bound(Cursor *c, int64_t max_size) except -1:
    """Step over one frame and return the most that it can decompress to (RFC 8878)."""
    cdef const uint8_t *p
    cdef int flags, size_code, block_type
    cdef int64_t window, block_max, bound = 0
    cdef uint64_t content_size = 0
    cdef bint sized, single
    cdef uint32_t word
    cdef Py_ssize_t n
    if load_le32(take(c, 4)) != MAGIC:
        raise CorruptFrame("zstd data does not begin with a frame's magic number")
    flags = take(c, 1)[0]
    single = flags & 0x20
    size_code = flags >> 6
    if flags & 0x08:
        raise CorruptFrame("zstd frame descriptor has its reserved bit set")
    if flags & 0x03:
        raise CorruptFrame("zstd frame wants a dictionary; Kafka has none")
    window = 0
    if not single:
        n = take(c, 1)[0]
        window = <int64_t>1 << (10 + (n >> 3))
        window += window // 8 * (n & 7)
    sized = single or size_code > 0
    if size_code == 0 and single:
        content_size = take(c, 1)[0]
    elif size_code == 1:
        p = take(c, 2)
        content_size = 256 + (p[0] | <uint64_t>p[1] << 8)
    elif size_code == 2:
        content_size = load_le32(take(c, 4))
    elif size_code == 3:
        content_size = load_le64(take(c, 8))
    if sized and content_size > <uint64_t>max_size:
        fail_size("zstd", max_size)
    block_max = min(<int64_t>content_size if single else window, <int64_t>BLOCK)
    while True:
        p = take(c, 3)
        word = p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16
        block_type = (word >> 1) & 3
        n = word >> 3
        if block_type == 3 or n > BLOCK:
            raise CorruptFrame(f"zstd block of type {block_type} and {n} bytes is not valid")
        bound += block_max if block_type == 2 else n
        take(c, 1 if block_type == 1 else n)
        if word & 1:
            break
    if flags & 0x04:
        take(c, 4)
    if sized and content_size > <uint64_t>bound or sized and content_size == 0 and bound:
        raise CorruptFrame(f"zstd frame claims {content_size} bytes, its blocks make up to {bound}")
    return bound
