"""Bytes that decompressors read from and write into, in one piece and within bounds."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from faustc.exceptions import CorruptFrame


cdef extern from "Python.h":
    const int PyBUF_WRITE
    object PyMemoryView_FromMemory(char *mem, Py_ssize_t size, int flags)
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    char *bytes_at "PyBytes_AS_STRING"(PyObject *op) noexcept
    int _PyBytes_Resize(PyObject **op, Py_ssize_t size) except -1


cdef int fail_size(str name, int64_t max_size) except -1:
    raise CorruptFrame(f"{name} decompresses to more than {max_size} bytes")


@cython.final
@cython.auto_pickle(False)
cdef class View:
    """The bytes of any buffer, held while we look at them."""

    def __cinit__(self, data):
        PyObject_GetBuffer(data, &self.buffer, PyBUF_SIMPLE)
        self.start = <const uint8_t *>self.buffer.buf
        self.size = self.buffer.len

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


@cython.final
@cython.auto_pickle(False)
cdef class Room:
    """A bytes object while decoders still write into it; nobody else holds it yet."""

    def __cinit__(self, Py_ssize_t size):
        self.room = new_bytes(NULL, size)
        self.size = size

    def __dealloc__(self):
        Py_XDECREF(self.room)

    cdef object window(self, Py_ssize_t at, Py_ssize_t size):
        """Return a writable view; it must not outlive the call it is made for."""
        if at < 0 or size < 0 or at > self.size - size:
            raise ValueError("the window is not inside its room")
        return PyMemoryView_FromMemory(bytes_at(self.room) + at, size, PyBUF_WRITE)

    cdef int put(self, Py_ssize_t at, const uint8_t *data, Py_ssize_t size) except -1:
        if at < 0 or size < 0 or at > self.size - size:
            raise ValueError("the data is not inside its room")
        if size:
            memcpy(bytes_at(self.room) + at, data, <size_t>size)
        return 0

    cdef bytes finish(self, Py_ssize_t size):
        """Give the first size bytes away; the room is empty then."""
        cdef bytes out
        if size != self.size:
            _PyBytes_Resize(&self.room, size)
        out = <bytes>self.room
        Py_XDECREF(self.room)       # out holds its own reference
        self.room = NULL
        self.size = 0
        return out
