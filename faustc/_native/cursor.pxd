# Bounds-checked reads of Kafka's wire types. Every read of foreign bytes goes
# through take(): nothing else in _native moves a read pointer.

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Cursor:
    const uint8_t *start
    const uint8_t *pos
    const uint8_t *end


cdef const uint8_t *fail_short(Cursor *c, Py_ssize_t n) except NULL
cdef int fail_varint(Cursor *c) except -1


cdef inline void cursor_init(Cursor *c, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    c.start = data
    c.pos = data
    c.end = data + size


cdef inline Py_ssize_t left(Cursor *c) noexcept nogil:
    return c.end - c.pos


cdef inline const uint8_t *take(Cursor *c, Py_ssize_t n) except NULL:
    """Advance past n bytes and return where they begin, or raise CorruptFrame."""
    if n < 0 or n > c.end - c.pos:          # n comes off the wire: never add it to pos first
        return fail_short(c, n)
    c.pos += n
    return c.pos - n


cdef inline int8_t read_int8(Cursor *c) except? -1:
    return <int8_t>take(c, 1)[0]


cdef inline int16_t load_int16(const uint8_t *p) noexcept nogil:
    return <int16_t>((<uint16_t>p[0] << 8) | p[1])


cdef inline int32_t load_int32(const uint8_t *p) noexcept nogil:
    return <int32_t>((<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3])


cdef inline int64_t load_int64(const uint8_t *p) noexcept nogil:
    return <int64_t>((<uint64_t><uint32_t>load_int32(p) << 32) | <uint32_t>load_int32(p + 4))


cdef inline int16_t read_int16(Cursor *c) except? -1:
    return load_int16(take(c, 2))


cdef inline int32_t read_int32(Cursor *c) except? -1:
    return load_int32(take(c, 4))


cdef inline int64_t read_int64(Cursor *c) except? -1:
    return load_int64(take(c, 8))


cdef inline uint64_t read_uvarint(Cursor *c) except? 0xFFFFFFFFFFFFFFFF:
    """Read an unsigned base-128 varint of at most 64 bits."""
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef uint8_t byte
    cdef const uint8_t *p = c.pos
    while shift < 64:
        if p >= c.end:
            fail_short(c, p - c.pos + 1)
        byte = p[0]
        p += 1
        if shift == 63 and byte > 1:
            break
        value |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            c.pos = p
            return value
        shift += 7
    fail_varint(c)
    return 0xFFFFFFFFFFFFFFFF


cdef inline int64_t read_varlong(Cursor *c) except? -1:
    """Read a zigzag varint of at most 64 bits."""
    cdef uint64_t raw = read_uvarint(c)
    return <int64_t>(raw >> 1) ^ -<int64_t>(raw & 1)


cdef inline int32_t read_varint(Cursor *c) except? -1:
    """Read a zigzag varint of at most 32 bits, as record batches use for lengths."""
    cdef uint64_t raw
    if c.pos < c.end and c.pos[0] < 0x80:   # one byte: what almost every length is
        raw = c.pos[0]
        c.pos += 1
    else:
        raw = read_uvarint(c)
        if raw > 0xFFFFFFFFULL:
            fail_varint(c)
    return <int32_t>((<uint32_t>raw >> 1) ^ -(<uint32_t>raw & 1))


cdef inline int32_t read_compact_len(Cursor *c) except? -2:
    """Read a compact length (N + 1 as an unsigned varint); -1 means null."""
    cdef uint64_t raw = read_uvarint(c)
    if raw > 0x7FFFFFFFULL:
        fail_varint(c)
    return <int32_t>raw - 1


cdef int skip_tags(Cursor *c) except -1
cdef object read_string(Cursor *c, bint compact)
cdef Py_ssize_t read_count(Cursor *c, bint compact, int smallest) except -2
cdef uint64_t enter_tag(Cursor *c, Cursor *field) except? 0xFFFFFFFFFFFFFFFF
cdef list read_endpoints(Cursor *c)
