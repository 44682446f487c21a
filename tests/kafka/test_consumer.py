"""The consumer on a real Kafka, with librdkafka as the one who writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from faustc.client.consumer import Consumer
from faustc.exceptions import (
    ConsumerNotStarted,
    ImproperlyConfigured,
    NoBrokersAvailable,
    OffsetOutOfRange,
)
from faustc.types import OffsetAndMetadata, TopicPartition
from tests.conftest import Kafka
from tests.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka


class Writer:
    """Makes topics and writes to them, by librdkafka."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(self, topic: str, partitions: int = 1, replicas: int = 1, **config: str) -> str:
        new = NewTopic(topic, partitions, replicas, config=config)
        self.admin.create_topics([new])[topic].result(30)
        return topic

    def drop(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result(30)

    def grow(self, topic: str, partitions: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)

    def write(self, topic: str, *values: str, partition: int = 0, timestamp: int = 0) -> None:
        # One for each call: a producer that stays makes a topic anew when it is deleted.
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        for n, value in enumerate(values):
            extra = {"timestamp": timestamp + n} if timestamp else {}
            producer.produce(topic, value.encode(), b"k", partition=partition, **extra)
        assert producer.flush(30) == 0


@pytest.fixture
def writer(kafka: Kafka) -> Writer:
    return Writer(kafka.bootstrap)


@pytest.fixture
def topic(writer: Writer, new_name: Callable[[str], str]) -> str:
    return writer.make(new_name("consumed"))


def values(start: int, stop: int) -> list[str]:
    return [f"v{n}" for n in range(start, stop)]


def consumer_of(kafka: Kafka, *topics: str, **options: Any) -> Consumer:
    return Consumer(
        *topics,
        bootstrap_servers=kafka.bootstrap,
        **{"auto_offset_reset": "earliest", "fetch_max_wait_ms": 100, **options},
    )


async def take(consumer: Consumer, count: int, within_s: float = 20) -> list[str]:
    """Return the values of the next `count` messages."""
    got: list[str] = []
    deadline = time.monotonic() + within_s
    while len(got) < count and time.monotonic() < deadline:
        for messages in (
            await consumer.getmany(timeout_ms=200, max_records=count - len(got))
        ).values():
            got += [(m.value or b"").decode() for m in messages]
    return got


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.02)


# --- positions ---


async def test_without_a_group_all_partitions_of_the_topics_are_read(kafka, writer, new_name):
    topics = [writer.make(new_name("all"), partitions=2) for _ in range(2)]
    for topic in topics:
        for number in range(2):
            writer.write(topic, f"{topic}/{number}", partition=number)
    async with consumer_of(kafka, *topics) as consumer:
        assert sorted(await take(consumer, 4)) == sorted(f"{t}/{n}" for t in topics for n in (0, 1))
        assert consumer.subscription() == set(topics)
        assert consumer.partitions_for_topic(topics[0]) == {0, 1}
        assert set(topics) <= await consumer.topics()
        assert not any(name.startswith("__") for name in await consumer.topics())


async def test_latest_begins_at_the_end_and_earliest_at_the_beginning(kafka, writer, topic):
    writer.write(topic, *values(0, 3))
    tp = TopicPartition(topic, 0)
    async with (
        consumer_of(kafka, topic, auto_offset_reset="latest") as latest,
        consumer_of(kafka, topic) as earliest,
    ):
        assert await latest.position(tp) == 3
        writer.write(topic, "new")
        assert await take(latest, 1) == ["new"]
        assert await take(earliest, 4) == [*values(0, 3), "new"]


async def test_seeking_goes_anywhere_and_drops_what_was_buffered(kafka, writer, topic):
    writer.write(topic, *values(0, 10))
    tp = TopicPartition(topic, 0)
    async with consumer_of(kafka, topic) as consumer:
        assert await take(consumer, 2) == values(0, 2)
        consumer.seek(tp, 7)
        assert await take(consumer, 3) == values(7, 10)
        await consumer.seek_to_beginning(tp)
        assert await consumer.position(tp) == 0
        assert await take(consumer, 1) == ["v0"]
        await consumer.seek_to_end()
        assert await consumer.position(tp) == 10
        assert await consumer.getmany(timeout_ms=200) == {}
        with pytest.raises(ValueError, match="not assigned"):
            consumer.seek(TopicPartition(topic, 9), 0)


