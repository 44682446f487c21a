"""Produce requests and answers, against kafka-python's structs for every version."""

from __future__ import annotations

import random
import struct
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native.builder import BatchBuilder
from faustc._native.produce import (
    MAX_VERSION,
    MIN_VERSION,
    ProduceResponse,
    decode_produce,
    encode_produce,
)
from faustc.exceptions import CorruptFrame
from tests.reference.kafka_python import ProduceRequest as TheirRequest
from tests.reference.kafka_python import ProduceResponse as TheirResponse

VERSIONS = range(MIN_VERSION, MAX_VERSION + 1)
TheirTopic = TheirResponse.TopicProduceResponse
TheirAck = TheirTopic.PartitionProduceResponse
TheirRecordError = TheirAck.BatchIndexAndErrorMessage
TheirLeader = TheirAck.LeaderIdAndEpoch

ORDERS = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
PAYMENTS = uuid.UUID("ffeeddcc-bbaa-9988-7766-554433221100")
NAMES = {ORDERS.bytes: "orders", PAYMENTS.bytes: "payments"}


def batch(value: bytes) -> bytes:
    builder = BatchBuilder()
    builder.append(None, value, 0)
    return builder.seal()


def encode(version: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "acks": -1,
        "timeout_ms": 30_000,
        "topics": [
            ("orders", ORDERS.bytes, [(0, batch(b"a")), (7, batch(b"b" * 300))]),
            ("payments", PAYMENTS.bytes, [(2, batch(b""))]),
        ],
    }
    return encode_produce(version, 41, "me", **fields | changes)


