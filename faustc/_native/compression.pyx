"""Compression codecs by Kafka's id, each bounded by what its caller allows.

A frame of 100 bytes can claim 4 GiB. So nothing here allocates what compressed
bytes claim before it was checked twice: against the caller's max_size, and
against what that many bytes can expand to at best. Output that grows past
max_size is refused, whether it was claimed or not.

Framing is what Kafka's own clients write: gzip members, snappy in xerial
framing (librdkafka writes one raw block), LZ4 frames with independent blocks,
Zstandard frames.
"""

import zlib

import cramjam
import lz4.block
import lz4.frame
import xxhash
import zstandard

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from faustc._native.cursor cimport Cursor, cursor_init, left, load_int32, read_uvarint, take

from faustc.exceptions import CorruptFrame, FaustError, UnsupportedCodec

DEFAULT_MAX_DECOMPRESSED = 128 * 1024 * 1024

cdef enum:
    LAST_ID = 7                     # three attribute bits
    GZIP_WBITS = 31                 # zlib: a gzip header, the largest window
    GZIP_MEMBERS = 64               # zlib copies what is left once a member; clients write one
    XERIAL_HEADER = 16
    XERIAL_BLOCK = 32 * 1024        # snappy-java's default, and Kafka's
    SNAPPY_EXPANSION = 22           # a copy of 3 bytes makes 64
    LZ4_EXPANSION = 255             # a length byte adds 255 at most
    LZ4_SLACK = 64                  # and a block's first sequence a few more
    LZ4_MAGIC = 0x184D2204
    LZ4_BLOCK = 64 * 1024
    ZSTD_MAGIC = 0xFD2FB528
    ZSTD_BLOCK = 128 * 1024
    ZSTD_FIRST_GUESS = 1024 * 1024

# magic, version 1, compatible with version 1
cdef bytes XERIAL_START = b"\x82SNAPPY\x00" + b"\x00\x00\x00\x01" * 2

cdef list names = ["none"] + [None] * LAST_ID
cdef list compressors = [None] * (LAST_ID + 1)
cdef list decompressors = [None] * (LAST_ID + 1)


def register(int codec_id, str name not None, compress not None, decompress not None) -> None:
    """Serve a codec id (1 to 7), in place of whoever served it before.

    compress(data, level) and decompress(data, max_size) return bytes; they may
    be called from any thread. decompress must not make more than max_size
    bytes: it is the one who knows what its input claims.
    """
    if not 1 <= codec_id <= LAST_ID:
        raise ValueError(f"codec id {codec_id}: Kafka has room for 1 to {LAST_ID}")
    if name in names and names.index(name) != codec_id:
        raise ValueError(f"codec name {name!r} is taken by id {names.index(name)}")
    names[codec_id] = name
    compressors[codec_id] = compress
    decompressors[codec_id] = decompress


def unregister(int codec_id) -> None:
    """Make a codec id (1 to 7) free again. Raises UnsupportedCodec when it is."""
    codec_name(codec_id)
    if codec_id == 0:
        raise ValueError("data without a codec is always served")
    names[codec_id] = compressors[codec_id] = decompressors[codec_id] = None


def codec_id(str name) -> int:
    """Return the id of a codec's name; None means "none". Raises UnsupportedCodec."""
    if name is None:
        return 0
    if name not in names:
        known = ", ".join(n for n in names if n is not None)
        raise UnsupportedCodec(f"no codec is named {name!r}; known are {known}")
    return names.index(name)


def codec_name(int codec_id) -> str:
    """Return the name of a codec id. Raises UnsupportedCodec."""
    if not 0 <= codec_id <= LAST_ID or names[codec_id] is None:
        raise UnsupportedCodec(f"no codec is registered for id {codec_id}")
    return names[codec_id]


def compress(int codec_id, data, level: int | None = None) -> bytes:
    """Return data compressed; level None is the codec's default. Raises UnsupportedCodec."""
    if codec_id == 0:
        return bytes(memoryview(data))
    codec_name(codec_id)
    return compressors[codec_id](data, level)


def decompress(int codec_id, data, int64_t max_size) -> bytes:
    """Return data decompressed, at most max_size bytes of it.

    Raises CorruptFrame for bytes that do not decompress, or to more than
    max_size, and UnsupportedCodec.
    """
    cdef bytes out
    if codec_id == 0:
        if len(data) > max_size:
            fail_size("data", max_size)
        return bytes(memoryview(data))
    codec_name(codec_id)
    try:
        out = decompressors[codec_id](data, max_size)
    except (FaustError, MemoryError):
        raise
    except Exception as exc:
        # Libraries have an error type each, some of them several; what they all
        # mean is that these bytes are no output of their codec.
        raise CorruptFrame(f"{names[codec_id]} data does not decompress: {exc}") from exc
    if len(out) > max_size:
        fail_size(names[codec_id], max_size)
    return out


