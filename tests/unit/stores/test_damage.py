"""A store that cannot be trusted is set aside once, and never trusted, nor in the way (I7, F10)."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faustc.exceptions import StoreDamaged, StoreError
from faustc.stores.durable import DurableStore
from faustc.stores.rocksdb import RocksDBStore
from faustc.stores.rocksdict import RocksDictStore
from faustc.types import TopicPartition

TP = TopicPartition("app-orders-changelog", 1)
COUNT = 4000


@pytest.fixture(params=[RocksDBStore, RocksDictStore])
def kind(request: pytest.FixtureRequest) -> type[DurableStore]:
    return request.param


@pytest.fixture
def folder(tmp_path: Path, kind: type[DurableStore]) -> Path:
    """A store that was written, flushed to table files, and closed."""
    folder = tmp_path / "orders-1"
    # So small that what is written is in table files by the end, not in the log alone.
    store = kind(TP, folder, {"write_buffer_size": 1 << 16})
    for start in range(0, COUNT, 500):
        numbers = range(start, start + 500)
        store.write({b"%06d" % n: os.urandom(100) for n in numbers}, start + 500)
    store.close()
    # Opening writes what is in the log to table files, too.
    kind(TP, folder, {}).close()
    return folder


def one(folder: Path, pattern: str) -> Path:
    """Return the largest file of a pattern."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def truncate(folder: Path) -> None:
    path = one(folder, "*.sst")
    os.truncate(path, path.stat().st_size // 2)


def overwrite(pattern: str) -> Callable[[Path], None]:
    return lambda folder: one(folder, pattern).write_bytes(b"not what was written here")


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: one(folder, pattern).unlink()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.WARNING, "faustc")
    return lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def is_set_aside(
    kind: type[DurableStore], folder: Path, warnings: Callable[[], list[str]]
) -> tuple[str, Path]:
    """See that a store is begun anew; return the one warning, and where the old one is."""
    store = kind(TP, folder, {})
    assert (store.position, len(store)) == (None, 0)
    (warning,) = warnings()
    (aside,) = folder.parent.glob("orders-1.damaged-*")
    assert aside.name in warning
    assert "app-orders-changelog/1" in warning
    store.write({b"a": b"1"}, 1)
    store.close()
    # The new one is good.
    store = kind(TP, folder, {})
    assert (store.position, dict(store.items())) == (1, {b"a": b"1"})
    store.close()
    assert len(warnings()) == 1
    return warning, aside


@pytest.mark.parametrize(
    "harm",
    [
        truncate,
        overwrite("*.sst"),
        remove("*.sst"),
        overwrite("MANIFEST-*"),
        remove("MANIFEST-*"),
        overwrite("CURRENT"),
    ],
    ids=["short table", "bad table", "no table", "bad manifest", "no manifest", "bad current"],
)
def test_files_that_cannot_be_opened(
    kind: type[DurableStore],
    folder: Path,
    warnings: Callable[[], list[str]],
    harm: Callable[[Path], None],
) -> None:
    harm(folder)
    _, aside = is_set_aside(kind, folder, warnings)
    assert list(aside.glob("LOG*")), "what was there is kept"


def test_a_damaged_block_is_never_taken_for_the_end(
    kind: type[DurableStore], folder: Path, warnings: Callable[[], list[str]]
) -> None:
    path = one(folder, "*.sst")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    store = kind(TP, folder, {})
    for read in (
        lambda: list(store.items()),
        lambda: len(store),
        lambda: [store.get(b"%06d" % n) for n in range(COUNT)],
    ):
        with pytest.raises(StoreDamaged, match="filled anew when it is next opened"):
            read()
    store.close()
    assert warnings() == []
    warning, _ = is_set_aside(kind, folder, warnings)
    assert "cannot be used" in warning


def test_what_is_in_the_log_is_there_or_the_position_is_older(
    kind: type[DurableStore], tmp_path: Path
) -> None:
    """A damaged end of RocksDB's log, as after a power failure, takes the position with it."""
    folder = tmp_path / "orders-1"
    store = kind(TP, folder, {})
    for n in range(100):
        store.write({b"%d" % n: b"x" * 50}, n + 1)
    folder = shutil.copytree(folder, tmp_path / "as it was, not closed")
    store.close()
    path = one(folder, "*.log")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    store = kind(TP, folder, {})
    assert store.position is not None
    assert 0 < store.position < 100
    assert set(dict(store.items())) == {b"%d" % n for n in range(store.position)}
    store.close()


