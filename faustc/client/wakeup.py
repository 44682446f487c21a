"""A flag that one task waits for."""

from __future__ import annotations

import asyncio


class Wakeup:
    """A flag that one task at a time waits for; waiting clears it.

    asyncio.Event with wait_for makes a task per wait; this makes a future and a timer.
    """

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the task that waits, or let the next wait return at once."""
        self._set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Forget what was set before now."""
        self._set = False

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the flag is set, at most timeout_s; clear it, and say whether it was."""
        if not self._set and timeout_s > 0:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, _expire, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        was_set, self._set = self._set, False
        return was_set


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
