"""Everything this worker reads at the moment: partitions, and who reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faustc.engine.beyond import Beyond, done_beyond, encode
from faustc.engine.inbox import BatchOfMessages, Reader, SharedBatch
from faustc.engine.ledger import Ledger
from faustc.types import NamePattern, TopicPartition

__all__ = ["AnyOf", "Assignment", "OnSlowDrain", "listing"]

# After waiting so long for events in hand, and again, one asks what they wait for.
SLOW_DRAIN_S = 5.0
OnSlowDrain = Callable[[Collection[TopicPartition] | None], object]


@dataclass(frozen=True)
class AnyOf:
    """Stands for several names and patterns where one pattern is wanted."""

    names: frozenset[str]
    patterns: tuple[NamePattern, ...]

    def match(self, name: str, /) -> Any:
        """Return None unless a name is one of these, or matched by one."""
        if name in self.names:
            return self
        return next((self for pattern in self.patterns if pattern.match(name) is not None), None)


class Assignment:
    """The partitions that are ours, each with the inboxes and ledgers of its readers.

    A partition goes open -> stopped -> closed: open takes batches, stopped only
    acknowledgements (the events in hand when it was revoked), closed nothing.
    No message carries a generation number, since a ledger dies with its partition.
    """

    def __init__(
        self, on_take: Callable[[int], None], on_slow_drain: OnSlowDrain | None = None
    ) -> None:
        # Told that some inbox has more room, and of how many messages: an opened portion's.
        self._on_take = on_take
        self._on_slow_drain = on_slow_drain
        #: Told how many seconds events took, once a batch.
        self.on_done: Callable[[float], None] | None = None
        #: Makes the ledgers of readers, if they are to tell of every message.
        self.new_ledger: Callable[[TopicPartition], Ledger] | None = None
        self._readers: dict[str, list[Reader]] = {}  # topic -> readers
        self._by_pattern: list[Reader] = []  # they join the others of a topic when it opens
        self._open: set[TopicPartition] = set()
        self._stopped: set[TopicPartition] = set()
        self._fetched: dict[TopicPartition, int] = {}  # where the last batch put ended
        # What came of partitions that are ours and not open: their tables are not whole yet.
        self._early: dict[TopicPartition, list[BatchOfMessages]] = {}
        #: Where reading began, of partitions that are ours, as far as something came; None
        #: as long as nobody wants to go back there.
        self.begun_at: dict[TopicPartition, int] | None = None
        #: What was done beyond the committed offsets when partitions came, or came back.
        self.beyond: dict[TopicPartition, Beyond] = {}

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        """What is open."""
        return frozenset(self._open)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that have a reader."""
        return frozenset(self._readers)

    @property
    def names(self) -> frozenset[str]:
        """The topics that some reader asks for by name."""
        return frozenset().union(*(reader.topics for reader in self.readers()))

    @property
    def patterns(self) -> tuple[NamePattern, ...]:
        """The patterns that readers ask for, each once."""
        return tuple(dict.fromkeys(r.pattern for r in self._by_pattern if r.pattern is not None))

    def wants(self, topic: str) -> bool:
        """Say whether some reader reads a topic, or would if there were one of that name."""
        return topic in self._readers or any(r.wants(topic) for r in self._by_pattern)

    def readers_of(self, topic: str) -> Sequence[Reader]:
        """Return those that read a topic."""
        return self._readers.get(topic, ())

    def readers(self) -> set[Reader]:
        by_name = {reader for readers in self._readers.values() for reader in readers}
        return by_name.union(self._by_pattern)

    def tracks(self, ledger: Any) -> bool:
        """Say whether a ledger is one whose acknowledgements are committed."""
        return any(reader.tracked and reader.owns(ledger) for reader in self.readers())

    def add_reader(self, reader: Reader) -> None:
        """Let a reader have every open partition of its topics, from the next batch on."""
        reader.on_take = self._on_take
        reader.new_ledger = self.new_ledger
        reader.on_done = self.on_done
        for topic in reader.topics:
            self._readers.setdefault(topic, []).append(reader)
        if reader.pattern is not None:
            self._by_pattern.append(reader)
            for topic in {tp.topic for tp in self._open}:
                self._match(topic)
        for tp in self._open:
            if reader.wants(tp.topic):
                # Its first batch comes after those the others have: until then it
                # is done with everything, and must not hold back their commits.
                reader.open(tp).ledger.reach(self._fetched.get(tp, -1))
        self._on_take(0)

    def remove_reader(self, reader: Reader) -> None:
        """Wait no longer for a reader: it neither holds back commits nor the fetcher."""
        if reader in self._by_pattern:
            self._by_pattern.remove(reader)
        for topic, readers in list(self._readers.items()):
            if reader in readers:
                readers.remove(reader)
            if not readers:
                del self._readers[topic]
        for tp in reader.partitions:
            reader.drop(tp)
        self._on_take(0)

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin to read partitions."""
        for tp in partitions:
            if tp in self._open:
                continue
            self._stopped.discard(tp)
            self._open.add(tp)
            if self._by_pattern:
                self._match(tp.topic)
            beyond = self.beyond.get(tp)
            for reader in self._readers.get(tp.topic, ()):
                inbox = reader.open(tp)
                if beyond is not None:
                    inbox.done = beyond.of(reader.name)
            self.put(tp, self._early.pop(tp, ()))
        self._on_take(0)

    def _match(self, topic: str) -> None:
        """Let the readers whose pattern fits a topic be readers of it."""
        readers = self._readers.get(topic, [])
        readers += [r for r in self._by_pattern if r.wants(topic) and r not in readers]
        if readers:
            self._readers[topic] = readers

    def stop(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out nothing more of these; what is in hand may still be acknowledged."""
        for tp in partitions:
            if tp in self._open:
                self._open.discard(tp)
                self._stopped.add(tp)
                for reader in self._readers.get(tp.topic, ()):
                    reader.stop(tp)

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions: from here on their acknowledgements go nowhere."""
        for tp in partitions:
            self._open.discard(tp)
            self._stopped.discard(tp)
            self._fetched.pop(tp, None)
            self._early.pop(tp, None)
            for reader in self._readers.get(tp.topic, ()):
                reader.drop(tp)

    def put(self, tp: TopicPartition, batches: Sequence[BatchOfMessages]) -> None:
        """Give every reader of a partition the batches just fetched from it."""
        if not batches:
            return
        if tp in self._stopped:
            return  # its next owner reads them
        if self.begun_at is not None and tp not in self.begun_at:
            first: Any = batches[0]
            self.begun_at[tp] = first.start_offset
        if tp not in self._open:
            # It was asked for when it was ours before, and is ours again, since of others
            # nothing comes. The position is past these: nobody would ever see them again.
            self._early.setdefault(tp, []).extend(batches)
            return
        self._fetched[tp] = batches[-1].next_offset
        readers = self._readers.get(tp.topic, ())
        shared = [SharedBatch(tp, batch, len(readers)) for batch in batches]
        for reader in readers:
            reader.put(tp, shared)

    def hungry(self) -> list[TopicPartition]:
        """Return the partitions that every reader has room for; none that has no reader."""
        wanted = []
        for tp in self._open:
            readers = self._readers.get(tp.topic)
            if readers and all(
                inbox.has_room for r in readers if (inbox := r.inbox(tp)) is not None
            ):
                wanted.append(tp)
        return wanted

    def full(self) -> list[TopicPartition]:
        """Return the partitions not fetched: a reader's inbox is full, or nobody reads them."""
        hungry = set(self.hungry())
        return [tp for tp in self._open if tp not in hungry]

    def reach(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note how far fetching got, so that control records at the end are passed.

        Only of open partitions: a stopped one has dropped what waited, and an empty
        inbox no longer means that everything fetched was handed out.
        """
        for tp, offset in positions.items():
            if tp not in self._open:
                continue
            for reader in self._readers.get(tp.topic, ()):
                inbox = reader.inbox(tp)
                if inbox is None or inbox.closed or len(inbox):
                    continue
                inbox.ledger.reach(offset)

    def committable(
        self, partitions: Collection[TopicPartition] | None = None
    ) -> dict[TopicPartition, int]:
        """Return, per partition, the offset below which every reader is done."""
        offsets = {}
        for tp in self._open | self._stopped if partitions is None else partitions:
            positions = [
                inbox.ledger.position
                for reader in self._readers.get(tp.topic, ())
                if reader.tracked and (inbox := reader.inbox(tp)) is not None
            ]
            if positions and min(positions) >= 0:
                offsets[tp] = min(positions)
        return offsets

    def done_by_some(self) -> dict[TopicPartition, int]:
        """Return what `committable` does, also where only some readers have begun.

        The others are where reading began, and what the first ones did is beyond that.
        """
        offsets = {}
        for tp in self._open | self._stopped:
            positions = [
                inbox.ledger.position
                for reader in self._readers.get(tp.topic, ())
                if reader.tracked and (inbox := reader.inbox(tp)) is not None
            ]
            if positions and max(positions) >= 0:
                floor = (self.begun_at or {}).get(tp, -1)
                offsets[tp] = min(one if one >= 0 else floor for one in positions)
        return {tp: offset for tp, offset in offsets.items() if offset >= 0}

    def told_with(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return what is to be written down with offsets that are committed; see `beyond`."""
        return {
            tp: encode(
                offset,
                {
                    reader.name: done_beyond(inbox.ledger, list(inbox.done), offset)
                    for reader in self._readers.get(tp.topic, ())
                    if reader.tracked and (inbox := reader.inbox(tp)) is not None
                },
            )
            for tp, offset in offsets.items()
        }

    def outstanding(self, partitions: Collection[TopicPartition] | None = None) -> int:
        """Return how many events were handed out and are not acknowledged."""
        return sum(
            inbox.ledger.outstanding
            for reader in self.readers()
            for tp in reader.partitions
            if (partitions is None or tp in partitions) and (inbox := reader.inbox(tp)) is not None
        )

    def waiting(self) -> int:
        """Return how many messages were fetched and wait for some reader."""
        return max(
            (
                sum(inbox.count for tp in r.partitions if (inbox := r.inbox(tp)) is not None)
                for r in self.readers()
            ),
            default=0,
        )

    async def drained(
        self, partitions: Collection[TopicPartition] | None, timeout_s: float
    ) -> bool:
        """Wait until nothing is in hand; False if that took longer than timeout_s.

        When it takes long, on_slow_drain may give up what waits for what may never come.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        slow_at = loop.time() + SLOW_DRAIN_S
        pause_s = 0.001
        while self.outstanding(partitions):
            if loop.time() >= deadline:
                return False
            if self._on_slow_drain is not None and loop.time() >= slow_at:
                slow_at += SLOW_DRAIN_S
                self._on_slow_drain(partitions)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)
        return True


def listing(partitions: Collection[TopicPartition]) -> str:
    """Name partitions as topic/0,1,2."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        by_topic.setdefault(topic, []).append(partition)
    return " ".join(f"{topic}/{','.join(map(str, ps))}" for topic, ps in by_topic.items())
