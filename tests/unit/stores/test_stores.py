"""Each store of ours, and one of somebody's own, keeps what every store promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from faustc.stores.base import Changes, Store
from faustc.stores.memory import MemoryStore
from faustc.stores.rocksdb import RocksDBStore
from faustc.stores.rocksdict import RocksDictStore
from faustc.testing.stores import StoreTests
from faustc.types import TopicPartition


class TestMemory(StoreTests):
    def open(self, tp: TopicPartition, folder: Path | None) -> Store:
        return MemoryStore(tp, folder, {})


class TestRocksDB(StoreTests):
    def open(self, tp: TopicPartition, folder: Path | None) -> Store:
        return RocksDBStore(tp, folder, {})


class TestRocksDict(StoreTests):
    def open(self, tp: TopicPartition, folder: Path | None) -> Store:
        return RocksDictStore(tp, folder, {})


class SQLiteStore(Store):
    """A store of a user's own: what the interface asks for and no more."""

    durable = True

    def __init__(self, tp: TopicPartition, folder: Path | None, options: object) -> None:
        super().__init__(tp, folder, {})
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / f"{tp.topic}-{tp.partition}.sqlite")
        self._db.execute("create table if not exists data (key blob primary key, value blob)")
        self._db.execute("create table if not exists state (position integer, topic_id text)")

    @property
    def position(self) -> int | None:
        row = self._db.execute("select position from state").fetchone()
        return None if row is None else row[0]

    @property
    def topic_id(self) -> str | None:
        row = self._db.execute("select topic_id from state").fetchone()
        return None if row is None else row[0]

    @topic_id.setter
    def topic_id(self, topic_id: str | None) -> None:
        with self._db:
            self._db.execute("update state set topic_id = ?", (topic_id,))

    def get(self, key: bytes) -> bytes | None:
        row = self._db.execute("select value from data where key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._db.execute("select key, value from data").fetchall())

    def __len__(self) -> int:
        count: int = self._db.execute("select count(*) from data").fetchone()[0]
        return count

    def write(self, changes: Changes, position: int) -> None:
        topic_id = self.topic_id
        with self._db:
            for key, value in changes.items():
                if value is None:
                    self._db.execute("delete from data where key = ?", (key,))
                else:
                    self._db.execute("insert or replace into data values (?, ?)", (key, value))
            self._db.execute("delete from state")
            self._db.execute("insert into state values (?, ?)", (position, topic_id))

    def clear(self) -> None:
        with self._db:
            self._db.execute("delete from data")
            self._db.execute("delete from state")

    def close(self) -> None:
        self._db.close()


class TestCustom(StoreTests):
    def open(self, tp: TopicPartition, folder: Path | None) -> Store:
        return SQLiteStore(tp, folder, {})
