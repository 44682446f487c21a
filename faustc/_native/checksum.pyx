"""CRC32C in hardware where there is any, and Kafka's murmur2."""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "crc32c.h" nogil:
    uint32_t faustc_crc32c(uint32_t crc, const uint8_t *data, size_t size)
    int faustc_crc32c_hardware()


cdef uint32_t crc32c_raw(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil:
    return faustc_crc32c(crc, data, size)


cdef uint32_t murmur2_raw(const uint8_t *data, size_t size) noexcept nogil:
    # Java's signed bytes matter nowhere here: org.apache.kafka.common.utils.Utils.murmur2
    # masks each byte, reads little-endian words and shifts without sign.
    cdef uint32_t m = 0x5BD1E995
    cdef uint32_t h = <uint32_t>0x9747B28C ^ <uint32_t>size
    cdef uint32_t k
    cdef size_t i = 0
    while i + 4 <= size:
        k = (<uint32_t>data[i] | (<uint32_t>data[i + 1] << 8)
             | (<uint32_t>data[i + 2] << 16) | (<uint32_t>data[i + 3] << 24))
        k *= m
        k ^= k >> 24
        k *= m
        h *= m
        h ^= k
        i += 4
    if size - i == 3:
        h ^= <uint32_t>data[i + 2] << 16
    if size - i >= 2:
        h ^= <uint32_t>data[i + 1] << 8
    if size - i >= 1:
        h ^= <uint32_t>data[i]
        h *= m
    h ^= h >> 13
    h *= m
    h ^= h >> 15
    return h


def crc32c(const uint8_t[::1] data not None, uint32_t crc=0) -> int:
    """Return the CRC32C (Castagnoli) of data, continuing from crc."""
    cdef size_t size = <size_t>data.shape[0]
    cdef uint32_t result
    if size == 0:
        return crc
    if size < 8192:
        return faustc_crc32c(crc, &data[0], size)
    with nogil:
        result = faustc_crc32c(crc, &data[0], size)
    return result


def murmur2(const uint8_t[::1] data not None) -> int:
    """Return Kafka's murmur2 of data, unsigned 32 bits.

    The default partitioner uses `(murmur2(key) & 0x7FFFFFFF) % partitions`.
    """
    if data.shape[0] == 0:
        return murmur2_raw(NULL, 0)
    return murmur2_raw(&data[0], <size_t>data.shape[0])


def hardware_crc() -> bool:
    """Say whether CRC32C runs on the CPU's own instruction."""
    return bool(faustc_crc32c_hardware())
