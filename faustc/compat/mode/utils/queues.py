"""Queues whose intake can be stopped, and into which exceptions can be thrown."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Generic, TypeVar

__all__ = ["FlowControlEvent", "FlowControlQueue", "ThrowableQueue"]

T = TypeVar("T")


class FlowControlEvent:
    """Stops and starts the intake of every queue that was made with it."""

    def __init__(self, *, initially_suspended: bool = True, loop: Any = None) -> None:
        self._open = asyncio.Event()
        self._queues: set[FlowControlQueue[Any]] = set()
        if not initially_suspended:
            self._open.set()

    def manage_queue(self, queue: FlowControlQueue[Any]) -> None:
        """Clear this queue, too, when all are cleared."""
        self._queues.add(queue)

    def suspend(self) -> None:
        """Take nothing in."""
        self._open.clear()

    def resume(self) -> None:
        """Take in again; queues that want it forget what they held."""
        if not self._open.is_set():
            self._open.set()
            for queue in self._queues:
                if queue.clear_on_resume:
                    queue.clear()

    def is_active(self) -> bool:
        """Say whether anything is taken in."""
        return self._open.is_set()

    def clear(self) -> None:
        """Forget what all the queues hold."""
        for queue in self._queues:
            queue.clear()

    async def acquire(self) -> None:
        """Wait until something is taken in."""
        await self._open.wait()


class FlowControlQueue(asyncio.Queue[T], Generic[T]):
    """A queue whose `put` waits while its flow control is suspended."""

    def __init__(
        self,
        maxsize: int = 0,
        *,
        flow_control: FlowControlEvent,
        clear_on_resume: bool = False,
        **_: Any,
    ) -> None:
        self._flow_control = flow_control
        self.clear_on_resume = clear_on_resume
        self._flow_control.manage_queue(self)
        super().__init__(maxsize)

    async def put(self, value: T) -> None:
        """Wait until values are taken in, and there is room; then put one."""
        await self._flow_control.acquire()
        await super().put(value)

    def clear(self) -> None:
        """Forget what it holds."""
        while not self.empty():
            self.get_nowait()


class ThrowableQueue(FlowControlQueue[T]):
    """A queue whose reader can be given an exception, ahead of what is queued."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._errors: deque[BaseException] = deque()
        options.setdefault("flow_control", FlowControlEvent(initially_suspended=False))
        super().__init__(*args, **options)

    async def throw(self, exc: BaseException) -> None:
        """Raise an exception where the queue is read."""
        self._errors.append(exc)
        getters: deque[asyncio.Future[None]] = self._getters  # type: ignore[attr-defined]
        self._wakeup_next(getters)  # type: ignore[attr-defined]

    def empty(self) -> bool:
        """Say whether there is nothing to read, not even an exception."""
        return not self._errors and super().empty()

    def _get(self) -> T:
        if self._errors:
            raise self._errors.popleft()
        value: T = super()._get()
        return value

    def clear(self) -> None:
        """Forget what it holds, exceptions included."""
        self._errors.clear()
        super().clear()
