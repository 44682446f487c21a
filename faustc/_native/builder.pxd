# The batch builder, for other modules that append without a Python call.

cimport cython
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t


@cython.final
cdef class Block:
    # Memory of a batch that is being built; borrowed from a pool and given back.
    cdef uint8_t *data
    cdef Py_ssize_t capacity
    cdef Py_ssize_t used
    cdef Py_ssize_t exports

    cdef int grow(self, Py_ssize_t need) except -1


@cython.final
cdef class BatchBuilder:
    cdef readonly int32_t count
    cdef readonly Py_ssize_t size_bytes         # as if sealed now, uncompressed
    cdef readonly Py_ssize_t max_bytes
    cdef readonly int compression
    cdef readonly int64_t base_timestamp
    cdef readonly int64_t max_timestamp
    cdef Block block                            # None once sealed
    cdef uint8_t *data                          # the block's, looked up once
    cdef object level
    cdef int16_t flags
    cdef int64_t producer_id
    cdef int16_t producer_epoch
    cdef int32_t base_sequence

    # key and value: bytes or None. Returns the relative offset, -1 when the batch is full.
    cdef int32_t put(
        self, object key, object value, int64_t timestamp_ms,
        const uint8_t *headers, Py_ssize_t headers_size
    ) except -2
    cdef int32_t put_with_headers(
        self, object key, object value, int64_t timestamp_ms, object headers
    ) except -2
    cdef int check_open(self) except -1
