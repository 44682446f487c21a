"""How an app runs: assignment in, batches through, offsets out.

start:   producer, missing topics, consumer, then the tasks below
pump     asks the fetcher for partitions that every reader has room for
commits  every commit_interval, or sooner after commit_every messages
watch    keeps the lag up to date
stop:    hand out nothing more, let what is in hand finish, commit, leave
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faustc.engine.assignment import Assignment
from faustc.engine.checkpoint import Checkpoint
from faustc.engine.counters import Counters
from faustc.engine.declare import TopicSpec, declare
from faustc.engine.inbox import Reader
from faustc.engine.nursery import Nursery
from faustc.engine.transport import Transport
from faustc.exceptions import ConsumerNotStarted, ProducerClosed
from faustc.types import TopicPartition

__all__ = ["Engine", "EngineOptions"]

logger = logging.getLogger(__name__)

# Commits that were brought forward by commit_every come no closer than this:
# each one flushes the producer and asks the coordinator.
MIN_COMMIT_INTERVAL_S = 0.1
# How long the pump sleeps in one fetch, so that max_poll_interval sees it alive.
POLL_MS = 1_000
LAG_INTERVAL_S = 1.0


@dataclass
class EngineOptions:
    """What the engine needs to know of the app's settings; seconds where a name ends in _s.

    drain_timeout_s bounds how long a revoke or a stop waits for events in hand.
    """

    commit_interval_s: float = 3.0
    commit_every: int = 10_000
    drain_timeout_s: float = 30.0
    inbox_max_bytes: int = 1 << 20
    allow_declare: bool = True
    start_timeout_s: float = 30.0
    consumer: Mapping[str, Any] = field(default_factory=dict)
    producer: Mapping[str, Any] = field(default_factory=dict)
    admin: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[frozenset[TopicPartition]], Any]


class Engine:
    """Runs the readers of one app on one consumer and one producer.

    on_crash is told when a task of the engine failed; the owner then stops it.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        options: EngineOptions,
        counters: Counters,
        on_crash: Callable[[BaseException], None],
        *,
        on_assigned: Listener | None = None,
        on_revoked: Listener | None = None,
    ) -> None:
        self.name = name
        self.transport = transport
        self.options = options
        self.counters = counters
        self.assignment = Assignment(self._taken)
        self.consumer: Any = None
        self.producer: Any = None
        self.checkpoint: Checkpoint | None = None
        self.rebalancing = False
        self._admin: Any = None
        self._on_crash = on_crash
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._nursery = Nursery(f"{name}.engine", self._crashed)
        self._specs: dict[str, TopicSpec] = {}
        self._declared: set[str] = set()
        self._appeared: set[str] = set()  # topics that did not exist when we first looked
        self._room = asyncio.Event()
        self._commit_now = asyncio.Event()
        self._taken_since_commit = 0
        self._producer_lock = asyncio.Lock()
        self._stopping = False

    # -- starting and stopping ---------------------------------------------------------

    async def start_producer(self) -> Any:
        """Start the producer, once however many ask; return it."""
        if self.producer is None:
            async with self._producer_lock:
                if self.producer is None:
                    if self._stopping:
                        raise ProducerClosed(f"app {self.name} is stopped")
                    producer = self.transport.create_producer(**self.options.producer)
                    async with asyncio.timeout(self.options.start_timeout_s):
                        await producer.start()
                    self.producer = producer
        return self.producer

    async def start(self, readers: Iterable[Reader], specs: Iterable[TopicSpec]) -> None:
        """Start everything; return when the consumer is joining its group.

        Raises NoBrokersAvailable, naming the addresses, if none can be reached.
        """
        await self.start_producer()
        await self.declare(specs)
        for reader in readers:
            self.assignment.add_reader(reader)
        if self.assignment.topics:
            await self._start_consumer()

    async def _start_consumer(self) -> None:
        consumer = self.transport.create_consumer(**self.options.consumer)
        self.checkpoint = Checkpoint(self.assignment, consumer, self.producer, self.counters)
        consumer.subscribe(topics=sorted(self.assignment.topics), listener=self)
        self.consumer = consumer
        await consumer.start()
        self._nursery.spawn(self._pump(), "pump", vital=True)
        self._nursery.spawn(self._commits(), "commits", vital=True)
        self._nursery.spawn(self._watch_lag(), "lag", vital=True)

    async def add_reader(self, reader: Reader, specs: Iterable[TopicSpec] = ()) -> None:
        """Let a reader join while running; its topics are subscribed to if they are new."""
        await self.declare(specs)
        known = self.assignment.topics
        self.assignment.add_reader(reader)
        if self.consumer is None:
            await self._start_consumer()
        elif not reader.topics <= known:
            self.consumer.subscribe(topics=sorted(self.assignment.topics), listener=self)

    def remove_reader(self, reader: Reader) -> None:
        """Let a reader go; its topics stay subscribed, unread, until the next start."""
        reader.close()
        self.assignment.remove_reader(reader)

    async def quiesce(self) -> bool:
        """Hand out nothing more, let what is in hand finish, commit; False if it took too long."""
        self.assignment.stop(self.assignment.partitions)
        drained = await self.assignment.drained(None, self.options.drain_timeout_s)
        if not drained:
            logger.warning(
                "%d events did not finish within %.0f s and will come again",
                self.assignment.outstanding(),
                self.options.drain_timeout_s,
            )
        return drained

    async def stop(self) -> None:
        """Commit what is done, leave the group, close. Idempotent; never raises for brokers."""
        if self._stopping:
            return
        self._stopping = True
        try:
            if self.consumer is not None:
                await self.quiesce()
                await self._nursery.close()
                await self.consumer.stop()  # revokes all, which commits
            else:
                await self._nursery.close()
        finally:
            for closing in (self.producer, self._admin):
                if closing is not None:
                    await closing.stop()
            self.assignment.close(self.assignment.partitions)
            self.producer = None

    async def abandon(self) -> None:
        """Close without committing: after a crash, what is in hand has to come again."""
        self._stopping = True
        self.assignment.close(self.assignment.partitions)
        self.checkpoint = None
        await self._nursery.close()
        for closing in (self.consumer, self.producer, self._admin):
            if closing is None:
                continue
            try:
                async with asyncio.timeout(10.0):
                    await closing.stop()
            except Exception as exc:  # noqa: BLE001 - the first failure is the one to report
                logger.warning("While closing after a crash: %r", exc)
        self.producer = None

    def _crashed(self, error: BaseException) -> None:
        self._on_crash(error)

    # -- topics ------------------------------------------------------------------------

    async def declare(self, specs: Iterable[TopicSpec]) -> None:
        """Create the topics that are missing, each looked for once."""
        new = [spec for spec in specs if spec.name not in self._declared]
        if not new:
            return
        if self._admin is None:
            admin = self.transport.create_admin(**self.options.admin)
            await admin.start()
            self._admin = admin
        missing = await declare(self._admin, new, allowed=self.options.allow_declare)
        self._declared.update(spec.name for spec in new)
        self._appeared |= missing

    # -- the group's listener ----------------------------------------------------------

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Open what is ours now. A topic younger than we are is read from its beginning."""
        partitions = frozenset(assigned)
        young = [tp for tp in partitions if tp.topic in self._appeared]
        if young:
            committed = {tp: await self.consumer.committed(tp) for tp in young}
            fresh = [tp for tp in young if committed[tp] is None]
            if fresh:
                await self.consumer.seek_to_beginning(*fresh)
        self.assignment.open(partitions)
        self.rebalancing = False
        self.counters.rebalances_total += 1
        logger.info("Assigned: %s", _listing(partitions) or "nothing")
        if self._on_assigned is not None:
            await self._on_assigned(partitions)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Finish and commit what is being taken away, under one deadline, then forget it."""
        partitions = frozenset(revoked)
        self.rebalancing = True
        if not partitions:
            return
        logger.info("Revoked: %s", _listing(partitions))
        try:
            self.assignment.stop(partitions)
            if not self._stopping:
                await self.assignment.drained(partitions, self.options.drain_timeout_s)
            if self.checkpoint is not None:
                await self.checkpoint.commit(
                    partitions,
                    timeout_s=self.options.drain_timeout_s,
                    reached=self._reached(partitions),
                )
            if self._on_revoked is not None:
                await self._on_revoked(partitions)
        finally:
            self._forget(partitions)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget what others may have by now; a commit would be theirs to make."""
        partitions = frozenset(lost)
        if partitions:
            logger.warning("Lost, their uncommitted events come again: %s", _listing(partitions))
        self._forget(partitions)
        if self._on_revoked is not None:
            await self._on_revoked(partitions)

    def _forget(self, partitions: frozenset[TopicPartition]) -> None:
        self.assignment.close(partitions)
        if self.checkpoint is not None:
            self.checkpoint.forget(partitions)

    # -- tasks -------------------------------------------------------------------------

    async def _pump(self) -> None:
        """Move batches from the fetcher to the inboxes: one await per answer, not per message."""
        consumer, assignment, counters = self.consumer, self.assignment, self.counters
        while True:
            self._room.clear()
            wanted = assignment.hungry()
            fetched = await consumer.getbatches(*wanted, timeout_ms=POLL_MS)
            for tp, batches in fetched.items():
                assignment.put(tp, batches)
                count = sum(len(batch) for batch in batches)
                counters.messages_received_total += count
                counters.messages_received_by_topic[tp.topic] += count
                counters.bytes_received_total += sum(batch.size_bytes for batch in batches)

    def _taken(self, count: int) -> None:
        """Note that a reader opened a batch: there is room, and perhaps much to commit."""
        if not self._room.is_set():
            self._room.set()
        self._taken_since_commit += count
        if self._taken_since_commit >= self.options.commit_every:
            self._commit_now.set()

    async def _commits(self) -> None:
        """Commit on the clock, and sooner when many messages were taken."""
        while True:
            await asyncio.sleep(MIN_COMMIT_INTERVAL_S)
            left_s = self.options.commit_interval_s - MIN_COMMIT_INTERVAL_S
            if left_s > 0:
                try:
                    async with asyncio.timeout(left_s):
                        await self._commit_now.wait()
                except TimeoutError:
                    pass  # the interval is over
            self._commit_now.clear()
            self._taken_since_commit = 0
            await self.commit()

    async def commit(self, partitions: Collection[TopicPartition] | None = None) -> bool:
        """Commit what every reader is done with; False if it has to wait for a later commit."""
        if self.checkpoint is None:
            raise ConsumerNotStarted(f"app {self.name} reads nothing yet")
        chosen = self.assignment.partitions if partitions is None else partitions
        return await self.checkpoint.commit(partitions, reached=self._reached(chosen))

    def _reached(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        positions = {tp: self.consumer.position_now(tp) for tp in partitions}
        return {tp: offset for tp, offset in positions.items() if offset is not None}

    async def _watch_lag(self) -> None:
        """Keep the lag: the end of the log, as fetches tell it, less what is done."""
        while True:
            self.measure_lag()
            await asyncio.sleep(LAG_INTERVAL_S)

    def measure_lag(self) -> None:
        """Work out the lag of each partition that has been fetched from."""
        done = self.assignment.committable()
        lag = {}
        for tp in self.assignment.partitions:
            end = self.consumer.highwater(tp)
            position = done.get(tp)
            if position is None:
                position = self.consumer.position_now(tp)
            if end is not None and position is not None:
                lag[tp] = max(0, end - position)
        self.counters.lag = lag


def _listing(partitions: Collection[TopicPartition]) -> str:
    """Name partitions as topic/0,1,2."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        by_topic.setdefault(topic, []).append(partition)
    return " ".join(f"{topic}/{','.join(map(str, ps))}" for topic, ps in by_topic.items())
