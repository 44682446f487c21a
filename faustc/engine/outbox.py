"""Sends that were asked for without awaiting, from any thread, in their order."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from faustc.engine.nursery import Nursery
from faustc.exceptions import DeliveryFailed, FaustError

__all__ = ["Outbox"]

Send = Callable[[], Awaitable[Any]]


class Outbox:
    """Carries out sends one after the other, on the loop of its engine.

    A flush has to wait for it first: what is in here is not in the producer
    yet. Each entry has a future, set to what the send returned. If a send fails
    and nobody looks at its future, the next `drain` raises.
    """

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._waiting: deque[tuple[concurrent.futures.Future[Any], Send]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._failures: list[tuple[concurrent.futures.Future[Any], Exception]] = []

    def put(self, future: concurrent.futures.Future[Any], send: Send) -> None:
        """Add a send; called on the engine's loop."""
        self._waiting.append((future, send))
        if self._idle.is_set():
            self._idle.clear()
            self._task = self._nursery.spawn(self._run(), "outbox")

    async def _run(self) -> None:
        try:
            while self._waiting:
                future, send = self._waiting[0]
                try:
                    future.set_result(await send())
                except (FaustError, TypeError, ValueError) as exc:
                    future.set_exception(exc)
                    self._failures.append((future, exc))
                self._waiting.popleft()
        finally:
            self._idle.set()

    async def drain(self) -> None:
        """Wait until all that was put before is sent; raise DeliveryFailed for what was not."""
        await self._idle.wait()
        failures, self._failures = self._failures, []
        for future, error in failures:
            if not getattr(future, "looked_at", False):
                raise DeliveryFailed(f"a message was not sent: {error}") from error
