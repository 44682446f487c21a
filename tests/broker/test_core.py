"""Topics, messages, offsets and times: the embedded broker and real Kafka must say the same.

Three clients from outside of faustc, and faustc's own, take the same steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from faustc.client import codes
from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.types import TopicPartition
from tests.broker.raw import Raw
from tests.broker.test_groups import make_topic, until
from tests.unit.broker.partitions import batch

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka as kafka_python
    import kafka.codec as kafka_codecs

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TIMEOUT_S = 20


@pytest.fixture
def topic(bootstrap: str, new_name: Callable[[str], str]) -> str:
    name = new_name("core")
    make_topic(bootstrap, name, 2)
    return name


@pytest.fixture
def raw(bootstrap: str) -> Iterator[Raw]:
    with Raw(bootstrap) as connection:
        yield connection


# --- three clients, the same steps ---


def confluent_sends(bootstrap: str, topic: str, codec: str, values: list[bytes]) -> None:
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "enable.idempotence": True,
            "linger.ms": 5,
        }
    )
    for value in values:
        producer.produce(topic, value, key=b"k", partition=0, headers={"h": b"1"})
    assert producer.flush(TIMEOUT_S) == 0


def confluent_reads(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []
    give_up_at = time.monotonic() + TIMEOUT_S
    while len(found) < count and time.monotonic() < give_up_at:
        for message in consumer.consume(count, 0.2):
            assert message.error() is None
            assert message.headers() == [("h", b"1")]
            found.append(message.value())
    consumer.close()
    return found


@contextlib.contextmanager
def collected() -> Iterator[None]:
    """Collect what kafka-python leaves behind: sockets that it does not close."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@collected()
def kafka_python_sends(bootstrap: str, topic: str, codec: str, values: list[bytes]) -> None:
    producer = kafka_python.KafkaProducer(
        bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, acks="all"
    )
    sent = [
        producer.send(topic, value, key=b"k", partition=0, headers=[("h", b"1")])
        for value in values
    ]
    assert [f.get(TIMEOUT_S).offset for f in sent] == list(range(len(values)))
    producer.close(timeout=5)


