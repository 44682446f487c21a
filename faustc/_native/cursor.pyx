"""The slow halves of cursor.pxd: raising, strings, counts and tagged fields."""

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


cdef Py_ssize_t read_count(Cursor *c, bint compact, int smallest) except -2:
    """Read an array's length, -1 for null; refuse one that its bytes cannot hold.

    smallest is the least that one element takes.
    """
    cdef Py_ssize_t n = read_compact_len(c) if compact else read_int32(c)
    if n < -1 or n > left(c) // smallest:
        raise CorruptFrame(f"array of {n} at byte {c.pos - c.start}, {left(c)} bytes left")
    return n


cdef uint64_t enter_tag(Cursor *c, Cursor *field) except? 0xFFFFFFFFFFFFFFFF:
    """Step over one tagged field and point field at its bytes; return its tag."""
    cdef uint64_t tag = read_uvarint(c)
    cdef uint64_t size = read_uvarint(c)
    if size > <uint64_t>left(c):
        raise CorruptFrame(f"tag {tag} claims {size} bytes, {left(c)} left")
    field.start = c.start
    field.pos = take(c, <Py_ssize_t>size)
    field.end = c.pos
    return tag


cdef list read_endpoints(Cursor *c):
    """Read (broker id, host, port, rack) of new leaders, as KIP-951 adds them to answers."""
    cdef list endpoints = []
    cdef Py_ssize_t count = read_count(c, True, 11)     # two ints, two strings, the tags
    cdef int32_t node, port
    while count > 0:
        count -= 1
        node = read_int32(c)
        host = read_string(c, True)
        if host is None:
            raise CorruptFrame(f"an answer names broker {node} without a host")
        port = read_int32(c)
        endpoints.append((node, host, port, read_string(c, True)))
        skip_tags(c)
    return endpoints
