"""A transport of a user's own: topics in memory, one group member at a time.

It is what the Transport interface promises to drivers that are not Kafka, and
lets tests of the face decide when partitions come and go and what fails. Named
by its path: `App(..., broker="tests.memory_transport.MemoryTransport://NAME")`;
apps with the same NAME share a Cluster.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from faustc.exceptions import BrokerError, CommitFailed, DeliveryFailed, NoBrokersAvailable
from faustc.types import OffsetAndMetadata, RecordMetadata, TopicPartition
from faustc.urls import BrokerURL

BATCH = 10


class Message(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Cluster:
    """Topics, committed offsets, and switches for what is to go wrong."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Message]] = {}
        self.committed: dict[tuple[str, TopicPartition], int] = {}
        self.down = False
        self.refuse_topics: set[str] = set()  # sends to these are given up
        self.commit_error: Exception | None = None
        self.consumers: list[Consumer] = []
        self.created: list[tuple[str, int]] = []
        self.flushed: list[dict[TopicPartition, int]] = []

    def create(self, topic: str, partitions: int) -> None:
        for number in range(partitions):
            self.logs.setdefault(TopicPartition(topic, number), [])
        self.created.append((topic, partitions))

    def partitions(self, topic: str) -> list[TopicPartition]:
        return sorted(tp for tp in self.logs if tp.topic == topic)

    def topics(self) -> set[str]:
        return {tp.topic for tp in self.logs}

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Any = None,
    ) -> RecordMetadata:
        if not self.partitions(topic):
            self.create(topic, 1)
        count = len(self.partitions(topic))
        number = zlib.crc32(key or b"") % count if partition is None else partition
        tp = TopicPartition(topic, number)
        log = self.logs[tp]
        now = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        pairs = tuple(headers.items() if hasattr(headers, "items") else headers or ())
        log.append(Message(topic, number, len(log), now, 0, key, value, pairs))
        return RecordMetadata(topic, number, tp, len(log) - 1, now, 0)

    def values(self, topic: str) -> list[bytes | None]:
        return [m.value for tp in self.partitions(topic) for m in self.logs[tp]]

    def position(self, group: str, topic: str) -> int:
        """The committed offsets of a topic, added up."""
        return sum(o for (g, tp), o in self.committed.items() if (g, tp.topic) == (group, topic))


CLUSTERS: dict[str, Cluster] = {}


def cluster(name: str) -> Cluster:
    """The cluster of a name, made when first asked for."""
    return CLUSTERS.setdefault(name, Cluster())


class MemoryTransport:
    def __init__(self, url: BrokerURL) -> None:
        self.url = url
        self.cluster = cluster(url.hosts[0][0])

    def create_consumer(self, **options: Any) -> Consumer:
        return Consumer(self.cluster, options)

    def create_producer(self, **options: Any) -> Producer:
        return Producer(self.cluster)

    def create_admin(self, **options: Any) -> Admin:
        return Admin(self.cluster)


class Admin:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def start(self) -> None:
        _reach(self.cluster)

    async def stop(self) -> None:
        pass

    async def list_topics(self) -> list[str]:
        return sorted(self.cluster.topics())

    async def create_topics(self, topics: Sequence[Any]) -> None:
        for topic in topics:
            if topic.name in self.cluster.topics():
                raise BrokerError(36, "TOPIC_ALREADY_EXISTS", topic.name)
            self.cluster.create(topic.name, topic.num_partitions)


class Delivery:
    def __init__(self, producer: Producer, result: RecordMetadata | Exception) -> None:
        self.producer = producer
        self.outcome = result
        self.looked_at = False

    def __await__(self) -> Any:
        yield from ()
        self.looked_at = True
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def done(self) -> bool:
        return True

    def result(self) -> RecordMetadata:
        self.looked_at = True
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def exception(self) -> Exception | None:
        self.looked_at = True
        return self.outcome if isinstance(self.outcome, Exception) else None

    def add_done_callback(self, callback: Any) -> None:
        asyncio.get_running_loop().call_soon(callback, self)


