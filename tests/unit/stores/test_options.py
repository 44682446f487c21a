"""Options of a table's store are RocksDB's: set, or refused by name with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from faustc.exceptions import ImproperlyConfigured
from faustc.stores.durable import DurableStore
from faustc.stores.memory import MemoryStore
from faustc.stores.rocksdb import RocksDBStore
from faustc.stores.rocksdict import RocksDictStore
from faustc.types import TopicPartition

TP = TopicPartition("app-orders-changelog", 0)
both = pytest.mark.parametrize("kind", [RocksDBStore, RocksDictStore])


def in_use(folder: Path) -> dict[str, str]:
    """Return what RocksDB says that it was opened with."""
    newest = max(folder.glob("OPTIONS-*"), key=lambda path: int(path.name.partition("-")[2]))
    found = dict(re.findall(r"^\s*(\w+)=(.*)$", newest.read_text(), re.M))
    # The cache is in its log only.
    cache = re.search(r"capacity\s*: (\d+)", (folder / "LOG").read_text())
    return found | {"block_cache": cache[1] if cache else ""}


def opened(kind: type[DurableStore], folder: Path, options: dict[str, Any]) -> dict[str, str]:
    store = kind(TP, folder, options)
    store.write({b"a": b"1"}, 1)
    assert store.get(b"a") == b"1"
    store.close()
    return in_use(folder)


@both
def test_faust_names_reach_rocksdb(kind: type[DurableStore], tmp_path: Path) -> None:
    options = {
        "max_open_files": 77,
        "write_buffer_size": 5 << 20,
        "max_write_buffer_number": 4,
        "target_file_size_base": 3 << 20,
        "block_cache_size": 9 << 20,
        "bloom_filter_size": 10,
        "extra": {"max_background_jobs": 3},
    }
    found = opened(kind, tmp_path / "s", options)
    assert {name: found[name] for name in list(options)[:4]} == {
        name: str(value) for name, value in list(options.items())[:4]
    }
    assert found["max_background_jobs"] == "3"
    assert found["block_cache"] == str(9 << 20)
    assert found["filter_policy"].startswith("bloomfilter")


@both
def test_what_is_not_given(kind: type[DurableStore], tmp_path: Path) -> None:
    """Memory is bounded for a worker that has a hundred of them; keys not there cost no read."""
    found = opened(kind, tmp_path / "s", {"max_open_files": None, "extra": None})
    assert found["write_buffer_size"] == str(4 << 20)
    assert found["max_write_buffer_number"] == "3"
    assert found["block_cache"] == str(8 << 20)
    assert found["filter_policy"].startswith("bloomfilter")
    assert found["max_open_files"] == "-1"


@both
def test_rocksdbs_own_names_are_options_too(kind: type[DurableStore], tmp_path: Path) -> None:
    found = opened(kind, tmp_path / "s", {"max_subcompactions": 2})
    assert found["max_subcompactions"] == "2"


def test_rocksdict_takes_any_size_of_bloom_filter(tmp_path: Path) -> None:
    sizes = []
    for bits in (2, 40):
        folder = tmp_path / str(bits)
        store = RocksDictStore(TP, folder, {"bloom_filter_size": bits})
        store.write({b"%d" % n: b"" for n in range(5000)}, 5000)
        store.close()
        RocksDictStore(TP, folder, {"bloom_filter_size": bits}).close()  # what is in the log, too
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.sst")))
    assert sizes[1] - sizes[0] > 5000 * 30 // 8


@both
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"block_cache_compressed_size": 1 << 20}, "block_cache_compressed_size.*since version 8"),
        ({"ttl": 60}, "ttl.*windowed table"),
        ({"extra": {"ttl": 60}}, "ttl"),
        ({"read_only": True}, "read_only.*tabledir of its own"),
        ({"write_bufer_size": 1}, "no option 'write_bufer_size'; did you mean 'write_buffer_size'"),
        ({"__class__": 1}, "no option '__class__'"),
        ({"extra": 7}, "extra.*mapping"),
        ({"write_buffer_size": "large"}, "write_buffer_size='large'"),
        ({"write_buffer_size": -1}, "write_buffer_size=-1"),
        ({"block_cache_size": "large"}, "block_cache_size='large'"),
        ({"block_cache_size": -1}, "block_cache_size=-1"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    kind: type[DurableStore], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        kind(TP, tmp_path / "s", options)
    assert list(tmp_path.iterdir()) == []


def test_rocksdb_py_has_one_size_of_bloom_filter(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"bloom_filter_size=3.*use rocksdict://"):
        RocksDBStore(TP, tmp_path / "s", {"bloom_filter_size": 3})


def test_memory_takes_none() -> None:
    with pytest.raises(ImproperlyConfigured, match="write_buffer_size"):
        MemoryStore(TP, None, {"write_buffer_size": 1})
