"""Table: a dictionary whose changes are kept in Kafka."""

from __future__ import annotations

import operator
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from datetime import timedelta
from typing import Any, ClassVar, TypeVar, overload

from faustc.events import current_stream
from faustc.sensors.monitor import Monitor, TableState
from faustc.tables.base import Collection
from faustc.tables.drawing import drawn
from faustc.tables.facets import MISSING, Facet
from faustc.tables.routing import PLAIN_KEYS
from faustc.tables.windowed import Windowed
from faustc.tables.wrappers import WindowWrapper
from faustc.windows import HoppingWindow, SessionWindow, SlidingWindow, TumblingWindow, Window

__all__ = ["Table"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
Seconds = float | timedelta


class Table(Windowed, Collection, MutableMapping[K, V]):
    """A dictionary of what stream processing knows, by key; see Collection for its arguments.

    Each worker has the partitions of it that go with the partitions of topics that it
    reads. Within a stream reading and writing is about the partition of the event in hand;
    elsewhere all that is here may be read, and nothing written. Iterating, and len(), are
    about all that is here.

    A key gets its value, and the changelog its record, when it is assigned: what changes
    within a value counts once that is assigned again.

    `tumbling()`, `hopping()`, `sliding()`, `session()` and `using_window()` make a windowed
    table of it.
    """

    WindowWrapper: ClassVar[type[WindowWrapper]] = WindowWrapper

    __hash__ = Collection.__hash__
    __eq__ = Collection.__eq__
    _state: TableState | None = None  # counted here, since a call for each key would cost more
    _hooked = False

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._look_at_sensors()

    # -- who is told -------------------------------------------------------------------

    def _look_at_sensors(self) -> None:
        """Find out who is told of single keys: from the next opened partition on."""
        sensors = self.app.sensors
        monitor = self.app.monitor
        counts = isinstance(monitor, Monitor)
        self._state = monitor.table_state(self) if counts else None
        self._told: dict[str, list[Callable[..., Any]]] = {}
        for what in ("get", "set", "del"):
            name, hook = f"on_table_{what}", f"on_key_{what}"
            told = [
                getattr(sensor, name)
                for sensor in sensors.overriding(name)
                if getattr(type(sensor), name) is not getattr(Monitor, name)
            ]
            self._told[what] = told
            if getattr(type(self), hook) is not getattr(Table, hook):
                self._told[hook] = [getattr(self, hook)]
        self._hooked = any(self._told.values())

    def _tell(self, what: str, key: Any, *value: Any) -> None:
        for sensor in self._told[what]:
            sensor(self, key, *value)
        for hook in self._told.get(f"on_key_{what}", ()):
            hook(key, *value)

    def _open_facet(self, shard: Any) -> Facet:
        self._look_at_sensors()
        return super()._open_facet(shard)

    def on_key_get(self, key: K) -> None:
        """Run when a key is read; override it."""

    def on_key_set(self, key: K, value: V) -> None:
        """Run when a key is about to be given a value; override it."""

    def on_key_del(self, key: K) -> None:
        """Run when a key is about to be deleted; override it."""

    def on_clear(self) -> None:
        """Run when the table is about to be cleared; override it."""

    # -- a dictionary ------------------------------------------------------------------

    def __missing__(self, key: K) -> V:
        if self.default is None:
            raise KeyError(key)
        return self.default()  # type: ignore[no-any-return]

    def __getitem__(self, key: K) -> V:
        try:
            message = current_stream.get()()._message  # type: ignore[misc, union-attr]
            facet = self._facets[message.topic][message.partition]
        except (TypeError, AttributeError, KeyError):
            value = self._find(self._raw(key))
        else:
            raw = self._raws.hot.get(key) if key.__class__ in PLAIN_KEYS else None
            value = facet.get(self._raw(key) if raw is None else raw)
        if self._state is not None:
            self._state.keys_retrieved += 1
        if self._hooked:
            self._tell("get", key)
        if value is MISSING:
            return self.__missing__(key)
        return value  # type: ignore[no-any-return]

    def __setitem__(self, key: K, value: V) -> None:
        stored = (self._coding or self.coding).encode_value(value)
        raw = self._raws.hot.get(key) if key.__class__ in PLAIN_KEYS else None
        if raw is None:
            raw = self._raw(key)
        try:
            message = current_stream.get()()._message  # type: ignore[misc, union-attr]
            facet = self._facets[message.topic][message.partition]
        except (TypeError, AttributeError, KeyError):
            facet = self._to_write(raw)
        self._write(facet, raw, stored, key, value)

    def _put(self, facet: Facet, raw: bytes, key: Any, value: Any) -> None:
        self._write(facet, raw, (self._coding or self.coding).encode_value(value), key, value)

    def _write(self, facet: Facet, raw: bytes, stored: bytes, key: Any, value: Any) -> None:
        if self._hooked:
            self._tell("set", key, value)
        facet.set(raw, stored, value)
        if facet.expiry is not None:
            facet.expiry.note(raw, key)
        if self._state is not None:
            self._state.keys_updated += 1

    def __delitem__(self, key: K) -> None:
        raw = self._raw(key)
        facet = self._to_write(raw)
        if not facet.has(raw):
            facet = self._holder(facet, raw, key)
        self._delete(facet, raw, key)

    def _holder(self, facet: Facet, raw: bytes, key: K) -> Facet:
        """Return the shard that has a key, where more than one may: of a global table."""
        if self.use_partitioner or self.is_global:
            for other in self._all():
                if other.has(raw):
                    return other
        raise KeyError(key)

    def _delete(self, facet: Facet, raw: bytes, key: K) -> None:
        if self._hooked:
            self._tell("del", key)
        facet.delete(raw)
        if facet.expiry is not None:
            facet.expiry.gone(raw, key)
        if self._state is not None:
            self._state.keys_deleted += 1

    def _get_key(self, key: Any) -> Any:
        return self[key]

    def _has_key(self, key: Any) -> bool:
        return key in self

    def __contains__(self, key: object) -> bool:
        raw = self._raw(key)
        if any(facet.has(raw) for facet in self._to_read(raw)):
            return True
        self._missed()
        return False

    def __iter__(self) -> Iterator[K]:
        decode = self.coding.decode_key
        for facet in self._whole():
            for raw, _ in facet.shard.items():
                yield decode(raw)

    def __len__(self) -> int:
        return sum(len(facet.shard) for facet in self._whole())

    def __bool__(self) -> bool:
        # Not by len: a store may have to look at all of its keys to count them.
        return any(True for facet in self._all() for _ in facet.shard.items())

    def _whole(self) -> list[Facet]:
        """Return all that is here, be it nothing; raises NotReady if the app is not started."""
        facets = self._all()
        if not facets and not self.app.started:
            raise self._not_here("nothing of it is at this worker")
        return facets

    def pairs(self) -> Iterator[tuple[K, V]]:
        """Iterate over pairs of key and value, as `items()` does."""
        decode = self.coding.decode_key
        for facet in self._whole():
            for raw, value in facet.items():
                yield decode(raw), value

    def items(self) -> ItemsView[K, V]:
        """Return a view of the pairs of key and value that are here."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Return a view of the values that are here."""
        return _Values(self)

    def clear(self) -> None:
        """Delete every key of the partition of the event in hand."""
        facet = self._here()
        if facet is not None:
            facets = [facet]
        elif self.use_partitioner or self.is_global:
            facets = self._whole()
        else:
            raise self._outside()
        if type(self).on_clear is not Table.on_clear:
            self.on_clear()
        for one in facets:
            for raw in [raw for raw, _ in one.shard.items()]:
                self._delete(one, raw, self.coding.decode_key(raw))

    @overload
    def pop(self, key: K, /) -> V: ...

    @overload
    def pop(self, key: K, /, default: V | D) -> V | D: ...

    def pop(self, key: K, default: Any = MISSING) -> Any:
        """Delete a key and return its value; if it has none, default, or raise KeyError."""
        raw = self._raw(key)
        facet = self._to_write(raw)
        value = facet.get(raw)
        if value is MISSING:
            if default is MISSING:
                raise KeyError(key)
            return default
        self._delete(facet, raw, key)
        return value

    def setdefault(self, key: K, default: Any = None) -> V:
        """Return the value of a key, which is given this one if it has none."""
        raw = self._raw(key)
        value = self._to_write(raw).get(raw)
        if value is MISSING:
            self[key] = value = default
        return value  # type: ignore[no-any-return]

    def copy(self) -> dict[K, V]:
        """Return a dictionary of all that is here."""
        return dict(self.pairs())

    def as_ansitable(
        self,
        title: str = "{table.name}",
        *,
        key: str = "Key",
        value: str = "Value",
        sort: bool = False,
        sortkey: Callable[[Any], Any] = lambda pair: pair[0],
        target: Any = None,
    ) -> str:
        """Draw what is here as a table for people, for a terminal if target is one.

        key and value are the headings. sort: by key, or by sortkey(pair).
        """
        return drawn(self.pairs(), title.format(table=self), key, value, sort, sortkey, target)

    def _raw_keys(self, facet: Facet) -> Iterator[bytes]:
        return (raw for raw, _ in facet.shard.items())

    def _value_of(self, facet: Facet, raw: bytes) -> Any:
        return facet.get(raw)

    def _drop(self, facet: Facet, raw: bytes, key: Any) -> None:
        self._delete(facet, raw, key)

    def placed(self) -> Iterator[tuple[int, K]]:
        """Iterate over keys, each after the partition that it is in."""
        decode = self.coding.decode_key
        for facet in self._whole():
            for raw in self._raw_keys(facet):
                yield facet.shard.partition, decode(raw)

    # -- windows -----------------------------------------------------------------------

    def using_window(self, window: Window, *, key_index: bool = False) -> Any:
        """Return this table with a window: keys have a value in each of them.

        key_index: know which keys there are, so that they can be iterated over. That is a
        second table, `{name}-key_index`.
        """
        self._set_window(window)
        return self.WindowWrapper(self, key_index=key_index)

    def new_key_index(self) -> Any:
        """Define the table that has the keys which have some window."""
        return self.app.tables.add(
            Table[Any, int](
                self.app,
                name=f"{self.name}-key_index",
                key_type=self.key_type,
                value_type=int,
                store=self.store,
                options=self.options,
                partitions=self.given_partitions,
                use_partitioner=self.use_partitioner,
                is_global=self.is_global,
            )
        )

    def tumbling(
        self, size: Seconds, expires: Seconds | None = None, key_index: bool = False
    ) -> Any:
        """Return this table with windows of one size, one after the other."""
        return self.using_window(TumblingWindow(size, expires), key_index=key_index)

    def hopping(
        self,
        size: Seconds,
        step: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
    ) -> Any:
        """Return this table with windows of one size, of which one begins every step."""
        return self.using_window(HoppingWindow(size, step, expires), key_index=key_index)

    def sliding(
        self,
        before: Seconds,
        after: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
    ) -> Any:
        """Return this table with a window around each moment."""
        return self.using_window(SlidingWindow(before, after, expires), key_index=key_index)

    def session(
        self,
        gap: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
        merge: Callable[[Any, Any], Any] = operator.add,
    ) -> Any:
        """Return this table with sessions: windows that go on while events are no gap apart.

        merge makes one value of two, where an event makes one session of two. Faust has none.
        """
        return self.using_window(SessionWindow(gap, expires, merge), key_index=key_index)


class _Items(ItemsView[K, V]):
    """Pairs of key and value."""

    _mapping: Table[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping.pairs()


class _Values(ValuesView[V]):
    """Values."""

    _mapping: Table[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping.pairs())

    def __contains__(self, value: object) -> bool:
        return any(one is value or one == value for one in self)
