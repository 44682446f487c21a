"""Snappy as Kafka frames it.

Java writes snappy-java's framing, called xerial after its author: a header of
16 bytes, then blocks with their lengths in front. librdkafka writes one raw
block. We write Java's and read both.
"""

import cramjam

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from faustc._native.cursor cimport Cursor, cursor_init, left, load_int32, read_uvarint, take
from faustc._native.room cimport Room, View, fail_size

from faustc.exceptions import CorruptFrame

cdef enum:
    XERIAL_HEADER = 16
    XERIAL_BLOCK = 32 * 1024        # snappy-java's default, and Kafka's
    EXPANSION = 22                  # a copy of 3 bytes makes 64

# magic, version 1, compatible with version 1
cdef bytes XERIAL_START = b"\x82SNAPPY\x00" + b"\x00\x00\x00\x01" * 2


def compress(data, level):
    """Write snappy-java's framing: its header, then blocks with their lengths."""
    cdef list parts = [XERIAL_START]
    cdef Py_ssize_t at
    raw = memoryview(data)
    for at in range(0, raw.nbytes, XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(raw[at:at + XERIAL_BLOCK]))
        parts.append(len(block).to_bytes(4, "big"))
        parts.append(block)
    return b"".join(parts)


def decompress(data, int64_t max_size):
    """Decode blocks in xerial framing, or one raw block."""
    cdef View view = View(data)
    cdef Cursor c
    cdef int64_t total = 0, filled = 0
    cdef Py_ssize_t at, length
    cdef Room room
    if view.size == 0:
        raise CorruptFrame("snappy data is empty")
    raw = memoryview(data)
    cursor_init(&c, view.start, view.size)
    if view.size < 8 or memcmp(view.start, PyBytes_AS_STRING(XERIAL_START), 8) != 0:
        total = read_claim(view.start, view.size)
        if total > max_size:
            fail_size("snappy", max_size)
        room = Room(total)
        read_block(room, 0, raw, view, 0, view.size)
        return room.finish(total)
    # Once over the claims, so that the room is made in one piece; then the work.
    take(&c, XERIAL_HEADER)
    while left(&c):
        length = load_int32(take(&c, 4))
        total += read_claim(take(&c, length), length)
        if total > max_size:
            fail_size("snappy", max_size)
    room = Room(total)
    cursor_init(&c, view.start, view.size)
    take(&c, XERIAL_HEADER)
    while left(&c):
        length = load_int32(take(&c, 4))
        at = take(&c, length) - c.start
        filled += read_block(room, filled, raw, view, at, length)
    return room.finish(filled)


cdef int64_t read_block(
    Room room, Py_ssize_t filled, raw, View view, Py_ssize_t at, Py_ssize_t length
) except -1:
    """Decode one raw block into the room and return what it made, which is what it claims."""
    cdef int64_t claim = read_claim(view.start + at, length)
    cdef int64_t made = cramjam.snappy.decompress_raw_into(
        raw[at:at + length], room.window(filled, claim)
    )
    if made != claim:
        raise CorruptFrame(f"snappy block claims {claim} bytes and holds {made}")
    return made


cdef int64_t read_claim(const uint8_t *block, Py_ssize_t size) except -1:
    """Return the size a raw block claims for its output, if that many bytes could make it."""
    cdef Cursor c
    cdef uint64_t claim
    cursor_init(&c, block, size)
    claim = read_uvarint(&c)
    if claim > <uint64_t>size * EXPANSION:
        raise CorruptFrame(f"snappy block of {size} bytes claims to hold {claim}")
    return <int64_t>claim