class Producer:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.failed: list[Delivery] = []

    async def start(self, timeout_s: float | None = None) -> None:
        _reach(self.cluster)

    async def stop(self) -> None:
        await self.flush()

    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any
    ) -> Delivery:
        outcome: RecordMetadata | Exception
        if topic in self.cluster.refuse_topics:
            outcome = DeliveryFailed(f"{topic}/0: refused", topic=topic, partition=0)
        else:
            outcome = self.cluster.append(topic, value, key, **options)
        delivery = Delivery(self, outcome)
        if isinstance(outcome, Exception):
            self.failed.append(delivery)
        return delivery

    async def send_many(
        self, topic: str, values: Sequence[bytes | None], *, keys: Any = None, **options: Any
    ) -> Delivery:
        last = None
        for index, value in enumerate(values):
            last = await self.send(topic, value, keys[index] if keys else None, **options)
        assert last is not None
        return last

    async def flush(self) -> None:
        failed, self.failed = [d for d in self.failed if not d.looked_at], []
        if failed:
            assert isinstance(failed[0].outcome, Exception)
            raise failed[0].outcome


class Batch:
    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self.next_offset = messages[-1].offset + 1
        self.size_bytes = sum(len(m.value or b"") + 20 for m in messages)

    def __len__(self) -> int:
        return len(self._messages)

    def messages(self) -> list[Message]:
        return list(self._messages)


class Consumer:
    is_leader = True

    def __init__(self, cluster: Cluster, options: Mapping[str, Any]) -> None:
        self.cluster = cluster
        self.group: str = options["group_id"]
        self.reset: str = options["auto_offset_reset"]
        self.topics: set[str] = set()
        self.listener: Any = None
        self.positions: dict[TopicPartition, int] = {}
        self.asked: list[tuple[TopicPartition, ...]] = []
        self.started = False

    async def start(self, timeout_s: float | None = None) -> None:
        _reach(self.cluster)
        self.started = True
        self.cluster.consumers.append(self)
        self._rebalance = asyncio.ensure_future(self.assign())

    async def assign(self, only: Collection[TopicPartition] | None = None) -> None:
        """Give out what is not assigned yet."""
        wanted = {tp for topic in self.topics for tp in self.cluster.partitions(topic)}
        new = (wanted if only is None else set(only)) - set(self.positions)
        for tp in new:
            start = 0 if self.reset == "earliest" else len(self.cluster.logs[tp])
            self.positions[tp] = self.cluster.committed.get((self.group, tp), start)
        if new:
            await self.listener.on_partitions_assigned(set(new))

    async def revoke(self, partitions: Collection[TopicPartition], *, lost: bool = False) -> None:
        """Take partitions away, with or without a chance to commit."""
        tell = self.listener.on_partitions_lost if lost else self.listener.on_partitions_revoked
        await tell(set(partitions))
        for tp in partitions:
            self.positions.pop(tp, None)

    async def stop(self) -> None:
        if self.started:
            self.started = False
            await self._rebalance
            await self.revoke(list(self.positions))

    def subscribe(self, topics: Collection[str] = (), *, listener: Any = None) -> None:
        self.topics = set(topics)
        self.listener = listener
        if self.started:
            self._rebalance = asyncio.ensure_future(self.assign())

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    async def getbatches(
        self, *partitions: TopicPartition, timeout_ms: int = 0
    ) -> dict[TopicPartition, list[Batch]]:
        self.asked.append(partitions)
        give_up = time.monotonic() + timeout_ms / 1000
        while True:
            found = {}
            for tp in partitions:
                position = self.positions.get(tp)
                if position is not None and len(self.cluster.logs[tp]) > position:
                    messages = self.cluster.logs[tp][position : position + BATCH]
                    self.positions[tp] = position + len(messages)
                    found[tp] = [Batch(messages)]
            if found or time.monotonic() >= give_up:
                return found
            await asyncio.sleep(0.002)

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    def highwater(self, partition: TopicPartition) -> int | None:
        return len(self.cluster.logs[partition])

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            self.positions[tp] = 0

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self.cluster.commit_error is not None:
            error, self.cluster.commit_error = self.cluster.commit_error, None
            raise error
        for tp, offset in offsets.items():
            if tp not in self.positions:
                raise CommitFailed(f"{tp.topic}/{tp.partition} is not ours")
            self.cluster.committed[self.group, tp] = offset.offset
        self.cluster.flushed.append({tp: o.offset for tp, o in offsets.items()})

    async def committed(self, partition: TopicPartition) -> int | None:
        return self.cluster.committed.get((self.group, partition))


def _reach(cluster: Cluster) -> None:
    if cluster.down:
        raise NoBrokersAvailable("memory: switched off")
