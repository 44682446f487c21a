"""Non-blocking send(2) and recv(2) on a connected descriptor, with the GIL released.

The descriptor belongs to the caller, who also waits for it to become ready.
Every call asks the kernel not to wait (MSG_DONTWAIT), so that a descriptor left
in blocking mode by mistake cannot stop the event loop.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno

import errno as names
import os

from faustc.exceptions import ConnectionLost

cdef extern from * nogil:
    """
    #include <string.h>
    #include <sys/types.h>
    #include <sys/socket.h>
    #include <sys/uio.h>

    /* macOS has no such flag; there the socket carries SO_NOSIGPIPE. */
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif

    static ssize_t faustc_send(int fd, const void *data, size_t size)
    {
        return send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    }

    static ssize_t faustc_recv(int fd, void *first, size_t first_size,
                               void *second, size_t second_size)
    {
        struct iovec parts[2];
        struct msghdr message;
        if (second_size == 0)
            return recv(fd, first, first_size, MSG_DONTWAIT);
        if (first_size == 0)
            return recv(fd, second, second_size, MSG_DONTWAIT);
        parts[0].iov_base = first;
        parts[0].iov_len = first_size;
        parts[1].iov_base = second;
        parts[1].iov_len = second_size;
        memset(&message, 0, sizeof message);
        message.msg_iov = parts;
        message.msg_iovlen = 2;
        return recvmsg(fd, &message, MSG_DONTWAIT);
    }
    """
    ssize_t faustc_send(int fd, const void *data, size_t size)
    ssize_t faustc_recv(
        int fd, void *first, size_t first_size, void *second, size_t second_size
    )


cdef object lost(str doing, int code):
    error = ConnectionLost(
        f"{doing} failed: {os.strerror(code)} ({names.errorcode.get(code, code)})"
    )
    error.errno = code
    return error


cdef Py_ssize_t recv_into(
    int fd, uint8_t *first, Py_ssize_t first_size, uint8_t *second, Py_ssize_t second_size
) except -1:
    """Receive into first and, when it is full, into second; one system call.

    Returns the bytes received, 0 when there are none now. Raises ConnectionLost
    on the end of the stream and on any error.
    """
    cdef ssize_t n
    cdef int code
    while True:
        with nogil:
            n = faustc_recv(fd, first, <size_t>first_size, second, <size_t>second_size)
            code = errno
        if n > 0:
            return n
        if n == 0:
            raise ConnectionLost("the broker closed the connection")
        if code == EAGAIN:
            return 0
        if code != EINTR:
            raise lost("receiving", code)
        PyErr_CheckSignals()


@cython.binding(False)
def send(int fd, data, Py_ssize_t start=0) -> int:
    """Send data[start:] as far as the socket takes it; return the bytes taken.

    0 when the socket's buffer is full. Raises ConnectionLost on any other
    error, with its errno, and ValueError when start lies outside data.
    """
    cdef Py_buffer view
    cdef ssize_t n
    cdef int code
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if start < 0 or start > view.len:
            raise ValueError(f"start {start} is outside the {view.len} bytes to send")
        if start == view.len:
            return 0
        while True:
            with nogil:
                n = faustc_send(
                    fd, <const uint8_t *>view.buf + start, <size_t>(view.len - start)
                )
                code = errno
            if n >= 0:
                return n
            if code == EAGAIN:
                return 0
            if code != EINTR:
                raise lost("sending", code)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)
