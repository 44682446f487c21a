"""Produce requests and answers (API key 0), versions 8 to 13.

Authority: ProduceRequest.json and ProduceResponse.json of Apache Kafka. 9
brought flexible fields (KIP-482), 10 the new leader's place in answers
(KIP-951), 13 topic ids in place of names (KIP-516); 11 and 12 look like 10 and
mean more inside transactions (KIP-890).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from faustc._native.cursor cimport (
    Cursor,
    cursor_init,
    enter_tag,
    left,
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
    write_int16,
    write_int32,
    write_raw,
    write_uvarint,
)

from faustc.exceptions import CorruptFrame, MessageTooLarge

MIN_VERSION = 8
MAX_VERSION = 13

cdef enum:
    API_KEY = 0
    FIRST_FLEXIBLE = 9
    FIRST_LEADER = 10
    FIRST_TOPIC_ID = 13
    UUID_SIZE = 16
    # The least that one element of an array takes, for read_count().
    MIN_TOPIC = 3
    MIN_PARTITION = 33
    MIN_RECORD_ERROR = 6

cdef Py_ssize_t MAX_FRAME = 0x7FFFFFFF      # a frame's length is an int32
cdef bytes NO_ID = bytes(UUID_SIZE)


@cython.final
@cython.auto_pickle(False)
cdef class PartitionAck:
    """What became of one partition's batch.

    error is a code, 0 when it was written. Its messages then begin at
    base_offset; log_append_time is milliseconds, -1 unless the topic stamps
    messages itself. topic is "" when the answer carried an id that the caller
    has no name for. record_errors has (index in the batch, why or None) of the
    messages that had the whole batch refused; current_leader is (broker id,
    leader epoch), None unless the broker sent it.
    """

    cdef readonly str topic
    cdef readonly bytes topic_id
    cdef readonly int32_t partition
    cdef readonly int16_t error
    cdef readonly int64_t base_offset
    cdef readonly int64_t log_append_time
    cdef readonly int64_t log_start_offset
    cdef readonly str error_message
    cdef readonly list record_errors
    cdef readonly tuple current_leader

    def __repr__(self):
        return (
            f"<PartitionAck {self.topic}/{self.partition} error={self.error}"
            f" base_offset={self.base_offset}>"
        )


@cython.final
@cython.auto_pickle(False)
cdef class ProduceResponse:
    """A broker's answer to one produce request.

    endpoints are (broker id, host, port, rack) of leaders named in current_leader.
    """

    cdef readonly int32_t correlation_id
    cdef readonly int32_t throttle_ms
    cdef readonly list partitions
    cdef readonly list endpoints


def encode_produce(
    int version,
    int32_t correlation_id,
    str client_id,
    *,
    int16_t acks,
    int32_t timeout_ms,
    topics,
    str transactional_id=None,
) -> bytes:
    """Return a whole request frame, its length in front; each batch is copied once.

    topics are (name, id, batches), each batch (partition index, sealed bytes).
    Before version 13 the id is ignored, from then on the name. acks is 0, 1, or
    -1 for all in-sync replicas. Raises MessageTooLarge when the frame passes
    2 GiB, ValueError for another version or a missing topic id.
    """
    cdef bint flexible = check_version(version)
    cdef Writer w = Writer(256)
    cdef list batches = []
    cdef list ends = []         # where in w each batch belongs
    cdef str name
    cdef bytes topic_id, batch
    cdef int32_t partition
    cdef Py_ssize_t payload = 0
    write_int32(w, 0)           # the length, known at the end
    write_int16(w, API_KEY)
    write_int16(w, <int16_t>version)
    write_int32(w, correlation_id)
    w.write_string(client_id, False)    # request header 2 keeps the classic string
    if flexible:
        write_uvarint(w, 0)
    w.write_string(transactional_id, flexible)
    write_int16(w, acks)
    write_int32(w, timeout_ms)
    write_array_len(w, len(topics), flexible)
    for name, topic_id, partitions in topics:
        if version < FIRST_TOPIC_ID:
            if name is None:
                raise ValueError(f"produce version {version} needs the name of each topic")
            w.write_string(name, flexible)
        elif topic_id is None or len(topic_id) != UUID_SIZE or topic_id == NO_ID:
            raise ValueError(f"produce version {version} needs the topic id of {name!r}")
        else:
            write_raw(w, <const uint8_t *>PyBytes_AS_STRING(topic_id), UUID_SIZE)
        write_array_len(w, len(partitions), flexible)
        for partition, batch in partitions:
            if batch is None:
                raise ValueError(f"no batch for {name}/{partition}")
            payload += PyBytes_GET_SIZE(batch)
            if payload > MAX_FRAME:
                raise MessageTooLarge(f"a produce request of more than {MAX_FRAME} bytes")
            write_int32(w, partition)
            write_array_len(w, PyBytes_GET_SIZE(batch), flexible)
            batches.append(batch)
            ends.append(w.size)
            if flexible:
                write_uvarint(w, 0)
        if flexible:
            write_uvarint(w, 0)
    if flexible:
        write_uvarint(w, 0)
    if payload > MAX_FRAME - w.size:
        raise MessageTooLarge(f"a produce request of more than {MAX_FRAME} bytes")
    store_int32(w.data, <int32_t>(w.size + payload - 4))
    return interleave(w, batches, ends, payload)


cdef bytes interleave(Writer w, list batches, list ends, Py_ssize_t payload):
    """Return w's bytes with each batch put in where it belongs."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, w.size + payload)
    cdef uint8_t *p = <uint8_t *>PyBytes_AS_STRING(frame)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t end, i
    cdef bytes batch
    for i in range(len(batches)):
        end = ends[i]
        memcpy(p, w.data + at, <size_t>(end - at))
        p += end - at
        at = end
        batch = batches[i]
        memcpy(p, PyBytes_AS_STRING(batch), <size_t>PyBytes_GET_SIZE(batch))
        p += PyBytes_GET_SIZE(batch)
    memcpy(p, w.data + at, <size_t>(w.size - at))
    return frame


