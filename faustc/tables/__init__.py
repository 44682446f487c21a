"""Tables: dictionaries that survive, their changes kept in Kafka."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faustc.tables.base import Collection
    from faustc.tables.globaltable import GlobalTable
    from faustc.tables.manager import TableManager
    from faustc.tables.sets import SetGlobalTable, SetTable
    from faustc.tables.table import Table
    from faustc.tables.wrappers import WindowSet, WindowWrapper

__all__ = [
    "Collection",
    "GlobalTable",
    "SetGlobalTable",
    "SetTable",
    "Table",
    "TableManager",
    "WindowSet",
    "WindowWrapper",
]

_PLACES = {
    "Collection": "base",
    "GlobalTable": "globaltable",
    "SetGlobalTable": "sets",
    "SetTable": "sets",
    "Table": "table",
    "TableManager": "manager",
    "WindowSet": "wrappers",
    "WindowWrapper": "wrappers",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'faustc.tables' has no attribute {name!r}")
    return getattr(importlib.import_module(f"faustc.tables.{place}"), name)