async def test_offsets_are_found_by_time_and_at_both_ends(kafka, writer, topic):
    at = 1_700_000_000_000
    writer.write(topic, *values(0, 5), timestamp=at)
    tp = TopicPartition(topic, 0)
    async with consumer_of(kafka) as consumer:
        assert await consumer.beginning_offsets([tp]) == {tp: 0}
        assert await consumer.end_offsets([tp]) == {tp: 5}
        assert await consumer.offsets_for_times({tp: at + 2}) == {tp: (2, at + 2)}
        assert await consumer.offsets_for_times({tp: at + 99}) == {tp: None}


async def test_records_deleted_under_us_follow_the_reset_policy(kafka, writer, topic):
    writer.write(topic, *values(0, 6))
    tp = TopicPartition(topic, 0)
    async with (
        consumer_of(kafka) as resets,
        consumer_of(kafka, auto_offset_reset="none") as raises,
    ):
        cut = confluent_kafka.TopicPartition(topic, 0, 4)
        await asyncio.to_thread(lambda: writer.admin.delete_records([cut])[cut].result(30))
        for consumer in (resets, raises):
            consumer.assign([tp])
            consumer.seek(tp, 1)
        assert await take(resets, 2) == values(4, 6)
        with pytest.raises(OffsetOutOfRange) as caught:
            await take(raises, 1)
        assert (caught.value.topic, caught.value.partition, caught.value.offset) == (topic, 0, 1)


async def test_max_records_pause_and_resume(kafka, writer, new_name):
    topic = writer.make(new_name("pause"), partitions=2)
    one, two = (TopicPartition(topic, n) for n in range(2))
    writer.write(topic, *values(0, 5), partition=0)
    writer.write(topic, *values(5, 10), partition=1)
    async with consumer_of(kafka, topic, max_poll_records=3) as consumer:
        got = await consumer.getmany(timeout_ms=5000)
        assert sum(map(len, got.values())) == 3
        consumer.pause(one)
        rest = 5 - len(got.get(two, ()))
        assert await take(consumer, rest) == values(10 - rest, 10)
        assert await consumer.getmany(timeout_ms=200) == {}
        consumer.resume(one)
        rest = 5 - len(got.get(one, ()))
        assert await take(consumer, rest) == values(5 - rest, 5)


async def test_getbatches_hands_out_every_message_once(kafka, writer, topic):
    for start in range(0, 50, 10):
        writer.write(topic, *values(start, start + 10))
    tp = TopicPartition(topic, 0)
    async with consumer_of(kafka, topic) as consumer:
        got: list[str] = []
        while len(got) < 50:
            batches = (await consumer.getbatches(tp, timeout_ms=5000, max_bytes=300)).get(tp, [])
            assert batches, "nothing within 5 s"
            assert await consumer.position(tp) == batches[-1].next_offset
            got += [m.value.decode() for batch in batches for m in batch.messages()]
        assert got == values(0, 50)


async def test_iteration_ends_when_the_consumer_is_stopped(kafka, writer, topic):
    writer.write(topic, *values(0, 3))
    consumer = consumer_of(kafka, topic)
    await consumer.start()
    seen = []

    async def read() -> None:
        async for message in consumer:
            seen.append(message.value.decode())

    reading = asyncio.create_task(read())
    async with asyncio.timeout(20):
        await until(lambda: len(seen) == 3)
        await consumer.stop()
        await reading
    assert seen == values(0, 3)
    with pytest.raises(ConsumerNotStarted):
        await consumer.getmany()


# --- topics that come, grow, go and come again ---


