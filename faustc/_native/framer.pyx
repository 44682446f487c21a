"""Whole frames out of what a socket delivers, copied as little as possible.

Kafka's framing: a 32-bit big-endian length, then so many bytes. Bytes are
received into a stage, and whole frames are cut from it. A frame whose end has
not arrived gets bytes of its own at once; its remainder is received straight
into them while the stage takes what follows, in one system call. So a frame
larger than the stage is not copied, and a heartbeat costs no call of its own.

Between two calls the stage holds at most the three bytes of a cut length, and
nothing when a frame is begun.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memmove

from faustc._native.cursor cimport load_int32
from faustc._native.socket cimport recv_into

from faustc.exceptions import ConnectionLost, CorruptFrame

cdef enum:
    PREFIX = 4
    # A transport offers one buffer, not two. A remainder shorter than this goes
    # through the stage, or each small frame would cost two rounds of the loop.
    DIRECT_FROM = 16384

# Fetch answers hold fetch_max_bytes (50 MiB) and at least one batch, however large.
DEFAULT_MAX_FRAME_BYTES = (128 << 20) + (64 << 10)
DEFAULT_STAGE_BYTES = 64 << 10


@cython.final
@cython.auto_pickle(False)
cdef class Framer:
    """The receiving side of one connection: bytes go in, whole frames come out.

    Frames are returned without their length, each a bytes object of its own.
    A frame longer than max_frame_bytes is refused before anything is allocated
    for it. After a failure every further call raises the same.

    It is also the buffer that asyncio.BufferedProtocol.get_buffer returns:
    writable, of the length that the next read may fill. Not for use by two
    threads at once: the second gets RuntimeError.
    """

    cdef uint8_t *stage
    cdef Py_ssize_t stage_size
    cdef Py_ssize_t staged          # bytes in the stage
    cdef bytes frame                # begun, not complete; None when there is none
    cdef Py_ssize_t frame_size
    cdef Py_ssize_t filled
    cdef readonly Py_ssize_t max_frame_bytes
    cdef object failure
    cdef Py_ssize_t exports
    cdef list pinned                # frames that an exported buffer may still point into
    cdef bint busy

    def __cinit__(
        self,
        Py_ssize_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES,
        *,
        Py_ssize_t stage_bytes=DEFAULT_STAGE_BYTES,
    ):
        if max_frame_bytes < 0 or max_frame_bytes > 0x7FFFFFFF:
            raise ValueError(f"max_frame_bytes is {max_frame_bytes}; Kafka's lengths have 31 bits")
        if stage_bytes < 16:
            raise ValueError(f"a stage of {stage_bytes} bytes; at least 16")
        self.max_frame_bytes = max_frame_bytes
        self.stage_size = stage_bytes
        self.pinned = []
        self.stage = <uint8_t *>PyMem_Malloc(<size_t>stage_bytes)
        if self.stage == NULL:
            raise MemoryError(f"no memory for a stage of {stage_bytes} bytes")

    def __dealloc__(self):
        PyMem_Free(self.stage)

    @property
    def pending(self) -> bool:
        """Whether part of a frame has arrived and its rest has not."""
        return self.frame is not None or self.staged > 0

    def receive(self, int fd, Py_ssize_t budget=1 << 20) -> list[bytes]:
        """Receive what the socket holds, budget bytes at most; return the whole frames.

        The end of the stream and errors raise ConnectionLost, after the frames
        that came before them: these are returned first, and the next call
        raises. A length that is negative or above max_frame_bytes raises
        CorruptFrame at once, since nothing behind it can be found.
        """
        cdef list frames = []
        cdef Py_ssize_t got = 0
        cdef Py_ssize_t n, direct, room
        cdef uint8_t *into
        self.enter()
        try:
            while got < budget:
                # The stage takes what follows the begun frame, never a part of it.
                into = NULL
                direct = 0
                if self.frame is not None:
                    into = <uint8_t *>PyBytes_AS_STRING(self.frame) + self.filled
                    direct = min(self.frame_size - self.filled, budget - got)
                room = min(self.stage_size - self.staged, budget - got - direct)
                n = recv_into(fd, into, direct, self.stage + self.staged, room)
                if n == 0:
                    break
                got += n
                self.advance(frames, n)
                # A short read has emptied the socket: asking again would cost a
                # system call to hear so. Readiness is level-triggered, so what
                # arrives meanwhile is not lost.
                if n < direct + room:
                    break
        except ConnectionLost as exc:
            self.failure = exc
            if not frames:
                raise
        except BaseException as exc:
            self.failure = exc
            raise
        finally:
            self.busy = False
        return frames

    def buffer_updated(self, Py_ssize_t n) -> list[bytes]:
        """Take the n bytes just written into this buffer; return the whole frames.

        Raises CorruptFrame as receive() does, ValueError when n does not fit.
        """
        cdef list frames = []
        cdef Py_ssize_t direct, taken
        self.enter()
        try:
            if n < 0 or n > self.room():
                raise ValueError(f"{n} bytes written into a buffer of {self.room()}")
            if self.frame is not None:
                direct = self.frame_size - self.filled
                if direct < DIRECT_FROM:
                    taken = min(n, direct)
                    memcpy(
                        PyBytes_AS_STRING(self.frame) + self.filled, self.stage, <size_t>taken
                    )
                    # The stage's first bytes are spent: cut from behind them.
                    self.filled += taken
                    if self.filled == self.frame_size:
                        self.finish(frames)
                        self.staged = n
                        self.cut(frames, taken)
                    return frames
            self.advance(frames, n)
        except ValueError:
            raise
        except BaseException as exc:
            self.failure = exc
            raise
        finally:
            self.busy = False
        return frames

    def __len__(self):
        return self.room()

    def __getitem__(self, key):
        # asyncio's TLS protocol writes a second record behind the first: buf[offset:]
        return memoryview(self)[key]

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef Py_ssize_t direct
        cdef uint8_t *into = self.stage + self.staged
        if self.frame is not None:
            direct = self.frame_size - self.filled
            if direct >= DIRECT_FROM:
                into = <uint8_t *>PyBytes_AS_STRING(self.frame) + self.filled
        PyBuffer_FillInfo(view, self, into, self.room(), 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
        if self.exports == 0 and self.pinned:
            self.pinned = []

    cdef int enter(self) except -1:
        if self.busy:
            raise RuntimeError("this framer is already receiving, on another thread")
        if self.failure is not None:
            raise self.failure
        self.busy = True
        return 0

    cdef Py_ssize_t room(self) noexcept:
        """Return how much the next read may fill: a long remainder, else the stage."""
        if self.frame is not None and self.frame_size - self.filled >= DIRECT_FROM:
            return self.frame_size - self.filled
        return self.stage_size - self.staged

    cdef int advance(self, list frames, Py_ssize_t n) except -1:
        """Account for n bytes that arrived in the begun frame and, behind it, in the stage."""
        cdef Py_ssize_t direct
        if self.frame is not None:
            direct = self.frame_size - self.filled
            if n < direct:
                self.filled += n
                return 0
            n -= direct
            self.finish(frames)
        self.staged += n
        if self.staged >= PREFIX:
            self.cut(frames, 0)
        return 0

    cdef int finish(self, list frames) except -1:
        cdef bytes frame = self.frame
        self.frame = None
        if self.exports:
            # Somebody can still write through a buffer he was given. The frame
            # must not change under its reader, nor go while it can be written.
            self.pinned.append(frame)
            frame = PyBytes_FromStringAndSize(PyBytes_AS_STRING(frame), self.frame_size)
        frames.append(frame)
        return 0

    cdef int cut(self, list frames, Py_ssize_t at) except -1:
        """Cut the whole frames from stage[at:staged], and begin the one that is not whole."""
        cdef Py_ssize_t end = self.staged
        cdef Py_ssize_t size
        while end - at >= PREFIX:
            size = load_int32(self.stage + at)
            if size < 0 or size > self.max_frame_bytes:
                raise CorruptFrame(
                    f"a frame claims {size} bytes; between 0 and {self.max_frame_bytes} are taken"
                )
            at += PREFIX
            if size <= end - at:
                frames.append(PyBytes_FromStringAndSize(<const char *>self.stage + at, size))
                at += size
                continue
            self.frame = PyBytes_FromStringAndSize(NULL, size)
            self.frame_size = size
            self.filled = end - at
            memcpy(PyBytes_AS_STRING(self.frame), self.stage + at, <size_t>self.filled)
            at = end
        self.staged = end - at
        if self.staged and at:
            memmove(self.stage, self.stage + at, <size_t>self.staged)
        return 0
