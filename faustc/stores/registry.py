"""Stores by URL: ours, those of installed packages, and classes by their path."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from faustc.exceptions import ImproperlyConfigured
from faustc.imports import did_you_mean, plugin, plugin_names, symbol_by_name
from faustc.stores.base import Store
from faustc.stores.folder import DataFolder
from faustc.types import TopicPartition
from faustc.urls import URL

__all__ = ["StoreKind", "open_store", "store_kind"]

GROUP = "faust.stores"
STORES = {
    "memory": "faustc.stores.memory.MemoryStore",
    "rocksdb": "faustc.stores.rocksdb.RocksDBStore",
    "rocksdict": "faustc.stores.rocksdict.RocksDictStore",
}
# What Faust calls the drivers of rocksdb://, and whose scheme they are.
DRIVERS = {
    "rocksdb": "rocksdb",
    "rocksdb-py": "rocksdb",
    "python-rocksdb": "rocksdb",
    "rocksdict": "rocksdict",
}


class StoreKind(NamedTuple):
    """A class of stores, and the options for it."""

    store_class: type[Store]
    options: dict[str, Any]

    @property
    def durable(self) -> bool:
        """Whether it needs the data folder."""
        return self.store_class.durable


def store_kind(url: URL | str, options: Mapping[str, Any] | None = None) -> StoreKind:
    """Find what a table's store URL and options mean; raises ImproperlyConfigured.

    What the URL has behind `?` are options, too; those of the table win. `driver`, or
    `use_rocksdict`, chooses who is behind rocksdb://.
    """
    url = url if isinstance(url, URL) else URL(url)
    given = {**_query(url), **(options or {})}
    scheme = url.scheme
    if scheme in ("rocksdb", "rocksdict"):
        scheme = _driver(scheme, given)
    return StoreKind(_class_of(url, scheme), given)


def open_store(kind: StoreKind, table: str, tp: TopicPartition, folder: DataFolder | None) -> Store:
    """Open the store of one partition of a table, tp being that of its changelog.

    A durable one opens in folder, which is locked if it is not yet (without waiting: await
    `folder.lock()` at the start).
    """
    path = None
    if kind.durable:
        if folder is None:
            raise ImproperlyConfigured(f"table {table}: its store needs a data folder")
        folder.lock_now()
        path = folder.of(table, tp.partition)
    return kind.store_class(tp, path, kind.options)


def _class_of(url: URL, scheme: str) -> type[Store]:
    if url.driver_path is not None:
        found = symbol_by_name(url.driver_path)
    elif scheme in STORES:
        found = symbol_by_name(STORES[scheme])
    else:
        found = plugin(GROUP, scheme)
    if found is None:
        known = [*STORES, *plugin_names(GROUP)]
        raise ImproperlyConfigured(
            f"unknown store {scheme!r}{did_you_mean(scheme, known)} "
            f"(there are: {', '.join(sorted(known))}, or the path of a class)"
        )
    if not (isinstance(found, type) and issubclass(found, Store)):
        raise ImproperlyConfigured(
            f"store {url}: {found!r} is not a subclass of faustc.stores.base.Store"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ImproperlyConfigured(f"store {url}: {found.__name__} lacks {missing}")
    return found


def _query(url: URL) -> dict[str, Any]:
    place, question, query = url.rest.partition("?")
    if place.strip("/"):
        raise ImproperlyConfigured(
            f"store {url}: it has no place of its own; set datadir or tabledir, and write "
            f"'{url.scheme}://'"
        )
    if not question:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as exc:
        raise ImproperlyConfigured(f"store {url}: {exc}") from exc
    return {name: int(value) if value.isdecimal() else value for name, value in pairs}


def _driver(scheme: str, given: dict[str, Any]) -> str:
    """Take out what chooses a driver, and return its scheme."""
    driver, use_rocksdict = given.pop("driver", None), given.pop("use_rocksdict", None)
    if driver is not None:
        if driver not in DRIVERS:
            raise ImproperlyConfigured(
                f"{scheme}:// driver {driver!r}{did_you_mean(str(driver), DRIVERS)} "
                f"(there are: {', '.join(DRIVERS)})"
            )
        return DRIVERS[driver]
    if use_rocksdict is None:
        return scheme
    return "rocksdict" if use_rocksdict else "rocksdb"