cdef int fail_size(str name, int64_t max_size) except -1:
    raise CorruptFrame(f"{name} decompresses to more than {max_size} bytes")


cdef extern from "Python.h":
    const int PyBUF_WRITE
    object PyMemoryView_FromMemory(char *mem, Py_ssize_t size, int flags)
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    char *bytes_at "PyBytes_AS_STRING"(PyObject *op) noexcept
    int _PyBytes_Resize(PyObject **op, Py_ssize_t size) except -1


@cython.final
@cython.auto_pickle(False)
cdef class _View:
    """The bytes of any buffer, held while we look at them."""

    cdef Py_buffer buffer
    cdef const uint8_t *start
    cdef Py_ssize_t size

    def __cinit__(self, data):
        PyObject_GetBuffer(data, &self.buffer, PyBUF_SIMPLE)
        self.start = <const uint8_t *>self.buffer.buf
        self.size = self.buffer.len

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


@cython.final
@cython.auto_pickle(False)
cdef class _Room:
    """A bytes object while decoders still write into it; nobody else holds it yet."""

    cdef PyObject *room
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        self.room = new_bytes(NULL, size)
        self.size = size

    def __dealloc__(self):
        Py_XDECREF(self.room)

    cdef object window(self, Py_ssize_t at, Py_ssize_t size):
        """Return a writable view; it must not outlive the call it is made for."""
        if at < 0 or size < 0 or at > self.size - size:
            raise ValueError("the window is not inside its room")
        return PyMemoryView_FromMemory(bytes_at(self.room) + at, size, PyBUF_WRITE)

    cdef int put(self, Py_ssize_t at, const uint8_t *data, Py_ssize_t size) except -1:
        if at < 0 or size < 0 or at > self.size - size:
            raise ValueError("the data is not inside its room")
        if size:
            memcpy(bytes_at(self.room) + at, data, <size_t>size)
        return 0

    cdef bytes finish(self, Py_ssize_t size):
        """Give the first size bytes away; the room is empty then."""
        cdef bytes out
        if size != self.size:
            _PyBytes_Resize(&self.room, size)
        out = <bytes>self.room
        Py_XDECREF(self.room)       # out holds its own reference
        self.room = NULL
        self.size = 0
        return out


# --- gzip ------------------------------------------------------------------------------------

def _gzip_compress(data, level):
    return zlib.compress(data, -1 if level is None else level, GZIP_WBITS)


def _gzip_decompress(data, int64_t max_size):
    """Inflate every member in data (RFC 1952 lets them follow each other)."""
    cdef list parts = []
    cdef int64_t room = max_size
    cdef object rest = data
    while len(parts) < GZIP_MEMBERS:
        member = zlib.decompressobj(GZIP_WBITS)
        part = member.decompress(rest, room + 1)    # 0 would mean no bound at all
        room -= len(part)
        if room < 0:
            fail_size("gzip", max_size)
        if not member.eof:
            raise CorruptFrame("gzip data ends early")
        parts.append(part)
        rest = member.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise CorruptFrame(f"gzip data has more than {GZIP_MEMBERS} members")


# --- snappy ----------------------------------------------------------------------------------

def _snappy_compress(data, level):
    """Write snappy-java's framing: its header, then blocks with their lengths."""
    cdef list parts = [XERIAL_START]
    cdef Py_ssize_t at
    raw = memoryview(data)
    for at in range(0, raw.nbytes, XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(raw[at:at + XERIAL_BLOCK]))
        parts.append(len(block).to_bytes(4, "big"))
        parts.append(block)
    return b"".join(parts)


