"""Fetch requests and answers (API key 1), versions 11 to 18.

Authority: FetchRequest.json and FetchResponse.json of Apache Kafka. 12 brought
flexible fields (KIP-482), 13 topic ids in place of names (KIP-516), 15 moved
the replica id into a tag (KIP-903), 16 the endpoints of new leaders (KIP-951);
17 and 18 add tags that only followers send.

An answer is cut into batches without copying a record: a batch refers to the
answer's bytes until its messages are asked for.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint64_t

from faustc._native.batch cimport scan
from faustc._native.cursor cimport (
    Cursor,
    cursor_init,
    enter_tag,
    left,
    read_compact_len,
    read_count,
    read_endpoints,
    read_int16,
    read_int32,
    read_int64,
    read_string,
    read_uvarint,
    skip_tags,
    take,
)
from faustc._native.writer cimport (
    Writer,
    store_int32,
    write_array_len,
    write_int8,
    write_int16,
    write_int32,
    write_int64,
    write_raw,
    write_uvarint,
)

from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED
from faustc.exceptions import CorruptFrame

MIN_VERSION = 11
MAX_VERSION = 18

cdef enum:
    API_KEY = 1
    FIRST_FLEXIBLE = 12
    FIRST_TOPIC_ID = 13
    FIRST_REPLICA_STATE = 15
    FIRST_ENDPOINTS = 16
    UUID_SIZE = 16
    # The least that one element of an array takes: a count that claims more
    # elements than its bytes can hold is refused before anything is made.
    MIN_TOPIC = 3
    MIN_PARTITION = 37
    MIN_ABORTED = 16

cdef bytes NO_ID = bytes(UUID_SIZE)


@cython.final
@cython.auto_pickle(False)
cdef class PartitionFetch:
    """What a broker answered for one partition.

    topic is "" when the answer carried an id that the caller has no name for.
    Offsets are -1 where the broker does not say. batches holds what could be
    read; corrupt, when set, says what is wrong with the bytes right after them.
    aborted has (producer id, first offset) of each aborted transaction that
    reaches into the batches; diverging is (epoch, end offset), current_leader
    (broker id, leader epoch), both None unless the broker sent them.
    """

    cdef readonly str topic
    cdef readonly bytes topic_id
    cdef readonly int32_t partition
    cdef readonly int16_t error
    cdef readonly int64_t highwater
    cdef readonly int64_t last_stable_offset
    cdef readonly int64_t log_start_offset
    cdef readonly int32_t preferred_replica
    cdef readonly Py_ssize_t size_bytes
    cdef readonly list aborted
    cdef readonly tuple diverging
    cdef readonly tuple current_leader
    cdef readonly list batches
    cdef readonly object corrupt

    def __repr__(self):
        return (
            f"<PartitionFetch {self.topic}/{self.partition} error={self.error}"
            f" highwater={self.highwater} {len(self.batches)} batches, {self.size_bytes} bytes>"
        )


@cython.final
@cython.auto_pickle(False)
cdef class FetchResponse:
    """A broker's answer to one fetch; error is a code for the whole of it (0: none).

    endpoints are (broker id, host, port, rack) of leaders named in current_leader.
    """

    cdef readonly int32_t correlation_id
    cdef readonly int32_t throttle_ms
    cdef readonly int16_t error
    cdef readonly int32_t session_id
    cdef readonly list partitions
    cdef readonly list endpoints


def encode_fetch(
    int version,
    int32_t correlation_id,
    str client_id,
    *,
    int32_t max_wait_ms,
    int32_t min_bytes,
    int32_t max_bytes,
    int isolation_level=0,
    int32_t session_id=0,
    int32_t session_epoch=-1,
    topics,
    forgotten=(),
    str rack_id="",
) -> bytes:
    """Return a whole request frame, its length in front.

    topics are (name, id, partitions), each partition (index, leader epoch,
    offset, max bytes); forgotten are (name, id, indexes). Before version 13 the
    id is ignored, from then on the name. isolation_level 0 reads uncommitted, 1
    committed. Session 0 with epoch -1 asks for no session (KIP-227).
    """
    cdef bint flexible = check_version(version)
    cdef Writer w = Writer(256)
    cdef str name
    cdef bytes topic_id
    cdef int32_t partition, leader_epoch, partition_bytes
    cdef int64_t offset
    write_int32(w, 0)           # the length, known at the end
    write_int16(w, API_KEY)
    write_int16(w, <int16_t>version)
    write_int32(w, correlation_id)
    w.write_string(client_id, False)    # request header 2 keeps the classic string
    if flexible:
        write_uvarint(w, 0)
    if version < FIRST_REPLICA_STATE:
        write_int32(w, -1)      # replica id: a consumer
    write_int32(w, max_wait_ms)
    write_int32(w, min_bytes)
    write_int32(w, max_bytes)
    write_int8(w, <int8_t>isolation_level)
    write_int32(w, session_id)
    write_int32(w, session_epoch)
    write_array_len(w, len(topics), flexible)
    for name, topic_id, partitions in topics:
        write_topic(w, version, name, topic_id)
        write_array_len(w, len(partitions), flexible)
        for partition, leader_epoch, offset, partition_bytes in partitions:
            write_int32(w, partition)
            write_int32(w, leader_epoch)
            write_int64(w, offset)
            if flexible:
                write_int32(w, -1)      # last fetched epoch: followers only
            write_int64(w, -1)          # log start offset: followers only
            write_int32(w, partition_bytes)
            if flexible:
                write_uvarint(w, 0)
        if flexible:
            write_uvarint(w, 0)
    write_array_len(w, len(forgotten), flexible)
    for name, topic_id, partitions in forgotten:
        write_topic(w, version, name, topic_id)
        write_array_len(w, len(partitions), flexible)
        for partition in partitions:
            write_int32(w, partition)
        if flexible:
            write_uvarint(w, 0)
    w.write_string(rack_id, flexible)
    if flexible:
        write_uvarint(w, 0)
    store_int32(w.data, <int32_t>(w.size - 4))
    return w.getvalue()


cdef int write_topic(Writer w, int version, str name, bytes topic_id) except -1:
    if version < FIRST_TOPIC_ID:
        return w.write_string(name, version >= FIRST_FLEXIBLE)
    if topic_id is None or len(topic_id) != UUID_SIZE or topic_id == NO_ID:
        raise ValueError(f"fetch version {version} needs the topic id of {name!r}")
    return write_raw(w, <const uint8_t *>PyBytes_AS_STRING(topic_id), UUID_SIZE)


cdef bint check_version(int version) except -1:
    if not MIN_VERSION <= version <= MAX_VERSION:
        raise ValueError(f"fetch version {version}; this speaks {MIN_VERSION} to {MAX_VERSION}")
    return version >= FIRST_FLEXIBLE


def decode_fetch(
    body,
    int version,
    *,
    topic_names=None,
    bint check_crc=True,
    int64_t max_decompressed=DEFAULT_MAX_DECOMPRESSED,
) -> FetchResponse:
    """Return the answer in body: a frame without its length, with its response header.

    topic_names gives a name to each topic id (version 13 and up). A partition's
    bad records are told in its `corrupt`, and leave the others alone; an answer
    that cannot be taken apart raises CorruptFrame.
    """
    cdef bint flexible = check_version(version)
    cdef bytes frame = body if type(body) is bytes else bytes(memoryview(body))
    cdef Cursor c
    cdef FetchResponse answer = FetchResponse.__new__(FetchResponse)
    cdef Py_ssize_t topics, partitions
    cdef str topic
    cdef bytes topic_id
    cdef PartitionFetch part
    cursor_init(&c, <const uint8_t *>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
    answer.partitions = []
    answer.endpoints = []
    answer.correlation_id = read_int32(&c)
    if flexible:
        skip_tags(&c)
    answer.throttle_ms = read_int32(&c)
    answer.error = read_int16(&c)
    answer.session_id = read_int32(&c)
    topics = read_count(&c, flexible, MIN_TOPIC)
    while topics > 0:
        topics -= 1
        if version < FIRST_TOPIC_ID:
            topic_id = NO_ID
            topic = read_string(&c, flexible)
            if topic is None:
                raise CorruptFrame("a fetch answer has a topic without a name")
        else:
            topic_id = PyBytes_FromStringAndSize(<const char *>take(&c, UUID_SIZE), UUID_SIZE)
            topic = "" if topic_names is None else topic_names.get(topic_id, "")
        partitions = read_count(&c, flexible, MIN_PARTITION)
        while partitions > 0:
            partitions -= 1
            part = read_partition(&c, flexible, topic, topic_id)
            read_records(&c, flexible, part, frame, check_crc, max_decompressed)
            answer.partitions.append(part)
        if flexible:
            skip_tags(&c)
    if flexible:
        read_answer_tags(&c, answer, version)
    if left(&c):
        raise CorruptFrame(f"{left(&c)} bytes after a fetch answer")
    return answer


cdef PartitionFetch read_partition(Cursor *c, bint flexible, str topic, bytes topic_id):
    """Read what stands before a partition's records."""
    cdef PartitionFetch part = PartitionFetch.__new__(PartitionFetch)
    cdef Py_ssize_t aborted
    cdef int64_t producer_id
    part.topic = topic
    part.topic_id = topic_id
    part.partition = read_int32(c)
    part.error = read_int16(c)
    part.highwater = read_int64(c)
    part.last_stable_offset = read_int64(c)
    part.log_start_offset = read_int64(c)
    part.aborted = []
    part.batches = []
    aborted = read_count(c, flexible, MIN_ABORTED)
    while aborted > 0:
        aborted -= 1
        producer_id = read_int64(c)
        part.aborted.append((producer_id, read_int64(c)))
        if flexible:
            skip_tags(c)
    part.preferred_replica = read_int32(c)
    return part


