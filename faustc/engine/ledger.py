"""Acknowledgements of one partition by one reader: in any order in, one position out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

__all__ = ["Ledger"]


class Ledger:
    """Knows up to where one reader is done with one partition.

    Offsets are kept as runs without gaps. `position` is the offset that may be
    committed: everything below it was acknowledged or never existed (compacted
    away, control records, aborted transactions). It never passes an offset that
    was handed out and not acknowledged.

    A ledger lives as long as its partition is ours; closed, it takes no more
    acknowledgements, so a late one cannot reach the next owner's commits.
    """

    __slots__ = (
        "_after",
        "_cut",
        "_early",
        "_kept",
        "_next",
        "_run_end",
        "_runs",
        "_top",
        "closed",
    )

    def __init__(self) -> None:
        self.closed = False
        self._next = -1  # the lowest offset not acknowledged yet
        self._run_end = -1  # one past the last offset of the run that _next is in
        self._after = -1  # where _next goes when that run is done and no other waits
        self._runs: deque[tuple[int, int, int]] = deque()  # (first, end, after) of later runs
        self._early: set[int] = set()  # acknowledged, above _next
        self._top = -1  # one past the highest offset handed out
        self._cut = -1  # where it was cut lowest; what is acknowledged from there on is
        self._kept: set[int] = set()  # done, though the position never gets there

    @property
    def position(self) -> int:
        """The offset that may be committed; -1 while nothing was handed out."""
        return self._next

    @property
    def outstanding(self) -> int:
        """How many offsets were handed out and are not acknowledged."""
        waiting = sum(end - first for first, end, _ in self._runs)
        return waiting + max(0, self._run_end - self._next) - len(self._early)

    @property
    def done_beyond(self) -> list[int]:
        """The offsets above the position that were acknowledged, rising."""
        return sorted(self._early | self._kept)

    def hand_out(self, offsets: Sequence[int], next_offset: int) -> None:
        """Note that a reader was given these rising offsets of one batch.

        next_offset is where the batch ends in the log: the position once all of
        them are acknowledged. An empty batch (every record compacted away) only
        moves that.
        """
        if not offsets:
            self.reach(next_offset)
            return
        first, last = offsets[0], offsets[-1]
        if first < self._top:
            raise ValueError(f"offset {first} handed out again, already at {self._top}")
        if last - first + 1 == len(offsets):
            self._add_run(first, last + 1, next_offset)
        else:
            begin = previous = first
            for offset in offsets[1:]:
                if offset != previous + 1:
                    self._add_run(begin, previous + 1, previous + 1)
                    begin = offset
                previous = offset
            self._add_run(begin, previous + 1, next_offset)

    def _add_run(self, first: int, end: int, after: int) -> None:
        self._top = end
        if self._next >= self._run_end and not self._runs:
            self._next, self._run_end, self._after = first, end, after
        else:
            self._runs.append((first, end, after))

    def note(self, messages: Sequence[Any]) -> None:
        """Be told which messages those are; a ledger that tells sensors remembers them."""

    def begin(self, stream: Any, offset: int, event: Any) -> None:
        """Be told that a stream begins with one of them."""

    def reach(self, offset: int) -> None:
        """Note that nothing more is to be handed out below this offset.

        The log may end in control records: nobody acknowledges those, so the
        position has to be told to pass them.
        """
        if self._runs:
            first, end, after = self._runs[-1]
            self._runs[-1] = (first, end, max(after, offset))
        elif self._next < self._run_end:
            self._after = max(self._after, offset)
        else:
            self._next = self._run_end = max(self._next, offset)

    def ack(self, offset: int) -> bool:
        """Take one acknowledgement; False if it changes nothing (late, repeated, unknown)."""
        if self.closed:
            return False
        if offset == self._next:
            if offset >= self._run_end:
                return False  # handed out is everything below
            self._next = offset + 1
            if self._early or offset + 1 == self._run_end:
                self._settle()
            return True
        if offset >= self._top >= 0 and 0 <= self._cut <= offset:
            self._kept.add(offset)
        if offset < self._next or offset >= self._top or offset in self._early:
            return False
        self._early.add(offset)
        return True

    def _settle(self) -> None:
        """Pass what was acknowledged early, and the gaps between runs."""
        early = self._early
        while True:
            while self._next < self._run_end and self._next in early:
                early.remove(self._next)
                self._next += 1
            if self._next < self._run_end:
                return
            if not self._runs:
                self._next = self._run_end = max(self._after, self._next)
                early.clear()  # whatever is left was never handed out
                return
            self._next, self._run_end, self._after = self._runs.popleft()

    def cut(self, offset: int) -> None:
        """Take back what was handed out from this offset on: nobody has looked at it yet."""
        while self._runs and self._runs[-1][1] > offset:
            first, _, _ = self._runs.pop()
            if first < offset:
                self._runs.append((first, offset, offset))
        if not self._runs and self._run_end > offset:
            self._run_end = self._after = max(self._next, offset)
        elif self._runs:
            first, end, _ = self._runs[-1]
            self._runs[-1] = (first, end, end)
        self._top = min(self._top, offset)
        self._cut = offset if self._cut < 0 else min(self._cut, offset)
        self._kept |= {early for early in self._early if early >= offset}
        self._early = {early for early in self._early if early < offset}

    def close(self) -> None:
        """Refuse every acknowledgement from now on."""
        self.closed = True
