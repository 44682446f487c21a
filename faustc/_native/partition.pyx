"""Which partition a key belongs to, as Java's default partitioner decides it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t

from faustc._native.checksum cimport murmur2_raw


cdef inline int pick(object key, uint32_t partitions) except -1:
    cdef const uint8_t[::1] view
    cdef uint32_t h
    if PyBytes_CheckExact(key):
        h = murmur2_raw(<const uint8_t *>PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key))
    else:
        view = key
        h = murmur2_raw(&view[0] if view.shape[0] else NULL, <size_t>view.shape[0])
    # Java's toPositive: the sign bit is masked, not negated.
    return <int>((h & 0x7FFFFFFF) % partitions)


def partition_for(key not None, int partitions) -> int:
    """Return the partition of a key: murmur2 without its sign bit, modulo partitions.

    The same as the Java client's default and librdkafka's `murmur2_random`.
    Raises ValueError when there are no partitions, TypeError when key is not bytes-like.
    """
    if partitions <= 0:
        raise ValueError(f"{partitions} partitions")
    return pick(key, <uint32_t>partitions)


def scatter(values not None, keys not None, int partitions) -> list:
    """Deal values and keys out by the partition of each key, order kept.

    Returns partitions + 1 entries, each a pair of lists (values, keys) or None
    when nothing falls there; the last one holds what has no key. Raises
    ValueError when the lengths differ.
    """
    cdef list vs = list(values)
    cdef list ks = list(keys)
    cdef Py_ssize_t i
    cdef Py_ssize_t n = len(vs)
    cdef list out
    cdef tuple pair
    cdef object key
    cdef int where
    if partitions <= 0:
        raise ValueError(f"{partitions} partitions")
    if len(ks) != n:
        raise ValueError(f"{n} values, {len(ks)} keys")
    out = [None] * (partitions + 1)
    for i in range(n):
        key = ks[i]
        where = partitions if key is None else pick(key, <uint32_t>partitions)
        if out[where] is None:
            out[where] = ([], [])
        pair = <tuple>out[where]
        (<list>pair[0]).append(vs[i])
        (<list>pair[1]).append(key)
    return out