@collected()
def kafka_python_reads(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = kafka_python.KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    tp = kafka_python.TopicPartition(topic, 0)
    consumer.assign([tp])
    found: list[bytes | None] = []
    give_up_at = time.monotonic() + TIMEOUT_S
    while len(found) < count and time.monotonic() < give_up_at:
        for message in consumer.poll(200).get(tp, ()):
            assert list(message.headers) == [("h", b"1")]
            found.append(message.value)
    consumer.close(timeout_ms=5000)
    return found


def kafka_python_knows(codec: str) -> bool:
    return codec == "none" or bool(getattr(kafka_codecs, f"has_{codec}")())


def faustc_sends(bootstrap: str, topic: str, codec: str, values: list[bytes]) -> None:
    async def send() -> None:
        async with producer_of(bootstrap, compression_type=codec) as producer:
            sent = [
                await producer.send(topic, v, key=b"k", partition=0, headers={"h": b"1"})
                for v in values
            ]
            assert [(await each).offset for each in sent] == list(range(len(values)))

    asyncio.run(send())


def faustc_reads(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    async def read() -> list[bytes | None]:
        found = []
        async with consumer_of(bootstrap, topic) as consumer, asyncio.timeout(TIMEOUT_S):
            while len(found) < count:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    assert all(m.headers == (("h", b"1"),) for m in messages)
                    found += [m.value for m in messages]
        return found

    return asyncio.run(read())


@contextlib.asynccontextmanager
async def producer_of(bootstrap: str, **options: Any):  # type: ignore[no-untyped-def]
    producer = Producer(bootstrap_servers=bootstrap, **options)
    await producer.start(TIMEOUT_S)
    try:
        yield producer
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def consumer_of(bootstrap: str, topic: str, **options: Any):  # type: ignore[no-untyped-def]
    options.setdefault("auto_offset_reset", "earliest")
    consumer = Consumer(bootstrap_servers=bootstrap, **options)
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start(TIMEOUT_S)
    try:
        yield consumer
    finally:
        await consumer.stop()


SENDERS = [confluent_sends, kafka_python_sends, faustc_sends]
READERS = [confluent_reads, kafka_python_reads, faustc_reads]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("send", SENDERS)
def test_what_one_client_sends_every_client_reads(
    bootstrap: str, topic: str, codec: str, send: Callable[..., None]
) -> None:
    if send is kafka_python_sends and not kafka_python_knows(codec):
        pytest.skip(f"kafka-python lacks a library for {codec}")
    values = [b"%d " % i * 50 for i in range(200)]
    send(bootstrap, topic, codec, values)
    for read in READERS:
        if read is kafka_python_reads and not kafka_python_knows(codec):
            continue
        assert read(bootstrap, topic, len(values)) == values, read.__name__


def test_confluent_makes_changes_and_removes_topics(
    bootstrap: str, new_name: Callable[[str], str]
) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    name = new_name("admin")
    resource = ConfigResource(ResourceType.TOPIC, name)
    made = NewTopic(name, 3, 1, config={"cleanup.policy": "compact", "retention.ms": "1000"})
    admin.create_topics([made])[name].result(TIMEOUT_S)
    until(lambda: name in admin.list_topics(timeout=5).topics)
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        admin.create_topics([NewTopic(name, 3, 1)])[name].result(TIMEOUT_S)
    assert caught.value.args[0].code() == codes.TOPIC_ALREADY_EXISTS

    admin.create_partitions([NewPartitions(name, 5)])[name].result(TIMEOUT_S)
    until(lambda: len(admin.list_topics(name, timeout=5).topics[name].partitions) == 5)

    change = ConfigEntry("retention.ms", "77", incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(change)
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)

    def settings() -> dict[str, str]:
        asked = ConfigResource(ResourceType.TOPIC, name)
        found = admin.describe_configs([asked])[asked].result(TIMEOUT_S)
        return {key: entry.value for key, entry in found.items()}

    until(lambda: settings()["retention.ms"] == "77")
    assert settings()["cleanup.policy"] == "compact"
    assert settings()["compression.type"] == "producer"

    admin.delete_topics([name])[name].result(TIMEOUT_S)
    until(lambda: name not in admin.list_topics(timeout=5).topics)


# --- what can be refused, by raw requests ---


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"name": ""}, codes.INVALID_TOPIC_EXCEPTION),
        ({"name": "."}, codes.INVALID_TOPIC_EXCEPTION),
        ({"name": "white space"}, codes.INVALID_TOPIC_EXCEPTION),
        ({"name": "x" * 250}, codes.INVALID_TOPIC_EXCEPTION),
        ({"num_partitions": 0}, codes.INVALID_PARTITIONS),
        ({"num_partitions": -2}, codes.INVALID_PARTITIONS),
        ({"replication_factor": 3}, codes.INVALID_REPLICATION_FACTOR),
        ({"configs": [{"name": "no.such", "value": "1"}]}, codes.INVALID_CONFIG),
        ({"configs": [{"name": "retention.ms", "value": "soon"}]}, codes.INVALID_CONFIG),
        ({"configs": [{"name": "cleanup.policy", "value": "burn"}]}, codes.INVALID_CONFIG),
    ],
)
def test_topics_that_cannot_be_are_refused(
    raw: Raw, new_name: Callable[[str], str], asked: dict[str, Any], error: int
) -> None:
    row = {"name": new_name("no"), "num_partitions": 1, "replication_factor": 1, **asked}
    told = raw.ask("CreateTopics", 5, topics=[row], timeout_ms=5000)
    assert told.topics[0].error_code == error
    assert told.topics[0].error_message


