"""The producer's buffer memory: a bounded number of bytes, and those who wait for some."""

from __future__ import annotations

import asyncio
from collections import deque

from faustc.exceptions import KafkaTimeout


class BufferMemory:
    """A budget in bytes. Nobody overtakes who has waited longer.

    It counts what batches may grow to while they are open, and what they are
    once sealed, until the brokers have them.
    """

    __slots__ = ("_waiting", "capacity", "free")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def contended(self) -> bool:
        """Whether somebody waits for memory."""
        return bool(self._waiting)

    def take(self, size: int) -> bool:
        """Take size bytes if they are free and nobody waits."""
        if self._waiting or size > self.free:
            return False
        self.free -= size
        return True

    def give(self, size: int) -> None:
        """Give size bytes back; whoever waits longest is served first."""
        self.free += size
        while self._waiting:
            size, waiter = self._waiting[0]
            if waiter.done():
                self._waiting.popleft()
            elif size <= self.free:
                self._waiting.popleft()
                self.free -= size
                waiter.set_result(None)
            else:
                break

    async def wait(self, size: int, timeout_s: float) -> None:
        """Take size bytes, waiting for them; raises KafkaTimeout after timeout_s."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, waiter))
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except BaseException as exc:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give(size)  # granted in the moment it was no longer wanted
            else:
                waiter.cancel()
                self.give(0)
            if isinstance(exc, TimeoutError):
                raise KafkaTimeout(
                    f"no room for {size} bytes within {timeout_s:g} s: {self.capacity - self.free} "
                    f"of {self.capacity} bytes of buffer_memory wait for brokers"
                ) from exc
            raise

    def abort(self, error: Exception) -> None:
        """Fail everybody who waits."""
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