def _snappy_decompress(data, int64_t max_size):
    """Decode blocks in xerial framing, or one raw block."""
    cdef _View view = _View(data)
    cdef Cursor c
    cdef int64_t total = 0, filled = 0
    cdef Py_ssize_t at, length
    cdef _Room room
    if view.size == 0:
        raise CorruptFrame("snappy data is empty")
    raw = memoryview(data)
    cursor_init(&c, view.start, view.size)
    if view.size < 8 or memcmp(view.start, PyBytes_AS_STRING(XERIAL_START), 8) != 0:
        total = snappy_claim(view.start, view.size)
        if total > max_size:
            fail_size("snappy", max_size)
        room = _Room(total)
        snappy_block(room, 0, raw, view, 0, view.size)
        return room.finish(total)
    # Once over the claims, so that the room is made in one piece; then the work.
    take(&c, XERIAL_HEADER)
    while left(&c):
        length = load_int32(take(&c, 4))
        total += snappy_claim(take(&c, length), length)
        if total > max_size:
            fail_size("snappy", max_size)
    room = _Room(total)
    cursor_init(&c, view.start, view.size)
    take(&c, XERIAL_HEADER)
    while left(&c):
        length = load_int32(take(&c, 4))
        at = take(&c, length) - c.start
        filled += snappy_block(room, filled, raw, view, at, length)
    return room.finish(filled)


cdef int64_t snappy_block(
    _Room room, Py_ssize_t filled, raw, _View view, Py_ssize_t at, Py_ssize_t length
) except -1:
    """Decode one raw block into the room and return what it made, which is what it claims."""
    cdef int64_t claim = snappy_claim(view.start + at, length)
    cdef int64_t made = cramjam.snappy.decompress_raw_into(
        raw[at:at + length], room.window(filled, claim)
    )
    if made != claim:
        raise CorruptFrame(f"snappy block claims {claim} bytes and holds {made}")
    return made


cdef int64_t snappy_claim(const uint8_t *block, Py_ssize_t size) except -1:
    """Return the size a raw block claims for its output, if that many bytes could make it."""
    cdef Cursor c
    cdef uint64_t claim
    cursor_init(&c, block, size)
    claim = read_uvarint(&c)
    if claim > <uint64_t>size * SNAPPY_EXPANSION:
        raise CorruptFrame(f"snappy block of {size} bytes claims to hold {claim}")
    return <int64_t>claim


# --- lz4 -------------------------------------------------------------------------------------
# Our own walk over the frame around a block decoder: 35 % faster than a frame
# decoder, which allocates and copies once more. Format: lz4_Frame_format.md.

def _lz4_compress(data, level):
    """Write a frame of independent 64 KiB blocks, the only kind Java reads.

    Levels 3 to 12 are LZ4 HC, anything lower the fast compressor.
    """
    cdef list parts = [LZ4_START]
    cdef Py_ssize_t at
    raw = memoryview(data)
    for at in range(0, raw.nbytes, LZ4_BLOCK):
        piece = raw[at:at + LZ4_BLOCK]
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


cdef bytes lz4_start():
    # version 1, independent blocks; blocks of 64 KiB
    descriptor = bytes([0x60, 0x40])
    check = (xxhash.xxh32_intdigest(descriptor) >> 8) & 0xFF
    return LZ4_MAGIC.to_bytes(4, "little") + descriptor + bytes([check])


cdef bytes LZ4_START = lz4_start()


cdef inline uint32_t load_le32(const uint8_t *p) noexcept nogil:
    return <uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24


cdef inline uint64_t load_le64(const uint8_t *p) noexcept nogil:
    return <uint64_t>load_le32(p) | <uint64_t>load_le32(p + 4) << 32


cdef struct Lz4Frame:
    int64_t content_size        # -1: not said
    int64_t block_max
    bint linked
    bint block_checks
    bint content_check


cdef int lz4_header(Cursor *c, raw, Lz4Frame *frame) except -1:
    """Read a frame's header."""
    cdef const uint8_t *descriptor
    cdef int flags
    cdef Py_ssize_t at
    if load_le32(take(c, 4)) != LZ4_MAGIC:
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


cdef int64_t lz4_block_size(Cursor *c, Lz4Frame *frame, bint *stored) except -1:
    """Read the word in front of a block: its length, 0 for the end of all."""
    cdef uint32_t word = load_le32(take(c, 4))
    cdef int64_t length = word & 0x7FFFFFFF
    stored[0] = word >> 31
    if length > frame.block_max:
        raise CorruptFrame(f"lz4 block of {length} bytes; the frame says {frame.block_max} at most")
    if length == 0 and word:
        raise CorruptFrame("lz4 block without a byte")
    return length


