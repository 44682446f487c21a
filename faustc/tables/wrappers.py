"""Windowed tables as users have them: `table[key]` is what a key is in all windows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar, NoReturn, Self

from faustc.events import Event, current_event
from faustc.exceptions import ImproperlyConfigured
from faustc.models import FieldDescriptor
from faustc.tables.drawing import drawn
from faustc.tables.lookups import Lookup, lookup_of

__all__ = [
    "WindowSet",
    "WindowWrapper",
    "WindowedItemsView",
    "WindowedKeysView",
    "WindowedValuesView",
]

Seconds = float | timedelta


class WindowSet:
    """What a key of a windowed table is: a value in each window.

    `table[key].current()` is the value in the window of the event in hand, `value()` in the
    one of the time that the table is relative to, `now()` in that of the time of day, and
    `delta(d)` that of d seconds before the event. `table[key] += 1`, and the like, is about
    every window of that time.
    """

    __slots__ = ("event", "key", "table", "wrapper")

    def __init__(self, key: Any, table: Any, wrapper: WindowWrapper, event: Any = None) -> None:
        self.key = key
        self.table = table
        self.wrapper = wrapper
        self.event = event

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: table={self.table!r} key={self.key!r}>"

    def apply(self, op: Callable[[Any, Any], Any], value: Any, event: Any = None) -> Self:
        """Give the key op(what it was, value) in every window of the time of an event."""
        wrapper = self.wrapper
        timestamp = wrapper.get_timestamp(self.event if event is None else event)
        if self.table._apply_window_op(op, self.key, value, timestamp):
            wrapper.on_set_key(self.key, value)
        return self

    def value(self, event: Any = None) -> Any:
        """Return the value at the time that the table is relative to."""
        timestamp = self.wrapper.get_timestamp(self.event if event is None else event)
        return self.table._windowed_timestamp(self.key, timestamp)

    def now(self) -> Any:
        """Return the value at the time of day."""
        return self.table._windowed_now(self.key)

    def current(self, event: Any = None) -> Any:
        """Return the value at the time of an event, by default of the one in hand."""
        timestamp = self.table._relative_event(self.event if event is None else event)
        return self.table._windowed_timestamp(self.key, timestamp)

    def delta(self, d: Seconds, event: Any = None) -> Any:
        """Return the value as it was so many seconds before the time of an event."""
        return self.table._windowed_delta(self.key, d, self.event if event is None else event)

    def __getitem__(self, w: Any) -> Any:
        if isinstance(w, Event):
            return type(self)(self.key, self.table, self.wrapper, w)
        return self.table[self.key, w]

    def __setitem__(self, w: Any, value: Any) -> None:
        if isinstance(w, Event):
            raise NotImplementedError("a key is set in the windows of an event by apply()")
        self.table[self.key, w] = value
        self.wrapper.on_set_key(self.key, value)

    def __delitem__(self, w: Any) -> None:
        if isinstance(w, Event):
            raise NotImplementedError("a key is deleted from one window, or by `del table[key]`")
        del self.table[self.key, w]

    def _unauthorized(self, operation: str) -> NoReturn:
        raise NotImplementedError(
            f"Accessing {operation} on a WindowSet is not implemented: unauthorized dict "
            "operation. Try using the underlying table directly"
        )

    def keys(self) -> NoReturn:
        """Raise NotImplementedError: one key has no keys."""
        self._unauthorized("keys")

    def items(self) -> NoReturn:
        """Raise NotImplementedError: one key has no items."""
        self._unauthorized("items")

    def values(self) -> NoReturn:
        """Raise NotImplementedError: one key has no values."""
        self._unauthorized("values")

    def __iadd__(self, other: Any) -> Self:
        return self.apply(operator.add, other)

    def __isub__(self, other: Any) -> Self:
        return self.apply(operator.sub, other)

    def __imul__(self, other: Any) -> Self:
        return self.apply(operator.mul, other)

    def __itruediv__(self, other: Any) -> Self:
        return self.apply(operator.truediv, other)

    def __ifloordiv__(self, other: Any) -> Self:
        return self.apply(operator.floordiv, other)

    def __imod__(self, other: Any) -> Self:
        return self.apply(operator.mod, other)

    def __ipow__(self, other: Any) -> Self:
        return self.apply(operator.pow, other)

    def __ilshift__(self, other: Any) -> Self:
        return self.apply(operator.lshift, other)

    def __irshift__(self, other: Any) -> Self:
        return self.apply(operator.rshift, other)

    def __iand__(self, other: Any) -> Self:
        return self.apply(operator.and_, other)

    def __ixor__(self, other: Any) -> Self:
        return self.apply(operator.xor, other)

    def __ior__(self, other: Any) -> Self:
        return self.apply(operator.or_, other)


class WindowWrapper:
    """A table with a window, and with the time that its windows are about.

    That is the time of the event in hand; `relative_to_now()`, `relative_to_field()` and
    `relative_to()` give the same table with another. With key_index keys(), items() and
    values() iterate over the keys that have some window.
    """

    ValueType: ClassVar[type[WindowSet]] = WindowSet

    def __init__(
        self,
        table: Any,
        *,
        relative_to: Any = None,
        key_index: bool = False,
        key_index_table: Any = None,
    ) -> None:
        self.table = table
        self.key_index = key_index
        if key_index and key_index_table is None:
            key_index_table = table.new_key_index()
        self.key_index_table = key_index_table
        if key_index_table is not None:
            table.key_index_table = key_index_table
        self._relative = self._handler(relative_to)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} {self.table.window!r}>"

    @property
    def name(self) -> str:
        """The name of the table."""
        return str(self.table.name)

    # -- what time is meant --------------------------------------------------------------

    def clone(self, relative_to: Any) -> Self:
        """Return the same table with the time of something else."""
        return type(self)(
            self.table,
            relative_to=relative_to,
            key_index=self.key_index,
            key_index_table=self.key_index_table,
        )

    def relative_to(self, ts: Any) -> Self:
        """Return the table with a time: a datetime, seconds, a field, a function of the event."""
        return self.clone(ts)

    def relative_to_now(self) -> Self:
        """Return the table with the time of day."""
        return self.clone(self.table._relative_now)

    def relative_to_field(self, field: FieldDescriptor[Any]) -> Self:
        """Return the table with the time in a field of each event's value, as Order.created."""
        return self.clone(field)

    def relative_to_stream(self) -> Self:
        """Return the table with the time of each event's message."""
        return self.clone(None)

    def _handler(self, relative_to: Any) -> Callable[[Any], Any] | None:
        if relative_to is None:
            return None
        if isinstance(relative_to, datetime):
            return self.table._relative_timestamp(relative_to.timestamp())  # type: ignore[no-any-return]
        if isinstance(relative_to, int | float) and not isinstance(relative_to, bool):
            return self.table._relative_timestamp(float(relative_to))  # type: ignore[no-any-return]
        if isinstance(relative_to, FieldDescriptor):
            return self.table._relative_field(relative_to)  # type: ignore[no-any-return]
        if callable(relative_to):
            return relative_to  # type: ignore[no-any-return]
        raise ImproperlyConfigured(
            f"table {self.name}: relative_to is a datetime, seconds, a field such as "
            f"Order.created, or a function of the event, not {relative_to!r}"
        )

    @property
    def get_relative_timestamp(self) -> Callable[[Any], Any] | None:
        """What tells the time of an event; None: its message."""
        return self._relative

    @get_relative_timestamp.setter
    def get_relative_timestamp(self, relative_to: Any) -> None:
        self._relative = self._handler(relative_to)

    def get_timestamp(self, event: Any = None) -> float:
        """Return the time that is meant with an event, by default with the one in hand."""
        relative = self._relative
        if relative is None:
            return self.table._relative_event(event)  # type: ignore[no-any-return]
        found = relative(current_event() if event is None else event)
        if isinstance(found, str):
            found = datetime.fromisoformat(found)
        return found.timestamp() if isinstance(found, datetime) else float(found)

    # -- a dictionary ------------------------------------------------------------------

    def __getitem__(self, key: Any) -> WindowSet:
        return self.ValueType(key, self.table, self)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, WindowSet):
            return  # what `table[key] += 1` ends with
        if self.table._set_windowed(key, value, self.get_timestamp()):
            self.on_set_key(key, value)

    def __delitem__(self, key: Any) -> None:
        self.table._del_windowed(key, self.get_timestamp())
        self.on_del_key(key)

    def __contains__(self, key: Any) -> bool:
        return bool(self.table._windowed_contains(key, self.get_timestamp()))

    def __len__(self) -> int:
        return len(self._index())

    def __bool__(self) -> bool:
        return bool(self.table)

    def __iter__(self) -> Iterator[Any]:
        return self._keys()

    def on_set_key(self, key: Any, value: Any) -> None:
        """Run when a key was given a value in some window."""
        index = self.key_index_table
        if index is not None and key not in index:
            index[key] = 1

    def on_del_key(self, key: Any) -> None:
        """Run when a key was deleted from the windows of a moment."""
        index = self.key_index_table
        if index is not None:
            index.pop(key, None)

    def joined_to(self, fields: tuple[Any, ...], kind: str, **options: Any) -> Lookup:
        """Return what a stream that is joined with it looks values up with; see Stream.join."""
        return lookup_of(self, fields, kind, **options)

    def on_recover(self, fun: Callable[[], Any]) -> Callable[[], Any]:
        """Have a function called once what was assigned is whole."""
        return self.table.on_recover(fun)  # type: ignore[no-any-return]

    def _index(self) -> Any:
        if self.key_index_table is None:
            raise NotImplementedError(
                f"table {self.name}: a windowed table knows its keys with key_index=True only, "
                "as in tumbling(60, key_index=True); keys(), items(), values() and len() need it"
            )
        return self.key_index_table

    def _keys(self) -> Iterator[Any]:
        return iter(self._index())

    def keys(self) -> WindowedKeysView:
        """Return a view of the keys that have some window."""
        return WindowedKeysView(self)

    def values(self, event: Any = None) -> WindowedValuesView:
        """Return a view of the values at one time; see WindowSet for which."""
        return WindowedValuesView(self, event)

    def items(self, event: Any = None) -> WindowedItemsView:
        """Return a view of pairs of key and value at one time."""
        return WindowedItemsView(self, event)

    def _items(self, window_range: Any) -> Iterator[tuple[Any, Any]]:
        return self.table._items_in(window_range, self._index().placed())  # type: ignore[no-any-return]

    def as_ansitable(self, title: str = "{table.name}", **options: Any) -> str:
        """Draw keys, and their values at the time of the table; see Table.as_ansitable."""
        return drawn(self.items(), title.format(table=self.table), **options)