def test_a_topic_that_is_only_tried_is_not_made(raw: Raw, new_name: Callable[[str], str]) -> None:
    name = new_name("dry")
    row = {"name": name, "num_partitions": 3, "replication_factor": 1}
    told = raw.ask("CreateTopics", 5, topics=[row], timeout_ms=5000, validate_only=True)
    assert (told.topics[0].error_code, told.topics[0].num_partitions) == (0, 3)
    asked = {"topics": [{"name": name}], "allow_auto_topic_creation": False}
    found = raw.ask("Metadata", 8, **asked)
    assert found.topics[0].error_code == codes.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("version", range(3, 13))
def test_every_version_of_produce_and_fetch(raw: Raw, topic: str, version: int) -> None:
    sent = batch([(b"k", b"v%d" % version)], timestamp_ms=int(time.time() * 1000))
    row = produce(raw, topic, sent, version=version)
    assert (row.error_code, row.base_offset) == (codes.NONE, 0)
    found = fetch(raw, topic, 0, version=max(4, version))
    assert found.error_code == codes.NONE
    assert found.high_watermark == 1
    assert bytes(found.records)[16:] == sent[16:]


def test_topics_go_by_their_id_from_version_13_on(raw: Raw, topic: str) -> None:
    about = raw.ask("Metadata", 12, topics=[{"topic_id": None, "name": topic}])
    topic_id = about.topics[0].topic_id
    sent = batch([(b"k", b"v")], timestamp_ms=int(time.time() * 1000))
    data = [{"topic_id": topic_id, "partition_data": [{"index": 0, "records": sent}]}]
    told = raw.ask("Produce", 13, acks=-1, timeout_ms=5000, topic_data=data)
    assert told.responses[0].partition_responses[0].error_code == codes.NONE
    part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
    for version in range(13, 19):
        answer = raw.ask(
            "Fetch",
            version,
            max_wait_ms=100,
            min_bytes=1,
            session_epoch=-1,
            topics=[{"topic_id": topic_id, "partitions": [part]}],
        )
        assert answer.responses[0].topic_id == topic_id
        assert bytes(answer.responses[0].partitions[0].records)[16:] == sent[16:]


def produce(
    raw: Raw, topic: str, records: bytes | None, *, version: int = 9, acks: int = -1
) -> Any:
    data = [{"name": topic, "partition_data": [{"index": 0, "records": records}]}]
    told = raw.ask("Produce", version, acks=acks, timeout_ms=5000, topic_data=data)
    return told.responses[0].partition_responses[0]


def fetch(raw: Raw, topic: str, offset: int, *, version: int = 11, **fields: Any) -> Any:
    part = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20}
    asked = {"max_wait_ms": 200, "min_bytes": 1, "session_epoch": -1, **fields}
    told = raw.ask("Fetch", version, topics=[{"topic": topic, "partitions": [part]}], **asked)
    assert told.error_code == codes.NONE
    return told.responses[0].partitions[0]


def test_what_is_no_batch_is_refused(raw: Raw, topic: str) -> None:
    now_ms = int(time.time() * 1000)
    good = batch([(b"k", b"v")], timestamp_ms=now_ms)
    assert produce(raw, topic, good[:-1] + b"?").error_code == codes.CORRUPT_MESSAGE
    assert produce(raw, topic, good + good).error_code == codes.INVALID_RECORD
    assert produce(raw, topic, good, acks=7).error_code == codes.INVALID_REQUIRED_ACKS
    assert produce(raw, "no-" + topic, good).error_code == codes.UNKNOWN_TOPIC_OR_PARTITION
    large = batch([(b"k", bytes(1_100_000))], timestamp_ms=now_ms)
    assert produce(raw, topic, large).error_code == codes.MESSAGE_TOO_LARGE
    future = batch([(b"k", b"v")], timestamp_ms=now_ms + 4_000_000)
    assert produce(raw, topic, future).error_code == codes.INVALID_TIMESTAMP
    assert fetch(raw, topic, 0).high_watermark == 0


