"""aiokafka, a client from outside, takes the same steps on the embedded broker and on Kafka."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import OffsetOutOfRangeError, ProducerFenced, TopicAlreadyExistsError

from tests.broker.test_groups import make_topic

TIMEOUT_S = 30


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Collect what aiokafka leaves behind here, and not in the middle of something else."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def topic(bootstrap: str, new_name: Callable[[str], str]) -> str:
    name = new_name("aio")
    make_topic(bootstrap, name, 2)
    return name


@asynccontextmanager
async def started(thing: Any) -> AsyncIterator[Any]:
    async with asyncio.timeout(TIMEOUT_S):
        await thing.start()
    try:
        yield thing
    finally:
        async with asyncio.timeout(TIMEOUT_S):
            await thing.stop()


def reader(bootstrap: str, *topics: str, **options: Any) -> Any:
    given = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **options}
    return started(AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **given))


def writer(bootstrap: str, **options: Any) -> Any:
    return started(AIOKafkaProducer(bootstrap_servers=bootstrap, **options))


async def read(consumer: AIOKafkaConsumer, count: int) -> list[Any]:
    found = []
    async with asyncio.timeout(TIMEOUT_S):
        while len(found) < count:
            found.append(await consumer.getone())
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_topics_are_made_grown_described_and_removed(bootstrap, new_name):
    name = new_name("aio")
    async with asyncio.timeout(TIMEOUT_S):
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, 2, 1)])
            again = await admin.create_topics([NewTopic(name, 2, 1)])
            assert again.topic_errors[0][1] == TopicAlreadyExistsError.errno
            await admin.create_partitions({name: NewPartitions(3)})
            # Kafka's broker answers such a request before it knows of it itself.
            while len((await admin.describe_topics([name]))[0]["partitions"]) != 3:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await admin.delete_topics([name])
            while name in await admin.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            await admin.close()


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_messages_come_back_as_they_were_sent(bootstrap, topic, codec):
    async with writer(bootstrap, compression_type=codec, enable_idempotence=True) as producer:
        for number in range(100):
            sent = await producer.send_and_wait(
                topic,
                b"%d " % number * 20,
                key=b"k%d" % number,
                partition=number % 2,
                timestamp_ms=1_700_000_000_000 + number,
                headers=[("h", b"%d" % number), ("empty", b"")],
            )
        assert (sent.partition, sent.offset, sent.timestamp) == (1, 49, 1_700_000_000_099)
    async with reader(bootstrap) as consumer:
        consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        found = sorted(await read(consumer, 100), key=lambda m: m.timestamp)
    assert [m.value for m in found] == [b"%d " % n * 20 for n in range(100)]
    assert [m.key for m in found] == [b"k%d" % n for n in range(100)]
    assert [m.headers for m in found] == [(("h", b"%d" % n), ("empty", b"")) for n in range(100)]
    assert [m.timestamp for m in found] == [1_700_000_000_000 + n for n in range(100)]


async def test_offsets_are_found_by_time_and_those_out_of_range_are_told(bootstrap, topic):
    tp = TopicPartition(topic, 0)
    async with writer(bootstrap) as producer:
        for number in range(10):
            await producer.send_and_wait(
                topic, b"%d" % number, partition=0, timestamp_ms=1_700_000_000_000 + number
            )
    async with reader(bootstrap, auto_offset_reset="none") as consumer:
        consumer.assign([tp])
        assert await consumer.beginning_offsets([tp]) == {tp: 0}
        assert await consumer.end_offsets([tp]) == {tp: 10}
        assert (await consumer.offsets_for_times({tp: 1_700_000_000_004}))[tp].offset == 4
        consumer.seek(tp, 7)
        assert (await read(consumer, 1))[0].value == b"7"
        consumer.seek(tp, 1000)
        with pytest.raises(OffsetOutOfRangeError):
            await read(consumer, 1)


async def test_two_members_share_a_topic_and_one_takes_over(bootstrap, topic, new_name):
    group = new_name("aio-group")
    async with writer(bootstrap) as producer, reader(bootstrap, topic, group_id=group) as first:
        async with reader(bootstrap, topic, group_id=group) as second:
            await until(lambda: len(first.assignment()) == len(second.assignment()) == 1)
            for partition in (0, 1):
                await producer.send_and_wait(topic, b"both", partition=partition)
            for member in (first, second):
                assert (await read(member, 1))[0].value == b"both"
                await member.commit()
        await until(lambda: len(first.assignment()) == 2)
        for partition in (0, 1):
            await producer.send_and_wait(topic, b"alone", partition=partition)
        assert [m.value for m in await read(first, 2)] == [b"alone", b"alone"]
        for partition in (0, 1):
            assert await first.committed(TopicPartition(topic, partition)) == 1


async def test_a_static_member_is_back_within_a_second(bootstrap, topic, new_name):
    options = {"group_id": new_name("aio-static"), "group_instance_id": "one"}
    async with reader(bootstrap, topic, **options) as member:
        await until(lambda: len(member.assignment()) == 2)
    begin = time.monotonic()
    async with reader(bootstrap, topic, **options) as again:
        await until(lambda: len(again.assignment()) == 2)
        assert time.monotonic() - begin < 5.0  # a session takes ten


async def test_transactions_commit_abort_and_fence(bootstrap, topic, new_name):
    transactional_id = new_name("aio-txn")
    group = new_name("aio-txn-group")
    tp = TopicPartition(topic, 0)
    async with writer(bootstrap, transactional_id=transactional_id) as producer:
        async with producer.transaction():
            await producer.send(topic, b"kept", partition=0)
            await producer.send_offsets_to_transaction({tp: 5}, group)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"dropped", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send(topic, b"kept too", partition=0)
        async with writer(bootstrap, transactional_id=transactional_id) as newer:
            async with newer.transaction():
                await newer.send(topic, b"newer", partition=0)
            await producer.begin_transaction()
            with pytest.raises(ProducerFenced):
                await producer.send_and_wait(topic, b"zombie", partition=0)
    async with reader(bootstrap, group_id=group, isolation_level="read_committed") as consumer:
        consumer.assign([tp])
        assert await consumer.committed(tp) == 5
        await consumer.seek_to_beginning(tp)
        assert [m.value for m in await read(consumer, 3)] == [b"kept", b"kept too", b"newer"]


async def test_a_long_poll_wakes_up_at_once(bootstrap, topic):
    waits = []
    async with writer(bootstrap, linger_ms=0) as producer, reader(bootstrap) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await producer.send_and_wait(topic, b"warm", partition=0)
        await read(consumer, 1)
        for _ in range(20):
            waiting = asyncio.ensure_future(read(consumer, 1))
            await asyncio.sleep(0.05)
            begin = time.perf_counter()
            await producer.send_and_wait(topic, b"now", partition=0)
            await waiting
            waits.append(time.perf_counter() - begin)
    assert statistics.median(waits) < 0.25  # half a second is how long it may wait
