"""The producer against a real Kafka, also one that is killed, moved and deleted under it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import confluent_kafka
import pytest

from faustc.client.admin import Admin, NewTopic
from faustc.client.producer import Producer
from faustc.exceptions import (
    BrokerError,
    DeliveryFailed,
    KafkaTimeout,
    MessageTooLarge,
    NoBrokersAvailable,
)
from tests.conftest import Kafka
from tests.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka
NewName = Callable[[str], str]


def read(bootstrap: str, topic: str, partitions: int, *, within_s: float = 30) -> list[list[bytes]]:
    """Read the values of a topic to its end, by librdkafka."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "enable.partition.eof": True}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(partitions)])
    got: list[list[bytes]] = [[] for _ in range(partitions)]
    ended: set[int] = set()
    deadline = time.monotonic() + within_s
    while len(ended) < partitions and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.2):
            if message.error() is None:
                got[message.partition()].append(message.value())
            elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    consumer.close()
    assert len(ended) == partitions
    return got


@contextlib.asynccontextmanager
async def new_topic(
    bootstrap: str, name: str, partitions: int = 1, **more: object
) -> AsyncIterator[str]:
    async with Admin(bootstrap) as admin:
        replicas = int(str(more.pop("replicas", 1)))
        configs = {key.replace("_", "."): str(value) for key, value in more.items()}
        await admin.create_topics([NewTopic(name, partitions, replicas, configs)])
        yield name


async def test_bulk_and_single_sends_keep_their_order(kafka: Kafka, new_name: NewName) -> None:
    async with new_topic(kafka.bootstrap, new_name("order"), 3) as topic:
        expected: list[list[bytes]] = [[], [], []]
        async with Producer(bootstrap_servers=kafka.bootstrap, max_batch_size=4096) as producer:
            for turn in range(60):
                for partition in range(3):
                    one = b"%d" % turn
                    many = [b"%d.%d" % (turn, i) for i in range(100)]
                    await producer.send(topic, one, partition=partition)
                    await producer.send_many(topic, many, partition=partition)
                    expected[partition] += [one, *many]
        assert await asyncio.to_thread(read, kafka.bootstrap, topic, 3) == expected


async def test_bulk_tells_where_each_run_landed(kafka: Kafka, new_name: NewName) -> None:
    async with new_topic(kafka.bootstrap, new_name("runs"), 4) as topic:
        keys = [b"%d" % i for i in range(1000)]
        async with Producer(bootstrap_servers=kafka.bootstrap, max_batch_size=2000) as producer:
            runs = await (await producer.send_many(topic, keys, keys=keys))
        logs = await asyncio.to_thread(read, kafka.bootstrap, topic, 4)
        assert sum(run.messages for run in runs) == 1000
        for partition, log in enumerate(logs):
            mine = [run for run in runs if run.topic_partition.partition == partition]
            covered = [run.offset + i for run in mine for i in range(run.messages)]
            assert covered == list(range(len(log)))


async def test_keyless_messages_spread_over_all_partitions(kafka: Kafka, new_name: NewName) -> None:
    async with new_topic(kafka.bootstrap, new_name("spread"), 4) as topic:
        async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
            for _ in range(200):
                await producer.send_many(topic, [b"x" * 100] * 50)
                await producer.flush()
        sizes = [len(log) for log in await asyncio.to_thread(read, kafka.bootstrap, topic, 4)]
        assert sum(sizes) == 10_000
        assert min(sizes) > 1000


async def test_a_topic_is_made_by_its_first_message(kafka: Kafka, new_name: NewName) -> None:
    topic = new_name("auto")
    async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
        assert (await producer.send_and_wait(topic, b"v")).offset == 0
        with pytest.raises(BrokerError, match=r"INVALID_TOPIC.*not/valid"):
            await producer.send("not/valid", b"v")


async def test_the_topics_limit_halves_batches_and_refuses_single_messages(
    kafka: Kafka, new_name: NewName
) -> None:
    name = new_name("small")
    async with new_topic(kafka.bootstrap, name, max_message_bytes=2000) as topic:
        values = [b"%03d" % i * 30 for i in range(200)]
        async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
            await producer.partitions_for(topic)
            deliveries = [await producer.send(topic, value) for value in values]
            with pytest.raises(MessageTooLarge, match=f"{name}/0"):
                await producer.send_and_wait(topic, b"x" * 3000)
            last = await producer.send_and_wait(topic, b"last")
            offsets = [(await delivery).offset for delivery in deliveries]
        assert [*offsets, last.offset] == list(range(201))
        assert await asyncio.to_thread(read, kafka.bootstrap, topic, 1) == [[*values, b"last"]]


@pytest.mark.parametrize("acks", [0, 1, "all"])
@pytest.mark.parametrize("idempotent", [None, False])
async def test_every_kind_of_acknowledgement(
    kafka: Kafka, new_name: NewName, acks: str | int, idempotent: bool | None
) -> None:
    async with new_topic(kafka.bootstrap, new_name("acks")) as topic:
        async with Producer(
            bootstrap_servers=kafka.bootstrap, acks=acks, enable_idempotence=idempotent
        ) as producer:
            found = [await producer.send_and_wait(topic, b"%d" % i) for i in range(3)]
        assert [each.offset for each in found] == ([-1] * 3 if acks == 0 else [0, 1, 2])
        await asyncio.sleep(0.2 if acks == 0 else 0)
        assert await asyncio.to_thread(read, kafka.bootstrap, topic, 1) == [[b"0", b"1", b"2"]]


