"""The folder of an app's durable stores, and the lock on it: one process works there at a time.

    lock                 held for as long as a worker has the folder; says who
    {table}-{partition}/ the store of one partition
    *.damaged-{time}/    stores that could not be used, for whoever wants to look

The lock is flock(2): it goes with its process, whatever ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from faustc.clock import monotonic
from faustc.exceptions import DataFolderInUse, ImproperlyConfigured
from faustc.flock import try_flock

__all__ = ["DEFAULT_LOCK_TIMEOUT_S", "DataFolder"]

# A worker that is replaced may take as long to stop: it flushes, commits, and closes its stores.
DEFAULT_LOCK_TIMEOUT_S = 30.0
RETRY_MIN_S = 0.01
RETRY_MAX_S = 0.25
LOCK = "lock"
# What a table may be called by Faust, and what a file may be called anywhere.
_PLAIN = re.compile(r"[\w.-]+")


class DataFolder:
    """A folder of stores. Nothing is made or locked before `lock` or `lock_now`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._fd: int | None = None

    def __repr__(self) -> str:
        return f"<DataFolder {self.path}{' (ours)' if self.locked else ''}>"

    @property
    def locked(self) -> bool:
        """Whether we have it."""
        return self._fd is not None

    async def lock(self, timeout_s: float = DEFAULT_LOCK_TIMEOUT_S) -> None:
        """Take the folder, or wait until its owner leaves it; nothing happens if it is ours.

        Raises DataFolderInUse after timeout_s, ImproperlyConfigured if it cannot be a folder.
        """
        give_up = monotonic() + timeout_s
        pause_s = RETRY_MIN_S
        while True:
            try:
                self.lock_now()
                return
            except DataFolderInUse:
                left_s = give_up - monotonic()
                if left_s <= 0:
                    raise
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, RETRY_MAX_S)

    def lock_now(self) -> None:
        """Take the folder, without waiting; raises as `lock` does."""
        if self._fd is not None:
            return
        lock = self.path / LOCK
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = try_flock(lock)
            while fd is not None and not _is_at(fd, lock):
                # Deleted between our opening and our locking it: nobody else will see this one.
                os.close(fd)
                self.path.mkdir(parents=True, exist_ok=True)
                fd = try_flock(lock)
        except OSError as exc:
            raise ImproperlyConfigured(
                f"tables cannot be kept in {self.path} ({exc.strerror}): set tabledir, or "
                "datadir, to a folder on a local disk that this process may write to"
            ) from exc
        if fd is None:
            raise self._in_use(lock)
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{note}\n".encode(), 0)
        self._fd = fd

    def unlock(self) -> None:
        """Leave the folder to others; close its stores before."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def of(self, table: str, partition: int) -> Path:
        """Return the folder of one partition of a table.

        Faust's ends in `.db` and has another layout: it is left alone. Raises
        ImproperlyConfigured for a table that no folder can be called after.
        """
        if not _PLAIN.fullmatch(table):
            raise ImproperlyConfigured(
                f"table {table!r}: no folder can be called so; use letters, digits, '.', '_', '-'"
            )
        return self.path / f"{table}-{partition}"

    def partitions_of(self, table: str) -> list[int]:
        """Return the partitions of a table that have a folder here, in order."""
        prefix = f"{table}-"
        rests = (path.name.removeprefix(prefix) for path in self.path.glob(f"{prefix}*"))
        return sorted(int(rest) for rest in rests if rest.isdecimal())

    def _in_use(self, lock: Path) -> DataFolderInUse:
        pid: int | None = None
        host: str | None = None
        # What it says may be of its last owner for the moment in which a new one begins.
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(lock.read_bytes())
            pid, host = int(note["pid"]), str(note["host"])
        if pid is None:
            owner = "another process"
        elif pid == os.getpid() and host == socket.gethostname():
            owner = f"this process (pid {pid}), through another app"
        else:
            owner = f"process {pid} on {host}"
        return DataFolderInUse(
            f"{owner} works with the tables in {self.path}: stop it, or give this worker a "
            "folder of its own (datadir, --datadir)",
            folder=str(self.path),
            pid=pid,
            host=host,
        )


def _is_at(fd: int, path: Path) -> bool:
    """Say whether the file that is open is the one that is found by a path."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
