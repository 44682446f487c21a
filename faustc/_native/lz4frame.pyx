"""LZ4 frames as Kafka's clients write them (lz4_Frame_format.md).

Our own walk over the frame around a block decoder that writes in place: a
frame decoder allocates and copies once more, which doubles its cost.
"""

import cramjam
import lz4.block
import lz4.frame
import xxhash

from libc.stdint cimport int64_t, uint8_t, uint32_t

from faustc._native.cursor cimport Cursor, cursor_init, left, take
from faustc._native.room cimport Room, View, fail_size, load_le32, load_le64

from faustc.exceptions import CorruptFrame

cdef enum:
    MAGIC = 0x184D2204
    BLOCK = 64 * 1024
    EXPANSION = 255                 # a length byte adds 255 at most
    SLACK = 64                      # and a block's first sequence a few more


cdef bytes frame_start():
    # version 1, independent blocks; blocks of 64 KiB
    descriptor = bytes([0x60, 0x40])
    check = (xxhash.xxh32_intdigest(descriptor) >> 8) & 0xFF
    return MAGIC.to_bytes(4, "little") + descriptor + bytes([check])


cdef bytes FRAME_START = frame_start()


def compress(data, level):
    """Write a frame of independent 64 KiB blocks, the only kind Java reads.

    Levels 3 to 12 are LZ4 HC, anything lower the fast compressor.
    """
    cdef list parts = [FRAME_START]
    cdef Py_ssize_t at
    raw = memoryview(data)
    for at in range(0, raw.nbytes, BLOCK):
        piece = raw[at:at + BLOCK]
        if level is None or level < 3:
            block = lz4.block.compress(piece, store_size=False)
        else:
            block = lz4.block.compress(
                piece, mode="high_compression", compression=level, store_size=False
            )
        if len(block) < len(piece):
            parts.append(len(block).to_bytes(4, "little"))
            parts.append(block)
        else:
            parts.append((len(piece) | 0x80000000).to_bytes(4, "little"))
            parts.append(piece)
    parts.append(b"\0\0\0\0")
    return b"".join(parts)


cdef struct Frame:
    int64_t content_size        # -1: not said
    int64_t block_max
    bint linked
    bint block_checks
    bint content_check


cdef int read_header(Cursor *c, raw, Frame *frame) except -1:
    """Read a frame's header."""
    cdef const uint8_t *descriptor
    cdef int flags
    cdef Py_ssize_t at
    if load_le32(take(c, 4)) != MAGIC:
        raise CorruptFrame("lz4 data does not begin with a frame's magic number")
    descriptor = take(c, 2)
    flags = descriptor[0]
    if flags >> 6 != 1 or flags & 0x02 or descriptor[1] & 0x8F or descriptor[1] >> 4 < 4:
        raise CorruptFrame(f"lz4 frame descriptor {flags:#04x} {descriptor[1]:#04x} is not valid")
    if flags & 0x01:
        raise CorruptFrame("lz4 frame wants a dictionary; Kafka has none")
    frame.linked = not flags & 0x20
    frame.block_checks = flags & 0x10 != 0
    frame.content_check = flags & 0x04 != 0
    frame.block_max = <int64_t>1 << (8 + 2 * (descriptor[1] >> 4))
    frame.content_size = -1
    if flags & 0x08:
        frame.content_size = <int64_t>(load_le64(take(c, 8)) & 0x7FFFFFFFFFFFFFFF)
    at = c.pos - c.start
    if take(c, 1)[0] != (xxhash.xxh32_intdigest(raw[4:at]) >> 8) & 0xFF:
        raise CorruptFrame("lz4 frame header has a wrong checksum")
    return 0


cdef int64_t read_block_size(Cursor *c, Frame *frame, bint *stored) except -1:
    """Read the word in front of a block: its length, 0 for the end of all."""
    cdef uint32_t word = load_le32(take(c, 4))
    cdef int64_t length = word & 0x7FFFFFFF
    stored[0] = word >> 31
    if length > frame.block_max:
        raise CorruptFrame(f"lz4 block of {length} bytes; the frame says {frame.block_max} at most")
    if length == 0 and word:
        raise CorruptFrame("lz4 block without a byte")
    return length