class _WindowedView:
    """A view at the time that the table is relative to; `now`, `current`, `delta`: at others."""

    def __init__(self, wrapper: WindowWrapper, event: Any = None) -> None:
        self._wrapper = wrapper
        self.event = event

    def __len__(self) -> int:
        return len(self._wrapper)

    def __iter__(self) -> Iterator[Any]:
        wrapper = self._wrapper
        return self._of(wrapper.table._range_of.current(wrapper.get_timestamp(self.event)))

    def now(self) -> Iterator[Any]:
        """Iterate over what there is at the time of day."""
        table = self._wrapper.table
        return self._of(table._range_of.earliest(table._relative_now()))

    def current(self, event: Any = None) -> Iterator[Any]:
        """Iterate over what there is at the time of an event, by default of the one in hand."""
        table = self._wrapper.table
        moment = table._relative_event(self.event if event is None else event)
        return self._of(table._range_of.current(moment))

    def delta(self, d: Seconds, event: Any = None) -> Iterator[Any]:
        """Iterate over what there was so many seconds before an event."""
        table = self._wrapper.table
        moment = table._relative_event(self.event if event is None else event)
        return self._of(table._range_of.delta(moment, d))

    def _of(self, window_range: Any) -> Iterator[Any]:
        raise NotImplementedError


class WindowedKeysView(_WindowedView):
    """Keys: all that have some window, or those that have the one of a time."""

    def __iter__(self) -> Iterator[Any]:
        return self._wrapper._keys()

    def __contains__(self, key: Any) -> bool:
        index = self._wrapper._index()
        raw = index._raw(key)
        return any(facet.has(raw) for facet in index._all())

    def _of(self, window_range: Any) -> Iterator[Any]:
        return (key for key, _ in self._wrapper._items(window_range))


class WindowedItemsView(_WindowedView):
    """Pairs of key and value."""

    def _of(self, window_range: Any) -> Iterator[Any]:
        return self._wrapper._items(window_range)


class WindowedValuesView(_WindowedView):
    """Values."""

    def _of(self, window_range: Any) -> Iterator[Any]:
        return (value for _, value in self._wrapper._items(window_range))
