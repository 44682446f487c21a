"""Stores are found by URL, and what is wrong with a URL is said when it is read."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from faustc.exceptions import ImproperlyConfigured
from faustc.stores.base import Store
from faustc.stores.folder import DataFolder
from faustc.stores.memory import MemoryStore
from faustc.stores.registry import open_store, store_kind
from faustc.stores.rocksdb import RocksDBStore
from faustc.stores.rocksdict import RocksDictStore
from faustc.types import TopicPartition
from faustc.urls import URL

TP = TopicPartition("app-orders-changelog", 2)


class Unfinished(Store):
    """Lacks all that a store does."""


@pytest.mark.parametrize(
    ("url", "options", "found", "left"),
    [
        ("memory://", {}, MemoryStore, {}),
        ("rocksdb://", {}, RocksDBStore, {}),
        ("rocksdb:///", {}, RocksDBStore, {}),
        (
            "rocksdb://",
            {"write_buffer_size": 1 << 20},
            RocksDBStore,
            {"write_buffer_size": 1 << 20},
        ),
        ("rocksdb://?max_open_files=50", {}, RocksDBStore, {"max_open_files": 50}),
        (
            "rocksdb://?max_open_files=50",
            {"max_open_files": 9},
            RocksDBStore,
            {"max_open_files": 9},
        ),
        ("rocksdb://?driver=rocksdict", {}, RocksDictStore, {}),
        ("rocksdb://?driver=python-rocksdb", {}, RocksDBStore, {}),
        ("rocksdb://", {"driver": "rocksdict"}, RocksDictStore, {}),
        ("rocksdb://", {"use_rocksdict": True}, RocksDictStore, {}),
        ("rocksdb://", {"use_rocksdict": False}, RocksDBStore, {}),
        ("rocksdict://", {}, RocksDictStore, {}),
        ("faustc.stores.memory.MemoryStore://", {}, MemoryStore, {}),
        ("tests.unit.stores.test_stores:SQLiteStore://", {}, "SQLiteStore", {}),
    ],
)
def test_known_urls(url: str, options: dict[str, Any], found: Any, left: dict[str, Any]) -> None:
    given = dict(options)
    for form in (url, URL(url)):
        kind = store_kind(form, options)
        assert found in (kind.store_class, kind.store_class.__name__)
        assert kind.options == left
    assert options == given, "what the table was given is not changed"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("rocksdbb://", {}, "did you mean 'rocksdb'.*memory, rocksdb, rocksdict"),
        ("aerospike://", {}, "unknown store 'aerospike'"),
        ("rocksdb:///var/lib", {}, "set datadir or tabledir"),
        ("rocksdb://?driver=rocksdic", {}, "did you mean 'rocksdict'"),
        ("rocksdb://", {"driver": 3}, "driver 3"),
        ("rocksdb://?x", {}, "bad query"),
        ("no.such.module.Store://", {}, "no module"),
        ("faustc.stores.memory.NoStore://", {}, "has no 'NoStore'"),
        ("faustc.stores.base.apply_batch://", {}, "not a subclass"),
        ("faustc.stores.folder.DataFolder://", {}, "not a subclass"),
        ("tests.unit.stores.test_registry.Unfinished://", {}, "lacks __len__, clear, get, items"),
    ],
)
def test_urls_that_mean_nothing(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        store_kind(url, options)


def test_stores_of_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mine-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    entry = "[faust.stores]\nmine = faustc.stores.memory:MemoryStore\n"
    (package / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert metadata.version("mine") == "1.0"
    assert store_kind("mine://").store_class is MemoryStore
    with pytest.raises(ImproperlyConfigured, match="did you mean 'mine'"):
        store_kind("minee://")


def test_a_durable_store_opens_in_the_locked_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "tables")
    store = open_store(store_kind("rocksdb://"), "orders", TP, folder)
    assert folder.locked
    assert (tmp_path / "tables" / "orders-2" / "CURRENT").exists()
    store.close()
    folder.unlock()


def test_a_store_in_memory_needs_no_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "tables")
    open_store(store_kind("memory://"), "orders", TP, folder).close()
    open_store(store_kind("memory://"), "orders", TP, None).close()
    assert not folder.locked
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImproperlyConfigured, match="needs a data folder"):
        open_store(store_kind("rocksdb://"), "orders", TP, None)


def test_without_rocksdict_its_name_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install faustc\[rocksdict\]"):
        RocksDictStore(TP, tmp_path / "orders-2", {})