def test_sequences_are_kept(raw: Raw, topic: str) -> None:
    producer = raw.ask("InitProducerId", 2, transactional_id=None, transaction_timeout_ms=-1)
    assert producer.error_code == codes.NONE

    def put(sequence: int, epoch: int = 0) -> tuple[int, int]:
        made = batch(
            [(b"k", b"%d" % sequence)] * 2,
            timestamp_ms=int(time.time() * 1000),
            producer=(producer.producer_id, epoch, sequence),
        )
        row = produce(raw, topic, made)
        return row.error_code, row.base_offset

    assert [put(0), put(2), put(4)] == [(0, 0), (0, 2), (0, 4)]
    assert put(2) == (0, 2)
    assert put(8)[0] == codes.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert put(0, epoch=1) == (0, 6)
    assert put(6)[0] == codes.INVALID_PRODUCER_EPOCH
    assert fetch(raw, topic, 0).high_watermark == 8


def test_offsets_out_of_range_are_told(raw: Raw, topic: str) -> None:
    for i in range(10):
        produce(raw, topic, batch([(b"k", b"%d" % i)], timestamp_ms=int(time.time() * 1000)))
    assert fetch(raw, topic, 11).error_code == codes.OFFSET_OUT_OF_RANGE
    assert fetch(raw, topic, 10).error_code == codes.NONE
    part = {"partition_index": 0, "offset": 4}
    asked = [{"name": topic, "partitions": [part]}]
    told = raw.ask("DeleteRecords", 1, topics=asked, timeout_ms=5000)
    assert told.topics[0].partitions[0].low_watermark == 4
    found = fetch(raw, topic, 3)
    assert (found.error_code, found.high_watermark) == (codes.OFFSET_OUT_OF_RANGE, -1)
    assert fetch(raw, topic, 4).log_start_offset == 4
    assert offset_of(raw, topic, -2) == (4, -1)
    part["offset"] = 11
    told = raw.ask("DeleteRecords", 1, topics=asked, timeout_ms=5000)
    assert told.topics[0].partitions[0].error_code == codes.OFFSET_OUT_OF_RANGE


def offset_of(raw: Raw, topic: str, timestamp: int, version: int = 7) -> tuple[int, int]:
    part = {"partition_index": 0, "timestamp": timestamp, "current_leader_epoch": -1}
    asked = [{"name": topic, "partitions": [part]}]
    row = raw.ask("ListOffsets", version, replica_id=-1, topics=asked).topics[0].partitions[0]
    assert row.error_code == codes.NONE
    return row.offset, row.timestamp


def test_offsets_by_time(raw: Raw, topic: str) -> None:
    begin = int(time.time() * 1000) - 100_000
    assert offset_of(raw, topic, -1) == (0, -1)
    assert offset_of(raw, topic, begin) == (-1, -1)
    for i in (0, 10, 30, 20):
        produce(raw, topic, batch([(b"k", b"")] * 2, timestamp_ms=begin + i))
    assert offset_of(raw, topic, 0) == (0, begin)
    assert offset_of(raw, topic, begin + 5) == (2, begin + 10)
    assert offset_of(raw, topic, begin + 11) == (4, begin + 30)
    assert offset_of(raw, topic, begin + 31) == (-1, -1)
    assert offset_of(raw, topic, -1) == (8, -1)
    assert offset_of(raw, topic, -3) == (4, begin + 30)


def test_a_fetch_waits_for_min_bytes_but_no_longer_than_told(raw: Raw, topic: str) -> None:
    start = time.monotonic()
    assert not fetch(raw, topic, 0, max_wait_ms=300).records
    assert 0.25 < time.monotonic() - start < 20
    produce(raw, topic, batch([(b"k", b"v")], timestamp_ms=int(time.time() * 1000)))
    start = time.monotonic()
    assert fetch(raw, topic, 0, max_wait_ms=300, min_bytes=5000).records
    assert time.monotonic() - start > 0.25


