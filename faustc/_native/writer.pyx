"""The slow halves of writer.pxd: growing, strings and the finished bytes."""

from cpython.mem cimport PyMem_Free, PyMem_Realloc


cdef class Writer:
    """A growable buffer owned by one encoder at a time."""

    def __cinit__(self, Py_ssize_t capacity=512):
        self.data = NULL
        self.size = 0
        self.capacity = 0
        self.grow(max(capacity, 16))

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int grow(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t want = self.capacity
        cdef void *bigger
        if extra < 0 or extra > (<Py_ssize_t>1 << 40):
            raise MemoryError(f"a request cannot take {extra} more bytes")
        while want - self.size < extra:
            want = want * 2 if want else 256
        bigger = PyMem_Realloc(self.data, <size_t>want)
        if bigger == NULL:
            raise MemoryError(f"no memory for a request of {want} bytes")
        self.data = <uint8_t *>bigger
        self.capacity = want
        return 0

    cdef int write_string(self, str value, bint compact) except -1:
        """Write a (compact) nullable string."""
        cdef bytes raw
        if value is None:
            return write_uvarint(self, 0) if compact else write_int16(self, -1)
        raw = value.encode("utf-8")
        if compact:
            write_uvarint(self, <uint64_t>(len(raw) + 1))
        else:
            if len(raw) > 32767:
                raise ValueError(f"string of {len(raw)} bytes; Kafka takes at most 32767")
            write_int16(self, <int16_t>len(raw))
        return write_raw(self, raw, len(raw))

    cpdef bytes getvalue(self):
        return (<const char *>self.data)[:self.size]
