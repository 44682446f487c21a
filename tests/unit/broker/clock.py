"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Call:
    """One callback to come."""

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Virtual time in seconds; callbacks run, in order, inside of `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Call]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Call:
        call = Call(callback, args)
        heapq.heappush(self._calls, (self.now + delay, next(self._order), call))
        return call

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, call = heapq.heappop(self._calls)
            if not call.cancelled:
                call.callback(*call.args)
        self.now = until

    @property
    def waiting(self) -> int:
        return sum(not call.cancelled for _, _, call in self._calls)
