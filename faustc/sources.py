"""Where a stream's messages come from: a channel, several streams, or any iterable."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from itertools import islice
from typing import Any, NamedTuple

from faustc.channels import Channel
from faustc.clock import now_ms
from faustc.engine.inbox import Fault
from faustc.events import Event
from faustc.messages import LocalMessage
from faustc.shelves import current_shelf

__all__ = ["Given", "Merged", "as_is", "open_reader"]

# So many messages of one stream, then it is the next one's turn.
TURN = 100


def as_is(value: Any) -> Any:
    """Return what was given: how to decode what is no bytes."""
    return value


async def open_reader(stream: Any) -> Any:
    """Return what a stream takes its messages from, opened for it."""
    if stream.join_strategy is not None:
        return await stream.join_strategy.open(stream)
    if stream.combined:
        return Merged([(part, await part.opened()) for part in stream.combined])
    channel = stream.channel
    runner = stream.app.runner
    if not isinstance(channel, Channel):
        given = Given(stream.label, channel)
        weakref.finalize(stream, given.forget, asyncio.get_running_loop()).atexit = False
        return given
    shelf = current_shelf.get()
    if shelf is not None:
        reader = shelf.take(channel) or await runner.open_reader(channel)
        shelf.keep(stream, channel, reader)
        return reader
    reader = await runner.open_reader(channel)
    # A stream that nobody holds any more must hold back neither commits nor fetching.
    weakref.finalize(stream, runner.forget_reader, channel, reader).atexit = False
    return reader


class Given:
    """Reads an iterable, or an asynchronous one, once.

    It is a reader, a portion and a ledger in one. What it gives are messages that
    hold a value, and have no key; where the iterable gives events, their key and value,
    and acknowledging such a message acknowledges the event.
    """

    def __init__(self, name: str, source: Any) -> None:
        self.name = name
        self.closed = False
        self.fault: None = None
        self.holders: weakref.WeakSet[Any] = weakref.WeakSet()
        self._source = source
        self._items: Iterator[Any] | None = None
        self._later: AsyncIterator[Any] | None = None
        self._next: asyncio.Task[Any] | None = None  # what gets the next item
        self._back: deque[LocalMessage] = deque()
        self._events: dict[int, Event] = {}
        self._count = 0
        self._thrown: deque[BaseException] = deque()
        self._ready = asyncio.Event()
        self._watchers: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()

    # as a portion
    @property
    def ledger(self) -> Given:
        return self

    @property
    def pending(self) -> Iterator[LocalMessage]:
        return self

    def __iter__(self) -> Given:
        return self

    def __next__(self) -> LocalMessage:
        if self._thrown:
            raise StopIteration
        if self._back:
            return self._back.popleft()
        if self._items is None or self.closed:
            raise StopIteration
        try:
            item = next(self._items)
        except StopIteration:
            self.close()
            raise
        return self._message(item)

    def _message(self, item: Any) -> LocalMessage:
        offset, self._count = self._count, self._count + 1
        key, value = None, item
        headers: tuple[tuple[str, bytes | None], ...] = ()
        if isinstance(item, Event):
            self._events[offset] = item
            key, value, headers = item.key, item.value, tuple(item.headers.items())
        return LocalMessage(self.name, -1, offset, now_ms(), 0, key, value, headers)

    # as its ledger
    def ack(self, offset: int) -> bool:
        """Acknowledge the event that was given; a value needs no acknowledgement."""
        event = self._events.pop(offset, None)
        return True if event is None else bool(event.ack())

    def cut(self, offset: int) -> None:
        """Do nothing: nobody else gets what is given here."""

    def owns(self, ledger: Any) -> bool:
        """Say whether it is the ledger of our messages."""
        return ledger is self

    # as a reader
    async def portion(self) -> Given | None:
        """Return self while something is left; None at the end."""
        while (found := self.poll()) is None:
            if self.closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return found

    def poll(self) -> Given | None:
        """Return self if something is there; raises what was thrown, or the iterable raised."""
        if self._thrown:
            raise self._thrown.popleft()
        if self._back:
            return self
        if self.closed:
            return None
        if self._items is None and self._later is None:
            if isinstance(self._source, AsyncIterable):
                self._later = aiter(self._source)
            else:
                self._items = iter(self._source)
        if self._later is not None:
            self._ask()
            return None
        return self

    def _ask(self) -> None:
        """Have the next item fetched. In a task: whoever waits for us may give up waiting."""
        assert self._later is not None
        if self._next is None:
            self._next = asyncio.ensure_future(_anext(self._later))
            self._next.add_done_callback(self._came)

    def _came(self, task: asyncio.Task[Any]) -> None:
        self._next = None
        if task.cancelled():
            self.close()
        elif (error := task.exception()) is not None:
            self._thrown.append(error)
            self.closed = True
        elif task.result() is END:
            self.close()
        else:
            self._back.append(self._message(task.result()))
        self._wake()

    def give_back(self, messages: list[tuple[Any, LocalMessage]]) -> None:
        """Take back, in front, what was taken and not looked at."""
        self._back.extendleft(message for _, message in reversed(messages))
        self._wake()

    def throw(self, error: BaseException) -> None:
        """Raise an error where somebody waits for the next item."""
        self._thrown.append(error)
        self._wake()

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        self._watchers.add(event)

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle, which matters to nobody here."""

    def _wake(self) -> None:
        self._ready.set()
        for event in self._watchers:
            event.set()

    def close(self) -> None:
        """Give nothing more."""
        self.closed = True
        if self._next is not None:
            self._next.cancel()
        self._wake()

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close it; called by the garbage collector, on any thread."""
        if self._next is not None and loop.is_running():
            loop.call_soon_threadsafe(self.close)


END = object()


async def _anext(items: AsyncIterator[Any]) -> Any:
    return await anext(items, END)


class Part(NamedTuple):
    """Some messages of one of several streams."""

    part: Any
    portion: Any
    ledger: Any
    pending: Iterator[Any]


class Merged:
    """Reads several readers as one, each in its turn."""

    def __init__(self, readers: list[tuple[Any, Any]]) -> None:
        self.fault: Fault | None = None
        self.holders = self
        self._readers = readers
        self._turns = deque(readers)
        self._thrown: deque[BaseException] = deque()
        self._ready = asyncio.Event()
        self._watchers: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        for _, reader in readers:
            reader.watch(self._ready)

    @property
    def closed(self) -> bool:
        """Whether none of the readers will bring anything more."""
        return all(reader.closed for _, reader in self._readers)

    def add(self, stream: Any) -> None:
        """Add a holder, to each of the readers."""
        for _, reader in self._readers:
            reader.holders.add(stream)

    async def portion(self) -> Part | None:
        """Return what is to be worked on next, and whose it is; None at the end."""
        while (found := self.poll()) is None:
            if self.closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return found

    def poll(self) -> Part | None:
        """Return what is to be worked on next, None if there is nothing yet."""
        if self._thrown:
            raise self._thrown.popleft()
        for _ in range(len(self._turns)):
            part, reader = self._turns[0]
            self._turns.rotate(-1)
            try:
                portion = reader.poll()
            except Exception:
                self.fault, reader.fault = reader.fault, None
                raise
            if portion is not None:
                pending = islice(portion.pending, TURN)
                return Part(part, portion, portion.ledger, pending)
        return None

    def owns(self, ledger: Any) -> bool:
        """Say whether one of the readers has this ledger."""
        return any(reader.owns(ledger) for _, reader in self._readers)

    def give_back(self, messages: list[tuple[Any, Any]]) -> None:
        """Take back what was taken and not looked at."""
        for _, reader in self._readers:
            mine = [entry for entry in messages if reader.owns(entry[0])]
            if mine:
                reader.give_back(mine)

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle of an event."""
        for _, reader in self._readers:
            reader.left(holder)

    def throw(self, error: BaseException) -> None:
        """Raise an error where somebody waits for the next message."""
        self._thrown.append(error)
        self._ready.set()

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        for _, reader in self._readers:
            reader.watch(event)