cdef int check_distances(const uint8_t *p, int64_t size) except -1:
    """Raise CorruptFrame where a match of a block has the distance 0.

    The library takes that for a copy of what is not written yet: messages would hold
    what was in our memory before. Lengths are the library's to check.
    """
    cdef const uint8_t *end = p + size
    cdef int token
    cdef int64_t length
    while p < end:
        token = p[0]
        p += 1
        length = token >> 4
        if length == 15:
            while p < end:
                length += p[0]
                p += 1
                if (p - 1)[0] != 255:
                    break
        if length >= end - p - 1:       # the last sequence has literals alone
            return 0
        p += length
        if not p[0] and not p[1]:
            raise CorruptFrame("lz4 block has a match of distance 0")
        p += 2
        if token & 15 == 15:
            while p < end:
                p += 1
                if (p - 1)[0] != 255:
                    break
    return 0


def decompress(data, int64_t max_size):
    cdef View view = View(data)
    cdef Cursor c, blocks
    cdef Frame frame
    cdef int64_t length, most, made
    cdef int64_t bound = 0, filled = 0
    cdef Py_ssize_t at
    cdef bint stored = False
    cdef bytes out
    cdef Room room
    raw = memoryview(data)
    cursor_init(&c, view.start, view.size)
    read_header(&c, raw, &frame)
    if frame.content_size > max_size:
        fail_size("lz4", max_size)
    if frame.linked:
        return read_linked(raw, max_size)
    # Once over the blocks, to know how much they can make at most; then the work.
    blocks = c
    while True:
        length = read_block_size(&c, &frame, &stored)
        if length == 0:
            break
        take(&c, length + 4 * frame.block_checks)
        if stored:
            bound += length
        else:
            bound += min(frame.block_max, length * EXPANSION + SLACK)
    if frame.content_check:
        take(&c, 4)
    if left(&c):
        raise CorruptFrame(f"{left(&c)} bytes after the lz4 frame")
    bound = min(bound, max_size + 1)    # one more than allowed, so that passing it shows
    room = Room(bound)
    while True:
        length = read_block_size(&blocks, &frame, &stored)
        if length == 0:
            break
        at = take(&blocks, length) - blocks.start
        block = raw[at:at + length]
        if frame.block_checks:
            if load_le32(take(&blocks, 4)) != xxhash.xxh32_intdigest(block):
                raise CorruptFrame("lz4 block has a wrong checksum")
        if stored:
            made = length
            if made <= bound - filled:
                room.put(filled, view.start + at, made)
        else:
            check_distances(view.start + at, length)
            most = min(frame.block_max, bound - filled)
            try:
                made = cramjam.lz4.decompress_block_into(block, room.window(filled, most), most)
            except cramjam.DecompressionError as exc:
                if most == frame.block_max:
                    raise
                # The library does not say whether it was for want of room.
                raise CorruptFrame(
                    f"lz4 decompresses to more than {max_size} bytes, or not at all: {exc}"
                ) from exc
        filled += made
        if filled > max_size:
            fail_size("lz4", max_size)
    if frame.content_size >= 0 and filled != frame.content_size:
        raise CorruptFrame(f"lz4 frame claims {frame.content_size} bytes and holds {filled}")
    out = room.finish(filled)
    if frame.content_check and xxhash.xxh32_intdigest(out) != load_le32(c.end - 4):
        raise CorruptFrame("lz4 frame has a wrong content checksum")
    return out


cdef bytes read_linked(raw, int64_t max_size):
    """Decode a frame whose blocks refer to each other.

    Java refuses those, but kafka-python and aiokafka wrote them.
    """
    cdef bytes out
    decoder = lz4.frame.LZ4FrameDecompressor()
    out = decoder.decompress(raw, max_length=max_size + 1)
    if len(out) > max_size:
        fail_size("lz4", max_size)
    if not decoder.eof:
        raise CorruptFrame("lz4 data ends early")
    if decoder.unused_data:
        raise CorruptFrame(f"{len(decoder.unused_data)} bytes after the lz4 frame")
    return out
