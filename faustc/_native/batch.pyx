"""Record batches (magic 2) and the messages in them.

The layout is KIP-98's, with KIP-82's headers; Apache Kafka's
DefaultRecordBatch and DefaultRecord are the authority. A batch costs a header
check and a CRC when it is made; its records are parsed when they are asked
for, and a record's key, value and headers become objects when they are looked
at.

Who keeps whom alive: a Batch holds the frame it came in until its records are
opened, then only a buffer of its own. A Message holds that buffer through its
Origin, never the frame: one kept message costs one batch, not one fetch.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from faustc._native.checksum cimport crc32c_raw
from faustc._native.cursor cimport (
    Cursor,
    cursor_init,
    left,
    load_int16,
    load_int32,
    load_int64,
    read_int8,
    read_varint,
    read_varlong,
    take,
)
from faustc._native.message cimport Message, Origin

from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED, decompress
from faustc.exceptions import CorruptFrame

cdef enum:
    HEADER_SIZE = 61            # base offset to record count
    LENGTH_END = 12             # base offset and length: what the length does not count
    MAGIC_AT = 16
    CRC_AT = 17
    CRC_FROM = 21               # the CRC covers everything from the attributes on
    MIN_RECORD = 7              # seven one-byte fields: the least a record can take
    MIN_HEADER = 2
    CODEC_BITS = 0x07
    LOG_APPEND_BIT = 0x08
    TRANSACTIONAL_BIT = 0x10
    CONTROL_BIT = 0x20
    NOGIL_FROM = 8192           # handing over the GIL costs more than a smaller CRC

# Who imports batches imports their messages from here; a cimport alone hands nothing on.
globals()["Message"] = Message

cdef int64_t MAX_OFFSET = 0x7FFFFFFFFFFFFFFF
cdef int64_t MAX_BUFFER = 0x7FFFFFFF


cdef struct RecordView:
    int64_t timestamp_delta
    int32_t offset_delta
    int32_t key_at
    int32_t key_size
    int32_t value_at
    int32_t value_size
    int32_t headers_at
    int32_t header_count


cdef int check_name(const uint8_t *p, Py_ssize_t size) except -1:
    """Raise CorruptFrame unless a header's name is UTF-8."""
    cdef Py_ssize_t i
    for i in range(size):
        if p[i] >= 0x80:
            break
    else:
        return 0
    try:
        (<const char *>p)[:size].decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CorruptFrame("a header's name is not UTF-8") from exc
    return 0


cdef inline int32_t read_nullable(Cursor *c, int32_t *at) except? -2:
    """Read a length and pass over its bytes; return the length, -1 for null."""
    cdef int32_t size = read_varint(c)
    at[0] = 0
    if size != -1:
        at[0] = <int32_t>(take(c, size) - c.start)
    return size


