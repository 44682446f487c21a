"""Changelogs on their way into shards: to a mark, which is recovery, or for ever.

Raw batches go from the fetcher into the store; no message object, no event. A shard is caught
up once the *position* has reached the end that the log had when following began, not when a
record with some offset has come: the last ones may be control records, or compacted away.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from faustc.clock import monotonic
from faustc.engine.nursery import Nursery
from faustc.engine.progress import under_way
from faustc.engine.shard import Shard
from faustc.types import TopicPartition

__all__ = ["Follower", "Following"]

logger = logging.getLogger(__name__)

# So much of the changelogs is taken at once: what is done with it holds the loop.
SLICE_BYTES = 1 << 19
POLL_MS = 250
PROGRESS_S = 5.0
TERMINAL_PROGRESS_S = 1.0  # where somebody watches


class Following:
    """One shard that is being followed.

    `end` is where its changelog ended when this began, `caught_up` is set once it is there.
    """

    __slots__ = ("begun_at", "caught_up", "end", "records", "shard", "start", "stays")

    def __init__(self, shard: Shard, start: int, end: int, stays: bool) -> None:
        self.shard = shard
        self.start = start
        self.end = end
        self.stays = stays  # whether it is followed on after it has caught up
        self.records = 0
        self.begun_at = monotonic()
        self.caught_up = asyncio.Event()


class Follower:
    """Reads changelogs by a consumer that is in no group."""

    def __init__(
        self,
        open_consumer: Callable[[], Awaitable[Any]],
        nursery: Nursery,
    ) -> None:
        self._open_consumer = open_consumer
        self._nursery = nursery
        self._consumer: Any = None
        self._lock = asyncio.Lock()
        self._followed: dict[TopicPartition, Following] = {}
        self._wakeup = asyncio.Event()
        # The one of the process: a worker has what is printed logged.
        self._watched = sys.__stderr__ is not None and sys.__stderr__.isatty()

    async def follow(self, shards: Iterable[Shard], *, stays: bool) -> list[Following]:
        """Begin to fill shards from where their stores are; one that is followed already goes on.

        Without `stays` a shard is let go of once it has caught up; one that is closed meanwhile
        is left out. A store that is ahead of its changelog, or that the changelog has left
        behind, is emptied, and filled anew.
        """
        async with self._lock:
            known = {s.tp: f for s in shards if (f := self._followed.get(s.tp)) is not None}
            new = {shard.tp: shard for shard in shards if shard.tp not in known}
            consumer = await self._running()
            first = await consumer.beginning_offsets(new)
            ends = await consumer.high_watermarks([*new, *known])
            for tp, following in known.items():
                if following.shard.closed:
                    continue
                # Counted from now: whoever asks wants what is there now.
                following.end = max(following.end, ends[tp])
                following.stays = stays
                following.caught_up.clear()
            # Some may have been closed while we asked.
            new = {tp: shard for tp, shard in new.items() if not shard.closed}
            for tp, shard in new.items():
                start = _start_of(shard, first[tp], ends[tp], consumer.topic_id(tp.topic))
                self._followed[tp] = Following(shard, start, ends[tp], stays)
            consumer.assign(self._followed)
            for tp in new:
                consumer.seek(tp, self._followed[tp].start)
            found = [self._followed[shard.tp] for shard in shards if shard.tp in self._followed]
            self._look()
            self._wakeup.set()
            return found

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Follow these no more; whoever waits for one of them is woken up."""
        gone = [one for tp in partitions if (one := self._followed.pop(tp, None)) is not None]
        for following in gone:
            following.caught_up.set()
        if gone and self._consumer is not None:
            self._consumer.assign(self._followed)

    def position(self, tp: TopicPartition) -> int | None:
        """Return how far a changelog was read; None if it is not followed."""
        if tp not in self._followed or self._consumer is None:
            return None
        known: int | None = self._consumer.known_position(tp)
        return known

    async def stop(self) -> None:
        """Disconnect; the task that reads is the nursery's."""
        self._followed.clear()
        if self._consumer is not None:
            await self._consumer.stop()

    async def _running(self) -> Any:
        if self._consumer is None:
            self._consumer = await self._open_consumer()
            self._nursery.spawn(self._run(), "changelogs", vital=True)
        return self._consumer

    async def _run(self) -> None:
        consumer = self._consumer
        progress_s = TERMINAL_PROGRESS_S if self._watched else PROGRESS_S
        progress_at = monotonic() + progress_s
        while True:
            if not self._followed:
                self._wakeup.clear()
                await self._wakeup.wait()
                progress_at = monotonic() + progress_s
            fetched = await consumer.getbatches(timeout_ms=POLL_MS, max_bytes=SLICE_BYTES)
            for tp, batches in fetched.items():
                following = self._followed.get(tp)
                if following is not None:
                    self._empty_if_made_again(following.shard)
                    following.records += following.shard.load(batches)
                    if following.shard.listener is not None:
                        await following.shard.listener(batches)
            self._look()
            if monotonic() >= progress_at:
                progress_at = monotonic() + progress_s
                self._tell_progress()
            await asyncio.sleep(0)

    def _empty_if_made_again(self, shard: Shard) -> None:
        """Forget what a shard has of a changelog that was deleted while it was followed."""
        store, topic_id = shard.store, self._consumer.topic_id(shard.tp.topic)
        if store.may_be_of(topic_id):
            return
        logger.warning(
            "The changelog of %s/%d was deleted, and created again: its table begins anew",
            *shard.tp,
        )
        shard.clear()
        store.topic_id = topic_id

    def _tell_progress(self) -> None:
        """Write a line for each changelog that is not read to its end."""
        by_topic: dict[str, list[Following]] = {}
        for following in self._followed.values():
            if not following.caught_up.is_set():
                by_topic.setdefault(following.shard.tp.topic, []).append(following)
        for topic, behind in sorted(by_topic.items()):
            positions = [self.position(f.shard.tp) or f.start for f in behind]
            logger.info("%s", under_way(topic, behind, positions, bar=self._watched))

    def _look(self) -> None:
        """Note which shards have caught up."""
        done = []
        for tp, following in self._followed.items():
            if following.caught_up.is_set():
                continue
            position = self._consumer.known_position(tp)
            if position is None or position < following.end:
                continue
            following.shard.reached(position)
            following.caught_up.set()
            if not following.stays:
                done.append(tp)
        if done:
            self.forget(done)


def _start_of(shard: Shard, first: int, end: int, topic_id: str | None) -> int:
    """Return where to begin with a changelog that goes from first to end; empty what is not its."""
    store = shard.store
    position = store.position
    why = None
    if position is not None and not store.may_be_of(topic_id):
        why = "is of a changelog that was deleted, and created again"
    elif position is not None and position > end:
        why = f"is ahead of its changelog, which ends at {end}"
    elif position is not None and position < first:
        why = f"was left behind by its changelog, which begins at {first} now"
    elif position is not None and position < end and shard.is_too_old:
        why = (
            f"was away for longer than its changelog keeps deletions ({shard.deletions_kept_s:g} "
            "s, delete.retention.ms), so keys in it may be deleted by now"
        )
    if why is not None:
        logger.warning(
            "The store of %s/%d (offset %d) %s: it is filled anew", *shard.tp, position, why
        )
        shard.clear()
        position = None
    if topic_id is not None:
        store.topic_id = topic_id
    return first if position is None else position
