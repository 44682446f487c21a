"""Session windows: which sessions each key has, and how an event makes one of several.

A session is stored by its key and range, as any window; since the range grows with the session,
its record moves: what was there before goes, and is there no more in the changelog either.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify
from typing import Any

from faustc.tables.expiry import Expiry, Turn
from faustc.tables.facets import MISSING, Facet
from faustc.windows import SessionWindow, WindowRange

__all__ = ["SessionExpiry", "places"]

# A heap of ends that has this many more than there are ends is made anew.
SPARE_ENDS = 1000


class SessionExpiry(Expiry):
    """The sessions of one shard by key, and by their end.

    The store is looked through once, when the shard is first used.
    """

    _window: SessionWindow

    def __init__(self, table: Any, facet: Facet, window: SessionWindow) -> None:
        super().__init__(table, facet, window)
        self._by_key: dict[bytes, list[WindowRange]] = {}

    def near(self, part: bytes, timestamp: float) -> list[WindowRange]:
        """Return the sessions of a key that an event of this time belongs to, in order."""
        self._look_now()
        gap = self._window.gap
        return sorted(
            one
            for one in self._by_key.get(part, ())
            if one[0] - gap <= timestamp <= one[1] + gap and one[1] > self._closed_to
        )

    def note(self, raw: bytes, key: Any) -> None:
        """Note that a key has a session."""
        super().note(raw, key)
        if len(self._heap) > 2 * len(self._ends) + SPARE_ENDS:
            self._heap[:] = self._ends
            heapify(self._heap)
        ranges = self._by_key.setdefault(self._table._part(key[0]), [])
        if key[1] not in ranges:
            ranges.append(key[1])

    def gone(self, raw: bytes, key: Any) -> None:
        """Note that a session is there no more: it grew, was closed, or deleted."""
        part, window_range = self._table._part(key[0]), key[1]
        ranges = self._by_key.get(part, [])
        if window_range in ranges:
            ranges.remove(window_range)
            if not ranges:
                del self._by_key[part]
        raws = self._ends.get(window_range[1])
        if raws is not None and raw in raws:
            raws.remove(raw)
            if not raws:
                del self._ends[window_range[1]]
            if self._counts is not None:
                self._counts[part] -= 1

    def _look_now(self) -> None:
        edition = self._facet.shard.edition
        if self._scanned and self._edition == edition:
            return
        self._edition, self._scanned = edition, True
        self._by_key, self._ends = {}, {}
        self._heap.clear()
        if self._counts is not None:
            self._counts.clear()
        for raw in self._table._raw_keys(self._facet):
            self._found(raw)

    async def _look(self, turn: Turn) -> None:
        self._look_now()


def places(table: Any, facet: Facet, key: Any, timestamp: float) -> Iterator[Any]:
    """Return where an event's change goes, as `Windowed._places` does: to its session.

    The session is there by then, with what those had that it is made of.
    """
    expiry: SessionExpiry = facet.expiry
    window: SessionWindow = table.window
    part, coding = table._part(key), table.coding
    found = expiry.near(part, timestamp)
    late = expiry.is_over((timestamp, timestamp), timestamp)  # it also notes what time it is
    if late and not found:
        table._is_late()
        return
    window_range = (timestamp, timestamp)
    if found:
        window_range = min(timestamp, found[0][0]), max(timestamp, found[-1][1])
    raw = coding.windowed(part, key, window_range)
    if found and found != [window_range]:
        value = MISSING
        raws = [coding.windowed(part, key, one) for one in found]
        for old in raws:
            had = facet.get(old)
            if had is not MISSING:
                value = had if value is MISSING else window.merge(value, had)
        for one, old in zip(found, raws, strict=True):
            facet.drop(old)
            expiry.gone(old, (key, one))
        if value is not MISSING:
            table._put(facet, raw, (key, window_range), value)
    yield facet, raw, window_range