async def test_a_topic_that_appears_later_is_read_from_its_first_message(kafka, writer, new_name):
    name = new_name("later")
    options = {"client_options": {"allow_auto_topic_creation": False}}
    async with consumer_of(kafka, name, auto_offset_reset="latest", **options) as consumer:
        assert await consumer.getmany(timeout_ms=300) == {}
        writer.make(name)
        writer.write(name, *values(0, 3))
        assert await take(consumer, 3) == values(0, 3)


async def test_a_pattern_takes_in_topics_as_they_appear(kafka, writer, new_name):
    stem = new_name("pattern")
    writer.make(f"{stem}-a")
    consumer = consumer_of(kafka, metadata_max_age_ms=500)
    consumer.subscribe(pattern=f"{stem}-.*")
    writer.write(f"{stem}-a", "a")
    async with consumer:
        assert await take(consumer, 1) == ["a"]
        writer.make(f"{stem}-b")
        writer.make(f"other-{stem}-b")
        writer.write(f"{stem}-b", "b")
        assert await take(consumer, 1) == ["b"]
        assert {tp.topic for tp in consumer.assignment()} == {f"{stem}-a", f"{stem}-b"}


async def test_added_partitions_are_read_from_their_first_message(kafka, writer, topic):
    options = {"auto_offset_reset": "latest", "metadata_max_age_ms": 500}
    async with consumer_of(kafka, topic, **options) as consumer:
        await consumer.position(TopicPartition(topic, 0))
        writer.grow(topic, 3)
        await asyncio.sleep(0.5)
        writer.write(topic, "in the new one", partition=2)
        assert await take(consumer, 1) == ["in the new one"]


async def test_a_topic_deleted_and_made_again_is_read_from_its_beginning(kafka, writer, topic):
    writer.write(topic, *values(0, 5))
    options = {"client_options": {"allow_auto_topic_creation": False}}
    async with consumer_of(kafka, topic, auto_offset_reset="latest", **options) as consumer:
        assert await consumer.position(TopicPartition(topic, 0)) == 5
        writer.drop(topic)
        assert await consumer.getmany(timeout_ms=500) == {}
        deadline = time.monotonic() + 20
        while True:
            try:
                writer.make(topic)
                break
            except confluent_kafka.KafkaException:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
        writer.write(topic, *[f"new {n}" for n in range(8)])
        assert await take(consumer, 8) == [f"new {n}" for n in range(8)]


# --- groups ---


async def test_what_was_committed_is_where_the_next_one_begins(kafka, writer, topic, new_name):
    group = new_name("group")
    tp = TopicPartition(topic, 0)
    writer.write(topic, *values(0, 6))
    async with consumer_of(kafka, topic, group_id=group, enable_auto_commit=False) as consumer:
        assert await take(consumer, 3) == values(0, 3)
        assert await consumer.committed(tp) is None
        await consumer.commit()
        assert await consumer.committed(tp) == 3
        assert await take(consumer, 1) == ["v3"]
    async with consumer_of(kafka, topic, group_id=group, enable_auto_commit=False) as consumer:
        assert await take(consumer, 1) == ["v3"]
        await consumer.commit({tp: OffsetAndMetadata(5, "a note")})
    async with consumer_of(kafka, group_id=group) as consumer:
        consumer.assign([tp])
        assert await take(consumer, 1) == ["v5"]


async def test_automatic_commits_never_pass_what_user_code_came_back_from(
    kafka, writer, topic, new_name
):
    group, tp = new_name("auto"), TopicPartition(topic, 0)
    writer.write(topic, *values(0, 6))
    options = {"group_id": group, "auto_commit_interval_ms": 100}
    consumer = consumer_of(kafka, topic, **options)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with consumer:
            assert await take(consumer, 2) == values(0, 2)
            await asyncio.sleep(0.4)
            # the last message is still being worked on: it may have come in one call or two
            assert (await consumer.committed(tp) or 0) < 2
            assert await take(consumer, 1) == ["v2"]
            await asyncio.sleep(0.4)
            assert await consumer.committed(tp) == 2
            raise ZeroDivisionError
    async with consumer_of(kafka, topic, **options) as consumer:
        assert await take(consumer, 4) == values(2, 6), "what failed comes again"
    async with consumer_of(kafka, group_id=group) as consumer:
        assert await consumer.committed(tp) == 6, "a clean stop commits what was handed out"


