"""Flow control of queues: `app.flow_control`, and queues that obey it."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakSet

__all__ = ["FlowControl", "FlowControlQueue"]


class FlowControl:
    """A switch for the queues made with it: they hand out nothing while it is off.

    It is on from the beginning, and off while partitions are being taken away. What
    is read from Kafka needs no switch: the engine holds back each partition by itself.
    """

    def __init__(self) -> None:
        self._queues: WeakSet[FlowControlQueue] = WeakSet()
        self._active = True

    def manage_queue(self, queue: FlowControlQueue) -> None:
        """Let a queue obey this switch."""
        self._queues.add(queue)

    def is_active(self) -> bool:
        """Say whether queues hand out."""
        return self._active

    def suspend(self) -> None:
        """Let no queue hand out anything."""
        self._active = False

    def resume(self) -> None:
        """Let the queues hand out again; those made with clear_on_resume are emptied first."""
        if self._active:
            return
        self._active = True
        for queue in list(self._queues):
            if queue.clear_on_resume:
                queue.clear()
            queue.flow_resumed()

    def clear(self) -> None:
        """Empty the queues."""
        for queue in list(self._queues):
            queue.clear()


class FlowControlQueue(asyncio.Queue[Any]):
    """An asyncio.Queue whose `get` waits while its flow control is off; `put` does not.

    Used on one event loop, as asyncio's queues are.
    """

    def __init__(
        self, maxsize: int = 0, *, flow_control: FlowControl, clear_on_resume: bool = False
    ) -> None:
        super().__init__(maxsize)
        self.clear_on_resume = clear_on_resume
        self._flow = flow_control
        self._resumed: asyncio.Event = asyncio.Event()
        flow_control.manage_queue(self)

    async def get(self) -> Any:
        """Take the next item, once there is one and the flow is on."""
        while True:
            while not self._flow.is_active():
                self._resumed.clear()
                await self._resumed.wait()
            try:
                return await super().get()
            except asyncio.QueueEmpty:
                continue  # it was switched off while we waited: the item is still in line

    def get_nowait(self) -> Any:
        """Take the next item; raises asyncio.QueueEmpty if there is none or the flow is off."""
        if not self._flow.is_active():
            raise asyncio.QueueEmpty
        return super().get_nowait()

    def flow_resumed(self) -> None:
        """Let who waits look again."""
        self._resumed.set()

    def clear(self) -> None:
        """Drop what is in it; who waits to put goes on."""
        while not self.empty():
            super().get_nowait()
            self.task_done()
