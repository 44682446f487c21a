"""Versions that are negotiated, frames that go out, answers that come in, hostile ones included."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import uuid
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc.client import wire
from faustc.client.assignors import Assignment, Subscription
from faustc.exceptions import CorruptFrame, UnsupportedVersion
from faustc.types import TopicPartition
from tests.unit.client.wire_server import encode_answer, parse

METADATA = {
    "brokers": [{"node_id": 1, "host": "kafka-1", "port": 9092, "rack": "r"}],
    "cluster_id": "cluster",
    "controller_id": 1,
    "topics": [
        {
            "error_code": 0,
            "name": "orders",
            "topic_id": uuid.UUID(int=7),
            "is_internal": False,
            "partitions": [
                {
                    "error_code": 0,
                    "partition_index": number,
                    "leader_id": 1,
                    "leader_epoch": 5,
                    "replica_nodes": [1, 2],
                    "isr_nodes": [1],
                    "offline_replicas": [],
                }
                for number in range(3)
            ],
        }
    ],
}
CONTROL_PLANE = sorted(set(wire.CAPS) - {"Fetch", "Produce"})


def versions_of(release: tuple[int, int]) -> dict[int, tuple[int, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # kafka-python's, on Python 3.11
        from kafka.protocol.broker_version_data import BROKER_API_VERSIONS
    return dict(BROKER_API_VERSIONS[release])


# --- versions ---


@pytest.mark.parametrize("name", CONTROL_PLANE)
def test_caps_stay_within_what_kafka_python_encodes(name: str):
    low, high = wire._message(name, "Request").valid_versions
    cap = wire.CAPS[name]

    assert low <= cap.min <= cap.max <= high
    assert wire._message(name, "Request").API_KEY == cap.key == wire.api_key(name)
    assert wire._message(name, "Response").valid_versions[1] >= cap.max
    assert wire.api_name(cap.key) == name


RELEASES = [(2, 4), (2, 5), (2, 6), (2, 8), (3, 0), (3, 9), (4, 0)]
LATER = {"DescribeCluster", "DescribeProducers", "DescribeTransactions", "ListTransactions"}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", sorted(set(wire.CAPS) - LATER))
def test_every_api_is_negotiated_with_every_broker_since_2_4(release, name: str):
    versions = versions_of(release)

    version = wire.pick_version(name, versions)

    low, high = versions[wire.api_key(name)]
    assert low <= version <= high


@pytest.mark.parametrize("name", ["Fetch", "Heartbeat", "SyncGroup", "LeaveGroup"])
def test_a_broker_below_2_4_is_told_the_api_and_both_ranges(name: str):
    versions = {wire.api_key(name): (0, 2)}
    cap = wire.CAPS[name]

    with pytest.raises(UnsupportedVersion) as caught:
        wire.pick_version(name, versions)

    for part in (name, "0 to 2", f"{cap.min} to {cap.max}", "2.4"):
        assert part in str(caught.value)


def test_a_broker_without_an_api_is_told_its_name():
    with pytest.raises(UnsupportedVersion, match=r"does not serve Metadata \(API 3\)"):
        wire.pick_version("Metadata", {})


def test_a_broker_of_the_far_future_is_refused_not_misread():
    with pytest.raises(UnsupportedVersion, match="20 to 25"):
        wire.pick_version("Fetch", {1: (20, 25)})


def test_transactions_v2_decides_the_highest_versions():
    newest = {cap.key: (0, 99) for cap in wire.CAPS.values()}

    def pick(name: str, **how: bool) -> int:
        return wire.pick_version(name, newest, **how)

    assert pick("Produce") == 13
    assert pick("Produce", transactional=True) == 11
    assert pick("Produce", transactional=True, transactions_v2=True) == 13
    assert pick("EndTxn") == 4
    assert pick("EndTxn", transactions_v2=True) == 5
    assert pick("TxnOffsetCommit") == 4
    assert pick("TxnOffsetCommit", transactions_v2=True) == 5
    assert pick("AddPartitionsToTxn", transactions_v2=True) == 3
    assert pick("OffsetCommit") == pick("OffsetFetch") == 9


# --- requests ---


@pytest.mark.parametrize("version", [7, 8, 9, 12, 13])
def test_a_request_is_one_frame_with_header_and_nested_fields(version: int):
    frame = wire.encode(
        "Metadata",
        version,
        77,
        "me-é",
        topics=[{"name": "orders"}, {"name": "ünder"}],
        allow_auto_topic_creation=False,
    )

    assert struct.unpack_from(">i", frame)[0] == len(frame) - 4
    request = parse(bytes(frame[4:]))
    assert (request.name, request.version, request.correlation_id) == ("Metadata", version, 77)
    assert request.client_id == "me-é"
    assert [topic.name for topic in request.fields.topics] == ["orders", "ünder"]
    assert request.fields.allow_auto_topic_creation is False


def test_none_and_empty_are_not_the_same():
    everything = wire.encode("Metadata", 12, 1, "me", topics=None)
    nothing = wire.encode("Metadata", 12, 1, "me", topics=[])

    assert parse(bytes(everything[4:])).fields.topics is None
    assert parse(bytes(nothing[4:])).fields.topics == []


@pytest.mark.parametrize("version", [6, 8, 9])
def test_structs_nest_as_deep_as_they_like(version: int):
    partition = {"partition_index": 3, "committed_offset": 2**40, "committed_metadata": "m"}
    frame = wire.encode(
        "OffsetCommit",
        version,
        1,
        "me",
        group_id="g",
        generation_id_or_member_epoch=4,
        member_id="x",
        topics=[{"name": "t", "partitions": [partition]}],
    )

    fields = parse(bytes(frame[4:])).fields
    assert fields.topics[0].partitions[0].committed_offset == 2**40


@pytest.mark.parametrize("version", [1, 3, 4, 6])
def test_fields_of_other_versions_are_left_out(version: int):
    frame = wire.encode(
        "FindCoordinator", version, 1, "me", key="g", key_type=1, coordinator_keys=["g"]
    )

    fields = parse(bytes(frame[4:])).fields
    assert fields.key_type == 1
    assert (fields.coordinator_keys == ["g"]) is (version >= 4)
    assert (fields.key == "g") is (version < 4)


@pytest.mark.parametrize("version", [5, 7, 8, 9])
def test_structs_that_a_version_lacks_are_left_out(version: int):
    where = {"group_id": "g", "topics": [{"name": "t", "partition_indexes": [3]}]}

    frame = wire.encode("OffsetFetch", version, 1, "me", groups=[where], **where)

    fields = parse(bytes(frame[4:])).fields
    if version < 8:
        assert fields.group_id == "g"
        assert fields.topics[0].partition_indexes == [3]
    else:
        assert fields.groups[0].group_id == "g"
        assert fields.groups[0].topics[0].partition_indexes == [3]


def test_a_misspelt_field_is_an_error():
    with pytest.raises(ValueError, match="topiks"):
        wire.encode("Metadata", 12, 1, "me", topiks=[])


# --- answers ---


@pytest.mark.parametrize("version", range(7, 14))
def test_an_answer_is_decoded_at_every_version(version: int):
    body = encode_answer("Metadata", version, 9, **METADATA)

    answer = wire.decode("Metadata", version, body)

    assert answer.brokers[0].host == "kafka-1"
    assert [p.partition_index for p in answer.topics[0].partitions] == [0, 1, 2]
    assert answer.topics[0].partitions[2].leader_epoch == 5
    assert answer.topics[0].topic_id == (uuid.UUID(int=7) if version >= 10 else None)


def test_tags_in_the_response_header_are_skipped():
    body = encode_answer("Heartbeat", 4, 9, error_code=27)
    tagged = body[:4] + b"\x02\x00\x01x\x05\x02yz" + body[5:]

    assert wire.decode("Heartbeat", 4, tagged).error_code == 27


@pytest.mark.parametrize("version", [3, 4])
def test_an_api_versions_error_is_read_as_version_0(version: int):
    served = [{"api_key": 18, "min_version": 0, "max_version": 2}]
    body = encode_answer("ApiVersions", 0, 9, error_code=35, api_keys=served)

    answer = wire.decode("ApiVersions", version, body)

    assert answer.error_code == 35
    assert answer.api_keys[0].max_version == 2


def test_an_api_versions_answer_has_no_header_tags_and_its_features_are_read():
    body = encode_answer(
        "ApiVersions",
        3,
        9,
        api_keys=[{"api_key": 18, "min_version": 0, "max_version": 4}],
        finalized_features=[
            {"name": "transaction.version", "max_version_level": 2, "min_version_level": 2}
        ],
    )

    answer = wire.decode("ApiVersions", 3, body)

    assert answer.finalized_features[0].name == "transaction.version"
    assert answer.finalized_features[0].max_version_level == 2


SAMPLES = [
    ("Metadata", 7, METADATA),
    ("Metadata", 12, METADATA),
    (
        "FindCoordinator",
        4,
        {"coordinators": [{"key": "g", "node_id": 1, "host": "h", "port": 1, "error_code": 0}]},
    ),
    (
        "JoinGroup",
        9,
        {
            "generation_id": 3,
            "protocol_type": "consumer",
            "protocol_name": "range",
            "leader": "m",
            "member_id": "m",
            "members": [{"member_id": "m", "metadata": b"\x00\x01blob"}],
        },
    ),
    ("SyncGroup", 3, {"assignment": b"abc"}),
    ("Heartbeat", 4, {"error_code": 0}),
]


@pytest.mark.parametrize(("name", "version", "fields"), SAMPLES)
def test_every_truncation_is_a_corrupt_frame(name: str, version: int, fields):
    body = encode_answer(name, version, 9, **fields)
    wire.decode(name, version, body)

    for size in range(4, len(body)):
        with pytest.raises(CorruptFrame, match=name):
            wire.decode(name, version, body[:size])


@pytest.mark.parametrize(("name", "version", "fields"), SAMPLES)
def test_bytes_left_over_are_a_corrupt_frame(name: str, version: int, fields):
    body = encode_answer(name, version, 9, **fields)

    with pytest.raises(CorruptFrame, match=rf"{name} v{version}"):
        wire.decode(name, version, body + b"\x00")


@pytest.mark.parametrize(("name", "version", "fields"), SAMPLES)
def test_mutated_bytes_decode_or_are_corrupt_and_nothing_else(name: str, version: int, fields):
    body = encode_answer(name, version, 9, **fields)
    choose = random.Random(20)
    refused = 0
    for _ in range(1500):
        mutant = bytearray(body)
        for _ in range(choose.randint(1, 4)):
            mutant[choose.randrange(4, len(mutant))] = choose.choice([0, 1, 0x7F, 0x80, 0xFF])
        try:
            wire.decode(name, version, bytes(mutant))
        except CorruptFrame:
            refused += 1
    assert refused


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SAMPLES))
def test_random_bytes_decode_or_are_corrupt(noise: bytes, sample):
    name, version, _ = sample
    with contextlib.suppress(CorruptFrame):
        wire.decode(name, version, b"\x00\x00\x00\x09" + noise)


def test_a_number_without_end_is_refused_quickly():
    started = time.perf_counter()

    with pytest.raises(CorruptFrame, match="without end"):
        wire.decode("Metadata", 12, bytes(9) + b"\xff" * (4 << 20))

    assert time.perf_counter() - started < 20


def test_long_names_beyond_ascii_are_no_number_without_end():
    detail = "\N{GREEK SMALL LETTER ALPHA}x" * 9000  # runs of two high bytes
    body = encode_answer("Metadata", 12, 9, **{**METADATA, "cluster_id": detail})

    assert wire.decode("Metadata", 12, body).cluster_id == detail


def test_a_claimed_count_costs_nothing():
    started = time.perf_counter()

    with pytest.raises(CorruptFrame):
        wire.decode("Metadata", 7, bytes(8) + b"\x7f\xff\xff\xff" + bytes(40))

    assert time.perf_counter() - started < 20


def test_an_answer_beyond_the_bound_is_not_looked_at():
    with pytest.raises(CorruptFrame, match="at most"):
        wire.decode("Heartbeat", 4, bytes(wire.MAX_CONTROL_BYTES + 1))


# --- the consumer protocol ---

OWNED = (TopicPartition("a", 0), TopicPartition("a", 7), TopicPartition("b", 1))


def test_a_subscription_survives_the_way_there():
    subscription = Subscription(("a", "b"), b"\x00user", frozenset(OWNED), 12, "rack-1")

    assert wire.decode_subscription(wire.encode_subscription(subscription)) == subscription


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_older_members_say_less(version: int):
    full = Subscription(("a",), b"u", frozenset(OWNED), 12, "rack-1")

    found = wire.decode_subscription(wire.encode_subscription(full, version))

    assert found.topics == ("a",)
    assert found.owned == (frozenset(OWNED) if version >= 1 else frozenset())
    assert found.generation == (12 if version >= 2 else -1)
    assert found.rack == ("rack-1" if version >= 3 else None)


def test_an_assignment_survives_the_way_back():
    blob = wire.encode_assignment(Assignment(OWNED, b"user"))

    assert wire.decode_assignment(blob) == Assignment(OWNED, b"user")


def test_an_empty_assignment_is_what_a_member_without_partitions_gets():
    assert wire.decode_assignment(b"") == Assignment(())
    assert wire.decode_assignment(wire.encode_assignment(Assignment(()))) == Assignment(())


@pytest.mark.parametrize("decode", [wire.decode_subscription, wire.decode_assignment])
def test_hostile_blobs_are_corrupt_frames(decode):
    choose = random.Random(4)
    blob = wire.encode_subscription(Subscription(("a", "b"), b"u", frozenset(OWNED), 1, "r"))
    for size in range(1, len(blob)):
        mutant = bytearray(blob[:size])
        mutant[choose.randrange(size)] = choose.randrange(256)
        try:
            decode(bytes(mutant))
        except CorruptFrame:
            continue
    with pytest.raises(CorruptFrame):
        decode(b"\x00\x01\x7f\xff\xff\xff")