# --- requests ---


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transactional_id", [None, "", "tx-1"])
@pytest.mark.parametrize("acks", [0, 1, -1])
def test_kafka_python_decodes_our_request(
    version: int, transactional_id: str | None, acks: int
) -> None:
    frame = encode(version, transactional_id=transactional_id, acks=acks)
    theirs = TheirRequest.decode(frame, version=version, header=True, framed=True)
    assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
    assert theirs.header.request_api_key == 0
    assert theirs.header.request_api_version == version
    assert theirs.header.correlation_id == 41
    assert theirs.header.client_id == "me"
    assert (theirs.transactional_id, theirs.acks) == (transactional_id, acks)
    assert theirs.timeout_ms == 30_000
    topics = [
        (
            topic.topic_id if version >= 13 else topic.name,
            [(part.index, bytes(part.records)) for part in topic.partition_data],
        )
        for topic in theirs.topic_data
    ]
    assert topics == [
        (ORDERS if version >= 13 else "orders", [(0, batch(b"a")), (7, batch(b"b" * 300))]),
        (PAYMENTS if version >= 13 else "payments", [(2, batch(b""))]),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_request_is_kafka_pythons_to_the_byte(version: int) -> None:
    topic = TheirRequest.TopicProduceData
    theirs = TheirRequest(
        version=version,
        transactional_id=None,
        acks=-1,
        timeout_ms=30_000,
        topic_data=[
            topic(
                name=name,
                topic_id=topic_id,
                partition_data=[
                    topic.PartitionProduceData(index=index, records=records)
                    for index, records in parts
                ],
            )
            for name, topic_id, parts in (
                ("orders", ORDERS, [(0, batch(b"a")), (7, batch(b"b" * 300))]),
                ("payments", PAYMENTS, [(2, batch(b""))]),
            )
        ],
    )
    theirs.with_header(41, "me")
    assert encode(version) == bytes(theirs.encode(header=True, framed=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_many_partitions_and_an_empty_request(version: int) -> None:
    parts = [(n, batch(b"%d" % n)) for n in range(300)]
    frame = encode(version, topics=[("orders", ORDERS.bytes, parts)])
    theirs = TheirRequest.decode(frame, version=version, header=True, framed=True)
    (topic,) = theirs.topic_data
    assert [(part.index, bytes(part.records)) for part in topic.partition_data] == parts
    frame = encode(version, topics=[])
    theirs = TheirRequest.decode(frame, version=version, header=True, framed=True)
    assert theirs.topic_data == []


def test_topic_ids_are_asked_for_only_where_they_are_sent() -> None:
    topics = [("orders", bytes(16), [(0, batch(b"a"))])]
    assert b"orders" in encode(12, topics=topics)
    for missing in (bytes(16), b"short", None):
        with pytest.raises(ValueError, match="topic id of 'orders'"):
            encode(13, topics=[("orders", missing, [(0, batch(b"a"))])])


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="name of each topic"):
        encode(9, topics=[(None, ORDERS.bytes, [])])
    with pytest.raises(ValueError, match="no batch for orders/3"):
        encode(9, topics=[("orders", ORDERS.bytes, [(3, None)])])
    with pytest.raises(TypeError):
        encode(9, topics=[("orders", ORDERS.bytes, [(3, bytearray(b"x"))])])
    with pytest.raises(OverflowError):
        encode(9, topics=[("orders", ORDERS.bytes, [(2**31, b"x")])])


@pytest.mark.parametrize("version", [MIN_VERSION - 1, MAX_VERSION + 1, -1])
def test_other_versions_are_refused_by_number(version: int) -> None:
    with pytest.raises(ValueError, match=f"produce version {version}"):
        encode(version)
    with pytest.raises(ValueError, match=f"produce version {version}"):
        decode_produce(bytes(64), version)


# --- answers ---


def their_answer(version: int, topics: list[tuple[str, uuid.UUID, list[Any]]]) -> bytes:
    answer = TheirResponse(
        version=version,
        responses=[
            TheirTopic(name=name, topic_id=topic_id, partition_responses=acks)
            for name, topic_id, acks in topics
        ],
        throttle_time_ms=250,
        node_endpoints=[
            TheirResponse.NodeEndpoint(node_id=3, host="kafka-3", port=9092, rack="r1"),
            TheirResponse.NodeEndpoint(node_id=4, host="kafka-4", port=9093, rack=None),
        ],
    )
    answer.with_header(41)
    return bytes(answer.encode(header=True))


def their_ack(**fields: Any) -> Any:
    whole: dict[str, Any] = {
        "index": 0,
        "error_code": 0,
        "base_offset": 0,
        "log_append_time_ms": -1,
        "log_start_offset": 0,
        "record_errors": [],
        "error_message": None,
    }
    return TheirAck(**whole | fields)


def full_answer(version: int) -> bytes:
    return their_answer(
        version,
        [
            (
                "orders",
                ORDERS,
                [
                    their_ack(index=5, base_offset=2**40, log_append_time_ms=1_700_000_000_000),
                    their_ack(
                        index=6,
                        error_code=87,
                        base_offset=-1,
                        log_start_offset=-1,
                        record_errors=[
                            TheirRecordError(batch_index=3, batch_index_error_message="no key"),
                            TheirRecordError(batch_index=9, batch_index_error_message=None),
                        ],
                        error_message="one or more records are invalid",
                    ),
                ],
            ),
            (
                "payments",
                PAYMENTS,
                [
                    their_ack(
                        index=1,
                        error_code=6,
                        current_leader=TheirLeader(leader_id=3, leader_epoch=12),
                    )
                ],
            ),
        ],
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_we_decode_kafka_pythons_answer(version: int) -> None:
    answer = decode_produce(full_answer(version), version, topic_names=NAMES)
    assert answer.correlation_id == 41
    assert answer.throttle_ms == 250
    written, refused, moved = answer.partitions
    assert (written.topic, written.partition, written.error) == ("orders", 5, 0)
    assert (written.base_offset, written.log_append_time) == (2**40, 1_700_000_000_000)
    assert (written.log_start_offset, written.error_message) == (0, None)
    assert (written.record_errors, written.current_leader) == ([], None)
    assert (refused.topic, refused.partition, refused.error) == ("orders", 6, 87)
    assert (refused.base_offset, refused.log_append_time, refused.log_start_offset) == (-1, -1, -1)
    assert refused.record_errors == [(3, "no key"), (9, None)]
    assert refused.error_message == "one or more records are invalid"
    assert (moved.topic, moved.partition, moved.error) == ("payments", 1, 6)
    if version >= 10:
        assert moved.current_leader == (3, 12)
        assert answer.endpoints == [(3, "kafka-3", 9092, "r1"), (4, "kafka-4", 9093, None)]
    else:
        assert moved.current_leader is None
        assert answer.endpoints == []
    assert written.topic_id == (ORDERS.bytes if version >= 13 else bytes(16))


def test_an_id_without_a_name_is_still_told() -> None:
    for names in (None, {PAYMENTS.bytes: "payments"}):
        answer = decode_produce(full_answer(13), 13, topic_names=names)
        assert (answer.partitions[0].topic, answer.partitions[0].topic_id) == ("", ORDERS.bytes)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_like_is_decoded(kind: type) -> None:
    assert len(decode_produce(kind(full_answer(9)), 9).partitions) == 3


def test_tags_that_nobody_knows_are_passed_over() -> None:
    # given an answer of version 9 with a tag of its own in each place that takes one
    tag = b"\1\x2a\3abc"
    plain = struct.pack(">ihqqq", 0, 0, 77, -1, 0) + b"\1\0"
    body = struct.pack(">i", 41) + tag + b"\2" + b"\2t" + b"\2" + plain + tag + tag
    body += struct.pack(">i", 0) + tag
    # when it is decoded, by us and by kafka-python
    (ack,) = decode_produce(body, 9).partitions
    theirs = TheirResponse.decode(body, version=9, header=True)
    # then the rest of it is read
    assert (ack.topic, ack.base_offset) == ("t", 77)
    assert theirs.responses[0].partition_responses[0].base_offset == 77


@pytest.mark.parametrize("version", VERSIONS)
def test_every_truncation_is_corrupt(version: int) -> None:
    body = full_answer(version)
    for size in range(len(body)):
        with pytest.raises(CorruptFrame):
            decode_produce(body[:size], version)


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_after_the_answer_are_corrupt(version: int) -> None:
    with pytest.raises(CorruptFrame, match="1 bytes after a produce answer"):
        decode_produce(full_answer(version) + b"\0", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_storm_of_mutations_is_decoded_or_corrupt(version: int) -> None:
    rng = random.Random(version)
    body = full_answer(version)
    refused = 0
    for _ in range(3000):
        mutated = bytearray(body)
        for _ in range(rng.randint(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        try:
            answer = decode_produce(mutated, version)
        except CorruptFrame:
            refused += 1
        else:
            assert isinstance(answer, ProduceResponse)
    assert refused > 300


@pytest.mark.parametrize("count", [-2, 2**31 - 1])
def test_a_count_that_its_bytes_cannot_hold_is_corrupt(count: int) -> None:
    with pytest.raises(CorruptFrame, match=f"array of {count}"):
        decode_produce(struct.pack(">ii", 41, count) + bytes(40), 8)


def test_a_topic_without_a_name_is_corrupt() -> None:
    with pytest.raises(CorruptFrame, match="without a name"):
        decode_produce(struct.pack(">iihi", 41, 1, -1, 0) + bytes(4), 8)


@settings(deadline=None)
@given(
    version=st.sampled_from(VERSIONS),
    acks=st.lists(
        st.tuples(
            st.integers(0, 2**31 - 1),
            st.integers(-1, 200),
            st.integers(-1, 2**63 - 1),
            st.none() | st.text(max_size=40),
        ),
        max_size=5,
    ),
)
def test_any_answer_comes_through(version: int, acks: list[tuple[Any, ...]]) -> None:
    theirs = [
        their_ack(index=index, error_code=error, base_offset=offset, error_message=message)
        for index, error, offset, message in acks
    ]
    answer = decode_produce(their_answer(version, [("orders", ORDERS, theirs)]), version)
    assert [
        (ack.partition, ack.error, ack.base_offset, ack.error_message) for ack in answer.partitions
    ] == acks
