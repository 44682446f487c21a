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
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

from faustc.engine.assignment import AnyOf, Assignment, OnSlowDrain, listing
from faustc.engine.attachments import Attachments
from faustc.engine.checkpoint import Checkpoint
from faustc.engine.counters import Counters
from faustc.engine.courier import Courier
from faustc.engine.declare import Declarations, TopicSpec
from faustc.engine.exactly_once import ExactlyOnce
from faustc.engine.follower import Follower
from faustc.engine.gate import Gate
from faustc.engine.inbox import Reader
from faustc.engine.mailbox import Deliver, Mailbox, Mailboxes
from faustc.engine.nursery import Nursery
from faustc.engine.observing import Sensors, Telling, Unobserved
from faustc.engine.options import EngineOptions
from faustc.engine.outbox import Outbox
from faustc.engine.pump import pump
from faustc.engine.rebalancing import Listener
from faustc.engine.sharing import Sharing
from faustc.engine.tables import Kept, Tables, Unit
from faustc.engine.transacting import TransactingProducer
from faustc.engine.transport import Doors, Transport
from faustc.engine.watch import Watch, check_brokers, measure_lag
from faustc.exceptions import (
    ConsumerNotStarted,
    FaustError,
    ProducerClosed,
)
from faustc.types import TopicPartition

__all__ = ["Engine", "EngineOptions"]

logger = logging.getLogger(__name__)

# Commits that were brought forward by commit_every come no closer than this:
# each one flushes the producer and asks the coordinator.
MIN_COMMIT_INTERVAL_S = 0.1
# The last commit of a stop, brokers away or not.
LAST_COMMIT_S = 15.0
# How long each part is given to close after a crash.
ABANDON_S = 10.0
Told = Callable[[frozenset[TopicPartition]], Any]


