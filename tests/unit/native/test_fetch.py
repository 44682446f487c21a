"""Fetch, versions 11 to 18: our requests and answers against kafka-python's, field by field."""

import struct
import sys
import tracemalloc
import uuid

import pytest

from faustc._native.fetch import MAX_VERSION, MIN_VERSION, decode_fetch, encode_fetch
from faustc.exceptions import CorruptFrame
from tests.reference import batches
from tests.reference.batches import Record, encode_batch
from tests.reference.kafka_python import FetchRequest, FetchResponse

VERSIONS = range(11, 19)
TOPIC_ID, OTHER_ID = bytes(range(16)), bytes(range(16, 32))
NAMES = {TOPIC_ID: "orders", OTHER_ID: "paid-ünïcode"}
PartitionData = FetchResponse.FetchableTopicResponse.PartitionData
Topic = FetchResponse.FetchableTopicResponse


def topic(version: int, topic_id: bytes, partitions: list[object]) -> object:
    if version >= 13:
        return Topic(topic_id=uuid.UUID(bytes=topic_id), partitions=partitions)
    return Topic(topic=NAMES[topic_id], partitions=partitions)


def encoded(version: int, topics: list[object], **fields: object) -> bytes:
    """Let kafka-python write an answer, with its response header."""
    defaults = {"throttle_time_ms": 0, "error_code": 0, "session_id": 0, "responses": topics}
    response = FetchResponse(version=version, **{**defaults, **fields})
    response.with_header(correlation_id=77)
    return bytes(response.encode(header=True))


def partition(index: int, records: bytes | None, **fields: object) -> object:
    defaults = {
        "error_code": 0,
        "high_watermark": 1000,
        "last_stable_offset": 990,
        "log_start_offset": 3,
        "aborted_transactions": None,
        "preferred_read_replica": -1,
    }
    return PartitionData(partition_index=index, records=records, **{**defaults, **fields})


def answer(version: int, records: list[bytes]) -> bytes:
    """One topic with a partition for each of records."""
    return encoded(version, [topic(version, TOPIC_ID, [partition(*p) for p in enumerate(records)])])


# --- requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_kafka_python_reads_our_request(version: int) -> None:
    frame = encode_fetch(
        version,
        0x01020304,
        "client-é",
        max_wait_ms=500,
        min_bytes=2,
        max_bytes=50_000_000,
        isolation_level=1,
        session_id=12,
        session_epoch=34,
        topics=[
            ("orders", TOPIC_ID, [(0, 5, 2**62, 1_048_576), (7, -1, 0, 1)]),
            ("paid-ünïcode", OTHER_ID, [(1, 2, 3, 4)]),
        ],
        forgotten=[("orders", TOPIC_ID, [3, 4]), ("paid-ünïcode", OTHER_ID, [])],
        rack_id="eu-1",
    )
    assert struct.unpack_from(">i", frame)[0] == len(frame) - 4
    assert struct.unpack_from(">hhi", frame, 4) == (1, version, 0x01020304)
    request = FetchRequest.decode(frame[4:], version=version, header=True)
    assert request.header.client_id == "client-é"
    assert (request.max_wait_ms, request.min_bytes, request.max_bytes) == (500, 2, 50_000_000)
    assert (request.isolation_level, request.session_id, request.session_epoch) == (1, 12, 34)
    assert request.rack_id == "eu-1"
    if version < 15:
        assert request.replica_id == -1

    def named(entry: object) -> object:
        if version < 13:
            return entry.topic  # type: ignore[attr-defined]
        return NAMES[entry.topic_id.bytes]  # type: ignore[attr-defined]

    assert [named(t) for t in request.topics] == ["orders", "paid-ünïcode"]
    asked = [
        (p.partition, p.current_leader_epoch, p.fetch_offset, p.partition_max_bytes)
        for t in request.topics
        for p in t.partitions
    ]
    assert asked == [(0, 5, 2**62, 1_048_576), (7, -1, 0, 1), (1, 2, 3, 4)]
    assert {p.log_start_offset for t in request.topics for p in t.partitions} == {-1}
    if version >= 12:
        assert {p.last_fetched_epoch for t in request.topics for p in t.partitions} == {-1}
    assert [(named(t), list(t.partitions)) for t in request.forgotten_topics_data] == [
        ("orders", [3, 4]),
        ("paid-ünïcode", []),
    ]
    # Its own encoding of what it read: nothing was left over, nothing was read twice.
    request.with_header(correlation_id=0x01020304, client_id="client-é")
    assert bytes(request.encode(version=version, header=True, framed=True)) == frame


