"""Messages into a record batch (magic 2), ready to be produced.

The layout is KIP-98's, with KIP-82's headers; Apache Kafka's
DefaultRecordBatch and DefaultRecord are the authority. Records are written
straight into a buffer that begins with room for the batch's header. The
buffers are kept for the next batch: fresh memory costs a page fault per 4 KiB,
which is more than writing the messages into it.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo, PyObject_CheckBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_FromObject,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from faustc._native.checksum cimport crc32c_raw
from faustc._native.cursor cimport load_int32
from faustc._native.writer cimport (
    Writer,
    put_uvarint,
    store_int16,
    store_int32,
    store_int64,
    uvarint_size,
    write_raw,
    write_uvarint,
    zigzag,
)

from collections.abc import Mapping

from faustc._native.compression import codec_id, codec_name, compress
from faustc.exceptions import MessageTooLarge

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PySequence_Fast(object values, const char *message)
    Py_ssize_t PySequence_Fast_GET_SIZE(object values)
    PyObject *PySequence_Fast_GET_ITEM(object values, Py_ssize_t i)     # borrowed

cdef enum:
    HEADER_SIZE = 61            # base offset to record count
    LENGTH_END = 12             # base offset and length: what the length does not count
    LENGTH_AT = 8
    MAGIC_AT = 16
    CRC_AT = 17
    CRC_FROM = 21               # the CRC covers everything from the attributes on
    PRODUCER_ID_AT = 43
    PRODUCER_EPOCH_AT = 51
    BASE_SEQUENCE_AT = 53
    TRANSACTIONAL_BIT = 0x10
    CONTROL_BIT = 0x20
    NOGIL_FROM = 8192           # handing over the GIL costs more than a smaller CRC
    FIRST_CAPACITY = 4096
    VARINTS_ROOM = 64           # a record's attributes and varints, generously

cdef Py_ssize_t MAX_BATCH = 0x7FFFFFFF      # lengths are int32
cdef Py_ssize_t MAX_SPARE_BYTES = 8 << 20   # eight batches of the default bound
cdef uint8_t NO_HEADERS = 0
DEFAULT_MAX_BYTES = 1 << 20                 # what brokers take by default, with 12 bytes to spare

cdef list spare = []
cdef Py_ssize_t spare_bytes = 0
cdef Writer scratch = None


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Block:
    """Memory of one batch. Exported while a codec reads it, and then never reused before."""

    def __dealloc__(self):
        PyMem_Free(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(
            view, self, self.data + HEADER_SIZE, self.used - HEADER_SIZE, 1, flags
        )
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1

    cdef int grow(self, Py_ssize_t need) except -1:
        """Make capacity at least need."""
        cdef Py_ssize_t want = self.capacity if self.capacity else FIRST_CAPACITY
        cdef void *bigger
        while want < need:
            want *= 2
        bigger = PyMem_Realloc(self.data, <size_t>want)
        if bigger == NULL:
            raise MemoryError(f"no memory for a batch of {want} bytes")
        self.data = <uint8_t *>bigger
        self.capacity = want
        return 0


cdef Block borrow():
    global spare_bytes
    cdef Block block
    if spare:
        block = <Block>spare.pop()
        spare_bytes -= block.capacity
        return block
    block = Block.__new__(Block)
    block.grow(FIRST_CAPACITY)
    return block


cdef int give_back(Block block) except -1:
    global spare_bytes
    # A codec that kept its view keeps the block too, and it is not reused.
    if block.exports == 0 and block.capacity <= MAX_SPARE_BYTES - spare_bytes:
        spare.append(block)
        spare_bytes += block.capacity
    return 0


@cython.final
@cython.auto_pickle(False)
cdef class BatchBuilder:
    """One record batch in the making: append until it says full, seal once.

    compression is a codec's name or id, level the codec's own scale (None: its
    default). max_bytes bounds the batch before compression; a first message
    always fits. producer_id, producer_epoch and base_sequence are those of an
    idempotent producer, -1 without. control marks a batch of transaction
    markers, whose keys and values the caller provides.

    Raises UnsupportedCodec for a codec that nobody registered.
    """

    def __cinit__(
        self,
        compression: str | int | None = None,
        *,
        Py_ssize_t max_bytes=DEFAULT_MAX_BYTES,
        level: int | None = None,
        int64_t producer_id=-1,
        int16_t producer_epoch=-1,
        int32_t base_sequence=-1,
        bint transactional=False,
        bint control=False,
    ):
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}; it must be above 0")
        if isinstance(compression, int):
            codec_name(compression)
            self.compression = compression
        else:
            self.compression = codec_id(compression)
        self.max_bytes = min(max_bytes, MAX_BATCH)
        self.level = level
        self.flags = self.compression
        if transactional:
            self.flags |= TRANSACTIONAL_BIT
        if control:
            self.flags |= CONTROL_BIT
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.base_sequence = base_sequence
        self.size_bytes = HEADER_SIZE
        self.base_timestamp = -1
        self.max_timestamp = -1
        self.block = borrow()
        self.data = self.block.data

    def __dealloc__(self):
        # Abandoned before it was sealed: its memory serves the next one.
        if self.block is not None:
            give_back(self.block)

    def __repr__(self) -> str:
        state = "open" if self.block is not None else "sealed"
        return f"<BatchBuilder {state}, {self.count} messages, {self.size_bytes} bytes>"

    @property
    def sealed(self) -> bool:
        """Whether seal() was called."""
        return self.block is None

    def append(self, key, value, int64_t timestamp_ms, headers=None) -> int:
        """Write one message; return its offset in the batch (0, 1, ...), or -1 when it is full.

        key and value are bytes-like or None; headers a mapping, or a sequence
        of pairs, from str to bytes-like or None. timestamp_ms is milliseconds
        since 1970, -1 for none.

        Raises TypeError that names the argument and its type, ValueError for
        a timestamp below -1, MessageTooLarge when the message fits no batch
        at all, RuntimeError when sealed; nothing is written then.
        """
        # All Python code that a buffer or mapping may run, runs before put().
        if key is not None and not PyBytes_Check(key):
            key = to_bytes(key, "key", -1)
        if value is not None and not PyBytes_Check(value):
            value = to_bytes(value, "value", -1)
        if headers is None or (type(headers) is tuple and not <tuple>headers):
            return self.put(key, value, timestamp_ms, &NO_HEADERS, 1)
        return self.put_with_headers(key, value, timestamp_ms, headers)

    def append_many(
        self, values, keys, int64_t timestamp_ms, Py_ssize_t start=0, headers=None
    ) -> int:
        """Write values[start:] until the batch is full; return how many were written.

        values is a sequence of bytes-like or None, keys one of the same length
        or None for no keys; all get timestamp_ms and the same headers. Raises as
        append() does, and then none of them is written.
        """
        cdef object vs = PySequence_Fast(values, b"values must be a sequence")
        cdef object ks = None
        cdef object key = None
        cdef object value
        cdef Py_ssize_t i
        cdef int32_t count = self.count
        cdef Py_ssize_t size_bytes = self.size_bytes
        cdef int64_t base_timestamp = self.base_timestamp
        cdef int64_t max_timestamp = self.max_timestamp
        cdef Writer encoded
        cdef const uint8_t *headers_at = &NO_HEADERS
        cdef Py_ssize_t headers_size = 1
        if headers:
            encoded = Writer.__new__(Writer, 256)   # ours until we return: headers_at points in
            encode_headers(encoded, headers)
            headers_at = encoded.data
            headers_size = encoded.size
        if keys is not None:
            ks = PySequence_Fast(keys, b"keys must be a sequence or None")
            if PySequence_Fast_GET_SIZE(ks) != PySequence_Fast_GET_SIZE(vs):
                raise ValueError(f"{len(vs)} values, {len(ks)} keys")
        if start < 0 or start > PySequence_Fast_GET_SIZE(vs):
            raise ValueError(f"start {start} of {PySequence_Fast_GET_SIZE(vs)} values")
        i = start
        try:
            # Sizes are asked again each time: a bytes-like of Python may change its list.
            while i < PySequence_Fast_GET_SIZE(vs):
                value = <object>PySequence_Fast_GET_ITEM(vs, i)
                if ks is not None:
                    if i >= PySequence_Fast_GET_SIZE(ks):
                        break
                    key = <object>PySequence_Fast_GET_ITEM(ks, i)
                    if key is not None and not PyBytes_Check(key):
                        key = to_bytes(key, "keys", i)
                if value is not None and not PyBytes_Check(value):
                    value = to_bytes(value, "values", i)
                if self.put(key, value, timestamp_ms, headers_at, headers_size) < 0:
                    break
                i += 1
        except BaseException:
            self.count = count
            self.size_bytes = size_bytes
            self.base_timestamp = base_timestamp
            self.max_timestamp = max_timestamp
            raise
        return i - start

    def set_producer_state(
        self, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence
    ) -> None:
        """Say whose batch this is and the sequence of its first message; before seal()."""
        self.check_open()
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.base_sequence = base_sequence

    def set_max_bytes(self, Py_ssize_t max_bytes) -> None:
        """Let the batch grow up to max_bytes from now on (a producer grants memory in steps)."""
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}; it must be above 0")
        self.max_bytes = min(max_bytes, MAX_BATCH)

    def seal(self) -> bytes:
        """Compress, write the header with its CRC, return the batch; the builder is done then.

        A batch that compression makes larger stays compressed. Raises
        ValueError when nothing was appended, RuntimeError when already sealed.
        """
        cdef Block block = self.block
        cdef bytes packed
        cdef bytes out
        cdef uint8_t *p
        cdef Py_ssize_t size
        self.check_open()
        if self.count == 0:
            raise ValueError("a batch without messages cannot be sealed")
        # From here on no other thread can reach the block, so the GIL may go.
        self.block = None
        self.data = NULL
        try:
            if self.compression == 0:
                size = self.size_bytes
                out = PyBytes_FromStringAndSize(<const char *>block.data, size)
            else:
                block.used = self.size_bytes
                packed = compress(self.compression, memoryview(block), self.level)
                size = HEADER_SIZE + PyBytes_GET_SIZE(packed)
                if size > MAX_BATCH:
                    raise MessageTooLarge(
                        f"a batch of {size} bytes; Kafka's lengths end at {MAX_BATCH}"
                    )
                out = PyBytes_FromStringAndSize(NULL, size)
                memcpy(
                    PyBytes_AS_STRING(out) + HEADER_SIZE, PyBytes_AS_STRING(packed),
                    <size_t>PyBytes_GET_SIZE(packed),
                )
        finally:
            give_back(block)
        p = <uint8_t *>PyBytes_AS_STRING(out)
        store_int64(p, 0)
        store_int32(p + LENGTH_AT, <int32_t>(size - LENGTH_END))
        store_int32(p + 12, -1)             # the leader fills in its epoch
        p[MAGIC_AT] = 2
        store_int16(p + CRC_FROM, self.flags)
        store_int32(p + 23, self.count - 1)
        store_int64(p + 27, self.base_timestamp)
        store_int64(p + 35, self.max_timestamp)
        store_int32(p + 57, self.count)
        sign(p, size, self.producer_id, self.producer_epoch, self.base_sequence)
        return out

    cdef int check_open(self) except -1:
        if self.block is None:
            raise RuntimeError("this batch is sealed")
        return 0

    cdef int32_t put(
        self, object key, object value, int64_t timestamp_ms,
        const uint8_t *headers, Py_ssize_t headers_size
    ) except -2:
        """Write one record; key and value are bytes or None, headers counted and encoded."""
        cdef Py_ssize_t key_size = -1
        cdef Py_ssize_t value_size = -1
        cdef Py_ssize_t payload = headers_size
        cdef Py_ssize_t body, total
        cdef uint64_t delta
        cdef uint8_t *p
        if key is not None:
            key_size = PyBytes_GET_SIZE(key)
            payload += key_size
        if value is not None:
            value_size = PyBytes_GET_SIZE(value)
            payload += value_size
        self.check_open()
        # One comparison for both ends, so that the difference of two timestamps fits int64.
        if <uint64_t>timestamp_ms + 1 > <uint64_t>0x7FFFFFFFFFFFFFFF:
            raise ValueError(f"timestamp_ms is {timestamp_ms}; it must be -1 or more")
        # Refused before sizes are counted in 32 bits.
        if payload > MAX_BATCH - HEADER_SIZE - VARINTS_ROOM:
            if self.count:
                return -1
            raise MessageTooLarge(
                f"a message of {payload} bytes; Kafka's lengths end at {MAX_BATCH}"
            )
        delta = zigzag(timestamp_ms - self.base_timestamp) if self.count else 0
        body = (
            1                                               # attributes, unused
            + uvarint_size(delta)
            + uvarint_size(zigzag(self.count))
            + uvarint_size(zigzag(key_size))
            + uvarint_size(zigzag(value_size))
            + payload
        )
        total = uvarint_size(zigzag(body)) + body
        if self.count and total > self.max_bytes - self.size_bytes:
            return -1
        if total > self.block.capacity - self.size_bytes:
            self.block.grow(self.size_bytes + total)
            self.data = self.block.data
        p = put_uvarint(self.data + self.size_bytes, zigzag(body))
        p[0] = 0
        p = put_uvarint(p + 1, delta)
        p = put_uvarint(p, zigzag(self.count))
        p = put_uvarint(p, zigzag(key_size))
        if key_size > 0:
            memcpy(p, PyBytes_AS_STRING(key), <size_t>key_size)
            p += key_size
        p = put_uvarint(p, zigzag(value_size))
        if value_size > 0:
            memcpy(p, PyBytes_AS_STRING(value), <size_t>value_size)
            p += value_size
        if headers_size == 1:
            p[0] = headers[0]
        else:
            memcpy(p, headers, <size_t>headers_size)
        if self.count == 0:
            self.base_timestamp = timestamp_ms
            self.max_timestamp = timestamp_ms
        elif timestamp_ms > self.max_timestamp:
            self.max_timestamp = timestamp_ms
        self.size_bytes += total
        self.count += 1
        return self.count - 1

    cdef int32_t put_with_headers(
        self, object key, object value, int64_t timestamp_ms, object headers
    ) except -2:
        global scratch
        # Taken, not shared: encoding may run Python code that appends here too.
        cdef Writer w = scratch
        scratch = None
        if w is None:
            w = Writer.__new__(Writer, 256)
        w.size = 0
        try:
            encode_headers(w, headers)
            return self.put(key, value, timestamp_ms, w.data, w.size)
        finally:
            if w.capacity <= FIRST_CAPACITY:
                scratch = w


def stamp(
    bytes sealed not None, int64_t producer_id, int16_t epoch, int32_t base_sequence
) -> bytes:
    """Return a sealed batch as another producer's, or under another epoch and sequence.

    Only the header and its CRC change, so nothing is compressed again. Raises
    ValueError when sealed is not one whole record batch.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(sealed)
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(sealed)
    cdef bytes out
    if size < HEADER_SIZE or p[MAGIC_AT] != 2 or load_int32(p + LENGTH_AT) != size - LENGTH_END:
        raise ValueError(f"{size} bytes that are not one record batch of magic 2")
    out = PyBytes_FromStringAndSize(<const char *>p, size)
    sign(<uint8_t *>PyBytes_AS_STRING(out), size, producer_id, epoch, base_sequence)
    return out