class Engine(Listener):
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
        on_assigned: Told | None = None,
        on_revoked: Told | None = None,
        on_rebalance: Callable[[], None] = lambda: None,
        on_slow_drain: OnSlowDrain | None = None,
        sensors: Sensors | None = None,
        producing: Transport | None = None,
        gate: Gate | None = None,
        is_stale: Callable[[], bool] = lambda: False,
    ) -> None:
        #: What streams pass between events, where a transaction has whole ones only.
        self.gate = gate or Gate()
        self._is_stale = is_stale
        #: Whether messages go into transactions: once it runs, if it is to work exactly once.
        self.transacts = False
        self._leaving: frozenset[TopicPartition] = frozenset()
        self._held_up: frozenset[TopicPartition] = frozenset()  # while they are undone
        self._undoing: frozenset[TopicPartition] = frozenset()
        # Until the group has said how far they are; and those of them that wait for nothing else.
        self._unknown: frozenset[TopicPartition] = frozenset()
        self._waiting: frozenset[TopicPartition] = frozenset()
        self.name = name
        self.transport = transport
        # Brokers of the same cluster may be reached by other addresses to send to.
        self.producing = producing or transport
        self.options = options
        self.counters = counters
        self.assignment = Assignment(self._taken, on_slow_drain)
        self.sharing = Sharing(self._follow, self._see_to)
        self.assignment.on_done = counters.events_runtime.append
        self.telling = Telling(sensors or Unobserved(), self.assignment)
        self.consumer: Any = None
        self.producer: Any = None
        self.checkpoint: Checkpoint | None = None
        self.rebalancing = False
        self._on_crash = on_crash
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_rebalance = on_rebalance
        # Those that read are stopped first; what is sent until the end has to go out.
        self._reading = Nursery(f"{name}.engine", on_crash)
        self._nursery = Nursery(f"{name}.engine", on_crash)
        self.outbox = Outbox(self._nursery)
        self.attachments = Attachments()
        self.mailboxes = Mailboxes(self._nursery, options.start_timeout_s)
        self.courier = Courier(self.start_producer, counters)
        self.declared = Declarations(
            lambda: self.producing.create_admin(**options.admin), allowed=options.allow_declare
        )
        self._room = asyncio.Event()
        self._commit_now = asyncio.Event()
        self.tables = Tables(
            follower=Follower(self.open_changelogs, self._nursery),
            nursery=self._nursery,
            producer=self.start_producer,
            declare=self.declare,
            partition_count=self.partition_count,
            let_in=self._let_in,
            on_full=self._commit_now.set,
            delay_s=options.recovery_delay_s,
        )
        self._taken_since_commit = 0
        self._committing = False
        self._producer_lock = asyncio.Lock()
        self._doors = Doors(self.transport, self.producing)
        self.stopping = False

    def running_producer(self) -> Any:
        """Return the producer; raises ProducerClosed while there is none."""
        if self.producer is None:
            raise ProducerClosed(f"app {self.name} is not started")
        return self.producer

    def running_consumer(self) -> Any:
        """Return the consumer; raises ConsumerNotStarted while there is none."""
        if self.consumer is None:
            raise ConsumerNotStarted(f"app {self.name} is not started, or reads no topic")
        return self.consumer

    # -- starting and stopping ---------------------------------------------------------

    async def start_producer(self) -> Any:
        """Start the producer, once however many ask; return it."""
        if self.producer is None:
            async with self._producer_lock:
                if self.producer is None:
                    if self.stopping:
                        raise ProducerClosed(f"app {self.name} is stopped")
                    await self._doors.open()
                    producer = self._make_producer()
                    await producer.start(self.options.start_timeout_s)
                    self.producer = self.telling.producer(producer)
                    if isinstance(self.checkpoint, ExactlyOnce):
                        self.checkpoint.producer = producer
        return self.producer

    def _make_producer(self) -> Any:
        options = self.options
        if not self.transacts:
            return self.producing.create_producer(**options.producer)
        transactional = {
            **options.producer,
            "transactional_id": options.transactional_id,
            "transaction_timeout_ms": int(options.transaction_timeout_s * 1000),
        }
        return TransactingProducer(
            lambda: self.producing.create_producer(**transactional),
            stale=self._is_stale,
            on_trouble=self._commit_now.set,
        )

    async def transact(self) -> None:
        """Let what is sent from now on go into transactions: it works exactly once."""
        if not self.transacts:
            self.transacts = True
            self.assignment.begun_at = {}
            self.sharing.tell_producer(self.options.transactional_id)
            self._make_checkpoint(None)
            producer, self.producer = self.producer, None
            if producer is not None:
                await producer.stop()
            await self.start_producer()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run something for as long as the engine does; it must not fail."""
        self._nursery.spawn(work, name)

    async def flush(self) -> None:
        """Wait until brokers have everything sent before this; raises DeliveryFailed."""
        await self.outbox.drain()
        if self.producer is not None:
            await self.producer.flush()

    async def start(
        self,
        readers: Iterable[Reader],
        specs: Iterable[TopicSpec],
        tables: Collection[Kept] = (),
        default_partitions: int = 8,
    ) -> None:
        """Start everything; return when the consumer is joining its group.

        Raises NoBrokersAvailable, naming the addresses, if none can be reached.
        """
        await self.declare(specs)
        self.telling.of_messages()
        for reader in readers:
            self.assignment.add_reader(reader)
        if tables:
            names = self.assignment.names
            standbys = self.options.standbys
            await self.tables.start(tables, names, default_partitions, keeps_standbys=standbys > 0)
            self.sharing.keep_sizes(self.tables.sizes, standbys)
            self.sharing.tell_held(self.tables.held())
        if self.assignment.readers():
            await self._start_consumer()
        elif tables or self.transacts:
            self._make_checkpoint(None)
            self._begin_commits()

    def _begin_commits(self) -> None:
        self._committing = True
        self._reading.spawn(self._commits(), "commits", vital=True)

    def _make_checkpoint(self, consumer: Any) -> None:
        told, kept = self.telling.sensors, self.attachments
        parts = (self.assignment, consumer, self.flush, self.counters, kept, told, self.tables)
        if not self.transacts:
            self.checkpoint = Checkpoint(*parts)
            return
        before = self.checkpoint
        made = self.checkpoint = ExactlyOnce(*parts, gate=self.gate, undo=self._undo)
        if isinstance(before, ExactlyOnce):
            made.producer = before.producer

    async def _start_consumer(self) -> None:
        self.sharing.start()
        assignors = [self.sharing.assignor]
        consumer = self.transport.create_consumer(
            **{"partition_assignment_strategy": assignors, **self.options.consumer}
        )
        committing = self._committing  # changes of tables only, so far
        self._make_checkpoint(consumer)
        self.consumer = consumer
        await self._subscribe()
        await consumer.start(self.options.start_timeout_s)
        pumping = pump(
            consumer,
            self.assignment,
            self.counters,
            self.telling,
            self._room,
            self.options.poll_ms,
            lambda: self.tables.overfull,
        )
        self._reading.spawn(pumping, "pump", vital=True)
        if not committing:
            self._begin_commits()
        self._reading.spawn(self._watch(), "watch", vital=True)

    async def add_reader(self, reader: Reader, specs: Iterable[TopicSpec] = ()) -> None:
        """Let a reader join while running; its topics are subscribed to if they are new."""
        await self.declare(specs)
        known = self.assignment.names, self.assignment.patterns
        self.assignment.add_reader(reader)
        if self.consumer is None:
            await self._start_consumer()
        elif (self.assignment.names, self.assignment.patterns) != known:
            await self._subscribe()

    def keep_together(self, topics: Collection[str]) -> None:
        """Let one worker have the partitions of one number of all these topics."""
        if self.sharing.keep_together(topics):
            enforce = getattr(self.consumer, "enforce_rebalance", None)
            if enforce is not None:
                enforce(f"{', '.join(sorted(topics))} belong together")

    def leading_topic(self, topic: str) -> str:
        """Return the first of the topics that are kept together with one; itself, if none are."""
        return self.sharing.leading_topic(topic)

    def _follow(self, standbys: frozenset[TopicPartition]) -> None:
        """Follow the tables of these, and of no others that are not ours (see Sharing)."""
        counts = self.sharing.counts
        units = {Unit(counts[topic], n) for topic, n in standbys if topic in counts}
        if units != self.tables.standing_by:
            logger.info("Standby of: %s", listing(standbys) or "nothing")
            self.tables.stand_by(units)

    async def _subscribe(self) -> None:
        """Ask for all that the readers want; one matcher stands for several patterns and names."""
        names, patterns = self.assignment.names, self.assignment.patterns
        if not patterns:
            self.consumer.subscribe(topics=sorted(names), listener=self)
            return
        await self.declared.look()
        wanted = patterns[0] if len(patterns) == 1 and not names else AnyOf(names, patterns)
        self.consumer.subscribe(pattern=wanted, listener=self)

    def remove_reader(self, reader: Reader) -> None:
        """Let a reader go; its topics stay subscribed, unread, until the next start."""
        reader.close()
        self.assignment.remove_reader(reader)

    async def open_mailbox(self, spec: TopicSpec, deliver: Deliver) -> None:
        """Read a topic, created if it is missing, from now on and for this process alone."""
        await self.start_producer()
        await self.declare([spec])
        consumer = self._lone_consumer(auto_offset_reset="latest")
        await self.mailboxes.open(Mailbox(consumer, spec.name, deliver))

    async def open_changelogs(self) -> Any:
        """Start what changelogs are read with: by hand, and only what is committed.

        It reads nothing yet, and is stopped by whoever asked for it.
        """
        await self._doors.open()
        consumer = self._lone_consumer(
            auto_offset_reset="earliest", isolation_level="read_committed"
        )
        consumer.assign(())
        await consumer.start(self.options.start_timeout_s)
        return consumer

    def _lone_consumer(self, **options: Any) -> Any:
        """Make a consumer that is in no group."""
        alone = {"group_id": None, "group_instance_id": None, **options}
        return self.transport.create_consumer(**{**self.options.consumer, **alone})

    def hold(self) -> None:
        """Hand out nothing more, from now on."""
        self.assignment.stop(self.assignment.partitions)

    async def wind_down(self) -> None:
        """Hand out nothing more, let what is in hand finish, and commit it.

        Raises DeliveryFailed if a send of it was given up.
        """
        if self.checkpoint is None:
            return
        self.hold()
        await self._reading.close()
        if not await self.assignment.drained(None, self.options.drain_timeout_s):
            logger.warning(
                "%d events did not finish within %.0f s and will come again",
                self.assignment.outstanding(),
                self.options.drain_timeout_s,
            )
        if not await self.checkpoint.commit(timeout_s=LAST_COMMIT_S):
            self.checkpoint = None  # said why; the revoke that follows need not wait as long again

    async def stop(self) -> None:
        """Leave the group and close; call wind_down first. Raises DeliveryFailed."""
        self.stopping = True
        await self._reading.close()
        try:
            await self.outbox.drain()
            await self._nursery.close()
            await self.mailboxes.stop()
            if self.consumer is not None:
                await self.consumer.stop()  # revokes all, which commits what is left
        finally:
            self.assignment.close(self.assignment.partitions)
            await self.tables.stop()
            await self.declared.stop()
            if self.producer is not None:
                await self.producer.stop()
            await self._doors.close()

    async def abandon(self) -> None:
        """Close without committing: after a crash, what was in hand has to come again."""
        self.stopping = True
        self.checkpoint = None
        self.assignment.close(self.assignment.partitions)
        await self._reading.close()
        await self._nursery.close()
        parts = (self.mailboxes, self.consumer, self.tables, self.declared, self.producer)
        for closing in parts:
            if closing is not None:
                try:
                    async with asyncio.timeout(ABANDON_S):
                        await closing.stop()
                except (FaustError, TimeoutError) as exc:
                    logger.warning("While closing after a crash: %r", exc)
        await self._doors.close()

    def partition_counts(self) -> dict[str, int | str]:
        """Return how many partitions each topic we read has, as far as that is known."""
        known = getattr(self.consumer, "partitions_for_topic", lambda topic: None)
        return {topic: len(known(topic) or ()) or "?" for topic in self.assignment.topics}

    async def caught_up(self, tp: TopicPartition) -> bool:
        """Say whether everything that is known to be in a partition of ours was fetched."""
        consumer = self.running_consumer()
        end = consumer.highwater(tp) if tp in consumer.assignment() else None
        return end is not None and bool(await consumer.position(tp) >= end)

    # -- topics ------------------------------------------------------------------------

    async def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has; raises KafkaTimeout if it does not come to be."""
        return await self.declared.partition_count(topic)

    async def declare(self, specs: Iterable[TopicSpec]) -> None:
        """Create the topics that are missing, each looked for once."""
        await self.declared.declare(specs)

    # -- tasks -------------------------------------------------------------------------

    def _taken(self, count: int) -> None:
        """Note that a reader opened a batch: there is room, and perhaps much to commit."""
        if not self._room.is_set():
            self._room.set()
        self.counters.events_total += count
        self._taken_since_commit += count
        if self._taken_since_commit >= self.options.commit_every:
            self._commit_now.set()

    def commit_soon(self) -> None:
        """Let the next commit come before its time."""
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
            self._room.set()

    async def commit(self, partitions: Collection[TopicPartition] | None = None) -> bool:
        """Commit what every reader is done with; False if it has to wait for a later commit."""
        if self.checkpoint is None:
            raise ConsumerNotStarted(f"app {self.name} reads nothing yet")
        await self._reach()
        return await self.checkpoint.commit(partitions)

    async def _reach(self) -> None:
        """Tell the ledgers how far fetching got, of partitions where that is known."""
        if self.consumer is None:
            return
        ours = set(self.consumer.assignment())
        known = getattr(self.consumer, "known_position", None)
        if known is not None:
            # Of those that had no event yet, too: there may be nothing but control records left.
            found = {tp: known(tp) for tp in ours}
            positions = {tp: position for tp, position in found.items() if position is not None}
        else:
            begun = self.assignment.committable().keys() & ours
            # A position that is known is told without waiting.
            positions = {tp: await self.consumer.position(tp) for tp in begun}
        self.assignment.reach(positions)

    async def _watch(self) -> None:
        """Keep the lag up to date, and what the counters know of the last second."""
        options = self.options
        watch = Watch(
            self.assignment, self.counters, options.stuck_after_s, options.livelock_after_s
        )
        while True:
            check_brokers(self.consumer, options.outage_s)
            await self.measure_lag()
            self.sharing.tell_held(self.tables.held())
            watch.look(self.producer)
            await asyncio.sleep(self.options.watch_interval_s)

    async def measure_lag(self) -> None:
        """Work out the lag of each partition that has been fetched from."""
        await self._reach()
        await measure_lag(self.assignment, self.consumer, self.counters)
