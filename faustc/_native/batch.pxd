# Batches, and the scan that makes batches of a partition's bytes.

cimport cython
from libc.stdint cimport int16_t, int32_t, int64_t

from faustc._native.message cimport Message, Origin


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
    cdef Origin checked(self)
    cdef object corrupt(self, str reason)


cdef int scan(
    list batches, bytes frame, Py_ssize_t at, Py_ssize_t size, bint check_crc,
    int64_t max_decompressed, str topic, int32_t partition, bint from_fetch,
) except -1
