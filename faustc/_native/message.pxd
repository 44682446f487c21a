# Messages, and what those of one batch share.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t


@cython.final
cdef class Origin:
    # What the messages of one batch share. It must never reach the fetch frame.
    cdef bytes data             # the records section, decompressed
    cdef str topic
    cdef int32_t partition
    cdef int timestamp_type
    cdef object tp_object


@cython.final
cdef class Message:
    cdef Origin origin
    cdef bytes key_object       # None until somebody looks, then kept
    cdef bytes value_object
    cdef tuple headers_object
    cdef readonly int64_t offset
    cdef readonly int64_t timestamp
    cdef int32_t key_at         # where in origin.data, and how long (-1: null)
    cdef int32_t key_size
    cdef int32_t value_at
    cdef int32_t value_size
    cdef int32_t headers_at
    cdef int32_t header_count


@cython.nonecheck(True)
cdef inline bytes key_of(Message m):
    if m.key_object is None and m.key_size >= 0:
        m.key_object = PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(m.origin.data) + m.key_at, m.key_size
        )
    return m.key_object


@cython.nonecheck(True)
cdef inline bytes value_of(Message m):
    if m.value_object is None and m.value_size >= 0:
        m.value_object = PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(m.origin.data) + m.value_at, m.value_size
        )
    return m.value_object
