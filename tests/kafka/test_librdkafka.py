"""The wire, with librdkafka on the other side: what it writes we read, what we write it reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.types import TopicPartition
from tests.conftest import Kafka

pytestmark = pytest.mark.kafka

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

# key, value, headers: every case in which null, empty and absent differ
CASES: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
    (b"key", b"value", []),
    (None, b"no key", []),
    (b"tombstone", None, []),
    (None, None, []),
    (b"", b"", []),
    (b"one header", b"v", [("name", b"value")]),
    (b"null header", b"v", [("name", None)]),
    (b"empty header", b"v", [("name", b""), ("", b"empty name")]),
    (b"twice", b"v", [("same", b"1"), ("same", b"2"), ("höder", "ä".encode())]),
    (b"large", bytes(range(256)) * 1200, [("h", b"x" * 5000)]),
]


def make_topic(bootstrap: str, name: str, partitions: int = 1, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)


async def read(bootstrap: str, topic: str, count: int, **options: Any) -> list[Any]:
    """Read count messages of partition 0 from the beginning."""
    tp = TopicPartition(topic, 0)
    got: list[Any] = []
    async with Consumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", **options
    ) as consumer:
        consumer.assign([tp])
        deadline = time.monotonic() + 30
        while len(got) < count and time.monotonic() < deadline:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                got.extend(messages)
    return got


def read_by_librdkafka(bootstrap: str, topic: str, count: int) -> list[confluent_kafka.Message]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    got: list[confluent_kafka.Message] = []
    deadline = time.monotonic() + 30
    while len(got) < count and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.5):
            assert message.error() is None
            got.append(message)
    consumer.close()
    return got


@pytest.mark.parametrize("codec", CODECS)
async def test_what_librdkafka_writes_we_read(
    kafka: Kafka, new_name: Callable[[str], str], codec: str
) -> None:
    topic = new_name(f"from-{codec}")
    make_topic(kafka.bootstrap, topic)
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "linger.ms": 100}
    )
    # Repeated, so that a batch is worth compressing: librdkafka stores what would grow.
    for _ in range(20):
        for n, (key, value, headers) in enumerate(CASES):
            producer.produce(topic, value, key, headers=headers, timestamp=1_700_000_000_000 + n)
    assert producer.flush(30) == 0

    got = await read(kafka.bootstrap, topic, 20 * len(CASES))

    assert [m.offset for m in got] == list(range(20 * len(CASES)))
    assert [(m.key, m.value, list(m.headers)) for m in got] == CASES * 20
    assert [m.timestamp for m in got] == [1_700_000_000_000 + n for n in range(len(CASES))] * 20
    assert {(m.topic, m.partition, m.timestamp_type) for m in got} == {(topic, 0, 0)}


@pytest.mark.parametrize("codec", CODECS)
async def test_what_we_write_librdkafka_reads(
    kafka: Kafka, new_name: Callable[[str], str], codec: str
) -> None:
    topic = new_name(f"to-{codec}")
    make_topic(kafka.bootstrap, topic)
    async with Producer(bootstrap_servers=kafka.bootstrap, compression_type=codec) as producer:
        for _ in range(20):
            for n, (key, value, headers) in enumerate(CASES):
                await producer.send(
                    topic, value, key=key, headers=headers, timestamp_ms=1_700_000_000_000 + n
                )
        await producer.flush()

    got = await asyncio.to_thread(read_by_librdkafka, kafka.bootstrap, topic, 20 * len(CASES))

    assert [(m.key(), m.value(), m.headers() or []) for m in got] == CASES * 20
    assert [m.offset() for m in got] == list(range(20 * len(CASES)))
    assert [m.timestamp()[1] for m in got] == [
        1_700_000_000_000 + n for n in range(len(CASES))
    ] * 20


async def test_a_key_goes_to_the_partition_that_java_and_librdkafka_choose(
    kafka: Kafka, new_name: Callable[[str], str]
) -> None:
    topic = new_name("partitioner")
    make_topic(kafka.bootstrap, topic, partitions=7)
    keys = [f"key-{n}".encode() for n in range(300)] + [b"", b"\xff\x00", b"x" * 1001]
    theirs: dict[bytes, int] = {}

    def remember(error: Any, message: confluent_kafka.Message) -> None:
        assert error is None
        theirs[message.key()] = message.partition()

    # murmur2_random is librdkafka's name for what Java does with a key
    other = confluent_kafka.Producer(
        {"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"}
    )
    for key in keys:
        other.produce(topic, b"v", key, on_delivery=remember)
    assert other.flush(30) == 0

    async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
        sent = [await producer.send(topic, b"v", key=key) for key in keys]
        ours = {key: (await delivery).partition for key, delivery in zip(keys, sent, strict=True)}
        await producer.send_many(topic, [b"bulk"] * len(keys), keys=keys)
        await producer.flush()

    # librdkafka treats an empty key as no key; Java (and we) hash it
    theirs.pop(b"")
    assert {k: p for k, p in ours.items() if k} == theirs

    bulk: dict[bytes, int] = {}
    async with Consumer(
        bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition(topic, n) for n in range(7)])
        deadline = time.monotonic() + 30
        while len(bulk) < len(keys) and time.monotonic() < deadline:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                bulk |= {m.key: m.partition for m in messages if m.value == b"bulk"}
    assert bulk == ours


@pytest.mark.parametrize("codec", ["none", "lz4"])
async def test_read_committed_sees_what_a_librdkafka_transaction_committed_and_nothing_else(
    kafka: Kafka, new_name: Callable[[str], str], codec: str
) -> None:
    topic = new_name("txn")
    make_topic(kafka.bootstrap, topic)

    def transact() -> tuple[list[bytes], list[bytes]]:
        plain = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap})
        producers = []
        for n in range(2):
            producer = confluent_kafka.Producer(
                {
                    "bootstrap.servers": kafka.bootstrap,
                    "transactional.id": f"{topic}-{n}",
                    "compression.type": codec,
                }
            )
            producer.init_transactions(30)
            producers.append(producer)
        committed: list[bytes] = []
        everything: list[bytes] = []

        def write(producer: confluent_kafka.Producer, value: bytes) -> None:
            producer.produce(topic, value)
            assert producer.flush(30) == 0
            everything.append(value)

        # Two transactions open at once, one aborted, one committed, plain writes between.
        for turn in range(6):
            for producer in producers:
                producer.begin_transaction()
            for n in range(3):
                for index, producer in enumerate(producers):
                    write(producer, f"turn {turn} producer {index} write {n}".encode())
                write(plain, f"turn {turn} plain {n}".encode())
            keeps = turn % 2
            producers[1 - keeps].abort_transaction(30)
            producers[keeps].commit_transaction(30)
            gone = f"turn {turn} producer {1 - keeps}".encode()
            committed.extend(
                v
                for v in everything
                if v.startswith(f"turn {turn} ".encode()) and not v.startswith(gone)
            )
        return committed, everything

    committed, everything = await asyncio.to_thread(transact)

    seen = await read(kafka.bootstrap, topic, len(committed), isolation_level="read_committed")
    assert [m.value for m in seen] == committed

    all_of_it = await read(kafka.bootstrap, topic, len(everything))
    assert [m.value for m in all_of_it] == everything


async def test_read_committed_reaches_the_end_when_the_log_ends_in_control_records(
    kafka: Kafka, new_name: Callable[[str], str]
) -> None:
    topic = new_name("txn-end")
    make_topic(kafka.bootstrap, topic)

    def transact() -> None:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": kafka.bootstrap, "transactional.id": topic}
        )
        producer.init_transactions(30)
        for finish in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            producer.produce(topic, b"x")
            finish(30)

    await asyncio.to_thread(transact)
    tp = TopicPartition(topic, 0)
    async with Consumer(
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as consumer:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        seen = 0
        deadline = time.monotonic() + 20
        while await consumer.position(tp) < end and time.monotonic() < deadline:
            seen += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
        assert (seen, await consumer.position(tp)) == (1, end)


async def test_log_append_time_is_told_apart(kafka: Kafka, new_name: Callable[[str], str]) -> None:
    topic = new_name("append-time")
    make_topic(kafka.bootstrap, topic, **{"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
        metadata = await producer.send_and_wait(topic, b"v", timestamp_ms=1)
    (message,) = await read(kafka.bootstrap, topic, 1)
    assert message.timestamp_type == metadata.timestamp_type == 1
    assert message.timestamp == metadata.timestamp
    assert before - 1000 <= message.timestamp <= int(time.time() * 1000) + 1000
