"""What one produced message leaves behind: its place in a batch.

One is made for every message sent, so it is an extension type of three words;
what becomes of the message is known by its batch (client/parcel.py).
"""

cimport cython
from libc.stdint cimport int64_t


# no_gc: a Delivery refers to its parcel, and the parcel to a Delivery only
# through callbacks, which it drops when it is done; every parcel gets done.
@cython.final
@cython.no_gc
@cython.freelist(256)
@cython.auto_pickle(False)
cdef class Delivery:
    """The promise that one message is written; await it for its RecordMetadata.

    Awaiting raises DeliveryFailed (or MessageTooLarge) when the message was
    given up. Nobody has to await it: Producer.flush() reports failures that
    nobody looked at. It belongs to the event loop of its producer.
    """

    cdef object _parcel
    cdef readonly Py_ssize_t index
    cdef readonly int64_t timestamp_ms

    def __cinit__(self, parcel, Py_ssize_t index, int64_t timestamp_ms):
        self._parcel = parcel
        self.index = index
        self.timestamp_ms = timestamp_ms

    def __await__(self):
        return self._parcel.wait(self.index, self.timestamp_ms).__await__()

    def done(self):
        """Say whether the message was written or given up."""
        return self._parcel.done

    def result(self):
        """Return the RecordMetadata; raises what awaiting would, or asyncio.InvalidStateError."""
        return self._parcel.result(self.index, self.timestamp_ms)

    def exception(self):
        """Return why the message was given up, None if it was written.

        Raises asyncio.InvalidStateError when neither has happened yet.
        """
        return self._parcel.exception(self.index)

    def add_done_callback(self, callback):
        """Call callback(self) on the event loop once the message was written or given up."""
        self._parcel.add_done_callback(self, callback)

    def __repr__(self):
        return f"<Delivery {self.index} of {self._parcel!r}>"