cdef bint check_version(int version) except -1:
    if not MIN_VERSION <= version <= MAX_VERSION:
        raise ValueError(f"produce version {version}; this speaks {MIN_VERSION} to {MAX_VERSION}")
    return version >= FIRST_FLEXIBLE


def decode_produce(body, int version, *, topic_names=None) -> ProduceResponse:
    """Return the answer in body: a frame without its length, with its response header.

    topic_names gives a name to each topic id (version 13 and up). Raises
    CorruptFrame for bytes that are no such answer, ValueError for another version.
    """
    cdef bint flexible = check_version(version)
    cdef bytes frame = body if type(body) is bytes else bytes(memoryview(body))
    cdef Cursor c
    cdef ProduceResponse answer = ProduceResponse.__new__(ProduceResponse)
    cdef Py_ssize_t topics, partitions
    cdef str topic
    cdef bytes topic_id
    cursor_init(&c, <const uint8_t *>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
    answer.partitions = []
    answer.endpoints = []
    answer.correlation_id = read_int32(&c)
    if flexible:
        skip_tags(&c)
    topics = read_count(&c, flexible, MIN_TOPIC)
    while topics > 0:
        topics -= 1
        if version < FIRST_TOPIC_ID:
            topic_id = NO_ID
            topic = read_string(&c, flexible)
            if topic is None:
                raise CorruptFrame("a produce answer has a topic without a name")
        else:
            topic_id = PyBytes_FromStringAndSize(<const char *>take(&c, UUID_SIZE), UUID_SIZE)
            topic = "" if topic_names is None else topic_names.get(topic_id, "")
        partitions = read_count(&c, flexible, MIN_PARTITION)
        while partitions > 0:
            partitions -= 1
            answer.partitions.append(read_ack(&c, version, topic, topic_id))
        if flexible:
            skip_tags(&c)
    answer.throttle_ms = read_int32(&c)
    if flexible:
        read_answer_tags(&c, answer, version)
    if left(&c):
        raise CorruptFrame(f"{left(&c)} bytes after a produce answer")
    return answer


cdef PartitionAck read_ack(Cursor *c, int version, str topic, bytes topic_id):
    cdef PartitionAck ack = PartitionAck.__new__(PartitionAck)
    cdef bint flexible = version >= FIRST_FLEXIBLE
    cdef Py_ssize_t errors
    cdef uint64_t tags
    cdef int32_t first
    cdef Cursor field
    ack.topic = topic
    ack.topic_id = topic_id
    ack.partition = read_int32(c)
    ack.error = read_int16(c)
    ack.base_offset = read_int64(c)
    ack.log_append_time = read_int64(c)
    ack.log_start_offset = read_int64(c)
    ack.record_errors = []
    errors = read_count(c, flexible, MIN_RECORD_ERROR)
    while errors > 0:
        errors -= 1
        first = read_int32(c)
        ack.record_errors.append((first, read_string(c, flexible)))
        if flexible:
            skip_tags(c)
    ack.error_message = read_string(c, flexible)
    if flexible:
        tags = read_uvarint(c)
        while tags:
            tags -= 1
            if enter_tag(c, &field) == 0 and version >= FIRST_LEADER:
                first = read_int32(&field)
                ack.current_leader = (first, read_int32(&field))
    return ack


cdef int read_answer_tags(Cursor *c, ProduceResponse answer, int version) except -1:
    cdef uint64_t tags = read_uvarint(c)
    cdef Cursor field
    while tags:
        tags -= 1
        if enter_tag(c, &field) == 0 and version >= FIRST_LEADER:
            answer.endpoints.extend(read_endpoints(&field))
    return 0