async def test_iteration_commits_up_to_the_message_in_hand(kafka, writer, topic, new_name):
    group, tp = new_name("iter"), TopicPartition(topic, 0)
    writer.write(topic, *values(0, 6))
    options = {"group_id": group, "auto_commit_interval_ms": 100}
    async with consumer_of(kafka, topic, **options) as consumer:
        async for message in consumer:
            if message.offset == 3:
                await asyncio.sleep(0.4)
                assert await consumer.committed(tp) == 3
                break
    async with consumer_of(kafka, group_id=group) as consumer:
        assert await consumer.committed(tp) == 4


async def test_by_hand_with_a_group_id_commits_and_starts_from_there(
    kafka, writer, topic, new_name
):
    group, tp = new_name("hand"), TopicPartition(topic, 0)
    writer.write(topic, *values(0, 4))
    for expected in (values(0, 2), values(2, 4)):
        async with consumer_of(kafka, group_id=group) as consumer:
            consumer.assign([tp])
            assert await take(consumer, 2) == expected


class Told:
    def __init__(self) -> None:
        self.assigned: list[set[TopicPartition]] = []
        self.revoked: list[set[TopicPartition]] = []
        self.in_revoke: Callable[[set[TopicPartition]], Any] | None = None
        self.in_assign: Callable[[set[TopicPartition]], Any] | None = None

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.append(assigned)
        if self.in_assign is not None:
            await self.in_assign(assigned)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.revoked.append(revoked)
        if self.in_revoke is not None:
            await self.in_revoke(revoked)


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])
async def test_two_members_share_and_every_message_is_seen_once(kafka, writer, new_name, strategy):
    topic, group = writer.make(new_name("shared"), partitions=4), new_name("shared")
    tps = {TopicPartition(topic, n) for n in range(4)}
    options = {
        "group_id": group,
        "partition_assignment_strategy": (strategy,),
        "heartbeat_interval_ms": 200,
    }
    seen: dict[str, int] = {}

    async def read(consumer: Consumer) -> None:
        while True:
            for tp, messages in (await consumer.getmany(timeout_ms=100)).items():
                assert tp in consumer.assignment()
                for message in messages:
                    seen[message.value.decode()] = seen.get(message.value.decode(), 0) + 1
            await asyncio.sleep(0)

    written = 0

    def write_some() -> None:
        nonlocal written
        for number in range(4):
            writer.write(topic, *values(written, written + 5), partition=number)
            written += 5

    told = Told()
    one, two = consumer_of(kafka, **options), consumer_of(kafka, topic, **options)
    one.subscribe([topic], listener=told)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        await one.start()
        reading = [tasks.create_task(read(one))]
        write_some()
        await until(lambda: one.assignment() == tps and len(seen) == written)
        await two.start()
        reading.append(tasks.create_task(read(two)))
        await until(lambda: len(one.assignment()) == len(two.assignment()) == 2)
        assert one.assignment() | two.assignment() == tps
        write_some()
        await until(lambda: len(seen) == written)
        reading[1].cancel()
        await two.stop()
        await until(lambda: one.assignment() == tps)
        write_some()
        await until(lambda: len(seen) == written)
        reading[0].cancel()
        await one.stop()
    assert set(seen.values()) == {1}
    assert set().union(*told.assigned) == tps
    if strategy == "range":
        assert told.revoked[0] == tps
    else:
        assert len(told.revoked[0]) == 2
    assert told.revoked[-1] == tps, "stop gives everything back"


