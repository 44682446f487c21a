"""The slow halves of cursor.pxd: raising, strings and tagged fields."""

from faustc.exceptions import CorruptFrame


cdef const uint8_t *fail_short(Cursor *c, Py_ssize_t n) except NULL:
    if n < 0:
        raise CorruptFrame(f"negative length {n} at byte {c.pos - c.start}")
    raise CorruptFrame(f"needs {n} bytes at byte {c.pos - c.start}, {c.end - c.pos} left")


cdef int fail_varint(Cursor *c) except -1:
    raise CorruptFrame(f"varint at byte {c.pos - c.start} is longer than its type")


cdef int skip_tags(Cursor *c) except -1:
    """Pass over a tagged-field section (KIP-482)."""
    cdef uint64_t count = read_uvarint(c)
    cdef uint64_t size
    # Each field takes two bytes at least, so a count beyond what is left is a lie.
    while count:
        read_uvarint(c)
        size = read_uvarint(c)
        if size > <uint64_t>left(c):
            fail_short(c, <Py_ssize_t>(size & 0x7FFFFFFFFFFFFFFF))
        take(c, <Py_ssize_t>size)
        count -= 1
    return 0


cdef object read_string(Cursor *c, bint compact):
    """Read a (compact) nullable string as str or None."""
    cdef Py_ssize_t size = read_compact_len(c) if compact else read_int16(c)
    cdef const uint8_t *p
    if size == -1:
        return None
    p = take(c, size)
    try:
        return (<const char *>p)[:size].decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CorruptFrame(f"string at byte {p - c.start} is not UTF-8") from exc