def _lz4_decompress(data, int64_t max_size):
    cdef _View view = _View(data)
    cdef Cursor c, blocks
    cdef Lz4Frame frame
    cdef int64_t length, most, made
    cdef int64_t bound = 0, filled = 0
    cdef Py_ssize_t at
    cdef bint stored = False
    cdef bytes out
    cdef _Room room
    raw = memoryview(data)
    cursor_init(&c, view.start, view.size)
    lz4_header(&c, raw, &frame)
    if frame.content_size > max_size:
        fail_size("lz4", max_size)
    if frame.linked:
        return lz4_linked(raw, max_size)
    # Once over the blocks, to know how much they can make at most; then the work.
    blocks = c
    while True:
        length = lz4_block_size(&c, &frame, &stored)
        if length == 0:
            break
        take(&c, length + 4 * frame.block_checks)
        if stored:
            bound += length
        else:
            bound += min(frame.block_max, length * LZ4_EXPANSION + LZ4_SLACK)
    if frame.content_check:
        take(&c, 4)
    if left(&c):
        raise CorruptFrame(f"{left(&c)} bytes after the lz4 frame")
    bound = min(bound, max_size + 1)    # one more than allowed, so that passing it shows
    room = _Room(bound)
    while True:
        length = lz4_block_size(&blocks, &frame, &stored)
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
            most = min(frame.block_max, bound - filled)
            made = cramjam.lz4.decompress_block_into(block, room.window(filled, most), most)
        filled += made
        if filled > max_size:
            fail_size("lz4", max_size)
    if frame.content_size >= 0 and filled != frame.content_size:
        raise CorruptFrame(f"lz4 frame claims {frame.content_size} bytes and holds {filled}")
    out = room.finish(filled)
    if frame.content_check and xxhash.xxh32_intdigest(out) != load_le32(c.end - 4):
        raise CorruptFrame("lz4 frame has a wrong content checksum")
    return out


cdef bytes lz4_linked(raw, int64_t max_size):
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


# --- zstd ------------------------------------------------------------------------------------

# A context must not serve two threads at once, and making one costs more than
# a batch. list.pop and append are atomic, so each thread takes one that is free.
cdef list free_decoders = []
cdef dict free_encoders = {}


def _zstd_compress(data, level):
    cdef list free = free_encoders.setdefault(level, [])
    try:
        encoder = free.pop()
    except IndexError:
        encoder = zstandard.ZstdCompressor(level=3 if level is None else level)
    out = encoder.compress(data)
    free.append(encoder)
    return out


def _zstd_decompress(data, int64_t max_size):
    """Decode the frames in data (RFC 8878 lets them follow each other)."""
    cdef _View view = _View(data)
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
        bound = zstd_bound(&c, room)
        part = zstd_frame(decoder, raw[start:c.pos - c.start], min(bound, room))
        room -= len(part)
        if part:
            parts.append(part)
    free_decoders.append(decoder)
    return parts[0] if len(parts) == 1 else b"".join(parts)


cdef bytes zstd_frame(decoder, frame, int64_t bound):
    """Decode one frame into at most bound bytes.

    Java's frames do not say their size, and blocks of a few bytes may each
    make 128 KiB, so a large bound is worked up to, in steps that cost a third
    more in all.
    """
    cdef int64_t guess = max(<int64_t>ZSTD_FIRST_GUESS, <int64_t>len(frame) * 8)
    while guess < bound:
        try:
            return decoder.decompress(frame, max_output_size=guess)
        except zstandard.ZstdError:
            guess *= 4
    # 0 would mean that the frame must say its size.
    return decoder.decompress(frame, max_output_size=max(bound, 1))


cdef int64_t zstd_bound(Cursor *c, int64_t max_size) except -1:
    """Step over one frame and return the most that it can decompress to (RFC 8878)."""
    cdef const uint8_t *p
    cdef int flags, size_code, block_type
    cdef int64_t window, block_max, bound = 0
    cdef uint64_t content_size = 0
    cdef bint sized, single
    cdef uint32_t word
    cdef Py_ssize_t n
    if load_le32(take(c, 4)) != ZSTD_MAGIC:
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
    block_max = min(<int64_t>content_size if single else window, <int64_t>ZSTD_BLOCK)
    while True:
        p = take(c, 3)
        word = p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16
        block_type = (word >> 1) & 3
        n = word >> 3
        if block_type == 3 or n > ZSTD_BLOCK:
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


register(1, "gzip", _gzip_compress, _gzip_decompress)
register(2, "snappy", _snappy_compress, _snappy_decompress)
register(3, "lz4", _lz4_compress, _lz4_decompress)
register(4, "zstd", _zstd_compress, _zstd_decompress)
