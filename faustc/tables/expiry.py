"""Windows that are over: which there are in a shard, and when each closes.

What is known follows from the store, which is looked through once the shard is open, and
from what is written after that; so it is the same after a restart or a rebalance.

The time is that of the stream, partition by partition: the latest that was seen in it. While
nothing comes it goes on by the clock, so the last windows close as well. A stream that is
read again from long ago has the time that it had then, and nothing in it is late.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from heapq import heappop, heappush
from typing import Any

from faustc.clock import monotonic, now_ms
from faustc.exceptions import DecodeError
from faustc.tables.facets import MISSING, Facet
from faustc.windows import Window, WindowRange

__all__ = ["Expiry"]

logger = logging.getLogger(__name__)

# The loop gets its turn this often while many windows are looked at.
TURN_S = 0.005
# Where the time of the stream is no more than this behind the clock it is taken to be live.
LIVE_S = 120.0
LONG_AGO = float("-inf")


class Expiry:
    """The windows of one shard, by their end."""

    def __init__(self, table: Any, facet: Facet, window: Window) -> None:
        self._table = table
        self._facet = facet
        self._window = window
        self._ends: dict[float, set[bytes]] = {}
        self._heap: list[float] = []
        self._failed: list[bytes] = []  # whose on_window_close raised
        #: The latest time seen in the stream.
        self.latest = LONG_AGO
        #: What time it is in the stream.
        self.time = LONG_AGO
        self._closed_to = LONG_AGO  # windows that end here or before are closed
        self._not_after = now_ms() / 1000 + LIVE_S  # a time after this is looked at twice
        self._idle_from = LONG_AGO, 0.0  # latest, and since when it has been that
        self._scanned = False
        self._edition = facet.shard.edition
        # How many windows each key has, to know which key has none any more.
        self._counts: Counter[bytes] | None = None if table.key_index_table is None else Counter()

    # -- as events come ------------------------------------------------------------------

    def is_over(self, window_range: WindowRange, timestamp: float) -> bool:
        """Say whether a window is closed, or due to, as an event of this time comes for it."""
        end = window_range[1]
        if timestamp >= self.latest:
            self.latest = timestamp if timestamp <= self._not_after else self._sane(timestamp)
        elif self._window.stale(end, max(self.latest, self.time)):
            return True
        return end <= self._closed_to

    def _sane(self, timestamp: float) -> float:
        """Return a time that is not ahead of the clock: one event must not expire all others."""
        now = now_ms() / 1000
        self._not_after = now + LIVE_S
        return max(self.latest, min(timestamp, now))

    def note(self, raw: bytes, key: Any) -> None:
        """Note that a key has a value in a window."""
        end = key[1][1]
        known = self._ends.get(end)
        if known is None:
            known = self._ends[end] = set()
            heappush(self._heap, end)
        if raw not in known:
            known.add(raw)
            if self._counts is not None:
                self._counts[self._table._part(key[0])] += 1

    def gone(self, raw: bytes, key: Any) -> None:
        """Hear that a key has no value in a window any more; it is found out when that ends."""

    # -- as time goes by -----------------------------------------------------------------

    async def sweep(self, *, behind: bool) -> None:
        """Close what has expired. behind: there is more to read, so the clock says nothing."""
        if self._edition != self._facet.shard.edition:
            self._edition = self._facet.shard.edition
            self._scanned = False
        turn = Turn()
        await self._look(turn)
        self._go_on(behind)
        failed, self._failed = self._failed, []
        for raw in failed:
            await self._close(raw)
        while self._heap and self._window.stale(self._heap[0], self.time):
            end = self._heap[0]
            self._closed_to = max(self._closed_to, end)
            raws = self._ends.get(end)
            while raws:
                await self._close(raws.pop())
                await turn.over()
                if not self.here:
                    return
            if self._heap and self._heap[0] == end:
                heappop(self._heap)
            self._ends.pop(end, None)

    @property
    def here(self) -> bool:
        """Whether the shard is still this worker's."""
        partition = self._facet.shard.partition
        return self._table._by_partition.get(partition) is self._facet

    async def _look(self, turn: Turn) -> None:
        """Find the windows that the store has, once."""
        if self._scanned:
            return
        for raw in self._table._raw_keys(self._facet):
            self._found(raw)
            await turn.over()
            if not self.here:
                return
        self._scanned = True

    def _found(self, raw: bytes) -> None:
        """Note a window that the store has."""
        try:
            key = self._table.coding.decode_key(raw)
        except DecodeError as exc:
            logger.warning("Table %s: a key is left alone: %s", self._table.name, exc)
            return
        self.note(raw, key)
        # A window is there since an event came that is not before its beginning.
        self.latest = max(self.latest, key[1][0])

    def _go_on(self, behind: bool) -> None:
        """Find out what time it is."""
        now = now_ms() / 1000
        self._not_after = now + LIVE_S
        found = self.latest
        latest, since = self._idle_from
        if self.latest > latest or behind:
            self._idle_from = self.latest, monotonic()
        elif self.latest > LONG_AGO:
            found += monotonic() - since
        if not behind and 0 <= now - self.latest <= LIVE_S:
            found = now
        self.time = max(self.time, found)

    async def _close(self, raw: bytes) -> None:
        """Tell of one window, and delete it, unless what is told of it fails."""
        table, facet = self._table, self._facet
        value = table._value_of(facet, raw)
        if value is MISSING:
            self._forget(raw)
            return
        key = table.coding.decode_key(raw)
        try:
            await table.on_window_close(key, value)
        except Exception:
            logger.exception(
                "Table %s: on_window_close failed, and is called again: %r", table.name, key
            )
            self._failed.append(raw)
            return
        if self.here:
            table._drop(facet, raw, key)
            self._forget(raw)

    def _forget(self, raw: bytes) -> None:
        """Take the key out of the index if this was its last window."""
        if self._counts is None:
            return
        key = self._table.coding.decode_key(raw)[0]
        part = self._table._part(key)
        self._counts[part] -= 1
        if self._counts[part] <= 0:
            del self._counts[part]
            index = self._table.key_index_table
            place = index._known(self._facet.shard.partition)
            index_raw = index._raw(key)
            if place is not None and place.has(index_raw):
                index._delete(place, index_raw, key)


class Turn:
    """Gives the loop its turn, by the clock."""

    def __init__(self) -> None:
        self._until = monotonic() + TURN_S
        self._count = 0

    async def over(self) -> None:
        self._count += 1
        # Under a virtual time the clock stands still while we work, so it is counted, too.
        if monotonic() >= self._until or self._count >= 1000:
            await asyncio.sleep(0)
            self._until, self._count = monotonic() + TURN_S, 0
