"""Feeds: what one reader of a channel in memory has still to take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakSet

from faustc.engine.inbox import Fault
from faustc.messages import LocalMessage
from faustc.types import TopicPartition

__all__ = ["Buffer", "Feed", "QueueFeed"]


class Feed:
    """The messages of a channel that one stream, or one agent, has not taken yet.

    It is a reader, a portion and a ledger in one: in memory there are no
    partitions, and nothing to commit.
    """

    def __init__(self, name: str, maxsize: int) -> None:
        self.name = name
        self.maxsize = maxsize
        self.tp = TopicPartition(name, -1)
        self.closed = False
        self.holders: WeakSet[Any] = WeakSet()
        self.on_ack: Callable[[int], None] | None = None  # told of each offset
        self._waiting: deque[LocalMessage] = deque()
        self._thrown: deque[tuple[BaseException, Fault | None]] = deque()
        self.fault: Fault | None = None  # what was thrown is about this event
        self._ready = asyncio.Event()
        self._watchers: WeakSet[asyncio.Event] = WeakSet()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    # as a portion: messages are handed out for as long as there are any
    @property
    def pending(self) -> Iterator[LocalMessage]:
        return self

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> LocalMessage:
        if not self._waiting or self._thrown:
            raise StopIteration
        self._room.set()
        return self._waiting.popleft()

    # as its ledger
    @property
    def ledger(self) -> Feed:
        return self

    def ack(self, offset: int) -> bool:
        """Take an acknowledgement, which nothing depends on but who asked to be told."""
        if self.on_ack is not None:
            self.on_ack(offset)
        return True

    # as a reader
    async def portion(self) -> Feed | None:
        """Return self once there is a message; None when closed. Raises what was thrown."""
        while self.poll() is None:
            if self.closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self

    def poll(self) -> Feed | None:
        """Return self if there is a message; raises what was thrown, see Reader."""
        if self._thrown:
            error, self.fault = self._thrown.popleft()
            raise error
        return self if self._waiting else None

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        self._watchers.add(event)

    def throw(self, error: BaseException, fault: Fault | None = None) -> None:
        """Raise an error where somebody waits for the next message, before any that waits."""
        self._thrown.append((error, fault))
        self._wake()

    def stopped(self, tp: Any) -> bool:
        """Say whether nothing more is handed out."""
        return self.closed

    def owns(self, ledger: Any) -> bool:
        """Say whether it is the ledger of our messages."""
        return ledger is self

    def _wake(self) -> None:
        self._ready.set()
        for event in self._watchers:
            event.set()

    async def put(self, message: LocalMessage) -> None:
        """Add a message; waits while maxsize of them have not been taken."""
        while len(self._waiting) >= self.maxsize and not self.closed:
            self._room.clear()
            await self._room.wait()
        self.put_nowait(message)

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle, which matters to nobody here."""

    def give_back(self, messages: Sequence[tuple[Any, LocalMessage]]) -> None:
        """Take back, in front, what was taken and not looked at."""
        self._waiting.extendleft(message for _, message in reversed(messages))
        self._wake()

    def put_nowait(self, message: LocalMessage) -> None:
        """Add a message, whatever waits already."""
        self._waiting.append(message)
        self._wake()

    def close(self) -> None:
        """End whoever reads, once what waits is taken."""
        self.closed = True
        self._wake()
        self._room.set()


class QueueFeed(Feed):
    """A feed whose messages wait in a queue of the user's: events, or anything else as a value.

    wrap makes a message of what comes out of the queue, unwrap what goes in.
    """

    def __init__(
        self,
        name: str,
        queue: asyncio.Queue[Any],
        wrap: Callable[[Any], LocalMessage],
        unwrap: Callable[[LocalMessage], Any],
    ) -> None:
        super().__init__(name, queue.maxsize)
        self.queue = queue
        self._wrap = wrap
        self._unwrap = unwrap
        self._next: asyncio.Task[Any] | None = None  # what gets the next item

    def __len__(self) -> int:
        return len(self._waiting) + self.queue.qsize()

    def poll(self) -> Feed | None:
        """Return self if there is a message, else have it fetched; raises what was thrown."""
        if not self._waiting and not self._thrown and not self.closed:
            try:
                self._waiting.append(self._wrap(self.queue.get_nowait()))
            except asyncio.QueueEmpty:
                if self._next is None:
                    self._next = asyncio.ensure_future(self.queue.get())
                    self._next.add_done_callback(self._came)
        return super().poll()

    def _came(self, task: asyncio.Task[Any]) -> None:
        self._next = None
        if not task.cancelled():
            super().put_nowait(self._wrap(task.result()))

    async def put(self, message: LocalMessage) -> None:
        """Put an event into the queue; waits while it is full."""
        await self.queue.put(self._unwrap(message))

    def put_nowait(self, message: LocalMessage) -> None:
        """Put an event into the queue; raises asyncio.QueueFull."""
        self.queue.put_nowait(self._unwrap(message))

    def close(self) -> None:
        """Take no more from the queue."""
        super().close()
        if self._next is not None:
            self._next.cancel()


class Buffer:
    """What waits in a feed, as a queue of events: `channel.queue`.

    What is put and is no event becomes the value of one.
    """

    def __init__(
        self,
        feed: Feed,
        wrap: Callable[[Any], LocalMessage],
        unwrap: Callable[[LocalMessage], Any],
    ) -> None:
        self._feed = feed
        self._wrap = wrap
        self._unwrap = unwrap

    @property
    def maxsize(self) -> int:
        """How many events fit."""
        return self._feed.maxsize

    def qsize(self) -> int:
        """Return how many events wait."""
        return len(self._feed)

    def empty(self) -> bool:
        """Say whether none waits."""
        return not len(self._feed)

    def full(self) -> bool:
        """Say whether no more fit."""
        return len(self._feed) >= self._feed.maxsize

    async def put(self, event: Any) -> None:
        """Add an event; waits while it is full."""
        await self._feed.put(self._wrap(event))

    def put_nowait(self, event: Any) -> None:
        """Add an event, or raise asyncio.QueueFull."""
        if self.full():
            raise asyncio.QueueFull
        self._feed.put_nowait(self._wrap(event))

    async def get(self) -> Any:
        """Take the next event; waits for it."""
        await self._feed.portion()
        return self.get_nowait()

    def get_nowait(self) -> Any:
        """Take the next event, or raise asyncio.QueueEmpty."""
        try:
            return self._unwrap(next(self._feed))
        except StopIteration:
            raise asyncio.QueueEmpty from None