async def test_new_partitions_are_found(kafka: Kafka, new_name: NewName) -> None:
    name = new_name("grows")
    async with (
        new_topic(kafka.bootstrap, name) as topic,
        Admin(kafka.bootstrap) as admin,
        Producer(bootstrap_servers=kafka.bootstrap, metadata_max_age_ms=200) as producer,
    ):
        await producer.send_and_wait(topic, b"v")
        await admin.create_partitions({topic: 3})
        deadline = time.monotonic() + 10
        while len(await producer.partitions_for(topic)) < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert (await producer.send_and_wait(topic, b"v", partition=2)).partition == 2


async def test_a_topic_made_again_takes_messages_again(kafka: Kafka, new_name: NewName) -> None:
    name = new_name("again")
    async with (
        Admin(kafka.bootstrap) as admin,
        Producer(bootstrap_servers=kafka.bootstrap) as producer,
    ):
        await admin.create_topics([NewTopic(name)])
        for value in (b"1", b"2", b"3"):
            await producer.send_and_wait(name, value)
        await admin.delete_topics([name])
        await admin.create_topics([NewTopic(name)])
        found = await asyncio.wait_for(producer.send_and_wait(name, b"4"), 30)
        assert found.offset == 0
        assert await asyncio.to_thread(read, kafka.bootstrap, name, 1) == [[b"4"]]


async def test_a_deleted_topic_stays_deleted_until_something_is_sent_to_it(
    kafka: Kafka, new_name: NewName
) -> None:
    name = new_name("gone")

    async def there(producer: Producer) -> bool:
        answer = await producer.client.request("Metadata", topics=None)
        return name in [topic.name for topic in answer.topics]

    async with (
        Admin(kafka.bootstrap) as admin,
        Producer(bootstrap_servers=kafka.bootstrap) as producer,
    ):
        await producer.send_and_wait(name, b"1")  # brokers make it, as they do by default
        await admin.delete_topics([name])
        for _ in range(300):
            if not await there(producer):
                break
            await asyncio.sleep(0.1)
        for _ in range(3):
            await producer.client.refresh(10)
        assert not await there(producer), "what only keeps metadata fresh makes no topics"
        assert (await producer.send_and_wait(name, b"2")).offset == 0
        assert await there(producer)


async def test_no_broker_is_said_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(NoBrokersAvailable, match=r"127\.0\.0\.1:1"):
        await Producer(bootstrap_servers="127.0.0.1:1").start(1.0)
    assert time.monotonic() - began < 20


async def test_a_killed_broker_costs_nothing_once_it_is_back(
    kafka_private: KafkaCluster, new_name: NewName
) -> None:
    bootstrap = kafka_private.bootstrap
    name = new_name("killed")
    async with (
        new_topic(bootstrap, name, 2) as topic,
        Producer(bootstrap_servers=bootstrap, request_timeout_ms=5_000) as producer,
    ):
        sent: list[list[bytes]] = [[], []]
        stop = False

        async def keep_sending() -> None:
            number = 0
            while not stop:
                number += 1
                value = b"%d" % number
                sent[number % 2].append(value)
                await producer.send(topic, value, partition=number % 2)
                await asyncio.sleep(0.001)

        sending = asyncio.create_task(keep_sending())
        await asyncio.sleep(0.5)
        await asyncio.to_thread(kafka_private.kill, 1)
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka_private.restart, 1)
        await asyncio.sleep(0.5)
        stop = True
        await sending
        await producer.flush(60)
        assert await asyncio.to_thread(read, bootstrap, topic, 2) == sent


async def test_a_dead_cluster_fails_deliveries_in_time_and_stop_does_not_hang(
    kafka_private: KafkaCluster, new_name: NewName
) -> None:
    async with new_topic(kafka_private.bootstrap, new_name("dead")) as topic:
        producer = Producer(
            bootstrap_servers=kafka_private.bootstrap,
            delivery_timeout_ms=1_000,
            request_timeout_ms=1_000,
            buffer_memory=100_000,
            max_block_ms=300,
        )
        await producer.start()
        await producer.send_and_wait(topic, b"v")
        await asyncio.to_thread(kafka_private.kill, 1)
        try:
            began = time.monotonic()
            with pytest.raises(DeliveryFailed, match="not acknowledged within 1 s") as caught:
                await producer.send_and_wait(topic, b"v")
            assert caught.value.__cause__ is not None
            assert time.monotonic() - began < 20

            async def fill() -> None:
                while True:
                    await producer.send(topic, b"x" * 10_000)

            with pytest.raises(KafkaTimeout, match="buffer_memory"):
                await fill()
            began = time.monotonic()
            with pytest.raises(DeliveryFailed):
                await producer.stop(0.5)
            assert time.monotonic() - began < 20
        finally:
            await asyncio.to_thread(kafka_private.restart, 1)


async def test_leaders_killed_in_turn_lose_and_repeat_nothing(
    kafka3: KafkaCluster, new_name: NewName
) -> None:
    name = new_name("moving")
    async with (
        new_topic(kafka3.bootstrap, name, 3, replicas=3, min_insync_replicas=2) as topic,
        Producer(bootstrap_servers=kafka3.bootstrap, request_timeout_ms=5_000) as producer,
    ):
        sent: list[list[bytes]] = [[], [], []]
        stop = False

        async def keep_sending() -> None:
            number = 0
            while not stop:
                number += 1
                value = b"%d" % number
                sent[number % 3].append(value)
                await producer.send(topic, value, partition=number % 3)
                if number % 10 == 0:
                    await asyncio.sleep(0.005)

        sending = asyncio.create_task(keep_sending())
        for node in (1, 2):
            await asyncio.sleep(1)
            await asyncio.to_thread(kafka3.kill, node)
            await asyncio.sleep(6)
            await asyncio.to_thread(kafka3.restart, node)
        stop = True
        await sending
        await producer.flush(60)
        assert producer.errors == 0
        assert await asyncio.to_thread(read, kafka3.bootstrap, topic, 3) == sent
