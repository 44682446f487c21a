# What every decompressor needs: bytes to read from, bytes to write into, and a bound.

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


@cython.final
cdef class View:
    cdef Py_buffer buffer
    cdef const uint8_t *start
    cdef Py_ssize_t size


@cython.final
cdef class Room:
    cdef PyObject *room
    cdef Py_ssize_t size

    cdef object window(self, Py_ssize_t at, Py_ssize_t size)
    cdef int put(self, Py_ssize_t at, const uint8_t *data, Py_ssize_t size) except -1
    cdef bytes finish(self, Py_ssize_t size)


cdef int fail_size(str name, int64_t max_size) except -1


cdef inline uint32_t load_le32(const uint8_t *p) noexcept nogil:
    return <uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24


cdef inline uint64_t load_le64(const uint8_t *p) noexcept nogil:
    return <uint64_t>load_le32(p) | <uint64_t>load_le32(p + 4) << 32