@pytest.mark.parametrize("version", VERSIONS)
def test_request_for_nothing_new_in_a_session(version: int) -> None:
    frame = encode_fetch(
        version, 1, None, max_wait_ms=1, min_bytes=1, max_bytes=1, session_id=9, topics=[]
    )
    request = FetchRequest.decode(frame[4:], version=version, header=True)
    assert (request.session_id, request.session_epoch) == (9, -1)
    assert (list(request.topics), list(request.forgotten_topics_data)) == ([], [])
    assert (request.header.client_id, request.rack_id) == (None, "")


@pytest.mark.parametrize("version", [MIN_VERSION - 1, MAX_VERSION + 1, -1])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(ValueError, match="this speaks 11 to 18"):
        encode_fetch(version, 1, None, max_wait_ms=1, min_bytes=1, max_bytes=1, topics=[])
    with pytest.raises(ValueError, match="this speaks 11 to 18"):
        decode_fetch(b"", version)


@pytest.mark.parametrize("bad", [bytes(16), b"short", b"", None])
def test_request_by_id_needs_the_id(bad: bytes | None) -> None:
    with pytest.raises(ValueError, match="needs the topic id of 'orders'"):
        encode_fetch(
            13, 1, None, max_wait_ms=1, min_bytes=1, max_bytes=1, topics=[("orders", bad, [])]
        )


def test_long_requests() -> None:
    """Lengths of more than one varint byte, and a buffer that has to grow."""
    topics = [
        (f"t{n}", n.to_bytes(16, "big"), [(p, 1, p, 2) for p in range(200)]) for n in range(1, 200)
    ]
    frame = encode_fetch(
        13, 1, "c" * 300, max_wait_ms=1, min_bytes=1, max_bytes=1, topics=topics, rack_id="r" * 200
    )
    request = FetchRequest.decode(frame[4:], version=13, header=True)
    assert sum(len(t.partitions) for t in request.topics) == 199 * 200
    assert request.rack_id == "r" * 200