async def test_the_listener_can_seek_before_and_commit_before_it_is_too_late(
    kafka, writer, topic, new_name
):
    group, tp = new_name("listen"), TopicPartition(topic, 0)
    writer.write(topic, *values(0, 6))
    told = Told()
    consumer = consumer_of(kafka, group_id=group, enable_auto_commit=False)

    async def seek(assigned: set[TopicPartition]) -> None:
        assert assigned == {tp}
        assert await consumer.position(tp) == 0
        consumer.seek(tp, 2)
        await asyncio.sleep(0.2)

    async def commit(revoked: set[TopicPartition]) -> None:
        assert revoked == {tp}
        assert await consumer.position(tp) == 4
        await consumer.commit()

    told.in_assign, told.in_revoke = seek, commit
    consumer.subscribe([topic], listener=told)
    async with consumer:
        assert await take(consumer, 2) == values(2, 4)
        consumer.unsubscribe()
        async with asyncio.timeout(10):
            await until(lambda: not consumer.assignment())
        assert await consumer.getmany(timeout_ms=100) == {}
        assert await consumer.committed(tp) == 4
        consumer.subscribe([topic])
        assert await take(consumer, 2) == values(4, 6)


async def test_what_ends_the_membership_is_raised_where_messages_are_awaited(
    kafka, topic, new_name
):
    options = {
        "group_id": new_name("refused"),
        "session_timeout_ms": 400,
        "heartbeat_interval_ms": 100,
    }
    async with consumer_of(kafka, topic, **options) as consumer:
        with pytest.raises(Exception, match="INVALID_SESSION_TIMEOUT"):
            async with asyncio.timeout(10):
                await consumer.getone()


# --- trouble ---


async def test_no_broker_at_all_is_said_with_its_address_in_time():
    consumer = Consumer("t", bootstrap_servers="127.0.0.1:1", group_id="g")
    started = time.monotonic()
    with pytest.raises(NoBrokersAvailable, match=r"127\.0\.0\.1:1"):
        await consumer.start(1)
    assert time.monotonic() - started < 20
    await consumer.stop()


async def test_wrong_settings_and_uses_are_refused_by_name(kafka, topic):
    with pytest.raises(ImproperlyConfigured, match="auto_offset_reset is 'begin'"):
        Consumer("t", auto_offset_reset="begin")  # type: ignore[arg-type]
    with pytest.raises(ImproperlyConfigured, match="isolation_level"):
        Consumer("t", isolation_level="committed")  # type: ignore[arg-type]
    with pytest.raises(ConsumerNotStarted):
        await Consumer("t").getmany()
    async with consumer_of(kafka, topic) as consumer:
        with pytest.raises(ImproperlyConfigured, match="group_id"):
            await consumer.commit()
        with pytest.raises(ImproperlyConfigured, match="unsubscribe"):
            consumer.assign([TopicPartition(topic, 0)])


@pytest.fixture(scope="module")
def cluster(kafka3: KafkaCluster) -> KafkaCluster:
    return kafka3


@pytest.fixture
def replicated(cluster: KafkaCluster, new_name) -> tuple[Writer, str]:
    writer = Writer(cluster.bootstrap)
    name = writer.make(new_name("replicated"), partitions=3, replicas=3)
    return writer, name


async def test_killing_a_leader_loses_and_repeats_nothing(cluster, replicated):
    writer, topic = replicated
    kafka = Kafka(cluster.bootstrap)
    got: list[str] = []

    async def read_to(consumer: Consumer, count: int) -> None:
        async with asyncio.timeout(60):
            while len(got) < count:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    got.extend(m.value.decode() for m in messages)

    def write(start: int, stop: int) -> None:
        for number in range(3):
            mine = [v for n, v in enumerate(values(start, stop)) if n % 3 == number]
            writer.write(topic, *mine, partition=number)

    async with consumer_of(kafka, topic) as consumer:
        await asyncio.to_thread(write, 0, 300)
        await read_to(consumer, 300)
        victim = consumer._running.cluster.leader(TopicPartition(topic, 0))[0]
        await asyncio.to_thread(cluster.kill, victim)
        try:
            await asyncio.to_thread(write, 300, 600)
            await read_to(consumer, 600)
        finally:
            await asyncio.to_thread(cluster.restart, victim)
        await asyncio.to_thread(write, 600, 900)
        await read_to(consumer, 900)
    assert sorted(got) == sorted(values(0, 900))
