"""Topics: channels that are kept by Kafka."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import timedelta
from typing import Any

from faustc.channels import Channel
from faustc.engine.declare import TopicSpec
from faustc.exceptions import (
    ImproperlyConfigured,
    NotReady,
)
from faustc.messages import PendingDelivery, headers_list, timestamp_ms
from faustc.serialized import SerializedChannel
from faustc.serializers import Schema
from faustc.shapes import Shape, checked_names
from faustc.types import FutureMessage, HeadersArg

__all__ = ["Topic", "Topics"]


# What a subclass may override of how messages are sent; then it is asked for each.
SENDING = (
    "prepare_headers",
    "prepare_key",
    "prepare_value",
    "as_future_message",
    "publish_message",
)


class Topic(SerializedChannel):
    """A description of one or several Kafka topics: names, types, how to create them.

    Reading takes all its names, sending goes to the first. Making one touches
    no broker; it is created when an agent reads it, when it is first sent to,
    or by `declare()`.

    Instead of names, pattern says which to read: a regular expression, matched from
    the start of a name. Topics that come later are found when the metadata is
    looked at again (`consumer_metadata_max_age_ms`), and read from their beginning.

    key_type and value_type are a model, bytes, str, and so on; None takes what
    comes. The serializers are codecs or their names. schema is all of these in one;
    what is given beside it goes first. allow_empty: a null value is None for a model, too.

    For creating: partitions, replicas, retention (seconds or a timedelta),
    compacting, deleting, and config, more of Kafka's settings by name. A topic that
    exists stays as it is.

    acks=False: what is read of it moves no committed offset. maxsize: how many
    messages wait in a reader before no more are fetched. internal and has_prefix
    (its name begins with the app's) are noted for whoever asks.
    """

    def __init__(
        self,
        app: Any,
        *,
        topics: Sequence[str] = (),
        pattern: str | re.Pattern[str] | None = None,
        schema: Schema | None = None,
        key_type: Any = None,
        value_type: Any = None,
        is_iterator: bool = False,
        partitions: int | None = None,
        retention: float | timedelta | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        replicas: int | None = None,
        acks: bool = True,
        internal: bool = False,
        config: Mapping[str, Any] | None = None,
        queue: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        maxsize: int | None = None,
        root: Channel | None = None,
        active_partitions: Any = None,
        allow_empty: bool | None = None,
        has_prefix: bool = False,
        loop: Any = None,
    ) -> None:
        self.topics, self.pattern = checked_names(topics, pattern)
        super().__init__(
            app,
            name=self.topics[0] if self.topics else self.label,
            schema=schema,
            key_type=key_type,
            value_type=value_type,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            allow_empty=allow_empty,
            is_iterator=is_iterator,
            queue=queue,
            maxsize=maxsize,
            root=root,
            active_partitions=active_partitions,
        )
        self.partitions = partitions
        self.retention = retention
        self.compacting = compacting
        self.deleting = deleting
        self.replicas = replicas
        self.acks = acks
        self.internal = internal
        self.config = dict(config or {})
        self.shape.check(self.label)
        self.has_prefix = has_prefix
        self._declared_by: Any = None  # the engine that has seen to it that it exists
        # Messages are sent without asking schema or subclass where that makes no difference.
        self._plain = self.schema.writes_plainly and all(
            getattr(type(self), name) is getattr(Topic, name) for name in SENDING
        )
        if self.shape.given and root is None:
            app.runner.described.update(dict.fromkeys(self.topics, self.shape))

    @property
    def shape(self) -> Shape:
        """How it is to be created."""
        return Shape(
            self.partitions, self.replicas, self.retention, self.compacting, self.deleting,
            self.config,
        )  # fmt: skip

    @property
    def label(self) -> str:
        return ",".join(self.topics) if self.pattern is None else self.pattern.pattern

    def get_topic_name(self) -> str:
        """Return its first name; raises ImproperlyConfigured for one that has a pattern."""
        if self.pattern is not None:
            raise ImproperlyConfigured(
                f"the topics of pattern {self.pattern.pattern!r} are read only: "
                "name the topic that is meant, as in app.topic('name')"
            )
        return self.topics[0]

    def __str__(self) -> str:
        return self.label

    # -- copies ------------------------------------------------------------------------

    def derive(self, **options: Any) -> Topic:
        """Return a topic like this one with some options changed; see derive_topic."""
        return self.derive_topic(**options)

    def derive_topic(
        self,
        *,
        topics: Sequence[str] | None = None,
        schema: Schema | None = None,
        prefix: str = "",
        suffix: str = "",
        **options: Any,
    ) -> Topic:
        """Return a topic like this one, its names changed by prefix and suffix.

        options are those of the constructor; what is None stays as it is here.
        """
        names = self.topics if topics is None else topics
        if prefix or suffix:
            if self.pattern is not None:
                raise ImproperlyConfigured("a topic with a pattern takes no prefix or suffix")
            names = [f"{prefix}{name}{suffix}" for name in names]
        kept = self._clone_args()
        for name in ("app", "root", "active_partitions"):
            del kept[name]
        if topics is not None:
            kept["pattern"] = None
        kept.update({name: value for name, value in options.items() if value is not None})
        kept["topics"] = names
        kept["schema"] = self.schema if schema is None else schema
        kept["has_prefix"] = kept["has_prefix"] or bool(prefix)
        return type(self)(self.app, **kept)

    def _clone_args(self) -> dict[str, Any]:
        kept = super()._clone_args()
        for name in ("name", "key_type", "value_type"):  # the schema has the types
            del kept[name]
        for name in (
            "topics", "pattern", "partitions", "retention", "compacting", "deleting",
            "replicas", "acks", "internal", "config", "has_prefix",
        ):  # fmt: skip
            kept[name] = getattr(self, name)
        return kept

    # -- creating ----------------------------------------------------------------------

    def specs(self) -> list[TopicSpec]:
        """Describe how each of its topics is to be created; none for a pattern.

        Where this description says nothing of that, another of the app's may.
        """
        conf, shape, described = self.app.conf, self.shape, self.app.runner.described
        return [
            (shape if shape.given else described.get(name, shape)).spec(name, conf)
            for name in self.topics
        ]

    async def declare(self) -> None:
        """Create what is missing of its topics; existing ones stay as they are.

        Without `topic_allow_declare` nothing is created, and one line says what is missing.
        """
        await self.app.runner.home.run(self._declare)

    async def maybe_declare(self) -> None:
        """Like declare: which looks once only, in each run of the app."""
        await self.declare()

    async def _declare(self) -> None:
        self.get_topic_name()
        engine = await self.app.runner.sending_engine()
        await engine.declare(self.specs())
        await self.schema.ready()
        self._declared_by = engine

    # -- sending -----------------------------------------------------------------------

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        schema: Schema | None = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        force: bool = False,
    ) -> Any:
        """Send a message to the first of the topics.

        Returns when it is in the producer's buffer (it waits while that is
        full), with an awaitable of RecordMetadata: await that to know that
        brokers have it. Nobody has to: no offset is committed before the sends
        of its event are acknowledged. timestamp is in seconds. May be called
        from any thread that runs an event loop. callback is called with a
        FutureMessage once that is done; it may be a coroutine function.

        With `stream_publish_on_commit` what is sent for an event is kept until that is
        done, and goes out just before its offset is committed: do not wait for it there.
        force=True sends it now.
        """
        runner = self.app.runner
        if not self._plain or schema is not None or callback is not None or runner.attaches:
            await self._schema_of(schema).ready()
            fut = self.as_future_message(
                key, value, partition, timestamp, headers, schema, key_serializer,
                value_serializer, callback,
            )  # fmt: skip
            if runner.attaches and not force and runner.attach(fut, self._publish_here):
                return fut
            return await self.publish_message(fut, wait=False)
        raw_key, raw_value = self._encode(key, value, key_serializer, value_serializer)
        options: dict[str, Any] = {}
        if partition is not None:
            options["partition"] = partition
        if timestamp is not None:
            options["timestamp_ms"] = timestamp_ms(timestamp)
        if headers:
            options["headers"] = headers_list(headers)
        loop = self.app.runner.home.other()
        if loop is None:
            return await self._send_here(raw_key, raw_value, options)
        handed_over = asyncio.run_coroutine_threadsafe(
            self._send_here(raw_key, raw_value, options), loop
        )
        return PendingDelivery(await asyncio.wrap_future(handed_over), loop)

    async def _send_here(
        self, key: bytes | None, value: bytes | None, options: dict[str, Any]
    ) -> Any:
        engine = await self.app.runner.sending_engine()
        if self._declared_by is not engine:
            await self._declare()
        engine.counters.messages_sent_by_topic[self.name] += 1
        return await engine.producer.send(self.name, value, key=key, **options)

    def as_future_message(
        self,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        schema: Schema | None = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        eager_partitioning: bool = False,
    ) -> FutureMessage:
        """Encode a message, to be sent by `publish_message`.

        eager_partitioning: find the partition of its key now. Raises NotReady for that
        if the producer does not know the topic yet; `await topic.declare()` first.
        """
        fut = super().as_future_message(
            key, value, partition, timestamp, headers, schema, key_serializer,
            value_serializer, callback,
        )  # fmt: skip
        if eager_partitioning and partition is None and fut.message.key is not None:
            place = self.app.producer.key_partition(self.get_topic_name(), fut.message.key)
            fut.message = fut.message._replace(partition=place.partition)
        return fut

    async def publish_message(self, fut: FutureMessage, wait: bool = False) -> Any:
        """Send a message that `as_future_message` prepared; return an awaitable of its metadata.

        Returns when it is in the producer's buffer, with wait once brokers have it.
        """
        loop = self.app.runner.home.other()
        if loop is None:
            delivery = await self._publish_here(fut)
        else:
            handed_over = asyncio.run_coroutine_threadsafe(self._publish_here(fut), loop)
            delivery = PendingDelivery(await asyncio.wrap_future(handed_over), loop)
        if wait:
            await delivery
            return fut
        return delivery

    async def _publish_here(self, fut: FutureMessage) -> Any:
        message = fut.message
        options: dict[str, Any] = {}
        if message.partition is not None:
            options["partition"] = message.partition
        if message.timestamp is not None:
            options["timestamp_ms"] = timestamp_ms(message.timestamp)
        if message.headers:
            options["headers"] = headers_list(message.headers)
        delivery = await self._send_here(message.key, message.value, options)
        fut.hand_over(delivery, asyncio.get_running_loop())
        callback = message.callback
        if callback is not None:
            runner = self.app.runner
            delivery.add_done_callback(lambda _: runner.called_back(callback, fut))
        return delivery

    def send_soon(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        schema: Schema | None = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        force: bool = False,
        eager_partitioning: bool = False,
    ) -> FutureMessage:
        """Send from any thread, without awaiting; returns an awaitable of RecordMetadata.

        The app has to be running. Order is kept among the calls of one thread.
        """
        fut = self.as_future_message(
            key, value, partition, timestamp, headers, schema, key_serializer,
            value_serializer, callback, eager_partitioning,
        )  # fmt: skip
        self.app.runner.send_later(fut, lambda: self._publish_here(fut))
        return fut

    async def send_many(
        self,
        values: Iterable[Any],
        *,
        keys: Iterable[Any] | None = None,
        partition: int | None = None,
        timestamp: float | None = None,
    ) -> Any:
        """Send many messages at once, each with the key at its place in keys.

        Cheaper than as many `send` calls, and otherwise the same. Returns an
        awaitable that is done when brokers have all of them. They go out at once,
        whatever `stream_publish_on_commit` says. A schema that writes headers is
        refused: send those messages one by one.
        """
        if self._plain:
            encode_key, encode_value = self._encoders or self.encoders()
        else:
            await self.schema.ready()
            encode_key, encode_value = (
                self._headless(self.prepare_key),
                self._headless(self.prepare_value),
            )
        raw_values = [encode_value(value) for value in values]
        options: dict[str, Any] = {}
        if keys is not None:
            options["keys"] = [encode_key(key) for key in keys]
        if partition is not None:
            options["partition"] = partition
        if timestamp is not None:
            options["timestamp_ms"] = timestamp_ms(timestamp)
        loop = self.app.runner.home.other()
        if loop is None:
            return await self._send_many_here(raw_values, options)
        handed_over = asyncio.run_coroutine_threadsafe(
            self._send_many_here(raw_values, options), loop
        )
        return PendingDelivery(await asyncio.wrap_future(handed_over), loop)

    def _headless(self, prepare: Callable[..., tuple[Any, Any]]) -> Callable[[Any], Any]:
        def encode(one: Any) -> Any:
            raw, headers = prepare(one, None, None, {})
            if headers:
                raise ImproperlyConfigured(
                    f"topic {self.label}: send_many sends no headers, and its schema writes some"
                )
            return raw

        return encode

    async def _send_many_here(self, values: list[bytes | None], options: dict[str, Any]) -> Any:
        engine = await self.app.runner.sending_engine()
        if self._declared_by is not engine:
            await self._declare()
        engine.counters.messages_sent_by_topic[self.name] += len(values)
        return await engine.producer.send_many(self.name, values, **options)

    # -- as a queue --------------------------------------------------------------------

    async def put(self, event: Any) -> None:
        """Put an event into the buffer of this clone; Kafka never sees it.

        Raises NotReady for a topic that is no clone with is_iterator.
        """
        if not self.is_iterator:
            raise NotReady(
                f"topic {self.label}: put is for clones that are iterated over, "
                "topic.clone(is_iterator=True); to send to Kafka, await topic.send(value=...)"
            )
        await self.queue.put(event)

    async def get(self, *, timeout: float | None = None) -> Any:
        """Take the next event from the buffer of this clone; see put."""
        if not self.is_iterator:
            raise NotReady(f"topic {self.label}: iterate over it, or get from a clone that is")
        return await super().get(timeout=timeout)

    def _throw(self, exc: BaseException) -> None:
        for reader in list(self.root.readers):
            reader.throw(exc)


class Topics(Set[Topic]):
    """The topics that the app's agents and streams read: `app.topics`."""

    def __init__(self, topics: Callable[[], Collection[Topic]]) -> None:
        self._topics = topics

    def __contains__(self, topic: object) -> bool:
        return topic in self._topics()

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics())

    def __len__(self) -> int:
        return len(self._topics())

    def __repr__(self) -> str:
        return f"<Topics {sorted(topic.label for topic in self)}>"