cdef inline int read_record(Cursor *c, RecordView *r) except -1:
    """Read one record; every length in it is checked here, for good."""
    cdef Cursor inner
    cdef int32_t size = read_varint(c)
    cdef int32_t ignored = 0
    cdef const uint8_t *name
    inner.start = c.start
    inner.pos = take(c, size)
    inner.end = c.pos
    read_int8(&inner)           # record attributes: no bit is in use
    r.timestamp_delta = read_varlong(&inner)
    r.offset_delta = read_varint(&inner)
    r.key_size = read_nullable(&inner, &r.key_at)
    r.value_size = read_nullable(&inner, &r.value_at)
    r.header_count = read_varint(&inner)
    r.headers_at = <int32_t>(inner.pos - inner.start)
    if r.header_count:
        if r.header_count < 0 or r.header_count > left(&inner) // MIN_HEADER:
            raise CorruptFrame(
                f"claims {r.header_count} headers in {left(&inner)} bytes"
            )
        for _ in range(r.header_count):
            size = read_varint(&inner)
            name = take(&inner, size)
            check_name(name, size)
            read_nullable(&inner, &ignored)
    if inner.pos != inner.end:
        raise CorruptFrame(f"has {left(&inner)} bytes too many")
    return 0


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Batch:
    """A record batch: its header, and on demand its messages.

    Made by decode() only. topic is None and partition -1 where the caller did
    not say them. A batch that compaction emptied has length 0 and still spans
    base_offset to last_offset.
    """

    def __init__(self):
        raise TypeError("a Batch comes out of decode()")

    @property
    def compression(self) -> int:
        """Return the codec id: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & CODEC_BITS

    @property
    def timestamp_type(self) -> int:
        """0 when producers set the timestamps, 1 when the broker did on appending."""
        return 1 if self.attributes & LOG_APPEND_BIT else 0

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        """Say whether the messages are markers of the broker, not anybody's data."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def control_type(self) -> int:
        """Return 0 for an ABORT marker, 1 for COMMIT, -1 for anything else.

        Raises CorruptFrame when the marker cannot be read.
        """
        cdef list messages
        cdef bytes key
        cdef const uint8_t *p
        cdef int kind
        if not self.attributes & CONTROL_BIT:
            return -1
        messages = self.messages()
        if not messages:
            return -1
        key = messages[0].key
        if key is None or len(key) < 4:
            raise self.corrupt("a control record without version and type")
        p = <const uint8_t *>PyBytes_AS_STRING(key)
        if load_int16(p) < 0:
            raise self.corrupt(f"a control record of version {load_int16(p)}")
        kind = load_int16(p + 2)
        return kind if kind == 0 or kind == 1 else -1

    @property
    def opened_bytes(self) -> int:
        """Return how many bytes of records it holds, decompressed; 0 before they are opened."""
        return 0 if self.origin is None else PyBytes_GET_SIZE(self.origin.data)

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(self.messages())

    def __repr__(self):
        return (
            f"<Batch {self.topic}/{self.partition}@{self.base_offset}..{self.last_offset}"
            f" {self.count} messages, {self.size_bytes} bytes>"
        )

    def messages(self, int64_t start_offset=-1) -> list[Message]:
        """Return the messages whose offset is start_offset or more, in order.

        Raises CorruptFrame when the records are not what they claim to be,
        and UnsupportedCodec when nobody registered their codec. Either way
        the whole batch is refused: no message of it was returned.
        """
        cdef Origin origin = self.opened()
        cdef Cursor c
        cdef RecordView r
        cdef Message m
        cdef int32_t i = 0
        cdef int32_t newest = -1
        cdef int32_t last_delta = <int32_t>(self.last_offset - self.base_offset)
        cdef int64_t base = self.base_offset
        cdef int64_t base_timestamp = self.base_timestamp
        cdef int64_t timestamp = self.max_timestamp
        cdef bint appended = origin.timestamp_type
        cdef list out = []
        cursor_init(
            &c, <const uint8_t *>PyBytes_AS_STRING(origin.data), PyBytes_GET_SIZE(origin.data)
        )
        try:
            while i < self.count:
                i += 1
                read_record(&c, &r)
                newest = risen(r.offset_delta, newest, last_delta)
                if not appended:
                    timestamp = add_delta(base_timestamp, r.timestamp_delta)
                if base + newest < start_offset:
                    continue
                m = Message.__new__(Message)
                m.origin = origin
                m.offset = base + newest
                m.timestamp = timestamp
                m.key_at = r.key_at
                m.key_size = r.key_size
                m.value_at = r.value_at
                m.value_size = r.value_size
                m.headers_at = r.headers_at
                m.header_count = r.header_count
                out.append(m)
        except CorruptFrame as exc:
            raise self.corrupt(f"record {i} of {self.count} {exc.args[0]}") from None
        if c.pos != c.end:
            raise self.corrupt(f"{left(&c)} bytes after the last record")
        return out

    def apply_to(
        self,
        dict target not None,
        int64_t start_offset=-1,
        *,
        bytes prefix not None=b"",
        bint keep_deleted=False,
    ) -> int:
        """Put the values into target by prefix + key, in order; return how many records there are.

        What messages() makes objects of, without the objects: a record without a key counts
        and changes nothing; one without a value takes its key away, or with keep_deleted
        puts None there. Raises as messages() does, before target has changed.
        """
        cdef Origin origin
        cdef Cursor c
        cdef RecordView r
        cdef bytes key
        cdef const uint8_t *data
        cdef char *room
        cdef Py_ssize_t before = PyBytes_GET_SIZE(prefix)
        cdef int32_t _i, seen = 0
        if self.attributes & CONTROL_BIT:
            return 0
        origin = self.checked()
        data = <const uint8_t *>PyBytes_AS_STRING(origin.data)
        cursor_init(&c, data, PyBytes_GET_SIZE(origin.data))
        for _i in range(self.count):
            read_record(&c, &r)
            if self.base_offset + r.offset_delta < start_offset:
                continue
            seen += 1
            if r.key_size < 0:
                continue
            key = PyBytes_FromStringAndSize(NULL, before + r.key_size)
            room = PyBytes_AS_STRING(key)
            memcpy(room, PyBytes_AS_STRING(prefix), before)
            memcpy(room + before, data + r.key_at, r.key_size)
            if r.value_size >= 0:
                room = <char *>data + r.value_at
                target[key] = PyBytes_FromStringAndSize(room, r.value_size)
            elif keep_deleted:
                target[key] = None
            else:
                target.pop(key, None)
        return seen

    cdef Origin checked(self):
        """Return the opened records once all of them were read without an error."""
        cdef Origin origin = self.opened()
        cdef Cursor c
        cdef RecordView r
        cdef int32_t i = 0
        cdef int32_t newest = -1
        cdef int32_t last_delta = <int32_t>(self.last_offset - self.base_offset)
        cursor_init(
            &c, <const uint8_t *>PyBytes_AS_STRING(origin.data), PyBytes_GET_SIZE(origin.data)
        )
        try:
            while i < self.count:
                i += 1
                read_record(&c, &r)
                newest = risen(r.offset_delta, newest, last_delta)
                if not origin.timestamp_type:
                    add_delta(self.base_timestamp, r.timestamp_delta)
        except CorruptFrame as exc:
            raise self.corrupt(f"record {i} of {self.count} {exc.args[0]}") from None
        if c.pos != c.end:
            raise self.corrupt(f"{left(&c)} bytes after the last record")
        return origin

    cdef Origin opened(self):
        """Return the records in a buffer of their own, and let go of the frame."""
        cdef Origin origin = self.origin
        cdef object section
        cdef bytes data
        cdef int codec = self.attributes & CODEC_BITS
        if origin is not None:
            return origin
        if self.frame is None:
            raise TypeError("a Batch comes out of decode()")
        if codec == 0:
            data = PyBytes_FromStringAndSize(
                PyBytes_AS_STRING(self.frame) + self.records_at, self.records_size
            )
        else:
            section = memoryview(self.frame)[self.records_at:self.records_at + self.records_size]
            try:
                data = decompress(codec, section, self.max_decompressed)
            except CorruptFrame as exc:
                raise self.corrupt(exc.args[0]) from exc.__cause__
            # Checked here for compressed records, in scan() for the others.
            if self.count > PyBytes_GET_SIZE(data) // MIN_RECORD:
                raise self.corrupt(f"claims {self.count} records in {len(data)} bytes")
        origin = Origin.__new__(Origin)
        origin.data = data
        origin.topic = self.topic
        origin.partition = self.partition
        origin.timestamp_type = 1 if self.attributes & LOG_APPEND_BIT else 0
        self.origin = origin
        self.frame = None
        return origin

    cdef object corrupt(self, str reason):
        return CorruptFrame(
            f"batch of offsets {self.base_offset} to {self.last_offset}: {reason}",
            topic=self.topic,
            partition=self.partition if self.topic is not None else None,
            offset=self.base_offset,
        )


