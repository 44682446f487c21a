"""Topics: channels that are kept by Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import timedelta
from typing import Any

from faustc.channels import Channel
from faustc.engine.declare import TopicSpec
from faustc.exceptions import ImproperlyConfigured
from faustc.messages import PendingDelivery, SoonDelivery, headers_list, timestamp_ms
from faustc.types import HeadersArg

__all__ = ["Topic", "Topics"]


class Topic(Channel):
    """A description of one or several Kafka topics: names, types, how to create them.

    Reading takes all its names, sending goes to the first. Making one touches
    no broker; it is created when an agent reads it, when it is first sent to,
    or by `declare()`.
    """

    def __init__(
        self,
        app: Any,
        *,
        topics: Sequence[str] = (),
        pattern: Any = None,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        retention: float | timedelta | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        replicas: int | None = None,
        acks: bool = True,
        internal: bool = False,
        config: Mapping[str, Any] | None = None,
        maxsize: int | None = None,
        allow_empty: bool = False,
        has_prefix: bool = False,
        loop: Any = None,
    ) -> None:
        if pattern is not None:
            raise ImproperlyConfigured(
                "app.topic(pattern=...) is not supported yet; name the topics"
            )
        if not topics:
            raise ImproperlyConfigured("a topic needs at least one name")
        for name in topics:
            if not isinstance(name, str) or not name:
                raise ImproperlyConfigured(f"a topic's name is a string, not {name!r}")
        if schema is not None:
            # A plain schema is only types and serializers. One with methods of its own
            # has to be asked for every message, which nobody here does yet.
            if schema.key_decoder(app) is None or schema.value_decoder(app) is None:
                raise ImproperlyConfigured(
                    f"{type(schema).__name__} overrides loads_key or loads_value: not supported yet"
                )
            key_type = schema.key_type if key_type is None else key_type
            value_type = schema.value_type if value_type is None else value_type
            key_serializer = key_serializer or schema.key_serializer
            value_serializer = value_serializer or schema.value_serializer
            allow_empty = allow_empty or schema.allow_empty
        super().__init__(
            app,
            name=topics[0],
            schema=schema,
            key_type=key_type,
            value_type=value_type,
            maxsize=maxsize,
        )
        self.topics = tuple(topics)
        self.key_serializer = key_serializer
        self.value_serializer = value_serializer
        self.partitions = partitions
        self.retention = retention
        self.compacting = compacting
        self.deleting = deleting
        self.replicas = replicas
        self.acks = acks
        self.internal = internal
        self.config = dict(config or {})
        self.allow_empty = allow_empty
        self.has_prefix = has_prefix
        self._encoders: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
        self._declared_by: Any = None  # the engine that has seen to it that it exists

    @property
    def label(self) -> str:
        return ",".join(self.topics)

    def derive(self, **options: Any) -> Topic:
        """Return a topic like this one with some options changed."""
        return self.derive_topic(**options)

    def derive_topic(
        self,
        *,
        topics: Sequence[str] | None = None,
        prefix: str = "",
        suffix: str = "",
        **options: Any,
    ) -> Topic:
        """Return a topic like this one, its names changed by prefix and suffix."""
        names = topics if topics is not None else self.topics
        kept = {
            name: getattr(self, name)
            for name in (
                "schema", "key_type", "value_type", "key_serializer", "value_serializer",
                "partitions", "retention", "compacting", "deleting", "replicas", "acks",
                "internal", "config", "allow_empty", "has_prefix",
            )
        }  # fmt: skip
        kept.update({name: value for name, value in options.items() if value is not None})
        return type(self)(self.app, topics=[f"{prefix}{name}{suffix}" for name in names], **kept)

    # -- creating ----------------------------------------------------------------------

    def specs(self) -> list[TopicSpec]:
        """Describe how each of its topics is to be created."""
        conf = self.app.conf
        config = {name: str(value) for name, value in self.config.items()}
        if self.retention is not None:
            seconds = (
                self.retention.total_seconds()
                if isinstance(self.retention, timedelta)
                else float(self.retention)
            )
            config["retention.ms"] = str(int(seconds * 1000))
        policies = [
            name
            for name, wanted in (("compact", self.compacting), ("delete", self.deleting))
            if wanted
        ]
        if policies:
            config["cleanup.policy"] = ",".join(policies)
        return [
            TopicSpec(
                name,
                self.partitions or conf.default_partitions,
                self.replicas or conf.replication_factor,
                config,
            )
            for name in self.topics
        ]

    async def declare(self) -> None:
        """Create what is missing of its topics; existing ones stay as they are."""
        await self.app.runner.home.run(self._declare)

    async def maybe_declare(self) -> None:
        """Like declare: which looks once only, in each run of the app."""
        await self.declare()

    async def _declare(self) -> None:
        engine = await self.app.runner.sending_engine()
        await engine.declare(self.specs())
        self._declared_by = engine

    # -- keys and values ---------------------------------------------------------------

    def decoders(self, envelopes: Any = None) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return what makes keys and values of bytes, put together once for this topic."""
        registry = self.app.serializers
        return (
            registry.key_decoder(self.key_type, self.key_serializer, allow_empty=True),
            registry.value_decoder(
                self.value_type,
                self.value_serializer,
                allow_empty=self.allow_empty,
                envelopes=envelopes,
            ),
        )

    def encoders(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return what makes bytes of keys and values, put together once for this topic."""
        if self._encoders is None:
            registry = self.app.serializers
            self._encoders = (
                registry.key_encoder(self.key_type, self.key_serializer),
                registry.value_encoder(self.value_type, self.value_serializer),
            )
        return self._encoders

    def _encode(
        self, key: Any, value: Any, key_serializer: Any, value_serializer: Any
    ) -> tuple[bytes | None, bytes | None]:
        encode_key, encode_value = self._encoders or self.encoders()
        registry = self.app.serializers
        if key_serializer is not None:
            encode_key = registry.key_encoder(self.key_type, key_serializer)
        if value_serializer is not None:
            encode_value = registry.value_encoder(self.value_type, value_serializer)
        return encode_key(key), encode_value(value)

    def encode(
        self,
        key: Any,
        value: Any,
        headers: HeadersArg = None,
        schema: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
    ) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]] | None]:
        """Return a message's key, value and headers as `send` would send them."""
        schema = schema if schema is not None else self.schema
        if schema is None:
            raw = self._encode(key, value, key_serializer, value_serializer)
            return *raw, headers_list(headers)
        given: Any = dict(headers_list(headers) or ())
        raw_key, given = schema.dumps_key(
            self.app, key, serializer=key_serializer or self.key_serializer, headers=given
        )
        raw_value, given = schema.dumps_value(
            self.app, value, serializer=value_serializer or self.value_serializer, headers=given
        )
        return raw_key, raw_value, headers_list(given)

    # -- sending -----------------------------------------------------------------------

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
        """Send a message to the first of the topics.

        Returns when it is in the producer's buffer (it waits while that is
        full), with an awaitable of RecordMetadata: await that to know that
        brokers have it. Nobody has to: no offset is committed before the sends
        of its event are acknowledged. timestamp is in seconds. May be called
        from any thread that runs an event loop.
        """
        options: dict[str, Any] = {}
        if partition is not None:
            options["partition"] = partition
        if timestamp is not None:
            options["timestamp_ms"] = timestamp_ms(timestamp)
        if headers:
            options["headers"] = headers_list(headers)
        if schema is None and self.schema is None:
            raw_key, raw_value = self._encode(key, value, key_serializer, value_serializer)
        else:
            raw_key, raw_value, pairs = self.encode(
                key, value, headers, schema, key_serializer, value_serializer
            )
            if pairs:
                options["headers"] = pairs
        loop = self.app.runner.home.other()
        if loop is None:
            delivery = await self._send_here(raw_key, raw_value, options)
        else:
            handed_over = asyncio.run_coroutine_threadsafe(
                self._send_here(raw_key, raw_value, options), loop
            )
            delivery = PendingDelivery(await asyncio.wrap_future(handed_over), loop)
        if callback is not None:
            delivery.add_done_callback(callback)
        return delivery

    async def _send_here(
        self, key: bytes | None, value: bytes | None, options: dict[str, Any]
    ) -> Any:
        engine = await self.app.runner.sending_engine()
        if self._declared_by is not engine:
            await self._declare()
        engine.counters.messages_sent_total += 1
        return await engine.producer.send(self.name, value, key=key, **options)

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
        awaitable that is done when brokers have all of them.
        """
        encode_key, encode_value = self._encoders or self.encoders()
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

    async def _send_many_here(self, values: list[bytes | None], options: dict[str, Any]) -> Any:
        engine = await self.app.runner.sending_engine()
        if self._declared_by is not engine:
            await self._declare()
        engine.counters.messages_sent_total += len(values)
        return await engine.producer.send_many(self.name, values, **options)

    def send_soon(
        self,
        *,
        key: Any = None,
        value: Any = None,
        **options: Any,
    ) -> SoonDelivery:
        """Send from any thread, without awaiting; returns an awaitable of RecordMetadata.

        The app has to be running. Order is kept among the calls of one thread.
        """
        given = {name: value for name, value in options.items() if value is not None}
        serializers = given.pop("key_serializer", None), given.pop("value_serializer", None)
        raw = self._encode(key, value, *serializers)
        callback = given.pop("callback", None)
        if "timestamp" in given:
            given["timestamp_ms"] = timestamp_ms(given.pop("timestamp"))
        if "headers" in given:
            given["headers"] = headers_list(given["headers"])
        soon = SoonDelivery(self.app.runner.home)
        if callback is not None:
            soon.add_done_callback(callback)
        self.app.runner.send_later(soon.future, lambda: self._send_here(*raw, given))
        return soon


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
