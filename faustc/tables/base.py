"""What all tables are: a name, a changelog, the shards that are here, and who is told of them."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from faustc.engine.declare import TopicSpec
from faustc.engine.shard import Shard
from faustc.exceptions import ImproperlyConfigured
from faustc.imports import did_you_mean
from faustc.operators import maybe_await
from faustc.stores.base import Store
from faustc.stores.memory import MemoryStore
from faustc.stores.registry import open_store, store_kind
from faustc.tables.coding import Coding
from faustc.tables.facets import Facet
from faustc.tables.lookups import Lookup, lookup_of
from faustc.tables.routing import Routing
from faustc.topics import Topic
from faustc.types import TopicPartition
from faustc.urls import URL
from faustc.windows import Window

__all__ = ["DEFAULT_CACHE_BYTES", "Collection"]

logger = logging.getLogger(__name__)

#: Objects of one table that are kept beside their bytes.
DEFAULT_CACHE_BYTES = 64 << 20

_NAME = re.compile(r"(?!\.\.?$)[\w.-]+")

#: Taken, as in Faust, where a Service is made by hand; nothing is done with them.
_OF_SERVICES = {"loop", "beacon"}


class Collection(Routing):
    """What Table and its like have in common; the app's methods make them.

    default makes the value of a key that has none. key_type and value_type are models or
    types; without one it is what JSON gives. schema is both, and their serializers.
    store is the URL of another kind of store than the app's (setting `store`), options are
    what that takes. The table has as many partitions as the topics that change it, or
    `partitions`. window is the one that a windowed table has.

    The changelog is called `{id}-{name}-changelog`, or is changelog_topic; it is compacted
    and has extra_topic_configs, more of Kafka's settings by name. on_recover, and
    recover_callbacks, are called without arguments once what was assigned is whole,
    on_changelog_event with each event that a changelog brings, on_window_close with the
    key and the value of each window that has expired. They may be coroutine functions.

    use_partitioner: a key is kept in the partition that the producer would send it to,
    instead of that of the event in hand. is_global: every worker has all of it.
    cache_bytes bounds the memory for values that are kept as objects, about.

    recovery_buffer_size, standby_buffer_size and synchronize_all_active_partitions are
    taken, and change nothing: changelogs are read batch by batch, and a global table is
    always whole.
    """

    #: Whether a table of this class is at every worker.
    global_by_class = False

    def __init__(
        self,
        app: Any,
        *,
        name: str | None = None,
        default: Callable[[], Any] | None = None,
        store: str | URL | None = None,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        partitions: int | None = None,
        window: Window | None = None,
        changelog_topic: Topic | str | None = None,
        help: str | None = None,
        on_recover: Callable[[], Any] | None = None,
        on_changelog_event: Callable[[Any], Any] | None = None,
        recovery_buffer_size: int = 1000,
        standby_buffer_size: int | None = None,
        extra_topic_configs: Mapping[str, Any] | None = None,
        recover_callbacks: Iterable[Callable[[], Any]] | None = None,
        options: Mapping[str, Any] | None = None,
        use_partitioner: bool = False,
        on_window_close: Callable[[Any, Any], Any] | None = None,
        is_global: bool = False,
        synchronize_all_active_partitions: bool = False,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        **unknown: Any,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ImproperlyConfigured(
                f"a table has a name of letters, digits, '.', '_' and '-', not {name!r}"
            )
        self.name: str = name
        self._check(unknown)
        self.app = app
        self.default = default
        self._store = URL(store) if isinstance(store, str) else store
        self.schema = schema
        self.key_type = key_type if key_type is not None else getattr(schema, "key_type", None)
        self.value_type = (
            value_type if value_type is not None else getattr(schema, "value_type", None)
        )
        self.key_serializer = _serializer(self.key_type, getattr(schema, "key_serializer", None))
        self.value_serializer = _serializer(
            self.value_type, getattr(schema, "value_serializer", None)
        )
        self.given_partitions = self.partitions = partitions
        self.window = window
        self._changelog_topic = changelog_topic
        self.help = help or ""
        self._on_changelog_event = on_changelog_event
        self.recovery_buffer_size = recovery_buffer_size
        self.standby_buffer_size = standby_buffer_size or recovery_buffer_size
        self.extra_topic_configs = dict(extra_topic_configs or {})
        self._recover_callbacks = list(recover_callbacks or ())
        self.options = dict(options or {})
        self.use_partitioner = use_partitioner
        self._on_window_close = on_window_close
        self.is_global = is_global or self.global_by_class
        self.synchronize_all_active_partitions = synchronize_all_active_partitions
        self.cache_bytes = cache_bytes
        for what, number in (
            ("partitions", partitions),
            ("recovery_buffer_size", recovery_buffer_size),
            ("standby_buffer_size", self.standby_buffer_size),
            ("cache_bytes", cache_bytes),
        ):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ImproperlyConfigured(f"table {name}: {what} is 1 or more, not {number!r}")
        if synchronize_all_active_partitions and not self.is_global:
            raise ImproperlyConfigured(
                f"table {name}: synchronize_all_active_partitions is for global tables"
            )
        if self._store is not None:
            store_kind(self._store, self.options)  # what is wrong is said here
        if on_recover is not None:
            self.on_recover(on_recover)
        super().__init__()

    def _check(self, unknown: Mapping[str, Any]) -> None:
        for option in unknown:
            if option not in _OF_SERVICES:
                known = {
                    known
                    for one in type(self).__mro__
                    if "__init__" in vars(one)
                    for known in inspect.signature(vars(one)["__init__"]).parameters
                }
                raise ImproperlyConfigured(
                    f"table {self.name}: there is no option {option!r}"
                    f"{did_you_mean(option, known - {'self', 'unknown', 'app'})}"
                )

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        # A table is itself, whatever is in it; with a dictionary its content is compared.
        if isinstance(other, Collection) or not isinstance(other, Mapping):
            return self is other
        items: Callable[[], Any] = getattr(self, "items", dict)
        return dict(items()) == dict(other)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    # -- what it is --------------------------------------------------------------------

    @property
    def label(self) -> str:
        """What it is called in logs, with where it is stored."""
        return f"{self.shortlabel}@{self.store}"

    @property
    def shortlabel(self) -> str:
        """What it is called in logs."""
        return f"{type(self).__name__}: {self.name}"

    @property
    def store(self) -> URL | None:
        """The URL of its store, None for the app's."""
        return self._store

    @property
    def data(self) -> Any:
        """What it holds: itself."""
        return self

    def info(self) -> dict[str, Any]:
        """Return what `clone` would make it from."""
        return {
            "app": self.app,
            "name": self.name,
            "default": self.default,
            "store": self._store,
            "schema": self.schema,
            "key_type": self.key_type,
            "value_type": self.value_type,
            "partitions": self.given_partitions,
            "window": self.window,
            "changelog_topic": self._changelog_topic,
            "help": self.help,
            "recover_callbacks": list(self._recover_callbacks),
            "on_changelog_event": self._on_changelog_event,
            "on_window_close": self._on_window_close,
            "recovery_buffer_size": self.recovery_buffer_size,
            "standby_buffer_size": self.standby_buffer_size,
            "extra_topic_configs": dict(self.extra_topic_configs),
            "options": dict(self.options),
            "use_partitioner": self.use_partitioner,
            "is_global": self.is_global,
            "synchronize_all_active_partitions": self.synchronize_all_active_partitions,
            "cache_bytes": self.cache_bytes,
        }

    def clone(self, **options: Any) -> Self:
        """Describe another table like this one, with some options changed.

        It is no table of the app before `app.tables.add(table)`.
        """
        if "name" in options and "changelog_topic" not in options:
            options["changelog_topic"] = None
        return type(self)(**{**self.info(), **options})

    def __copy__(self) -> Self:
        return self.clone()

    # -- its changelog -----------------------------------------------------------------

    @property
    def changelog_topic(self) -> Topic:
        """The topic that has every change of it."""
        topic = self._changelog_topic
        if not isinstance(topic, Topic):
            topic = self._changelog_topic = self._new_changelog_topic(topic)
        return topic

    @changelog_topic.setter
    def changelog_topic(self, topic: Topic) -> None:
        self._changelog_topic = topic

    @property
    def changelog_topic_name(self) -> str:
        """The name of that topic."""
        return self.changelog_topic.get_topic_name()

    def _changelog_topic_name(self) -> str:
        return f"{self.app.conf.id}-{self.name}-changelog"

    def _new_changelog_topic(self, name: str | None = None) -> Topic:
        topic: Topic = self.app.topic(
            name or self._changelog_topic_name(),
            key_type=self.key_type,
            value_type=self.value_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            partitions=self.partitions,
            # Never by age: a window that is open, or was closed by nobody yet, would be lost.
            compacting=True,
            acks=False,
            internal=True,
            has_prefix=name is None,
            config=self.extra_topic_configs,
            allow_empty=True,
        )
        return topic

    def changelog_spec(self, partitions: int) -> TopicSpec:
        """Return how the changelog is to be created, if it is missing."""
        topic = self.changelog_topic
        shape = topic.shape._replace(partitions=partitions)
        return shape.spec(topic.get_topic_name(), self.app.conf)

    # -- what the engine tells ---------------------------------------------------------

    def open_store(self, tp: TopicPartition) -> Store:
        """Make the store of a partition of the changelog."""
        url = self._store if self._store is not None else self.app.conf.store
        options = self.options
        if self._store is None and url.scheme == "memory":
            options = {}  # the app was given another store than the one they are for, in tests
        kind = store_kind(url, options)
        folder = self.app.tables.folder if kind.durable else None
        return open_store(kind, self.name, tp, folder)

    @property
    def stores_durably(self) -> bool:
        """Whether its store is there again after a restart."""
        return store_kind(self._store or self.app.conf.store).durable

    def stored_position(self, tp: TopicPartition) -> int | None:
        """Return how far a store is that an earlier life left here; None if there is none."""
        if not self.stores_durably or not self.app.tables.folder.of(self.name, tp[1]).exists():
            return None
        store = self.open_store(tp)
        try:
            return store.position
        finally:
            store.close()

    def open_in_memory(self, partition: int) -> Facet:
        """Open a partition that no worker has: what a test of one agent writes to."""
        tp = TopicPartition(self._changelog_topic_name(), partition)
        shard = self.shards[partition] = Shard(tp, MemoryStore(tp, None, {}))
        return self._open_facet(shard)

    def on_shard_opened(self, shard: Shard) -> None:
        """Show a shard, which is whole now."""
        self._open_facet(shard)

    def on_shard_closed(self, shard: Shard) -> None:
        """Hide a shard, which is this worker's no more."""
        self._close_facet(shard)

    async def on_recovered(self) -> None:
        """Call the callbacks: what was assigned is whole."""
        await self.call_recover_callbacks()

    def on_recover(self, fun: Callable[[], Any]) -> Callable[[], Any]:
        """Have a function called, or a coroutine function, once what was assigned is whole."""
        if fun not in self._recover_callbacks:
            self._recover_callbacks.append(fun)
        return fun

    async def call_recover_callbacks(self) -> None:
        """Call what on_recover was given; what fails in there is logged, and stops no other."""
        for fun in list(self._recover_callbacks):
            try:
                await maybe_await(fun())
            except Exception:
                logger.exception("Table %s: on_recover %r failed", self.name, fun)

    def changelog_listener(self) -> Callable[[Sequence[Any]], Awaitable[None]] | None:
        """Return what is told of each batch that changelogs bring; None if nobody asked."""
        overridden = type(self).on_changelog_event is not Collection.on_changelog_event
        if self._on_changelog_event is None and not overridden:
            return None
        return self._tell_of_batches

    async def _tell_of_batches(self, batches: Sequence[Any]) -> None:
        for batch in batches:
            for message in batch.messages():
                try:
                    event = self._event_of(message)
                    await self.on_changelog_event(event)
                except Exception:
                    logger.exception("Table %s: on_changelog_event failed", self.name)

    def _event_of(self, message: Any) -> Any:
        key = None if message.key is None else self.coding.decode_key(message.key)
        value = None if message.value is None else self.coding.decode_value(message.value)
        return self.app.create_event(key, value, message.headers, message)

    async def on_changelog_event(self, event: Any) -> None:
        """Have each event that a changelog brings; calls the constructor's function."""
        if self._on_changelog_event is not None:
            await maybe_await(self._on_changelog_event(event))

    async def on_window_close(self, key: Any, value: Any) -> None:
        """Have each window that expired, before it goes; calls the constructor's function."""
        if self._on_window_close is not None:
            await maybe_await(self._on_window_close(key, value))

    # -- with streams ------------------------------------------------------------------

    def joined_to(self, fields: tuple[Any, ...], kind: str, **options: Any) -> Lookup:
        """Return what a stream that is joined with it looks values up with; see Stream.join."""
        return lookup_of(self, fields, kind, **options)

    def join(self, *fields: Any) -> Any:
        """Return `stream.join(table)` for a stream that is given first; see there."""
        return self._join("join", fields)

    def inner_join(self, *fields: Any) -> Any:
        """Return `stream.inner_join(table)`; see join."""
        return self._join("inner_join", fields)

    def left_join(self, *fields: Any) -> Any:
        """Return `stream.left_join(table)`: every event of the stream is kept."""
        return self._join("left_join", fields)

    def outer_join(self, *fields: Any) -> Any:
        """Raise ImproperlyConfigured: a table has no events of its own to be kept."""
        return self._join("outer_join", fields)

    def _join(self, what: str, fields: tuple[Any, ...]) -> Any:
        if not fields or not hasattr(fields[0], "get_active_stream"):
            raise ImproperlyConfigured(
                f"table {self.name} is joined with a stream: stream.{what}(table), or "
                f"table.{what}(stream)"
            )
        return getattr(fields[0], what)(self, *fields[1:])

    def combine(self, *nodes: Any) -> Any:
        """Raise ImproperlyConfigured: a table has no events that could be combined with others."""
        raise ImproperlyConfigured(
            f"table {self.name} has no events to be combined with others; stream.join(table) "
            "looks up what it has for each event"
        )

    def __and__(self, other: Any) -> Any:
        return self.combine(other)

    def __rand__(self, other: Any) -> Any:
        return self.combine(other)

    # -- plumbing, by Faust's names ------------------------------------------------------

    @property
    def coding(self) -> Coding:
        """How keys and values are bytes."""
        found: Coding | None = self._coding
        if found is None:
            self._coding = found = Coding(
                self.app.serializers,
                self.name,
                key_type=self.key_type,
                value_type=self.value_type,
                key_serializer=self.key_serializer,
                value_serializer=self.value_serializer,
                windowed=self.window is not None,
            )
        return found

    def persisted_offset(self, tp: TopicPartition) -> int | None:
        """Return the offset of the last record of the changelog that its store has."""
        shard = self.shards.get(tp[1])
        position = None if shard is None else shard.store.position
        return None if position is None else position - 1

    async def need_active_standby_for(self, tp: TopicPartition) -> bool:
        """Say whether a partition is not here."""
        return tp[1] not in self.shards

    def reset_state(self) -> None:
        """Forget all that is here, without deleting it: the next to open it fills it again."""
        for shard in self.shards.values():
            shard.abort()
            shard.clear()

    def send_changelog(
        self,
        partition: int | None,
        key: Any,
        value: Any,
        key_serializer: Any = None,
        value_serializer: Any = None,
    ) -> None:
        """Have a change sent to the changelog with the next commit; the table has it at once.

        None for the value deletes. partition None: that of the key.
        """
        registry, coding = self.app.serializers, self.coding
        raw = (
            coding.encode_key(key)
            if key_serializer is None
            else registry.dumps_key(self.key_type, key, serializer=key_serializer)
        )
        facet = self._facet_of(self._partition_of(raw) if partition is None else partition)
        if value is None:
            facet.delete(raw)
            return
        stored = (
            coding.encode_value(value)
            if value_serializer is None
            else registry.dumps_value(self.value_type, value, serializer=value_serializer)
        )
        facet.set(raw, stored, value)

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Take events of the changelog into the stores of the partitions that are here."""
        changes: dict[int, tuple[dict[bytes, bytes | None], int]] = {}
        for event in batch:
            message = event.message
            found, _ = changes.get(message.partition, ({}, 0))
            if message.key is not None:
                found[message.key] = message.value
            changes[message.partition] = found, message.offset + 1
        for partition, (found, position) in changes.items():
            shard = self._facet_of(partition).shard
            shard.store.write(found, position)
            shard.edition += 1


def _serializer(typ: Any, given: Any) -> Any:
    """Return what a type is written with."""
    if given is not None:
        return given
    if typ is bytes:
        return "raw"
    return getattr(getattr(typ, "_options", None), "serializer", None) or "json"
