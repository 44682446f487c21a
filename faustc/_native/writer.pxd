# A growable write buffer for Kafka's wire types, with back-patched lengths.

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef class Writer:
    cdef uint8_t *data
    cdef Py_ssize_t size        # bytes written
    cdef Py_ssize_t capacity

    cdef int grow(self, Py_ssize_t extra) except -1
    cdef int write_string(self, str value, bint compact) except -1
    cpdef bytes getvalue(self)


cdef inline uint8_t *reserve(Writer w, Py_ssize_t n) except NULL:
    """Make room for n more bytes and return where they go; size is not moved."""
    if n > w.capacity - w.size:
        w.grow(n)
    return w.data + w.size


cdef inline void store_int16(uint8_t *p, int16_t value) noexcept nogil:
    p[0] = <uint8_t>(value >> 8)
    p[1] = <uint8_t>value


cdef inline void store_int32(uint8_t *p, int32_t value) noexcept nogil:
    p[0] = <uint8_t>(value >> 24)
    p[1] = <uint8_t>(value >> 16)
    p[2] = <uint8_t>(value >> 8)
    p[3] = <uint8_t>value


cdef inline void store_int64(uint8_t *p, int64_t value) noexcept nogil:
    store_int32(p, <int32_t>(value >> 32))
    store_int32(p + 4, <int32_t>value)


cdef inline int write_int8(Writer w, int8_t value) except -1:
    reserve(w, 1)[0] = <uint8_t>value
    w.size += 1
    return 0


cdef inline int write_int16(Writer w, int16_t value) except -1:
    store_int16(reserve(w, 2), value)
    w.size += 2
    return 0


cdef inline int write_int32(Writer w, int32_t value) except -1:
    store_int32(reserve(w, 4), value)
    w.size += 4
    return 0


cdef inline int write_int64(Writer w, int64_t value) except -1:
    store_int64(reserve(w, 8), value)
    w.size += 8
    return 0


cdef inline int write_raw(Writer w, const uint8_t *data, Py_ssize_t n) except -1:
    if n:
        memcpy(reserve(w, n), data, <size_t>n)
    w.size += n
    return 0


cdef inline uint8_t *put_uvarint(uint8_t *p, uint64_t value) noexcept nogil:
    """Store an unsigned varint at p (room for 10 bytes is the caller's duty); return its end."""
    while value >= 0x80:
        p[0] = <uint8_t>(value | 0x80)
        p += 1
        value >>= 7
    p[0] = <uint8_t>value
    return p + 1


cdef inline uint64_t zigzag(int64_t value) noexcept nogil:
    return (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)


cdef inline int uvarint_size(uint64_t value) noexcept nogil:
    cdef int n = 1
    while value >= 0x80:
        value >>= 7
        n += 1
    return n


cdef inline int write_uvarint(Writer w, uint64_t value) except -1:
    cdef uint8_t *p = reserve(w, 10)
    w.size += put_uvarint(p, value) - p
    return 0


cdef inline int write_array_len(Writer w, Py_ssize_t n, bint compact) except -1:
    if compact:
        return write_uvarint(w, <uint64_t>(n + 1))
    return write_int32(w, <int32_t>n)