def test_a_database_of_somebody_else(
    kind: type[DurableStore], tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    import rocksdbpy

    folder = tmp_path / "orders-1"
    options = rocksdbpy.Option()
    options.create_if_missing(True)
    db = rocksdbpy.open(str(folder), options)
    db.set(b"__faust\0offset__", b"7")
    db.close()
    warning, _ = is_set_aside(kind, folder, warnings)
    assert "not made by faustc" in warning


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (b"{", "does not say what it is of"),
        (b"[]", "does not say what it is of"),
        (b'{"format": 1}', "does not say what it is of"),
        (b'{"format": 2, "topic": "app-orders-changelog", "partition": 1}', "format is 2"),
        (b'{"format": 1, "topic": "app-orders-changelog", "partition": 2}', "changelog/2"),
        (b'{"format": 1, "topic": "other", "partition": 1}', "other/1"),
    ],
)
def test_an_identity_that_is_not_ours(
    kind: type[DurableStore],
    folder: Path,
    warnings: Callable[[], list[str]],
    identity: bytes,
    said: str,
) -> None:
    store = kind(TP, folder, {})
    store._write_batch([(b"!identity", identity)])
    store.close()
    warning, _ = is_set_aside(kind, folder, warnings)
    assert said in warning


def test_a_position_that_is_none(
    kind: type[DurableStore], folder: Path, warnings: Callable[[], list[str]]
) -> None:
    store = kind(TP, folder, {})
    store._write_batch([(b"!position", b"12")])
    store.close()
    assert "position has 2 bytes" in is_set_aside(kind, folder, warnings)[0]


def test_a_file_where_the_folder_should_be(
    kind: type[DurableStore], tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    folder = tmp_path / "orders-1"
    folder.write_text("hello")
    assert "it is a file" in is_set_aside(kind, folder, warnings)[0]


def test_a_crash_while_a_store_is_made_is_no_damage(
    kind: type[DurableStore], tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    folder = tmp_path / "orders-1"
    store = kind(TP, folder, {})
    store._write_batch([(b"!identity", None)])
    store.close()
    store = kind(TP, folder, {})
    store.write({b"a": b"1"}, 1)
    store.close()
    assert warnings() == []
    assert [path.name for path in tmp_path.iterdir()] == ["orders-1"]


def test_two_of_one_store_are_an_error_and_no_damage(
    kind: type[DurableStore], folder: Path, warnings: Callable[[], list[str]]
) -> None:
    store = kind(TP, folder, {})
    with pytest.raises(StoreError, match="cannot be opened"):
        kind(TP, folder, {})
    assert (store.position, len(store)) == (COUNT, COUNT)
    store.close()
    assert warnings() == []


def test_a_closed_store_says_so(kind: type[DurableStore], folder: Path) -> None:
    store = kind(TP, folder, {})
    begun = store.items()
    next(begun)
    store.close()
    store.close()
    for use in (
        lambda: store.get(b"a"),
        lambda: len(store),
        lambda: store.write({}, 1),
        lambda: next(begun),
    ):
        with pytest.raises(StoreError, match="is closed"):
            use()


@pytest.mark.parametrize(
    "ends",
    [
        "pass",
        "raise SystemExit(0)",
        "import ctypes; ctypes.pythonapi.Py_IncRef(ctypes.py_object(keep))  # never freed",
    ],
    ids=["end", "exit", "leak"],
)
def test_a_process_ends_well_with_stores_and_iterations_open(
    kind: type[DurableStore], folder: Path, ends: str
) -> None:
    """The binding of rocksdb:// aborts a process that ends with an iterator alive."""
    program = f"""
from pathlib import Path
from {kind.__module__} import {kind.__name__} as Kind
from faustc.types import TopicPartition
store = Kind(TopicPartition(*{tuple(TP)!r}), Path({str(folder)!r}), {{}})
keep = [store.items(), store.items(), store]
print(next(keep[0])[0])
{ends}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'000000'\n", "")
    assert "Shutdown complete" in (folder / "LOG").read_text(), "the database was closed"


def test_one_driver_reads_what_the_other_wrote(
    kind: type[DurableStore], folder: Path, warnings: Callable[[], list[str]]
) -> None:
    other = RocksDictStore if kind is RocksDBStore else RocksDBStore
    store = other(TP, folder, {})
    assert (store.position, len(store)) == (COUNT, COUNT)
    store.close()
    assert warnings() == []
