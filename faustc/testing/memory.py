"""A broker in memory, in the running event loop, and the client's way to it: no socket."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from typing import Any

from faustc._native.batch import Batch, decode
from faustc._native.framer import Framer
from faustc._native.message import Message
from faustc.broker.broker import Broker, Options
from faustc.broker.group_state import State
from faustc.broker.partition import Partition
from faustc.broker.pipe import Pipes
from faustc.client.dialer import Dialer
from faustc.client.link import FramesCallback, Link, LostCallback, TransportLink
from faustc.client.producer import Producer
from faustc.client.security import NAMES as SECURITY_NAMES
from faustc.clock import now_ms
from faustc.engine.transport import KafkaTransport
from faustc.exceptions import ConnectionLost
from faustc.types import HeadersArg, TopicPartition
from faustc.urls import BrokerURL

__all__ = ["MemoryBroker", "MemoryTransport"]

ADDRESS = "kafka://memory:9092"
READ_BYTES = 1 << 20
# A fetch wakes up as soon as there is something, so there is no need to ask often: when
# time is virtual, every question in vain is paid for by `advance`.
FETCH_WAIT_MS = 15_000


class MemoryBroker:
    """An embedded broker without files or sockets; `async with`, on the loop of its clients.

    Its clock is the loop's. Several apps may share one: `app.test_context(broker=...)`.
    """

    def __init__(self, **options: Any) -> None:
        self.broker = Broker(Options(**{"housekeeping_s": 0.0, **options}), now_ms=now_ms)
        self.broker.host, self.broker.port = "memory", 9092  # what it says of itself
        self.pipes = Pipes(self.broker)
        self.is_open = False

    async def __aenter__(self) -> MemoryBroker:
        await self.broker.start()
        self.is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.is_open = False
        await self.pipes.close()
        await self.broker.close()

    def dialer(self) -> Dialer:
        """Return a dialer that reaches it: for clients made by hand, `Client(dialer=...)`."""
        return _MemoryDialer(self)

    def topic_names(self) -> list[str]:
        """Return the names of all topics."""
        return [topic.name for topic in self.broker.topics]

    def partitions(self, topic: str) -> list[Partition]:
        """Return the partitions of a topic, none if there is no such topic."""
        found = self.broker.topics.get(topic)
        return [] if found is None else found.partitions

    def messages(self, topic: str) -> list[Message]:
        """Return what a topic holds: by time, and within a partition by offset.

        Of transactions, what is committed.
        """
        partitions = [list(_read(partition)) for partition in self.partitions(topic)]
        return list(heapq.merge(*partitions, key=lambda message: message.timestamp))

    def committed(self, group: str, tp: TopicPartition) -> int | None:
        """Return the offset that a group has committed, None if it has not."""
        offset = self.broker.coordinators.offsets.get(group, tp)
        return None if offset is None else offset.offset

    def members(self, group: str) -> int:
        """Return how many members a group has while it is stable, 0 while it is not."""
        found = self.broker.coordinators.groups.find(group)
        return len(found.members) if found is not None and found.state is State.STABLE else 0


def _read(partition: Partition) -> Iterator[Message]:
    at, (topic, number) = partition.log_start, partition.tp
    while (span := partition.span(at, READ_BYTES, committed=True, whole=True)) is not None:
        for batch in decode(span.read(), topic=topic, partition=number, allow_partial=True):
            if not (batch.is_control or _is_aborted(partition, batch)):
                yield from batch.messages(at)
            at = batch.last_offset + 1


def _is_aborted(partition: Partition, batch: Batch) -> bool:
    return batch.is_transactional and any(
        one.producer_id == batch.producer_id
        for one in partition.producers.aborted_in(batch.base_offset, batch.last_offset + 1)
    )


class _MemoryDialer(Dialer):
    """Whatever host it is asked for, it is the broker in memory."""

    across_threads = False

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__()
        self._broker = broker

    async def link(
        self,
        host: str,
        port: int,
        timeout_s: float,
        framer: Framer,
        on_frames: FramesCallback,
        on_lost: LostCallback,
    ) -> Link:
        """Return a link to the broker; raises ConnectionLost when that is closed."""
        await asyncio.sleep(0)
        if not self._broker.is_open:
            raise ConnectionLost(f"no connection to {host}:{port}: the broker is closed")
        link = TransportLink(framer, on_frames, on_lost, f"{host}:{port}")
        self._broker.pipes.connect(link)
        return link


class _TimedProducer(Producer):
    """Stamps messages with the time of the loop, which may be virtual."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: HeadersArg = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Any:
        stamp = now_ms() if timestamp_ms is None else timestamp_ms
        return await super().send(topic, value, key, headers, partition, stamp)

    async def send_many(self, topic: str, values: Any, **options: Any) -> Any:
        if options.get("timestamp_ms") is None:
            options["timestamp_ms"] = now_ms()
        return await super().send_many(topic, values, **options)


class MemoryTransport(KafkaTransport):
    """Faustc's own client, by a dialer of ours; what the app says of security is left out."""

    def __init__(self, dialer: Dialer) -> None:
        super().__init__(BrokerURL(ADDRESS))
        self._dialer = dialer

    def create_consumer(self, **options: Any) -> Any:
        given = {"fetch_max_wait_ms": FETCH_WAIT_MS, **_open(options)}
        given["client_options"] = {**options.get("client_options", {}), "dialer": self._dialer}
        third_ms = int(given.get("session_timeout_ms", 0)) // 3
        given["heartbeat_interval_ms"] = max(given.get("heartbeat_interval_ms", 3000), third_ms)
        return super().create_consumer(**given)

    def create_producer(self, **options: Any) -> Any:
        return _TimedProducer(
            bootstrap_servers=self.bootstrap_servers, **_open(options), dialer=self._dialer
        )

    def create_admin(self, **options: Any) -> Any:
        return super().create_admin(**_open(options), dialer=self._dialer)


def _open(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in SECURITY_NAMES}
