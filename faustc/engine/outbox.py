"""Sends that were asked for without awaiting, from any thread, in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from faustc.engine.nursery import Nursery
from faustc.exceptions import DeliveryFailed, FaustError
from faustc.types import FutureMessage

__all__ = ["Outbox"]

Send = Callable[[], Awaitable[Any]]


class Outbox:
    """Carries out sends one after the other, on the loop of its engine.

    A flush has to wait for it first: what is in here is not in the producer
    yet. A send keeps its own promise. If it fails, that is noted in the promise, and
    the next `drain` raises unless somebody has looked at it.
    """

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._waiting: deque[tuple[FutureMessage, Send]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._failures: list[tuple[FutureMessage, Exception]] = []

    def put(self, promise: FutureMessage, send: Send) -> None:
        """Add a send; called on the engine's loop."""
        self._waiting.append((promise, send))
        if self._idle.is_set():
            self._idle.clear()
            self._task = self._nursery.spawn(self._run(), "outbox")

    async def _run(self) -> None:
        try:
            while self._waiting:
                promise, send = self._waiting[0]
                try:
                    await send()
                except (FaustError, TypeError, ValueError) as exc:
                    promise.set_exception(exc)
                    self._failures.append((promise, exc))
                self._waiting.popleft()
        finally:
            self._idle.set()

    def drop(self, why: str) -> None:
        """Forget what waits: its events come again, and send it again."""
        while len(self._waiting) > 1:  # the first is being sent
            promise, _ = self._waiting.pop()
            promise.set_exception(DeliveryFailed(f"a message was not sent: {why}"))
        self._failures.clear()

    async def drain(self) -> None:
        """Wait until all that was put before is sent; raise DeliveryFailed for what was not."""
        await self._idle.wait()
        failures, self._failures = self._failures, []
        for promise, error in failures:
            if not promise.looked_at:
                raise DeliveryFailed(f"a message was not sent: {error}") from error
