"""Tables of sets."""

from __future__ import annotations

from typing import Any, TypeVar

from faustc.tables.table import Table

__all__ = ["SetGlobalTable", "SetTable"]

K = TypeVar("K")
V = TypeVar("V")


class SetTable(Table[K, Any]):
    """A table of sets."""


class SetGlobalTable(SetTable[K]):
    """A table of sets that every worker has all of."""

    global_by_class = True
