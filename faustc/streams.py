"""Streams: what agents iterate over, and what can be made of it."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from faustc.channels import Channel
from faustc.events import current_event
from faustc.exceptions import ImproperlyConfigured
from faustc.iteration import Iteration, Processor, View
from faustc.operators import Echo, Filter, Rekey, group_key, rekeyed
from faustc.relays import Relay
from faustc.serialized import in_hand_of
from faustc.topics import Topic

if TYPE_CHECKING:
    from faustc.joins import Joined

__all__ = ["Stream", "StreamView", "current_event"]

StreamView = View

T = TypeVar("T")
V = TypeVar("V")


class Stream(Iteration[T]):
    """Iterates over a topic, a channel, or any iterable. It has one current event at a time.

    Iterating gives values; `events()` gives events, `items()` pairs of key and
    value, `take()` lists. Those views share the position of their stream.
    `group_by()`, `through()`, `noack()` and `combine()` make another stream, which
    takes this one's place: iterate that one.

    app is the channel's by default. processors are functions, or coroutine functions,
    that have each value first. combined are the streams to merge, join_strategy says
    how to join two of them. on_start is called when an iteration begins. prev is the
    stream that this one was made from. With enable_acks=False events are acknowledged
    by hand. prefix goes before the names of topics made for it. loop and beacon mean
    nothing here.
    """

    beacon: Any = None
    loop: Any = None
    _next: Stream[Any] | None = None
    _relay: Relay | None = None  # what brings the messages here, from prev
    _envelopes: Any = None  # what may stand around values
    _relayed = False  # a relay iterates over it, not the user

    def __init__(
        self,
        channel: Any,
        *,
        app: Any = None,
        processors: Iterable[Processor] | None = None,
        combined: Iterable[Stream[Any]] | None = None,
        on_start: Callable[[], Any] | None = None,
        join_strategy: Any = None,
        beacon: Any = None,
        concurrency_index: int | None = None,
        prev: Stream[Any] | None = None,
        active_partitions: Any = None,
        enable_acks: bool = True,
        prefix: str = "",
        loop: Any = None,
        reader: Any = None,
    ) -> None:
        super().__init__(reader)
        self.channel = channel
        self.app = app if app is not None else channel.app
        self.combined = list(combined or ())
        self.join_strategy = join_strategy
        self.concurrency_index = concurrency_index
        self.active_partitions = active_partitions
        self.enable_acks = enable_acks
        self.prefix = prefix
        if beacon is not None:
            self.beacon = beacon
        if loop is not None:
            self.loop = loop
        self._processors = list(processors or ())
        self._on_start = on_start
        self._prev = prev
        if not self.combined and isinstance(channel, Channel):
            self._decode_key, self._decode_value = channel.decoders_for(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.label}>"

    def open_envelopes(self, envelopes: Any) -> None:
        """Let values come in envelopes, which are opened (see Registry.value_decoder)."""
        self._envelopes = envelopes
        if not self.combined and isinstance(self.channel, Channel):
            self._decode_key, self._decode_value = self.channel.decoders_for(self, envelopes)

    @property
    def label(self) -> str:
        """A short name for logs."""
        if self.combined:
            return " & ".join(part.label for part in self.combined)
        return str(getattr(self.channel, "label", None) or reprlib.repr(self.channel))

    shortlabel = label

    async def start(self) -> None:
        """Begin to read, before anybody iterates: what comes from now on is kept for that."""
        await self.opened()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Read no more: the iteration ends, and the topic's other readers go on.

        Streams that were made from this one are stopped as well.
        """
        for stream in [self, *self._following()]:
            if stream._relay is not None:
                stream._relay.close()
            elif stream._owns_reader and stream._reader is not None and stream._opens is None:
                self.app.runner.close_reader(stream.channel, stream._reader)
            for part in stream.combined:
                await part.remove_from_stream(stream)
            await stream.end()

    async def throw(self, exc: BaseException) -> None:
        """Raise an exception where the iteration waits for its next event.

        Where several actors share the work it is raised in one of them.
        """
        stream = self.get_active_stream()
        if stream._reader is None:
            stream._thrown.append(exc)
        else:
            stream._reader.throw(exc)

    # -- how streams hang together ---------------------------------------------------------

    def _following(self) -> Iterator[Stream[Any]]:
        node = self._next
        while node is not None:
            yield node
            node = node._next

    def get_active_stream(self) -> Stream[Any]:
        """Return the last of the streams made from this one: the one to be iterated."""
        active: Stream[Any] = self
        for active in self._following():  # noqa: B007 - the last is wanted
            pass
        return active

    def get_root_stream(self) -> Stream[Any]:
        """Return the stream that this one was made from, by way of others perhaps."""
        node: Stream[Any] = self
        while node._prev is not None:
            node = node._prev
        root: Stream[Any] = node
        return root

    @property
    def in_use(self) -> Stream[Any]:
        """The one, of this stream and those made from it, that its user iterates."""
        used = self
        for stream in self._following():
            if stream._walks and not stream._relayed:
                used = stream
        return used

    def info(self) -> dict[str, Any]:
        """Return what `clone` would make it from."""
        return {
            "app": self.app,
            "channel": self.channel,
            "processors": list(self._processors),
            "on_start": self._on_start,
            "loop": self.loop,
            "combined": list(self.combined),
            "beacon": self.beacon,
            "concurrency_index": self.concurrency_index,
            "prev": self._prev,
            "active_partitions": self.active_partitions,
            "enable_acks": self.enable_acks,
            "prefix": self.prefix,
            "join_strategy": self.join_strategy,
        }

    def clone(self, **options: Any) -> Self:
        """Make another stream like this one, with some options changed.

        It reads the channel by itself, except that in an agent it shares the work.
        """
        stream = type(self)(**{**self.info(), **options})
        if "channel" not in options and not self._owns_reader:
            stream._reader, stream._owns_reader = self._reader, False
        if self._envelopes is not None:
            stream.open_envelopes(self._envelopes)
        stream.judge_undecodable = self.judge_undecodable
        return stream

    def __copy__(self) -> Self:
        return self.clone()

    def _chain(self, what: str, **options: Any) -> Self:
        """Make the stream that takes this one's place."""
        if self._next is not None:
            raise ImproperlyConfigured(
                f"{what}: another stream was made from {self!r} already, and has its messages; "
                "make it from that one, or from a clone()"
            )
        stream = self.clone(prev=self, **options)
        stream.judge_undecodable = self.judge_undecodable
        self._next = stream
        return stream

    def _chain_here(self, what: str, **options: Any) -> Self:
        """Make a stream that reads what this one would have read."""
        stream = self._chain(what, **options)
        stream._opens = self.opened
        stream._decode_key = in_hand_of(self._decode_key, stream)
        stream._decode_value = in_hand_of(self._decode_value, stream)
        return stream

    # -- operators -------------------------------------------------------------------------

    def noack(self) -> Self:
        """Return a stream of the same events with manual acknowledgement.

        `event.ack()`, `stream.ack(event)` or `async with event` does it; neither moving on
        nor an error of the agent does.
        """
        return self._chain_here("noack()", enable_acks=False)

    def add_processor(self, processor: Processor) -> None:
        """Let a function, or coroutine function, have each value first; Skip drops the event."""
        self._processors.append(processor)

    def filter(self, fun: Callable[[T], Any]) -> Self:
        """Drop values of which a function, or coroutine function, says so; return the stream.

        What is dropped is acknowledged.
        """
        self.add_processor(Filter(fun))
        return self

    def echo(self, *channels: Channel | str) -> Self:
        """Send each value to channels, too, with its key and headers; return the stream.

        The names of topics will do; those have the types of this stream.
        """
        self.add_processor(Echo([self._channel_of(channel) for channel in channels]))
        return self

    def _channel_of(self, channel: Channel | str) -> Channel:
        return self.derive_topic(channel) if isinstance(channel, str) else channel

    def through(self, channel: Channel | str) -> Stream[Any]:
        """Forward every message to a channel, and return a stream that goes on from there.

        The name of a topic will do; it has the types of this stream. An event is done here
        once it is in the producer's buffer; offsets are committed after that is flushed.
        """
        return self._relay_to("through()", self._channel_of(channel), None)

    def group_by(
        self,
        key: Any,
        *,
        name: str | None = None,
        topic: Topic | None = None,
        partitions: int | None = None,
    ) -> Stream[T]:
        """Return a stream in which messages with one key come from one partition.

        key is a field of the model (`Order.account`), or a function, or coroutine function,
        of the value, which needs a name. Messages are sent on with that key to a topic of
        the app's own, or to the one given, which has as many partitions as this stream's
        has unless partitions says otherwise.
        """
        key_of, suffix, key_type = group_key(key, name)
        if topic is None and self.join_strategy is None and not isinstance(self.channel, Topic):
            grouped = self._chain_here("group_by()")
            grouped.add_processor(Rekey(key_of))
            return grouped
        if topic is None:
            topic = self._repartition_topic(suffix, key_type, partitions)
        return self._relay_to("group_by()", topic, key_of)

    def _repartition_topic(self, suffix: str, key_type: Any, partitions: int | None) -> Topic:
        source = self.channel
        named = [] if source.has_prefix else [self.app.conf.id, self.prefix]
        parts = [*filter(None, named), source.get_topic_name(), suffix, "repartition"]
        topic: Topic = self.app.topic(
            "-".join(parts),
            **rekeyed(source, key_type),
            partitions=partitions,
            internal=True,
            has_prefix=True,
        )
        return topic

    def _relay_to(self, what: str, channel: Channel, key_of: Any) -> Stream[Any]:
        """Have messages sent on to a channel, and return the stream that reads it."""
        if self.join_strategy is not None:
            raise ImproperlyConfigured(
                f"{what} sends messages on as they are, and a joined stream has none of its own: "
                "send what you make of a pair to a topic"
            )
        # Those that only drop or copy run before the message goes on as it is, the
        # others after it came.
        keep = 0
        while keep < len(self._processors) and hasattr(self._processors[keep], "keeps_value"):
            keep += 1
        stream = self._chain(
            what,
            channel=channel,
            processors=self._processors[keep:],
            combined=(),
            join_strategy=None,
            on_start=None,
        )
        del self._processors[keep:]
        stream._relay = Relay(self, channel, key_of, what)
        stream._opens = stream._relay.open
        return stream

    def combine(self, *nodes: Stream[V]) -> Stream[T | V]:
        """Return a stream of the events of this one and of others; `a & b` does it, too.

        Each goes through the processors of the stream it came from first. They are read
        in turn, so that none is kept waiting by another.
        """
        for node in nodes:
            if not isinstance(node, Stream):
                raise ImproperlyConfigured(
                    f"only streams are combined, not {node!r}; stream.join(table) looks up "
                    "what a table has for each event"
                )
        streams: list[Stream[Any]] = [self, *nodes]
        if any(node.join_strategy is not None for node in streams):
            raise ImproperlyConfigured("a joined stream cannot be combined with others")
        merged = self.combined and not self._processors and self.join_strategy is None
        parts: list[Stream[Any]] = [*(self.combined if merged else [self]), *nodes]
        if len(set(map(id, parts))) < len(parts):
            raise ImproperlyConfigured("a stream cannot be combined with itself; clone() it")
        stream: Stream[Any] = self._chain(
            "combine()", combined=parts, processors=(), on_start=None, join_strategy=None
        )
        stream._owns_reader, stream._reader = True, None
        for node in nodes:
            node.contribute_to_stream(stream)
        return stream

    def __and__(self, other: Stream[V]) -> Stream[T | V]:
        if not isinstance(other, Stream):
            return NotImplemented
        return self.combine(other)

    def contribute_to_stream(self, active: Stream[Any]) -> None:
        """Become part of a combined stream."""
        if self._next is not active:
            if self._next is not None:
                raise ImproperlyConfigured(
                    f"{self!r} is part of another stream already, or one was made from it"
                )
            self._next = active

    async def remove_from_stream(self, stream: Stream[Any]) -> None:
        """End being part of a combined stream, which is stopped."""
        self._next = None
        await self.stop()

    def join(self, *fields: Any, **window: Any) -> Stream[Joined]:
        """Return a stream of pairs of events, of two combined streams, with the same key.

        `(orders & payments).join(Order.id, Payment.order, within=60)` gives
        (order, payment) for each two that are at most 60 seconds apart. The same as
        inner_join. See faustc.joins.Join for the arguments.

        `orders.join(table)`, or `left_join(table)`, gives each value with what a table has for
        the key of its message, or for that in a field: `orders.join(table, Order.account)`.
        """
        return self._join("InnerJoin", fields, window)

    def inner_join(self, *fields: Any, **window: Any) -> Stream[Joined]:
        """Return a stream of pairs only; see join."""
        return self._join("InnerJoin", fields, window)

    def left_join(self, *fields: Any, **window: Any) -> Stream[Joined]:
        """Return a stream of pairs, and of (left, None) once no counterpart can come; see join."""
        return self._join("LeftJoin", fields, window)

    def right_join(self, *fields: Any, **window: Any) -> Stream[Joined]:
        """Return a stream of pairs, and of (None, right) once no counterpart can come; see join."""
        return self._join("RightJoin", fields, window)

    def outer_join(self, *fields: Any, **window: Any) -> Stream[Joined]:
        """Return a stream of pairs, and of both kinds of events without one; see join."""
        return self._join("OuterJoin", fields, window)

    def _join(self, kind: str, fields: Any, window: Any) -> Stream[Joined]:
        if fields and hasattr(fields[0], "joined_to"):
            lookup = fields[0].joined_to(fields[1:], kind, **window)
            joined: Stream[Any] = self._chain_here("join()")
            joined.add_processor(lookup.of(joined))
            return joined
        from faustc import joins  # few streams are joined, and every app imports this module

        strategy = getattr(joins, kind)(stream=self, fields=fields, **window)
        stream: Stream[Any] = self._chain("join()", join_strategy=strategy, on_start=None)
        stream._owns_reader, stream._reader = True, None
        return stream

    def derive_topic(
        self,
        name: str,
        *,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        prefix: str = "",
        suffix: str = "",
    ) -> Topic:
        """Describe a topic whose types are those of this stream, unless others are given."""
        if not isinstance(self.channel, Topic):
            raise ImproperlyConfigured(
                f"{self!r} does not read a topic, so {name!r} cannot be derived from it; "
                "give a topic instead of its name"
            )
        return self.channel.derive_topic(
            topics=[name],
            schema=schema,
            key_type=key_type,
            value_type=value_type,
            prefix=prefix,
            suffix=suffix,
        )
