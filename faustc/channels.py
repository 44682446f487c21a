"""Channels: what streams read and agents send to. This one stays in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any
from weakref import WeakSet

from faustc.clock import now_ms
from faustc.events import Event
from faustc.messages import LocalMessage, PendingDelivery, headers_list
from faustc.types import HeadersArg, TopicPartition

__all__ = ["Channel", "Feed"]


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
        self._thrown: deque[tuple[BaseException, Any, Any]] = deque()
        self.fault: tuple[Any, Any] | None = None  # the event that what was thrown is about
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
            error, ledger, message = self._thrown.popleft()
            self.fault = None if ledger is None else (ledger, message)
            raise error
        return self if self._waiting else None

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        self._watchers.add(event)

    def throw(self, error: BaseException, ledger: Any = None, message: Any = None) -> None:
        """Raise an error where somebody waits for the next message, before any that waits."""
        self._thrown.append((error, ledger, message))
        self._wake()

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


class Channel:
    """A named way for values, in memory, within one process.

    Every stream of it gets every message sent after the stream began. What is
    sent before the first one begins waits for that one, up to maxsize.
    """

    def __init__(
        self,
        app: Any,
        *,
        name: str | None = None,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        maxsize: int | None = None,
        loop: Any = None,
    ) -> None:
        self.app = app
        self.name = name or f"channel-{id(self):x}"
        self.schema = schema
        self.key_type = key_type
        self.value_type = value_type
        self._maxsize = maxsize
        self._feeds: list[Feed] = []
        self._early: Feed | None = None  # sent before anybody read
        self._sent = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.label}>"

    @property
    def label(self) -> str:
        """A short name for logs."""
        return self.name

    @property
    def given_maxsize(self) -> int | None:
        """What it was made with; None leaves it to the settings."""
        return self._maxsize

    @property
    def maxsize(self) -> int:
        """How many messages wait before senders have to."""
        if self._maxsize is None:
            self._maxsize = int(self.app.conf.stream_buffer_maxsize)
        return self._maxsize

    @property
    def subscriber_count(self) -> int:
        """How many streams and agents read it."""
        return len(self._feeds)

    def get_topic_name(self) -> str:
        """Return the name it goes by."""
        return self.name

    def __str__(self) -> str:
        return self.name

    # -- reading

    def stream(self, **options: Any) -> Any:
        """Make a stream over it."""
        return self.app.stream(self, **options)

    def __aiter__(self) -> AsyncIterator[Event]:
        events: AsyncIterator[Event] = self.stream().events().__aiter__()
        return events

    def decoders(self, envelopes: Any = None) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return what makes keys and values of a message's; here they are what was sent.

        envelopes: what may stand around values (see Registry.value_decoder).
        """
        return _as_is, _as_is if envelopes is None else envelopes.sent

    def open_feed(self) -> Feed:
        """Begin to read, for one stream or agent."""
        feed = self._early if self._early is not None else Feed(self.name, self.maxsize)
        self._early = None
        self._feeds.append(feed)
        return feed

    def close_feed(self, feed: Feed) -> None:
        """Read no more."""
        feed.close()
        if feed in self._feeds:
            self._feeds.remove(feed)

    # -- sending

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        schema: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        force: bool = False,
    ) -> Any:
        """Hand a message to every reader; waits while one of them has maxsize waiting.

        May be called from any thread that runs an event loop. Returns an
        awaitable of RecordMetadata, which is done.
        """
        message = self._message(key, value, timestamp, headers)
        await self.app.runner.home.run(self.deliver, message)
        done = PendingDelivery(result=message.metadata())
        if callback is not None:
            await _maybe_await(callback(done))
        return done

    def send_soon(self, *, key: Any = None, value: Any = None, **options: Any) -> Any:
        """Hand a message to every reader without waiting, from any thread."""
        message = self._message(key, value, options.get("timestamp"), options.get("headers"))
        self.app.runner.home.soon(self._deliver_nowait, message)
        return PendingDelivery(result=message.metadata())

    def _message(
        self, key: Any, value: Any, timestamp: float | None, headers: HeadersArg
    ) -> LocalMessage:
        self._sent += 1
        return LocalMessage(
            self.name,
            -1,
            self._sent - 1,
            now_ms() if timestamp is None else int(timestamp * 1000),
            0,
            key,
            value,
            tuple(headers_list(headers) or ()),
        )

    async def deliver(self, message: LocalMessage) -> None:
        """Hand a message to every reader."""
        for feed in self._feeds.copy() or [self._early_feed()]:
            await feed.put(message)

    def _deliver_nowait(self, message: LocalMessage) -> None:
        for feed in self._feeds or [self._early_feed()]:
            feed.put_nowait(message)

    def _early_feed(self) -> Feed:
        if self._early is None:
            self._early = Feed(self.name, self.maxsize)
        return self._early

    async def put(self, event: Any) -> None:
        """Hand on an event: its key, value and headers."""
        await self.send(key=event.key, value=event.value, headers=event.headers)

    async def get(self, *, timeout: float | None = None) -> Any:
        """Return the next event that no stream took; waits up to timeout seconds."""
        feed = self._early_feed()
        async with asyncio.timeout(timeout):
            await feed.portion()
        message = next(feed)
        return Event(self.app, message.key, message.value, message.headers, message)

    def empty(self) -> bool:
        """Say whether nothing waits for `get`."""
        return self._early is None or not len(self._early)

    async def declare(self) -> None:
        """Do nothing: a channel in memory needs no broker."""

    maybe_declare = declare


def _as_is(value: Any) -> Any:
    return value


async def _maybe_await(result: Any) -> Any:
    return await result if hasattr(result, "__await__") else result
