"""SetTable: a table of sets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from faustc import jsonable
from faustc.engine.shard import Shard
from faustc.exceptions import ImproperlyConfigured
from faustc.models import Record
from faustc.serializers.registry import fitting
from faustc.stores.base import Store
from faustc.tables.coding import hashable
from faustc.tables.facets import MISSING, Facet
from faustc.tables.members import ChangeloggedSet, Members, SetStore, split
from faustc.tables.table import Table
from faustc.tables.wrappers import WindowSet, WindowWrapper
from faustc.types import TopicPartition
from faustc.windows import SessionWindow, Window

__all__ = [
    "Set",
    "SetAction",
    "SetGlobalTable",
    "SetManagerOperation",
    "SetTable",
    "SetTableManager",
]

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")


class SetWindowSet(WindowSet):
    """The sets of one key, in all windows."""

    __slots__ = ()

    def add(self, element: Any, *, event: Any = None) -> None:
        """Add a member to the set of every window of the time of an event."""
        self._each("add", element, event)

    def discard(self, element: Any, *, event: Any = None) -> None:
        """Take a member out of the set of every window of the time of an event."""
        self._each("discard", element, event)

    def _each(self, what: str, element: Any, event: Any) -> None:
        timestamp = self.wrapper.get_timestamp(self.event if event is None else event)
        found = False
        for facet, raw, window_range in self.table._places(self.key, timestamp):
            getattr(self.table._set_in(facet, (self.key, window_range), raw), what)(element)
            found = True
        if found:
            self.wrapper.on_set_key(self.key, element)


class SetWindowWrapper(WindowWrapper):
    """A table of sets with a window."""

    ValueType = SetWindowSet


class SetAction(Enum):
    """What a set manager is asked to do."""

    ADD = "ADD"
    DISCARD = "DISCARD"
    CLEAR = "CLEAR"
    INTERSECTION = "INTERSECTION"
    SYMDIFF = "SYMDIFF"


class SetManagerOperation(Record, namespace="@SetManagerOperation"):
    """What is sent to a set manager."""

    action: str
    members: list[Any]


class SetTableManager:
    """Changes the sets of a table from anywhere, by messages to an agent: `table.manager`.

    The topic has the keys of the table; it needs as many partitions as the table, and what
    writes to the table otherwise has to have the same keys.
    """

    def __init__(self, set_table: SetTable[Any]) -> None:
        self.set_table = set_table
        self.app = set_table.app
        self.enabled = set_table.start_manager
        self.agent: Any = None
        if self.enabled:
            self.agent = self.app.agent(self.topic, name=f"{set_table.name}.manager")(self._modify)

    @cached_property
    def topic(self) -> Any:
        """The topic of the messages."""
        table = self.set_table
        return self.app.topic(
            table.manager_topic_name,
            key_type=str if table.key_type is None else table.key_type,
            value_type=SetManagerOperation,
            partitions=table.given_partitions,
        )

    async def add(self, key: Any, member: Any) -> None:
        """Add a member to the set of a key."""
        await self._send(SetAction.ADD, key, [member])

    async def discard(self, key: Any, member: Any) -> None:
        """Take a member out of the set of a key."""
        await self._send(SetAction.DISCARD, key, [member])

    async def clear(self, key: Any) -> None:
        """Take all members out of the set of a key."""
        await self._send(SetAction.CLEAR, key, [])

    async def update(self, key: Any, members: Iterable[Any]) -> None:
        """Add members to the set of a key."""
        await self._send(SetAction.ADD, key, members)

    async def difference_update(self, key: Any, members: Iterable[Any]) -> None:
        """Take members out of the set of a key."""
        await self._send(SetAction.DISCARD, key, members)

    async def intersection_update(self, key: Any, members: Iterable[Any]) -> None:
        """Keep of the set of a key what is among these."""
        await self._send(SetAction.INTERSECTION, key, members)

    async def symmetric_difference_update(self, key: Any, members: Iterable[Any]) -> None:
        """Keep what is either in the set of a key or among these, and not both."""
        await self._send(SetAction.SYMDIFF, key, members)

    async def _send(self, action: SetAction, key: Any, members: Iterable[Any]) -> None:
        if not self.enabled:
            raise ImproperlyConfigured(
                f"table {self.set_table.name}: its manager is not there; use start_manager=True"
            )
        operation = SetManagerOperation(action=action.value, members=list(members))
        await self.topic.send(key=key, value=operation)

    async def _modify(self, stream: Any) -> None:
        table = self.set_table
        async for key, operation in stream.items():
            members = [table.member_of(member) for member in operation.members]
            change = _CHANGES.get(operation.action)
            if change is None:
                logger.error("Table %s: unknown action %r", table.name, operation.action)
            else:
                change(table[key], members)


_CHANGES: dict[str, Callable[[Any, list[Any]], None]] = {
    "ADD": lambda found, members: found.update(members),
    "DISCARD": lambda found, members: found.difference_update(members),
    "CLEAR": lambda found, members: found.clear(),
    "INTERSECTION": lambda found, members: found.intersection_update(members),
    "SYMDIFF": lambda found, members: found.symmetric_difference_update(members),
}


class SetTable(Table[K, Any]):
    """A table of sets: `table[key].add(member)`. See Table, and Collection for its arguments.

    value_type is that of the members, which are JSON, and hashable. A key is in it while its
    set is not empty. All members that are here are in memory.

    With start_manager sets can be changed from anywhere, by messages: `table.manager`. They go
    to the topic manager_topic_name, by default the table's name and manager_topic_suffix.
    """

    Manager: ClassVar[type[SetTableManager]] = SetTableManager
    WindowWrapper: ClassVar[type[WindowWrapper]] = SetWindowWrapper
    manager_topic_suffix = "-setmanager"

    def __init__(
        self,
        app: Any,
        *,
        start_manager: bool = False,
        manager_topic_name: str | None = None,
        manager_topic_suffix: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(app, **options)
        if self.default is not None:
            raise ImproperlyConfigured(
                f"table {self.name}: a key of a table of sets always has a set, and no default"
            )
        self.value_serializer = self.key_serializer = "json"
        self.start_manager = start_manager
        if manager_topic_suffix is not None:
            self.manager_topic_suffix = manager_topic_suffix
        self.manager_topic_name = manager_topic_name or self.name + self.manager_topic_suffix
        self._fit_member = fitting(self.value_type)
        self.manager = self.Manager(self)

    def info(self) -> dict[str, Any]:
        """Return what `clone` would make it from."""
        return {
            **super().info(),
            "start_manager": False,  # there is one for the topic already
            "manager_topic_name": self.manager_topic_name,
        }

    # -- rows --------------------------------------------------------------------------

    def encode_member(self, member: Any) -> bytes:
        """Return a member as JSON."""
        return jsonable.dumps(member)

    def member_of(self, data: Any) -> Any:
        """Return the member that JSON's data stands for."""
        if self.value_type is bytes and isinstance(data, str):
            return data.encode()
        return hashable(data if self._fit_member is None else self._fit_member(data))

    def split(self, raw: bytes) -> tuple[Any, Any]:
        """Return the key and the member that a row is about."""
        key, member = split(raw)
        return self.coding.decode_key(jsonable.dumps(key)), self.member_of(member)

    def open_store(self, tp: TopicPartition) -> Store:
        """Make the store of a partition of the changelog."""
        return SetStore(super().open_store(tp))

    def _open_facet(self, shard: Shard) -> Facet:
        facet = super()._open_facet(shard)
        facet.sets = Members(self, facet)
        if isinstance(shard.store, SetStore) and shard.store.found:
            shard.store.found = False
            facet.sets.write_all()
        return facet

    def _count(self, key: Any, members: Any) -> None:
        if self._state is not None:
            self._state.keys_updated += 1
        if self._hooked:
            self._tell("set", key, members)

    def _set_in(self, facet: Facet, key: Any, raw: bytes) -> ChangeloggedSet[Any]:
        return ChangeloggedSet(self, facet, key, raw)

    # -- a dictionary of sets ------------------------------------------------------------

    def __getitem__(self, key: K) -> ChangeloggedSet[Any]:
        raw = self._raw(key)
        first = None
        for facet in self._to_read(raw):
            first = facet if first is None else first
            if raw in facet.sets.all():
                return self._set_in(facet, key, raw)
        self._missed()
        assert first is not None
        return self._set_in(first, key, raw)

    def __setitem__(self, key: K, value: Iterable[Any]) -> None:
        found = self._set_in(self._to_write(self._raw(key)), key, self._raw(key))
        wanted = set(value)
        found._change(wanted, found.data - wanted)

    def __delitem__(self, key: K) -> None:
        raw = self._raw(key)
        found = self._set_in(self._to_write(raw), key, raw)
        if not found:
            raise KeyError(key)
        found.clear()

    def __contains__(self, key: object) -> bool:
        raw = self._raw(key)
        return any(raw in facet.sets.all() for facet in self._to_read(raw))

    def __iter__(self) -> Iterator[K]:
        for key, _ in self.pairs():
            yield key

    def __len__(self) -> int:
        return sum(len(facet.sets.all()) for facet in self._whole())

    def __bool__(self) -> bool:
        return any(facet.sets.all() for facet in self._all())

    def pairs(self) -> Iterator[tuple[K, Any]]:
        """Iterate over pairs of key and set, as `items()` does."""
        decode = self.coding.decode_key
        for facet in self._whole():
            for raw in list(facet.sets.all()):
                key = decode(raw)
                yield key, self._set_in(facet, key, raw)

    def pop(self, key: K, default: Any = MISSING) -> Any:
        """Empty the set of a key and return its members; if there are none, default."""
        members = self[key].copy()
        if not members:
            if default is MISSING:
                raise KeyError(key)
            return default
        self[key].clear()
        return members

    def setdefault(self, key: K, default: Any = None) -> ChangeloggedSet[Any]:
        """Return the set of a key, which is given these members if it is empty."""
        found = self[key]
        if not found and default:
            found.update(default)
        return found

    def clear(self) -> None:
        """Empty every set of the partition of the event in hand."""
        facet = self._here()
        if facet is None and not (self.use_partitioner or self.is_global):
            raise self._outside()
        for one in self._whole() if facet is None else [facet]:
            for raw in list(one.sets.all()):
                self._drop(one, raw, self.coding.decode_key(raw))

    # -- windows -----------------------------------------------------------------------

    def _set_window(self, window: Window) -> None:
        if isinstance(window, SessionWindow):
            raise ImproperlyConfigured(
                f"table {self.name}: sets have no sessions; a Table with default=set has"
            )
        super()._set_window(window)

    def _raw_keys(self, facet: Facet) -> Iterator[bytes]:
        return iter(list(facet.sets.all()))

    def _value_of(self, facet: Facet, raw: bytes) -> Any:
        members = facet.sets.all().get(raw)
        return MISSING if members is None else set(members)

    def _drop(self, facet: Facet, raw: bytes, key: Any) -> None:
        facet.sets.change(key, raw, (), list(facet.sets.all().get(raw, ())))


Set = SetTable  # Faust 1.0's name


class SetGlobalTable(SetTable[K]):
    """A table of sets that every worker has all of; see GlobalTable."""

    global_by_class = True
