"""Channels: what streams read and agents send to. This one stays in memory."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

from faustc.clock import now_ms
from faustc.events import Event
from faustc.exceptions import DecodeError, DecodeLater, KeyDecodeError
from faustc.feeds import Buffer, Feed, QueueFeed
from faustc.messages import LocalMessage, headers_list
from faustc.serializers import Schema
from faustc.types import (
    FutureMessage,
    HeadersArg,
    OpenHeadersArg,
    PendingMessage,
    prepare_headers,
)

__all__ = ["Channel", "Feed"]


class Channel:
    """A named way for values, in memory, within one process.

    Every stream of it gets every message sent after the stream began. What is
    sent before the first one begins waits for that one, up to maxsize.

    A clone with is_iterator has a buffer of its own, to be read by `get` or
    `async for`, and is one more reader of the channel it was cloned from.
    """

    def __init__(
        self,
        app: Any,
        *,
        name: str | None = None,
        schema: Schema | None = None,
        key_type: Any = None,
        value_type: Any = None,
        is_iterator: bool = False,
        queue: Any = None,
        maxsize: int | None = None,
        root: Channel | None = None,
        active_partitions: Any = None,
        loop: Any = None,
    ) -> None:
        self.app = app
        self.name = name or f"channel-{id(self):x}"
        if schema is None:
            schema = self._default_schema(key_type=key_type, value_type=value_type)
        self.schema: Schema = schema
        self.key_type = schema.key_type if key_type is None else key_type
        self.value_type = schema.value_type if value_type is None else value_type
        self.is_iterator = is_iterator
        self.active_partitions = active_partitions
        self.root: Channel = self if root is None else root.root
        self._maxsize = maxsize
        self._given_queue = queue
        self._feeds: list[Feed] = []
        self._early: Feed | None = None  # sent before anybody read
        self._sent = 0
        #: What reads it: the readers of agents and streams over a topic.
        self.readers: weakref.WeakSet[Any] = weakref.WeakSet()

    def _default_schema(self, **options: Any) -> Schema:
        return Schema(**options)

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
    def in_memory(self) -> bool:
        """Whether its messages never leave this process."""
        return True

    @property
    def subscriber_count(self) -> int:
        """How many streams, agents and iterators read it."""
        return len(self.root._feeds)

    def get_topic_name(self) -> str:
        """Return the name it goes by."""
        return self.name

    def __str__(self) -> str:
        return self.name

    # -- copies

    def clone(self, *, is_iterator: bool | None = None, **options: Any) -> Channel:
        """Return a copy, some arguments changed; with is_iterator, one more reader of this."""
        iterates = self.is_iterator if is_iterator is None else is_iterator
        made = self._copy(**{**self._clone_args(), "is_iterator": iterates, **options})
        if iterates:
            made._early = feed = made._new_feed()
            self.root._feeds.append(feed)
            # A clone that nobody holds any more must not fill up and make senders wait.
            weakref.finalize(made, self.root.close_feed, feed).atexit = False
        return made

    def clone_using_queue(self, queue: Any) -> Channel:
        """Return a clone that gets its events from a queue, and puts there what it is sent."""
        return self.clone(queue=queue, is_iterator=True)

    def derive(self, **options: Any) -> Channel:
        """Return this channel: one in memory has nothing to derive."""
        return self

    def _copy(self, **arguments: Any) -> Channel:
        return type(self)(**arguments)

    def _clone_args(self) -> dict[str, Any]:
        return {
            "app": self.app,
            "name": self.name,
            "schema": self.schema,
            "key_type": self.key_type,
            "value_type": self.value_type,
            "maxsize": self._maxsize,
            "root": self.root,
            "active_partitions": self.active_partitions,
        }

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

    def decoders_for(
        self, reader: Any, envelopes: Any = None
    ) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return the decoders of one reader, whose `in_hand` is the message that is decoded."""
        return self.decoders(envelopes)

    def message_decoders(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return what makes the key and the value of a whole message; raise DecodeError."""
        decode_key, decode_value = self.decoders()
        return lambda message: decode_key(message.key), lambda message: decode_value(message.value)

    def open_feed(self) -> Feed:
        """Begin to read, for one stream or agent."""
        if self.is_iterator:
            return self._early_feed()
        root = self.root
        feed = root._early if root._early is not None else root._new_feed()
        root._early = None
        root._feeds.append(feed)
        return feed

    def close_feed(self, feed: Feed) -> None:
        """Read no more."""
        feed.close()
        if feed in self.root._feeds:
            self.root._feeds.remove(feed)

    def _new_feed(self) -> Feed:
        queue = self._given_queue
        if queue is None:
            return Feed(self.name, self.maxsize)
        return QueueFeed(self.name, queue, self._message_of, self._event_of)

    def on_stop_iteration(self) -> None:
        """Note that an iteration over it ended; override it as needed, and call super."""

    async def throw(self, exc: BaseException) -> None:
        """Raise an exception in all that read it, where they take their next event."""
        self._throw(exc)

    def _throw(self, exc: BaseException) -> None:
        """Do what throw does, from where nothing can be awaited."""
        for feed in self.root._feeds or [self.root._early_feed()]:
            feed.throw(exc)

    # -- messages that do not decode

    async def on_key_decode_error(self, exc: DecodeError, message: Any) -> None:
        """Deal with a message whose key does not decode; it is passed after that.

        What an override raises is raised in the agent. `await self.throw(exc)`
        lets the others who read the channel know.
        """
        await self.on_decode_error(exc, message)

    async def on_value_decode_error(self, exc: DecodeError, message: Any) -> None:
        """Deal with a message whose value does not decode; see on_key_decode_error."""
        await self.on_decode_error(exc, message)

    async def on_decode_error(self, exc: DecodeError, message: Any) -> None:
        """Say in the log what does not decode, where it is and why, a few times per interval."""
        self.app.runner.undecodable.report(message.topic, message, exc)

    async def decode(self, message: Any, *, propagate: bool = False) -> Event | None:
        """Make an event of a message.

        One that does not decode gives None, after on_key_decode_error or
        on_value_decode_error had it; with propagate the DecodeError is raised.
        """
        try:
            key, value = await self._decoded(message)
        except DecodeError as exc:
            exc.at(message.topic, message.partition, message.offset)
            if propagate:
                raise
            await self.decode_failed(exc, message)
            return None
        event: Event = self.app.create_event(key, value, message.headers, message)
        return event

    async def _decoded(self, message: Any) -> tuple[Any, Any]:
        key_of, value_of = self.message_decoders()
        while True:
            try:
                return key_of(message), value_of(message)
            except DecodeLater as exc:
                await exc.wait()

    async def decode_failed(self, exc: DecodeError, message: Any) -> None:
        """Tell the method that is there for this error."""
        if isinstance(exc, KeyDecodeError):
            await self.on_key_decode_error(exc, message)
        else:
            await self.on_value_decode_error(exc, message)

    async def deliver(self, message: Any) -> None:
        """Decode a message, and put the event if it does decode."""
        event = await self.decode(message)
        if event is not None:
            await self.put(event)

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
        fut = self.as_future_message(
            key, value, partition, timestamp, headers, schema, key_serializer, value_serializer,
            callback,
        )  # fmt: skip
        return await self.publish_message(fut)

    def send_soon(
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
        eager_partitioning: bool = False,
    ) -> FutureMessage:
        """Hand a message to every reader without waiting, from any thread."""
        fut = self.as_future_message(
            key, value, partition, timestamp, headers, schema, key_serializer, value_serializer,
            callback,
        )  # fmt: skip
        self.app.runner.home.soon(self._publish_nowait, fut)
        return fut

    def as_future_message(
        self,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        schema: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        eager_partitioning: bool = False,
    ) -> FutureMessage:
        """Prepare a message to be sent by `publish_message`."""
        opened = self.prepare_headers(headers)
        final_key, opened = self.prepare_key(key, key_serializer, schema, opened)
        final_value, opened = self.prepare_value(value, value_serializer, schema, opened)
        return FutureMessage(
            PendingMessage(
                self, final_key, final_value, partition, timestamp, opened,
                key_serializer, value_serializer, callback,
            )
        )  # fmt: skip

    def prepare_headers(self, headers: HeadersArg) -> OpenHeadersArg:
        """Return headers that may be added to."""
        return prepare_headers(headers)

    def prepare_key(
        self, key: Any, key_serializer: Any, schema: Any = None, headers: Any = None
    ) -> tuple[Any, Any]:
        """Return a key as it is sent, and the headers to send with it."""
        return key, headers

    def prepare_value(
        self, value: Any, value_serializer: Any, schema: Any = None, headers: Any = None
    ) -> tuple[Any, Any]:
        """Return a value as it is sent, and the headers to send with it."""
        return value, headers

    async def publish_message(self, fut: FutureMessage, wait: bool = True) -> Any:
        """Send a message that `as_future_message` prepared; return its promise, kept."""
        message = self._message_of(fut.message)
        await self.app.runner.home.run(self._hand_out, message)
        fut.set_result(message.metadata())
        if fut.message.callback is not None:
            await _maybe_await(fut.message.callback(fut))
        return fut

    def _publish_nowait(self, fut: FutureMessage) -> None:
        message = self._message_of(fut.message)
        for feed in self.root._feeds or [self.root._early_feed()]:
            feed.put_nowait(message)
        fut.set_result(message.metadata())
        if fut.message.callback is not None:
            self.app.runner.called_back(fut.message.callback, fut)

    def _message_of(self, item: Any) -> LocalMessage:
        """Make a message of what was put: a pending message, an event, or a value by itself."""
        root = self.root
        root._sent += 1
        name, partition, offset = root.name, -1, root._sent - 1
        timestamp = now_ms()
        if isinstance(item, Event) and item.message is not None:
            origin = item.message
            name, partition, offset = origin.topic, origin.partition, origin.offset
            timestamp = origin.timestamp
        elif isinstance(item, PendingMessage) and item.timestamp is not None:
            timestamp = int(item.timestamp * 1000)
        key, value, headers, event = None, item, None, None
        if isinstance(item, PendingMessage):
            key, value, headers = item.key, item.value, item.headers
        elif isinstance(item, Event):
            key, value, headers, event = item.key, item.value, item.headers, item
        pairs = tuple(headers_list(headers) or ())
        return LocalMessage(name, partition, offset, timestamp, 0, key, value, pairs, event=event)

    def _event_of(self, message: LocalMessage) -> Event:
        if message.event is not None:
            event: Event = message.event
            return event
        made: Event = self.app.create_event(message.key, message.value, message.headers, message)
        return made

    async def _hand_out(self, message: LocalMessage) -> None:
        for feed in self.root._feeds.copy() or [self.root._early_feed()]:
            await feed.put(message)

    # -- as a queue

    def _early_feed(self) -> Feed:
        if self._early is None:
            self._early = self._new_feed()
        return self._early

    async def put(self, event: Any) -> None:
        """Hand an event to every reader; anything that is no event is the value of one."""
        await self.app.runner.home.run(self._hand_out, self._message_of(event))

    async def get(self, *, timeout: float | None = None) -> Event:
        """Return the next event that no stream took; waits up to timeout seconds.

        A clone with is_iterator gets every event, another channel those that came
        before anybody read. Raises TimeoutError.
        """
        feed = self._early_feed()
        async with asyncio.timeout(timeout):
            await feed.portion()
        return self._event_of(next(feed))

    def empty(self) -> bool:
        """Say whether nothing waits for `get`."""
        return self._early is None or not len(self._early)

    @property
    def queue(self) -> Any:
        """What waits for `get`: the queue it was given, or one over its buffer."""
        if self._given_queue is not None:
            return self._given_queue
        return Buffer(self._early_feed(), self._message_of, self._event_of)

    async def declare(self) -> None:
        """Do nothing: a channel in memory needs no broker."""

    async def maybe_declare(self) -> None:
        """Do nothing, either."""


def _as_is(value: Any) -> Any:
    return value


async def _maybe_await(result: Any) -> Any:
    return await result if hasattr(result, "__await__") else result
