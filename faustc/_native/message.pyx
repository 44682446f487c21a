"""One message of a batch, with a key, value and headers that wait until somebody looks."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t

from faustc._native.cursor cimport Cursor, cursor_init, read_varint, take

from faustc.types import TopicPartition

cdef tuple NO_HEADERS = ()


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Origin:
    """What the messages of one batch share."""


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
@cython.freelist(256)
@cython.nonecheck(True)     # Message.__new__(Message) has no origin: an error, not a crash
cdef class Message:
    """One message as Kafka stores it; read-only.

    offset is its place in the partition and timestamp is in milliseconds
    (-1: none). key and value are None when null, which is not the same as
    empty. topic is None and partition -1 where nobody said them.
    """

    def __init__(
        self,
        topic: str | None = None,
        partition: int = -1,
        offset: int = -1,
        timestamp: int = -1,
        timestamp_type: int = 0,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: tuple = (),
    ):
        cdef Origin origin = Origin.__new__(Origin)
        origin.data = b""
        origin.topic = topic
        origin.partition = partition
        origin.timestamp_type = timestamp_type
        self.origin = origin
        self.offset = offset
        self.timestamp = timestamp
        self.key_object = key
        self.key_size = -1 if key is None else <int32_t>len(key)
        self.value_object = value
        self.value_size = -1 if value is None else <int32_t>len(value)
        self.headers_object = tuple(headers)
        self.header_count = <int32_t>len(self.headers_object)

    @property
    def topic(self) -> str | None:
        return self.origin.topic

    @property
    def partition(self) -> int:
        return self.origin.partition

    @property
    def timestamp_type(self) -> int:
        """0 when the producer set the timestamp, 1 when the broker did on appending."""
        return self.origin.timestamp_type

    @property
    def tp(self) -> TopicPartition:
        """Return topic and partition as a TopicPartition, made once per batch."""
        cdef Origin origin = self.origin
        if origin.tp_object is None:
            origin.tp_object = TopicPartition(origin.topic, origin.partition)
        return origin.tp_object

    @property
    def key(self) -> bytes | None:
        return key_of(self)

    @property
    def value(self) -> bytes | None:
        return value_of(self)

    @property
    def headers(self) -> tuple:
        """Return (name, value) pairs in the order sent; names may repeat, values may be None."""
        if self.headers_object is None:
            self.headers_object = build_headers(self) if self.header_count else NO_HEADERS
        return self.headers_object

    @property
    def serialized_key_size(self) -> int:
        """Return the key's length in bytes, -1 when it is null."""
        return self.key_size

    @property
    def serialized_value_size(self) -> int:
        """Return the value's length in bytes, -1 when it is null."""
        return self.value_size

    @property
    def checksum(self) -> None:
        """Return None: since Kafka 0.11 a batch has a checksum (it was checked), a message none."""
        return None

    def __repr__(self):
        return (
            f"<Message {self.origin.topic}/{self.origin.partition}@{self.offset}"
            f" key={self.key_size} value={self.value_size} bytes>"
        )

    def __reduce__(self):
        return Message, (
            self.origin.topic, self.origin.partition, self.offset, self.timestamp,
            self.origin.timestamp_type, key_of(self), value_of(self), self.headers,
        )


cdef tuple build_headers(Message m):
    """Make the header pairs of a message; batch.read_record has checked every byte of them."""
    cdef Cursor c
    cdef int32_t size
    cdef const uint8_t *p
    cdef str name
    cdef bytes value
    cdef list pairs = []
    cursor_init(
        &c, <const uint8_t *>PyBytes_AS_STRING(m.origin.data), PyBytes_GET_SIZE(m.origin.data)
    )
    take(&c, m.headers_at)
    for _ in range(m.header_count):
        size = read_varint(&c)
        p = take(&c, size)
        name = (<const char *>p)[:size].decode("utf-8")
        size = read_varint(&c)
        value = None
        if size >= 0:
            p = take(&c, size)
            value = PyBytes_FromStringAndSize(<const char *>p, size)
        pairs.append((name, value))
    return tuple(pairs)