cdef int read_records(
    Cursor *c, bint flexible, PartitionFetch part, bytes frame, bint check_crc,
    int64_t max_decompressed,
) except -1:
    """Read a partition's records and tags. What is wrong inside the records stays with them."""
    cdef Py_ssize_t size = read_compact_len(c) if flexible else read_int32(c)
    cdef Py_ssize_t at
    if size != -1:
        at = take(c, size) - c.start
        part.size_bytes = size
        try:
            scan(
                part.batches, frame, at, size, check_crc, max_decompressed,
                part.topic or None, part.partition, True,
            )
        except CorruptFrame as exc:
            part.corrupt = exc
    if flexible:
        read_partition_tags(c, part)
    return 0


cdef int read_partition_tags(Cursor *c, PartitionFetch part) except -1:
    cdef uint64_t count = read_uvarint(c)
    cdef uint64_t tag
    cdef Cursor field
    cdef int32_t first
    while count:
        count -= 1
        tag = enter_tag(c, &field)
        if tag == 0:
            first = read_int32(&field)
            part.diverging = (first, read_int64(&field))
        elif tag == 1:
            first = read_int32(&field)
            part.current_leader = (first, read_int32(&field))
    return 0


cdef int read_answer_tags(Cursor *c, FetchResponse answer, int version) except -1:
    cdef uint64_t count = read_uvarint(c)
    cdef Cursor field
    while count:
        count -= 1
        if enter_tag(c, &field) == 0 and version >= FIRST_ENDPOINTS:
            answer.endpoints.extend(read_endpoints(&field))
    return 0
