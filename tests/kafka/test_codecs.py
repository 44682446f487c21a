"""Our codecs and our fetch against Java's and librdkafka's: what they write we read, and back."""

from __future__ import annotations

import random
import socket
import struct
import time
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic, TopicDescription

from faustc._native.compression import codec_id, compress
from faustc._native.fetch import FetchResponse, PartitionFetch, decode_fetch, encode_fetch
from faustc._native.produce import decode_produce, encode_produce
from faustc.client import wire
from tests.conftest import Kafka
from tests.reference.batches import Record, encode_batch

pytestmark = pytest.mark.kafka

CODECS = ("gzip", "snappy", "lz4", "zstd")
TIMEOUT_S = 20
NewName = Callable[[str], str]

# Several blocks for each codec, and not all of it compressible.
CHANCE = random.Random(9)
RECORDS = [
    Record(
        key=b"%d" % n,
        value=b"some text that repeats itself " * CHANCE.randrange(20) + CHANCE.randbytes(80),
        headers=(("n", b"%d" % n), ("none", None)) if n % 10 == 0 else (),
    )
    for n in range(800)
]


def exchange(kafka: Kafka, frame: bytes) -> bytes:
    """Send a frame on a connection of its own and return the answer without its length."""
    host, port = kafka.bootstrap.split(",")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(frame)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            return answer.read(size)


def described(admin: AdminClient, name: str) -> TopicDescription:
    """Describe a new topic; the broker may take a moment to hear of it."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return admin.describe_topics(TopicCollection([name]))[name].result(TIMEOUT_S)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture
def make_topic(kafka: Kafka, new_name: NewName) -> Callable[..., tuple[str, bytes]]:
    """Make topics of one partition; return name and id."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def make(**config: str) -> tuple[str, bytes]:
        name = new_name("codec")
        topic = NewTopic(name, 1, 1, config={k.replace("_", "."): v for k, v in config.items()})
        admin.create_topics([topic])[name].result(TIMEOUT_S)
        found = described(admin, name)
        raw = found.topic_id.get_most_significant_bits() & (2**64 - 1)
        low = found.topic_id.get_least_significant_bits() & (2**64 - 1)
        return name, uuid.UUID(int=raw << 64 | low).bytes

    return make


def produce(kafka: Kafka, topic: str, batch: bytes) -> None:
    """Send one batch; the broker unpacks it to check it, when it is compressed."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        frame = encode_produce(
            9, 5, "test", acks=-1, timeout_ms=5000, topics=[(topic, b"", [(0, batch)])]
        )
        (ack,) = decode_produce(exchange(kafka, frame), 9).partitions
        # The leader of a new topic takes a moment to know that it is one.
        if ack.error not in (3, 6) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert (ack.error, ack.error_message) == (0, None)


def fetch(
    kafka: Kafka, topic: str, topic_id: bytes, version: int = 12, offset: int = 0
) -> PartitionFetch:
    frame = encode_fetch(
        version,
        6,
        "test",
        max_wait_ms=500,
        min_bytes=1,
        max_bytes=50_000_000,
        topics=[(topic, topic_id, [(0, -1, offset, 50_000_000)])],
    )
    answer: FetchResponse = decode_fetch(
        exchange(kafka, frame), version, topic_names={topic_id: topic}
    )
    assert (answer.error, answer.correlation_id) == (0, 6)
    (part,) = answer.partitions
    assert (part.topic, part.partition, part.error, part.corrupt) == (topic, 0, 0, None)
    return part


def contents(part: PartitionFetch) -> list[tuple[bytes | None, bytes | None, tuple[object, ...]]]:
    return [(m.key, m.value, m.headers) for batch in part.batches for m in batch]


SENT = [(r.key, r.value, r.headers) for r in RECORDS]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("level", [None, 3])
def test_java_reads_what_we_compress(
    kafka: Kafka, make_topic: Callable[..., tuple[str, bytes]], codec: str, level: int | None
) -> None:
    """The topic stores another codec, so the broker must unpack ours and pack its own."""
    name, topic_id = make_topic(compression_type="lz4" if codec == "gzip" else "gzip")
    number = codec_id(codec)
    batch = encode_batch(RECORDS, codec=number, compress=lambda raw: compress(number, raw, level))
    produce(kafka, name, batch)
    part = fetch(kafka, name, topic_id)
    assert {b.compression for b in part.batches} == {3 if codec == "gzip" else 1}
    assert contents(part) == SENT


@pytest.mark.parametrize("codec", CODECS)
def test_we_read_what_java_compresses(
    kafka: Kafka, make_topic: Callable[..., tuple[str, bytes]], codec: str
) -> None:
    name, topic_id = make_topic(compression_type=codec)
    produce(kafka, name, encode_batch(RECORDS))
    part = fetch(kafka, name, topic_id)
    assert {b.compression for b in part.batches} == {codec_id(codec)}
    assert contents(part) == SENT


@pytest.mark.parametrize("codec", ["none", *CODECS])
def test_we_read_what_librdkafka_sends(
    kafka: Kafka, make_topic: Callable[..., tuple[str, bytes]], codec: str
) -> None:
    name, topic_id = make_topic()
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "linger.ms": 200}
    )
    for key, value, headers in SENT:
        producer.produce(name, key=key, value=value, headers=list(headers))
    assert producer.flush(TIMEOUT_S) == 0
    got: list[tuple[bytes | None, bytes | None, tuple[object, ...]]] = []
    codecs = set()
    while len(got) < len(SENT):
        part = fetch(kafka, name, topic_id, offset=len(got))
        codecs |= {b.compression for b in part.batches}
        got += [(m.key, m.value, m.headers) for b in part.batches for m in b.messages(len(got))]
    assert got == SENT
    assert codecs == {codec_id(codec)}


def newest_fetch(kafka: Kafka) -> int:
    """Ask the broker for the highest version of Fetch that it serves."""
    asked = wire.encode("ApiVersions", 0, 7, "test")
    answer = wire.decode("ApiVersions", 0, exchange(kafka, bytes(asked)))
    return next(api.max_version for api in answer.api_keys if api.api_key == 1)


@pytest.mark.parametrize("version", range(11, 19))
def test_every_fetch_version(
    kafka: Kafka, make_topic: Callable[..., tuple[str, bytes]], version: int
) -> None:
    if version > newest_fetch(kafka):
        pytest.skip(f"this broker does not speak Fetch {version}")
    name, topic_id = make_topic(message_timestamp_type="LogAppendTime")
    produce(kafka, name, encode_batch(RECORDS[:20]))
    produce(kafka, name, encode_batch(RECORDS[20:30]))
    part = fetch(kafka, name, topic_id, version, offset=5)
    assert contents(part) == SENT[:30]  # a batch comes whole, wherever in it one asks
    assert [len(b.messages(5)) for b in part.batches] == [15, 10]
    assert (part.highwater, part.log_start_offset, part.last_stable_offset) == (30, 0, 30)
    assert {m.timestamp_type for b in part.batches for m in b} == {1}
    assert abs(part.batches[0].max_timestamp / 1000 - time.time()) < 60