def test_a_long_poll_wakes_up_at_once(bootstrap: str, topic: str) -> None:
    took = []
    now = time.time
    with Raw(bootstrap) as reader, Raw(bootstrap) as writer:
        part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}
        asked = [{"topic": topic, "partitions": [part]}]
        for i in range(50):
            part["fetch_offset"] = i
            reader.send("Fetch", 11, max_wait_ms=5000, min_bytes=1, session_epoch=-1, topics=asked)
            time.sleep(0.01)  # the fetch is waiting by now
            start = time.monotonic()
            produce(writer, topic, batch([(b"k", b"v")], timestamp_ms=int(now() * 1000)))
            told = reader.receive("Fetch", 11)
            took.append(time.monotonic() - start)
            assert told.responses[0].partitions[0].records
    assert statistics.median(took) < 0.5  # of the five seconds that it may wait


def test_one_connection_waiting_holds_no_other_up(bootstrap: str, topic: str) -> None:
    with Raw(bootstrap) as waits, Raw(bootstrap) as other:
        part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1}
        asked = [{"topic": topic, "partitions": [part]}]
        waits.send("Fetch", 11, max_wait_ms=4000, min_bytes=1, session_epoch=-1, topics=asked)
        waits.send("ApiVersions", 0)
        start = time.monotonic()
        other.ask("Metadata", 8, topics=[{"name": topic}])
        assert time.monotonic() - start < 3
        # and answers of one connection keep the order of its requests
        assert waits.receive("Fetch", 11).error_code == codes.NONE
        assert waits.receive("ApiVersions", 0).api_keys
        assert time.monotonic() - start > 3


def test_sessions_tell_changes_only(raw: Raw, topic: str) -> None:
    def ask(epoch: int, session: int = 0, partitions: list[dict[str, int]] | None = None) -> Any:
        asked = [{"topic": topic, "partitions": partitions}] if partitions else []
        return raw.ask(
            "Fetch", 11, max_wait_ms=100, min_bytes=1, session_id=session, session_epoch=epoch,
            topics=asked,
        )  # fmt: skip

    parts = [{"partition": n, "fetch_offset": 0, "partition_max_bytes": 1000} for n in (0, 1)]
    opened = ask(0, 0, parts)
    assert len(opened.responses[0].partitions) == 2
    assert opened.session_id > 0
    assert ask(1, opened.session_id).responses == []
    produce(raw, topic, batch([(b"k", b"v")], timestamp_ms=int(time.time() * 1000)))
    (changed,) = ask(2, opened.session_id).responses[0].partitions
    assert changed.partition_index == 0
    assert changed.records
    assert ask(2, opened.session_id).error_code == codes.INVALID_FETCH_SESSION_EPOCH
    assert ask(1, opened.session_id + 1).error_code == codes.FETCH_SESSION_ID_NOT_FOUND
    assert ask(-1, opened.session_id, parts).session_id == 0


def test_a_version_of_api_versions_that_nobody_knows_is_answered_in_version_0(raw: Raw) -> None:
    frame = struct.pack(">hhih", 18, 99, 4711, -1) + b"\0" + b"\0\0\0"
    answer = raw.exchange(struct.pack(">i", len(frame)) + frame)
    correlation_id, error, count, key, low, high = struct.unpack_from(">ihihhh", answer)
    assert (correlation_id, error) == (4711, codes.UNSUPPORTED_VERSION)
    assert (count, key, low) == (1, 18, 0)
    assert high >= 4


def test_a_topic_made_by_asking_for_it(raw: Raw, new_name: Callable[[str], str]) -> None:
    name = new_name("auto")

    def leads() -> bool:
        found = raw.ask("Metadata", 8, topics=[{"name": name}]).topics[0]
        return found.error_code == codes.NONE and found.partitions[0].leader_id >= 0

    until(leads)
    told = raw.ask("DeleteTopics", 3, topic_names=[name], timeout_ms=5000)
    assert told.responses[0].error_code == codes.NONE
