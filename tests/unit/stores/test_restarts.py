"""After a restart: nothing is in memory, all is on disk, and the changelog makes it whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from faustc._native.message import Message
from faustc.client.cursors import FetchedBatch
from faustc.stores.durable import DurableStore
from faustc.stores.folder import DataFolder
from faustc.stores.registry import open_store, store_kind
from faustc.stores.rocksdb import RocksDBStore
from faustc.stores.rocksdict import RocksDictStore
from faustc.testing.stores import changelog
from faustc.types import TopicPartition

TP = TopicPartition("app-orders-changelog", 0)
RECORDS: list[tuple[bytes | None, bytes | None]] = [(b"%d" % (n % 7), b"%d" % n) for n in range(20)]
STATE = {b"%d" % (n % 7): b"%d" % n for n in range(20)}


def test_memory_is_filled_from_the_whole_changelog() -> None:
    for _ in range(2):
        store = open_store(store_kind("memory://"), "orders", TP, None)
        assert store.position is None
        assert store.load(changelog(RECORDS, per_batch=6)) == 20
        assert (dict(store.items()), store.position) == (STATE, 20)
        store.close()


@pytest.mark.parametrize(
    ("changes", "batches"),
    [
        ({b"%d" % n: b"1" for n in range(2500)}, 3),
        ({b"%d" % n: b"x" * (2 << 20) for n in range(4)}, 5),
    ],
    ids=["many", "large"],
)
@pytest.mark.parametrize("kind", [RocksDBStore, RocksDictStore])
def test_large_changes_take_several_batches_of_the_database(
    tmp_path: Path, kind: type[DurableStore], changes: dict[bytes, bytes], batches: int
) -> None:
    """A binding holds the GIL while it writes one: heartbeats and other threads get their turn."""
    store = kind(TP, tmp_path / "store", {})
    written = []
    database = store._opened()
    write = database.write
    database.write = lambda batch: written.append(1) or write(batch)  # type: ignore[func-returns-value]
    store.write(changes, 9)
    assert len(written) == batches
    assert (dict(store.items()), store.position) == (changes, 9)
    store.close()


class NoMessages(FetchedBatch):
    """A batch whose records nobody may make messages of."""

    def messages(self) -> list[Message]:
        raise AssertionError("recovery makes no messages")


@pytest.mark.parametrize("url", ["memory://", "rocksdb://", "rocksdict://"])
def test_recovery_makes_no_messages(tmp_path: Path, url: str) -> None:
    folder = DataFolder(tmp_path)
    store = open_store(store_kind(url), "orders", TP, folder)
    batches = [NoMessages(one.batch, one.start_offset) for one in changelog(RECORDS)]
    assert store.load(batches) == 20
    assert dict(store.items()) == STATE
    store.close()
    folder.unlock()


@pytest.mark.parametrize("url", ["rocksdb://", "rocksdict://", "rocksdb://?driver=rocksdict"])
def test_what_is_on_disk_is_read_on_from_its_position(tmp_path: Path, url: str) -> None:
    folder = DataFolder(tmp_path)
    store = open_store(store_kind(url), "orders", TP, folder)
    store.load(changelog(RECORDS[:12], per_batch=6))
    store.close()
    store = open_store(store_kind(url), "orders", TP, folder)
    assert store.position == 12
    store.load(changelog(RECORDS[12:], start=12))
    store.write({b"new": b"1", b"0": None}, 22)
    store.close()
    store = open_store(store_kind(url), "orders", TP, folder)
    expected = {**STATE, b"new": b"1"}
    del expected[b"0"]
    assert (dict(store.items()), store.position) == (expected, 22)
    store.clear()
    assert (len(store), store.position) == (0, None)
    store.close()
    folder.unlock()
