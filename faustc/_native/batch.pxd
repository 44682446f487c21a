# Messages, batches, and the scan that makes batches of a partition's bytes.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t


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


@cython.final
cdef class Batch:
    cdef readonly str topic
    cdef readonly int32_t partition
    cdef readonly int64_t base_offset
    cdef readonly int64_t last_offset
    cdef readonly int32_t leader_epoch
    cdef readonly int16_t attributes
    cdef readonly int64_t base_timestamp
    cdef readonly int64_t max_timestamp
    cdef readonly int64_t producer_id
    cdef readonly int16_t producer_epoch
    cdef readonly int32_t base_sequence
    cdef readonly Py_ssize_t size_bytes
    cdef int32_t count
    cdef int64_t max_decompressed
    cdef bytes frame            # whose bytes the records are in, until they are opened
    cdef Py_ssize_t records_at
    cdef Py_ssize_t records_size
    cdef Origin origin          # made when the records are first asked for

    cdef Origin opened(self)
    cdef object corrupt(self, str reason)


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


cdef int scan(
    list batches, bytes frame, Py_ssize_t at, Py_ssize_t size, bint check_crc,
    int64_t max_decompressed, str topic, int32_t partition, bint from_fetch,
) except -1