cdef inline int32_t risen(int32_t delta, int32_t newest, int32_t last_delta) except? -1:
    """Return delta; offsets rise within a batch: the ledger and the commit rest on it."""
    if delta <= newest or delta > last_delta:
        raise CorruptFrame(f"has offset delta {delta} after {newest}, the last is {last_delta}")
    return delta


cdef inline int64_t add_delta(int64_t base, int64_t delta) except? -1:
    if delta > 0 and base > MAX_OFFSET - delta or delta < 0 and base < -MAX_OFFSET - delta:
        raise CorruptFrame(f"has timestamp delta {delta}, which overflows")
    return base + delta


def decode(
    data,
    *,
    bint check_crc=True,
    int64_t max_decompressed=DEFAULT_MAX_DECOMPRESSED,
    str topic=None,
    int32_t partition=-1,
    bint allow_partial=False,
) -> list[Batch]:
    """Return the record batches in data; bytes are kept by reference, not copied.

    With allow_partial a batch that is cut short at the end is dropped, as
    brokers leave one behind others in a fetch answer; cut short and alone it is
    refused all the same, since brokers send a first batch whole (KIP-74) and
    dropping it would fetch it again for ever. Raises CorruptFrame.
    """
    cdef bytes frame = data if type(data) is bytes else bytes(memoryview(data))
    cdef list batches = []
    scan(
        batches, frame, 0, PyBytes_GET_SIZE(frame), check_crc, max_decompressed, topic, partition,
        allow_partial,
    )
    return batches


