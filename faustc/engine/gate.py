"""Where streams wait, between two events, while a transaction is being ended.

What an event does goes into the transaction as it is done, so that must not end in the
middle of one. Closing the gate lets every body come to the end of the event that it has in
hand, and begins no other. Streams look at it where they give the loop its turn, so it costs
nothing per message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol
from weakref import WeakSet

from faustc.clock import monotonic

__all__ = ["Gate"]

PAUSE_MIN_S = 0.0005
PAUSE_MAX_S = 0.02


class Stream(Protocol):
    """What has events in hand."""

    @property
    def undone(self) -> bool:
        """Whether an event of ours is in hand."""


class Gate:
    """Open most of the time. waiting says whether something else is to be let through first."""

    def __init__(self, waiting: Callable[[], bool] = lambda: False) -> None:
        self.closed = False
        self._waiting = waiting
        self._opened = asyncio.Event()
        self._streams: WeakSet[Stream] = WeakSet()
        self._working = 0

    def add(self, stream: Stream) -> None:
        """Wait for what a stream has in hand."""
        self._streams.add(stream)

    async def passed(self) -> None:
        """Wait until it is open."""
        while self.closed:
            await self._opened.wait()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Do something outside of events that has to be whole."""
        await self.passed()
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def close(self) -> None:
        """Let nothing more begin."""
        self.closed = True
        self._opened.clear()

    def open(self) -> None:
        """Let everybody go on."""
        self.closed = False
        self._opened.set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in hand."""
        if self._working or self._waiting():
            return False
        return not any(stream.undone for stream in self._streams)

    async def quiet(self, timeout_s: float, ends: Callable[[], bool] = lambda: False) -> bool:
        """Wait, once it is closed, until nothing is in hand; False if that takes too long.

        Or if `ends` says that there is nothing to wait for.
        """
        until = monotonic() + timeout_s
        pause_s = PAUSE_MIN_S
        await asyncio.sleep(0)
        while not self.is_quiet:
            if ends() or monotonic() >= until:
                return False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return True
