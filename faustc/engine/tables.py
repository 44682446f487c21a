"""The tables of an app as the engine has them: shards that come, are filled, commit and go.

A table with n partitions follows the topics with n partitions: whoever has partition p of
those has partition p of the table. Its events are held back until the tables that they may
touch are whole; partitions do not wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

from faustc.engine.declare import TopicSpec
from faustc.engine.follower import Follower, Following
from faustc.engine.nursery import Nursery
from faustc.engine.progress import filled
from faustc.engine.shard import DEFAULT_DELETIONS_KEPT_S, Shard
from faustc.exceptions import ConnectionLost, ImproperlyConfigured, KafkaTimeout
from faustc.stores.base import Store
from faustc.types import TopicPartition

__all__ = ["Kept", "Tables", "Unit"]

logger = logging.getLogger(__name__)


class Kept(Protocol):
    """A table, as the engine knows it."""

    name: str
    is_global: bool
    #: None: as many as the topics have that it goes with. The engine fills it in.
    partitions: int | None
    #: What user code sees: the shards that are whole, by partition. The engine keeps it.
    shards: MutableMapping[int, Shard]

    def changelog_spec(self, partitions: int) -> TopicSpec:
        """Return how the changelog is to be created, if it is missing."""

    def open_store(self, tp: TopicPartition) -> Store:
        """Make the store of a partition of the changelog."""

    def stored_position(self, tp: TopicPartition) -> int | None:
        """Return how far a store is that an earlier life left here; None if there is none."""

    def on_shard_opened(self, shard: Shard) -> None:
        """A shard is whole, and user code sees it from now on."""

    def on_shard_closed(self, shard: Shard) -> None:
        """A shard is ours no more."""

    async def on_recovered(self) -> None:
        """All shards of an assignment are whole."""

    def changelog_listener(self) -> Callable[[Sequence[Any]], Awaitable[None]] | None:
        """Return what is told of each batch that changelogs bring, None if nobody is."""


class Unit(NamedTuple):
    """What is whole only together: partition `number` of all that has `size` partitions."""

    size: int
    number: int


class _Part:
    """One unit of ours: the partitions of topics in it, and whether its tables are whole."""

    def __init__(self) -> None:
        self.sources: set[TopicPartition] = set()
        self.shards: list[tuple[Kept, Shard]] = []
        self.whole = False


class Tables:
    """Keeps the shards of all tables of an app.

    producer is awaited for what sends changes: the promises of its `send_many` have a result once
    it is flushed. let_in opens the inboxes of partitions whose tables are whole.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        nursery: Nursery,
        producer: Callable[[], Awaitable[Any]],
        declare: Callable[[Iterable[TopicSpec]], Awaitable[None]],
        partition_count: Callable[[str], Awaitable[int]],
        let_in: Callable[[Collection[TopicPartition]], None],
        on_full: Callable[[], None],
        delay_s: float = 0.0,
    ) -> None:
        self._delay_s = delay_s
        self.tables: list[Kept] = []
        self.recovering = 0  # units that are being filled
        self._follower = follower
        self._nursery = nursery
        self._producer = producer
        self._declare = declare
        self._partition_count = partition_count
        self._let_in = let_in
        self._on_full = on_full
        self._counts: dict[str, int] = {}
        self._parts: dict[Unit, _Part] = {}
        self._followed: list[tuple[Kept, Shard]] = []  # of global tables
        self._standbys: dict[Unit, list[tuple[Kept, Shard]]] = {}
        self._keeps_standbys = False
        self._stopped = False
        self._taken: list[tuple[Shard, dict[bytes, bytes | None]]] = []
        self._in_flight: list[tuple[Shard, dict[bytes, bytes | None], Any]] = []
        #: What is on disk of units that are not open: the sum of all positions.
        self._left: dict[Unit, int] = {}

    # -- starting ----------------------------------------------------------------------

    async def start(
        self,
        tables: Iterable[Kept],
        topics: Collection[str],
        default: int,
        *,
        keeps_standbys: bool = False,
    ) -> None:
        """Take the tables of an app that reads these topics; create the changelogs that lack.

        Global tables are filled before this returns. default is for tables that go with no topic.
        With keeps_standbys what is revoked is kept up to date until `stand_by` says of what.
        """
        self.tables = list(tables)
        self._keeps_standbys = keeps_standbys
        if not self.tables:
            return
        for topic in sorted(topics):
            await self._count(topic)
        for table in self.tables:
            if table.partitions is None:
                table.partitions = self._settle(table, default)
        specs = {table.name: table.changelog_spec(table.partitions or 1) for table in self.tables}
        await self._declare(specs.values())
        for table in self.tables:
            there = await self._partition_count(specs[table.name].name)
            if there and there != table.partitions:
                if not table.is_global and self._counts and there not in self._counts.values():
                    raise ImproperlyConfigured(
                        f"table {table.name}: its changelog {specs[table.name].name} has {there} "
                        f"partitions, the topics that it goes with {table.partitions}: they must "
                        f"have as many; make one of them anew"
                    )
                table.partitions = there
        await self._look_at_disk()
        await self._start_global()

    async def _look_at_disk(self) -> None:
        """Find out what an earlier life left of tables that are shared out."""
        for table in self.tables:
            if table.is_global:
                continue
            size = table.partitions or 1
            topic = table.changelog_spec(size).name
            for number in range(size):
                position = table.stored_position(TopicPartition(topic, number))
                if position is not None:
                    unit = Unit(size, number)
                    self._left[unit] = self._left.get(unit, 0) + position
                    await asyncio.sleep(0)  # opening one took a while

    async def _start_global(self) -> None:
        """Follow every partition of every global table, from now until the end."""
        for table in self.tables:
            if table.is_global:
                for number in range(table.partitions or 1):
                    self._followed.append((table, self._open(table, number, followed=True)))
        if self._followed:
            await self._fill([shard for _, shard in self._followed], stays=True)
            for table, shard in self._followed:
                self._show(table, shard)
            for table in {id(table): table for table, _ in self._followed}.values():
                await table.on_recovered()

    def _settle(self, table: Kept, default: int) -> int:
        """Return how many partitions a table has that says nothing of it: as its topics."""
        counts = Counter(self._counts.values())
        if table.is_global or not counts:
            return default
        if len(counts) == 1 or default not in counts:
            return max(counts)
        return default

    async def _count(self, topic: str) -> int:
        count = self._counts.get(topic)
        if count is None:
            count = self._counts[topic] = await self._partition_count(topic)
        return count

    def count_of(self, topic: str) -> int | None:
        """Return how many partitions a topic had when it was first looked at."""
        return self._counts.get(topic)

    # -- an assignment -----------------------------------------------------------------

    async def assigned(self, partitions: Collection[TopicPartition]) -> frozenset[TopicPartition]:
        """Begin to fill what belongs to these; return those that may be read at once."""
        local = [table for table in self.tables if not table.is_global]
        if not local:
            return frozenset(partitions)
        counts = {table.partitions for table in local}
        at_once = set()
        begun = []
        for tp in sorted(partitions):
            count = await self._count(tp.topic)
            if tp.partition >= count:  # partitions were added
                self._counts.pop(tp.topic)
                count = await self._count(tp.topic)
            if count not in counts:
                at_once.add(tp)
                continue
            unit = Unit(count, tp.partition)
            part = self._parts.get(unit)
            if part is None:
                part = self._parts[unit] = _Part()
                begun.append(unit)
            part.sources.add(tp)
            if part.whole:
                at_once.add(tp)
        if begun:
            self.recovering += len(begun)
            self._nursery.spawn(self._recover(begun), "recovery")
        return frozenset(at_once)

    async def _recover(self, units: Collection[Unit]) -> None:
        """Fill the tables of these units, and let their events in, each as soon as it is whole."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        followings: list[Following] = []
        concerned: list[Kept] = []
        parts = [(unit, part) for unit in units if (part := self._parts.get(unit)) is not None]
        try:
            for unit, part in parts:
                if not part.shards:
                    part.shards = (
                        self._standbys.pop(unit) if unit in self._standbys else self._open_all(unit)
                    )
                concerned += [table for table, _ in part.shards if table not in concerned]
            shards = [shard for _, part in parts for _, shard in part.shards]
            followings = await self._begin(shards, stays=False)
            by_shard = {following.shard.tp: following for following in followings}
            for unit, part in parts:
                for _, shard in part.shards:
                    if not shard.closed:
                        await by_shard[shard.tp].caught_up.wait()
                if self._parts.get(unit) is not part:
                    continue  # revoked meanwhile
                part.whole = True
                for table, shard in part.shards:
                    self._show(table, shard)
                self._let_in(part.sources)
        finally:
            self.recovering -= len(units)
        logger.info("%s", filled(followings))
        for table in concerned:
            await table.on_recovered()

    async def _begin(self, shards: Collection[Shard], *, stays: bool) -> list[Following]:
        """Begin to fill shards, however long the brokers are away."""
        while True:
            try:
                return await self._follower.follow(
                    [shard for shard in shards if not shard.closed], stays=stays
                )
            except (KafkaTimeout, ConnectionLost) as exc:
                logger.warning("Changelogs cannot be read yet, trying again: %s", exc)

    async def _fill(self, shards: Collection[Shard], *, stays: bool) -> None:
        for following in await self._begin(shards, stays=stays):
            await following.caught_up.wait()

    def _open_all(self, unit: Unit) -> list[tuple[Kept, Shard]]:
        return [
            (table, self._open(table, unit.number))
            for table in self.tables
            if not table.is_global and table.partitions == unit.size
        ]

    def _open(self, table: Kept, number: int, *, followed: bool = False) -> Shard:
        spec = table.changelog_spec(table.partitions or 1)
        tp = TopicPartition(spec.name, number)
        shard = Shard(
            tp,
            table.open_store(tp),
            on_full=self._on_full,
            followed=followed,
            deletions_kept_s=_deletions_kept_s(spec),
        )
        shard.listener = table.changelog_listener()
        return shard

    def _show(self, table: Kept, shard: Shard) -> None:
        table.shards[shard.partition] = shard
        table.on_shard_opened(shard)

    def revoked(self, partitions: Collection[TopicPartition], *, stay: bool = True) -> None:
        """Close what belongs to these and to nothing else of ours; call it after their commit.

        stay: it may be kept up to date as a standby.
        """
        for unit, part in list(self._parts.items()):
            part.sources.difference_update(partitions)
            if not part.sources:
                del self._parts[unit]
                if stay and self._keeps_standbys and part.whole and not self._stopped:
                    self._demote(unit, part.shards)
                else:
                    self._leave(unit, part.shards)

    def undo(self) -> frozenset[TopicPartition]:
        """Forget what no changelog has for good, and read again what they have.

        Return the partitions whose events have to wait until tables are whole: they are let in
        then.
        """
        again = [(unit, part) for unit, part in self._parts.items() if part.whole]
        for _, part in again:
            part.whole = False
            for table, shard in part.shards:
                self._hide(table, shard)
                shard.abort()
        for _, shard in self._followed:
            shard.abort()
        self._taken, self._in_flight = [], []
        if again:
            self.recovering += len(again)
            self._nursery.spawn(self._recover([unit for unit, _ in again]), "recovery")
        parts = self._parts.values()
        return frozenset(tp for part in parts if not part.whole for tp in part.sources)

    # -- standbys ----------------------------------------------------------------------

    def stand_by(self, units: Collection[Unit]) -> None:
        """Keep the tables of exactly these up to date, beside those that are ours."""
        for unit in self._standbys.keys() - set(units) - self._parts.keys():
            self._leave(unit, self._standbys.pop(unit))
        new = [unit for unit in units if unit not in self._standbys and unit not in self._parts]
        for unit in new:
            self._standbys[unit] = self._open_all(unit)
        self._follow(new)

    def held(self) -> dict[TopicPartition, int]:
        """Return how far we are in the changelogs of each unit: the sum of all positions.

        What is on disk counts, too. Units are named by a topic that they go with.
        """
        topics = {count: topic for topic, count in self._counts.items()}
        held = dict(self._left)
        for unit, part in self._parts.items():
            held[unit] = _positions(part.shards)
        for unit, shards in self._standbys.items():
            held[unit] = _positions(shards)
        return {
            TopicPartition(topics[unit.size], unit.number): position
            for unit, position in held.items()
            if unit.size in topics
        }

    @property
    def sizes(self) -> frozenset[int]:
        """How many partitions tables have that go with topics."""
        return frozenset(t.partitions or 0 for t in self.tables if not t.is_global)

    @property
    def standing_by(self) -> frozenset[Unit]:
        """What is kept up to date for others."""
        return frozenset(self._standbys)

    def _demote(self, unit: Unit, shards: list[tuple[Kept, Shard]]) -> None:
        for table, shard in shards:
            self._hide(table, shard)
            shard.abort()
        self._standbys[unit] = shards
        self._follow([unit])

    def _follow(self, units: Collection[Unit]) -> None:
        shards = [shard for unit in units for _, shard in self._standbys[unit]]
        if shards:
            self._nursery.spawn(self._begin(shards, stays=True), "standbys")

    def _hide(self, table: Kept, shard: Shard) -> None:
        if table.shards.get(shard.partition) is shard:
            del table.shards[shard.partition]
            table.on_shard_closed(shard)

    def _leave(self, unit: Unit, shards: Collection[tuple[Kept, Shard]]) -> None:
        """Close what is ours no more; what stays on disk is remembered."""
        stay = [(table, shard) for table, shard in shards if shard.store.durable]
        if stay:
            self._left[unit] = _positions(stay)
        self._close(shards)

    def _close(self, shards: Collection[tuple[Kept, Shard]]) -> None:
        self._follower.forget(shard.tp for _, shard in shards)
        for table, shard in shards:
            self._hide(table, shard)
            shard.close()

    async def stop(self) -> None:
        """Close everything; what was not committed is gone."""
        self._stopped = True
        self.stand_by(())
        for part in self._parts.values():
            self._close(part.shards)
        self._parts.clear()
        self._close(self._followed)
        self._followed.clear()
        await self._follower.stop()

    # -- a commit ----------------------------------------------------------------------

    def _all(self) -> Iterable[Shard]:
        for part in self._parts.values():
            for _, shard in part.shards:
                yield shard
        for _, shard in self._followed:
            yield shard

    @property
    def pending(self) -> bool:
        """Whether some table has changes that its changelog does not have."""
        return any(shard.pending for shard in self._all())

    @property
    def overfull(self) -> bool:
        """Whether so much waits for a commit that nothing more should come in before it."""
        return any(shard.overfull for shard in self._all())

    def take(self) -> None:
        """Set aside what changed until now, for `send`: later changes are not in it."""
        self._taken = [(shard, shard.take_off()) for shard in self._all() if shard.pending]

    async def send(self) -> None:
        """Send what was taken to the changelogs; it is there once the producer has been flushed."""
        self._in_flight = []
        taken, self._taken = self._taken, []
        for shard, changes in taken:
            producer = await self._producer()
            if not shard.is_sending(changes):
                continue  # it went meanwhile
            promise = await producer.send_many(
                shard.tp.topic,
                list(changes.values()),
                keys=list(changes),
                partition=shard.partition,
            )
            self._in_flight.append((shard, changes, promise))

    def landed(self, *, alone: bool = False) -> None:
        """Write to the stores what was sent, now that the changelogs have it.

        alone: nobody else can have written to them meanwhile.
        """
        for shard, changes, promise in self._in_flight:
            runs = promise.result()
            if shard.is_sending(changes):
                end = runs[-1].offset + runs[-1].messages
                # With others in between it is as if it began behind a gap.
                whole = end - runs[0].offset == sum(run.messages for run in runs)
                shard.landed(end, None if alone else runs[0].offset if whole else end)
        self._in_flight = []


def _positions(shards: Iterable[tuple[Kept, Shard]]) -> int:
    return sum(shard.store.position or 0 for _, shard in shards if not shard.closed)


def _deletions_kept_s(spec: TopicSpec) -> float:
    """Return for how long a changelog keeps deletions, as far as its table says."""
    try:
        return float(spec.configs["delete.retention.ms"]) / 1000
    except (KeyError, ValueError):
        return DEFAULT_DELETIONS_KEPT_S
