"""Joins of a stream with a table: each event gets what the table has for its key."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from faustc.exceptions import ImproperlyConfigured, Skip
from faustc.models import FieldDescriptor
from faustc.operators import maybe_await

__all__ = ["Enriched", "Lookup", "lookup_of"]


class Enriched(NamedTuple):
    """A value, and what a table has for its key; None if it has nothing."""

    left: Any
    right: Any


class Lookup:
    """Looks each value up: a processor of the stream that it is made for by `of`."""

    def __init__(self, table: Any, key_of: Any, keep: bool) -> None:
        self._stream: Any = None
        self._table = table
        self._windowed = hasattr(table, "get_timestamp")
        self._key_of = key_of
        self._keep = keep

    def of(self, stream: Any) -> Lookup:
        """Return the one for a stream."""
        self._stream = weakref.proxy(stream)
        return self

    async def __call__(self, value: Any) -> Enriched:
        key_of = self._key_of
        key = self._stream.key_in_hand if key_of is None else await maybe_await(key_of(value))
        table = self._table
        # Whether there is something, not what there would be by default.
        if key is not None and key in table:
            return Enriched(value, table[key].value() if self._windowed else table[key])
        if not self._keep:
            raise Skip
        return Enriched(value, None)


def lookup_of(table: Any, fields: tuple[Any, ...], kind: str, **options: Any) -> Lookup:
    """Return what a stream looks its values up with; raises ImproperlyConfigured."""
    if kind not in ("InnerJoin", "LeftJoin"):
        raise ImproperlyConfigured(
            f"a stream and table {table.name} can be joined by join(table), which drops events "
            "without a value there, or left_join(table): a table has no events of its own"
        )
    if options:
        raise ImproperlyConfigured(
            f"a join with table {table.name} has no window, and takes no {', '.join(options)}"
        )
    if len(fields) > 1:
        raise ImproperlyConfigured(
            f"a join with table {table.name} takes one field, or function of the value, that "
            "says its key; without one it is the key of the message"
        )
    key_of: Callable[[Any], Any] | None = None
    if fields:
        field = fields[0]
        if isinstance(field, FieldDescriptor):
            key_of = field.getattr
        elif callable(field):
            key_of = field
        else:
            raise ImproperlyConfigured(
                f"a join takes a field (Order.account) or a function of the value, not {field!r}"
            )
    return Lookup(table, key_of, kind == "LeftJoin")