cdef int scan(
    list batches, bytes frame, Py_ssize_t at, Py_ssize_t size, bint check_crc,
    int64_t max_decompressed, str topic, int32_t partition, bint from_fetch,
) except -1:
    """Append the batches in frame[at:at + size] to batches; those before a corrupt one stay."""
    cdef Cursor c
    cdef Batch batch
    cdef const uint8_t *whole = <const uint8_t *>PyBytes_AS_STRING(frame)
    cdef int64_t offset = -1
    cdef int64_t newest = -1
    if at < 0 or size < 0 or at > PyBytes_GET_SIZE(frame) - size:
        raise ValueError("the span is not inside its frame")
    if max_decompressed < 0 or max_decompressed > MAX_BUFFER:
        max_decompressed = MAX_BUFFER
    cursor_init(&c, whole + at, size)
    try:
        while c.pos < c.end:
            offset = load_int64(c.pos) if left(&c) >= 8 else -1
            batch = next_batch(&c, check_crc, from_fetch and newest >= 0)
            if batch is None:
                return 0
            # The CRC does not cover the base offset: this is what guards it.
            if from_fetch and batch.base_offset <= newest:
                raise CorruptFrame(f"a record batch begins at or before {newest}, where one ended")
            newest = batch.last_offset
            batch.frame = frame
            batch.records_at = c.pos - whole - batch.records_size
            batch.topic = topic
            batch.partition = partition
            batch.max_decompressed = max_decompressed
            batches.append(batch)
    except CorruptFrame as exc:
        raise exc.at(
            topic, partition if topic is not None else None, offset if offset >= 0 else None
        )
    return 0


cdef Batch next_batch(Cursor *c, bint check_crc, bint may_be_cut):
    """Check one batch's header and CRC and step over it; None when it is cut short and may be."""
    cdef Batch batch
    cdef const uint8_t *p = c.pos
    cdef Py_ssize_t room = left(c)
    cdef Py_ssize_t size
    cdef int8_t magic
    cdef int32_t last_delta
    cdef uint32_t stored, found
    if room > MAGIC_AT:
        magic = <int8_t>p[MAGIC_AT]
        if magic == 0 or magic == 1:
            raise CorruptFrame(
                f"a message set of magic {magic}: that format went with Kafka 4;"
                " read it with an older client, or let the broker rewrite it"
            )
        if magic != 2:
            raise CorruptFrame(f"a record batch of unknown magic {magic}")
    if room >= LENGTH_END:
        size = load_int32(p + 8)
        if size < HEADER_SIZE - LENGTH_END:
            raise CorruptFrame(f"a record batch claims a length of {size} bytes")
        size += LENGTH_END
    else:
        size = HEADER_SIZE
    if size > room:
        if may_be_cut:
            return None
        raise CorruptFrame(f"a record batch needs {size} bytes, {room} left")
    take(c, size)
    if check_crc:
        stored = <uint32_t>load_int32(p + CRC_AT)
        if size < NOGIL_FROM:
            found = crc32c_raw(0, p + CRC_FROM, <size_t>(size - CRC_FROM))
        else:
            with nogil:
                found = crc32c_raw(0, p + CRC_FROM, <size_t>(size - CRC_FROM))
        if found != stored:
            raise CorruptFrame(f"a record batch has CRC {found:#x}, its header says {stored:#x}")
    batch = Batch.__new__(Batch)
    batch.size_bytes = size
    batch.records_size = size - HEADER_SIZE
    batch.base_offset = load_int64(p)
    batch.leader_epoch = load_int32(p + 12)
    batch.attributes = load_int16(p + 21)
    last_delta = load_int32(p + 23)
    batch.base_timestamp = load_int64(p + 27)
    batch.max_timestamp = load_int64(p + 35)
    batch.producer_id = load_int64(p + 43)
    batch.producer_epoch = load_int16(p + 51)
    batch.base_sequence = load_int32(p + 53)
    batch.count = load_int32(p + 57)
    if batch.base_offset < 0 or last_delta < 0 or batch.base_offset > MAX_OFFSET - last_delta:
        raise CorruptFrame(
            f"a record batch claims {last_delta} offsets after {batch.base_offset}"
        )
    batch.last_offset = batch.base_offset + last_delta
    # Each record has an offset of its own, and takes MIN_RECORD bytes before compression.
    if batch.count < 0 or <int64_t>batch.count - 1 > last_delta:
        raise CorruptFrame(
            f"a record batch claims {batch.count} records in {last_delta} offsets and one"
        )
    if not batch.attributes & CODEC_BITS and batch.count > batch.records_size // MIN_RECORD:
        raise CorruptFrame(
            f"a record batch claims {batch.count} records in {batch.records_size} bytes"
        )
    return batch