cdef int sign(
    uint8_t *p, Py_ssize_t size, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence
) except -1:
    """Write the producer's part of a header and, over all of it, the CRC."""
    cdef uint32_t crc
    store_int64(p + PRODUCER_ID_AT, producer_id)
    store_int16(p + PRODUCER_EPOCH_AT, producer_epoch)
    store_int32(p + BASE_SEQUENCE_AT, base_sequence)
    if size < NOGIL_FROM:
        crc = crc32c_raw(0, p + CRC_FROM, <size_t>(size - CRC_FROM))
    else:
        with nogil:
            crc = crc32c_raw(0, p + CRC_FROM, <size_t>(size - CRC_FROM))
    store_int32(p + CRC_AT, <int32_t>crc)
    return 0


cdef bytes to_bytes(object data, str argument, Py_ssize_t index):
    """Copy a bytes-like that is no bytes; index -1 when the argument is no sequence."""
    if not PyObject_CheckBuffer(data):
        if index >= 0:
            argument = f"{argument}[{index}]"
        raise TypeError(f"{argument} must be bytes-like or None, not {type(data).__name__}")
    return PyBytes_FromObject(data)


cdef int encode_headers(Writer w, object headers) except -1:
    """Write the count and then each header, as DefaultRecord has them."""
    cdef object pairs, pair, name, value
    cdef const char *text
    cdef Py_ssize_t size, i, count
    if isinstance(headers, (list, tuple)):
        pairs = list(headers)           # ours alone: it cannot change under the loop
    elif isinstance(headers, Mapping):
        pairs = list(headers.items())
    else:
        raise TypeError(
            f"headers must be a mapping or a sequence of pairs, not {type(headers).__name__}"
        )
    count = len(<list>pairs)
    write_uvarint(w, zigzag(count))
    for i in range(count):
        pair = (<list>pairs)[i]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers[{i}] must be a pair of name and value, not {pair!r}")
        name = pair[0]
        value = pair[1]
        if not isinstance(name, str):
            raise TypeError(f"the name of headers[{i}] must be str, not {type(name).__name__}")
        text = PyUnicode_AsUTF8AndSize(name, &size)
        write_uvarint(w, zigzag(size))
        write_raw(w, <const uint8_t *>text, size)
        if value is None:
            write_uvarint(w, zigzag(-1))
            continue
        if not PyBytes_Check(value):
            value = to_bytes(value, f"the value of header {name!r}", -1)
        size = PyBytes_GET_SIZE(value)
        write_uvarint(w, zigzag(size))
        write_raw(w, <const uint8_t *>PyBytes_AS_STRING(value), size)
    return 0
