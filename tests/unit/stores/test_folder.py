"""One process at a time works in a data folder, and the next is told which that is (F10)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from faustc.exceptions import DataFolderInUse, ImproperlyConfigured
from faustc.flock import try_flock
from faustc.stores.folder import DataFolder

HOLD = """
import sys
from pathlib import Path
from faustc.stores.folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.lock_now()
print("locked", flush=True)
sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Start a process that has the folder until its stdin ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    return child


def test_another_process_is_named(tmp_path: Path) -> None:
    with holder(tmp_path / "tables") as child:
        folder = DataFolder(tmp_path / "tables")
        with pytest.raises(DataFolderInUse) as caught:
            folder.lock_now()
        assert not folder.locked
        assert (caught.value.pid, caught.value.host) == (child.pid, socket.gethostname())
        assert caught.value.folder == str(tmp_path / "tables")
        assert f"process {child.pid} on {socket.gethostname()}" in str(caught.value)
        assert "datadir" in str(caught.value)
        assert child.stdin is not None
        child.stdin.close()
        child.wait(30)
    folder.lock_now()
    assert folder.locked
    folder.unlock()


async def test_a_worker_that_restarts_waits_for_the_one_before(tmp_path: Path) -> None:
    with holder(tmp_path) as child:
        folder = DataFolder(tmp_path)
        waiting = asyncio.create_task(folder.lock(timeout_s=60))
        for _ in range(3):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        child.send_signal(signal.SIGKILL)  # a lock needs nobody to give it back
        await asyncio.wait_for(waiting, 30)
    assert folder.locked
    await folder.lock()  # ours already
    folder.unlock()


async def test_the_wait_is_bounded(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    await first.lock()
    with pytest.raises(DataFolderInUse, match=f"this process .pid {os.getpid()}.*another app"):
        await second.lock(timeout_s=0.05)
    first.unlock()
    first.unlock()
    await second.lock(timeout_s=0)
    second.unlock()


def test_the_name_of_an_owner_before_is_gone(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"pid": 1, "host": "of the one before, with a long name"}' * 9)
    first = DataFolder(tmp_path)
    first.lock_now()
    with pytest.raises(DataFolderInUse) as caught:
        DataFolder(tmp_path).lock_now()
    assert (caught.value.pid, caught.value.host) == (os.getpid(), socket.gethostname())
    first.unlock()


def test_an_owner_that_left_no_name(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    first.lock_now()
    (tmp_path / "lock").write_text("")
    with pytest.raises(DataFolderInUse, match="another process") as caught:
        DataFolder(tmp_path).lock_now()
    assert (caught.value.pid, caught.value.host) == (None, None)
    first.unlock()


def test_a_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="tabledir"):
        DataFolder(tmp_path / "file" / "tables").lock_now()


def test_a_lock_on_a_file_that_was_deleted_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`faustc reset` deletes the folder, the lock that it holds included."""
    folder, locks = DataFolder(tmp_path / "tables"), []

    def locked_late(path: Path) -> int | None:
        fd = try_flock(path)
        if not locks:
            shutil.rmtree(path.parent)  # after it was opened, before it was locked
        locks.append(fd)
        return fd

    monkeypatch.setattr("faustc.stores.folder.try_flock", locked_late)
    folder.lock_now()
    assert len(locks) == 2
    with pytest.raises(DataFolderInUse):
        DataFolder(tmp_path / "tables").lock_now()
    folder.unlock()


def test_nothing_is_made_before_it_is_locked(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "tables")
    assert folder.of("orders", 3) == tmp_path / "tables" / "orders-3"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0", "ä b", "."])
def test_names_that_are_no_folders(tmp_path: Path, name: str) -> None:
    folder = DataFolder(tmp_path)
    if name in ("..", "."):
        assert folder.of(name, 0).parent == tmp_path  # "..-0": within
        return
    with pytest.raises(ImproperlyConfigured, match="no folder can be called so"):
        folder.of(name, 0)