# --- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_we_read_kafka_pythons_answer(version: int) -> None:
    records = encode_batch([Record(b"k", b"v")] * 3, base_offset=7) + encode_batch(
        [Record(b"l", b"w")], base_offset=10, codec=3
    )
    tagged: dict[str, object] = {}
    endpoints: dict[str, object] = {}
    if version >= 12:
        tagged = {
            "diverging_epoch": PartitionData.EpochEndOffset(epoch=4, end_offset=44),
            "current_leader": PartitionData.LeaderIdAndEpoch(leader_id=2, leader_epoch=9),
            "snapshot_id": PartitionData.SnapshotId(end_offset=1, epoch=1),
        }
    if version >= 16:
        node = FetchResponse.NodeEndpoint
        endpoints["node_endpoints"] = [
            node(node_id=2, host="b2.example", port=9092, rack="eu"),
            node(node_id=3, host="b3.example", port=9093, rack=None),
        ]
    gone = PartitionData.AbortedTransaction
    aborted = [gone(producer_id=2**40, first_offset=5), gone(producer_id=6, first_offset=8)]
    topics = [
        topic(
            version,
            TOPIC_ID,
            [
                partition(0, records, aborted_transactions=aborted, preferred_read_replica=4),
                partition(1, b"", error_code=6, high_watermark=-1, **tagged),
            ],
        ),
        topic(version, OTHER_ID, [partition(2**31 - 1, None, aborted_transactions=[])]),
    ]
    body = encoded(
        version, topics, throttle_time_ms=31, error_code=71, session_id=2**31 - 1, **endpoints
    )
    got = decode_fetch(body, version, topic_names=NAMES)
    assert (got.correlation_id, got.throttle_ms, got.error, got.session_id) == (
        77,
        31,
        71,
        2**31 - 1,
    )
    first, second, third = got.partitions
    assert (first.topic, first.partition, first.error) == ("orders", 0, 0)
    assert (first.highwater, first.last_stable_offset, first.log_start_offset) == (1000, 990, 3)
    assert first.aborted == [(2**40, 5), (6, 8)]
    assert (first.preferred_replica, first.size_bytes) == (4, len(records))
    assert first.corrupt is None
    assert [(b.topic, b.partition, b.base_offset) for b in first.batches] == [
        ("orders", 0, 7),
        ("orders", 0, 10),
    ]
    assert [(m.tp, m.offset, m.value) for b in first.batches for m in b][-1] == (
        ("orders", 0),
        10,
        b"w",
    )
    assert (second.error, second.highwater, second.batches) == (6, -1, [])
    assert second.diverging == ((4, 44) if tagged else None)
    assert second.current_leader == ((2, 9) if tagged else None)
    assert (third.topic, third.partition, third.aborted) == ("paid-ünïcode", 2**31 - 1, [])
    assert (third.size_bytes, third.preferred_replica, third.diverging) == (0, -1, None)
    assert {p.topic_id for p in got.partitions} == (
        {TOPIC_ID, OTHER_ID} if version >= 13 else {bytes(16)}
    )
    assert got.endpoints == (
        [(2, "b2.example", 9092, "eu"), (3, "b3.example", 9093, None)] if version >= 16 else []
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_empty_answer(version: int) -> None:
    got = decode_fetch(encoded(version, []), version)
    assert (got.partitions, got.error, got.endpoints) == ([], 0, [])


def test_topic_whose_id_has_no_name() -> None:
    for names in (None, {}, {OTHER_ID: "paid"}):
        (part,) = decode_fetch(
            answer(13, [encode_batch([Record()])]), 13, topic_names=names
        ).partitions
        assert (part.topic, part.topic_id) == ("", TOPIC_ID)
        assert part.batches[0].topic is None


@pytest.mark.parametrize("version", VERSIONS)
def test_one_partitions_bad_records_leave_the_others_alone(version: int) -> None:
    good = encode_batch([Record(b"k", b"v")], base_offset=5)
    flipped = bytearray(encode_batch([Record(b"k", b"v")], base_offset=6))
    flipped[-2] ^= 1  # its value
    body = answer(version, [good, good + flipped, b"\0" * 30, good])
    first, second, third, fourth = decode_fetch(body, version, topic_names=NAMES).partitions
    assert first.corrupt is None
    assert fourth.corrupt is None
    assert [m.value for m in fourth.batches[0]] == [b"v"]
    assert [b.base_offset for b in second.batches] == [5]
    assert isinstance(second.corrupt, CorruptFrame)
    assert (second.corrupt.topic, second.corrupt.partition, second.corrupt.offset) == (
        "orders",
        1,
        6,
    )
    assert "CRC" in str(second.corrupt)
    assert third.batches == []
    assert "magic 0" in str(third.corrupt)
    # Without the check the flipped bit is a value.
    unchecked = decode_fetch(body, version, check_crc=False).partitions[1]
    assert [m.value for b in unchecked.batches for m in b] == [b"v", b"w"]


def test_last_batch_cut_short_is_dropped_and_told_by_the_size() -> None:
    good, more = encode_batch([Record()]), encode_batch([Record(value=b"x" * 99)], base_offset=1)
    (part,) = decode_fetch(answer(12, [good + more[:-1]]), 12).partitions
    assert part.corrupt is None
    assert len(part.batches) == 1
    assert part.size_bytes == len(good + more) - 1
    # A first batch is always sent whole: this one would be fetched for ever.
    (part,) = decode_fetch(answer(12, [more[:-1]]), 12).partitions
    assert part.corrupt is not None


def test_batches_refer_to_the_answer_until_they_are_opened() -> None:
    body = answer(13, [encode_batch([Record(value=bytes(200_000))])] * 3)
    before = sys.getrefcount(body)
    tracemalloc.start()
    got = decode_fetch(body, 13)
    assert tracemalloc.get_traced_memory()[1] < 20_000  # no record was copied
    tracemalloc.stop()
    kept = [list(p.batches[0]) for p in got.partitions]
    assert sys.getrefcount(body) == before
    assert [len(m.value) for ms in kept for m in ms] == [200_000] * 3


def test_bound_on_decompressed_bytes_reaches_the_batches() -> None:
    body = answer(11, [encode_batch([Record(value=bytes(5000))], codec=4)])
    (part,) = decode_fetch(body, 11, max_decompressed=4999).partitions
    assert part.corrupt is None
    with pytest.raises(CorruptFrame, match=r"orders/0"):
        part.batches[0].messages()


def test_unknown_tags_are_passed_over() -> None:
    """Build a v12 answer by hand with tags that nobody knows, wherever tags may be."""
    unknown = b"\x01" + b"\x63" + b"\x03" + b"abc"  # one field: tag 99, three bytes
    body = struct.pack(">i", 5) + unknown + struct.pack(">ihi", 1, 0, 2)
    body += b"\x02" + b"\x02t" + b"\x02"  # one topic "t", one partition
    body += struct.pack(">ihqqq", 4, 0, 50, 50, 0)
    body += b"\x02" + struct.pack(">qq", 8, 9) + unknown + struct.pack(">i", -1) + b"\x01"
    leader = b"\x01\x08" + struct.pack(">ii", 3, 6)
    body += b"\x02" + leader + unknown[1:] + unknown + unknown
    got = decode_fetch(body, 12)
    (part,) = got.partitions
    assert (part.topic, part.partition, part.aborted) == ("t", 4, [(8, 9)])
    assert part.current_leader == (3, 6)


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">iihii", 1, 0, 0, 0, 2**31 - 1),
        struct.pack(">iihii", 1, 0, 0, 0, -2),
        struct.pack(">iihii", 1, 0, 0, 0, 1) + b"\0\1t" + struct.pack(">i", 2**31 - 1),
        struct.pack(">iihii", 1, 0, 0, 0, 1) + b"\xff\xff" + struct.pack(">i", 0) + bytes(9),
        struct.pack(">iihii", 1, 0, 0, 0, 1)
        + b"\0\1t"
        + struct.pack(">i", 1)
        + struct.pack(">ihqqq", 4, 0, 50, 50, 0)
        + struct.pack(">i", 2**28),
        struct.pack(">iihii", 1, 0, 0, 0, 1)
        + b"\0\1t"
        + struct.pack(">i", 1)
        + struct.pack(">ihqqq", 4, 0, 50, 50, 0)
        + struct.pack(">iii", 0, -1, 2**31 - 1),
        struct.pack(">iihii", 1, 0, 0, 0, 1)
        + b"\0\1t"
        + struct.pack(">i", 1)
        + struct.pack(">ihqqq", 4, 0, 50, 50, 0)
        + struct.pack(">iii", 0, -1, -2),
    ],
    ids=["topics", "negative", "partitions", "name", "aborted", "records", "records < -1"],
)
def test_counts_and_lengths_that_lie(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFrame):
            decode_fetch(body, 11)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def test_records_length_is_told_apart_from_its_neighbours() -> None:
    """Empty, null and one-batch records, side by side, in both encodings."""
    one = encode_batch([Record()])
    for version in (11, 12):
        parts = decode_fetch(answer(version, [b"", one, b"", one]), version).partitions
        assert [p.size_bytes for p in parts] == [0, len(one), 0, len(one)]
        assert batches.decode_batches(one)[0].records[0].offset == parts[1].batches[0].base_offset
