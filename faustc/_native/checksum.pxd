from libc.stdint cimport uint8_t, uint32_t

cdef uint32_t crc32c_raw(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil
cdef uint32_t murmur2_raw(const uint8_t *data, size_t size) noexcept nogil
