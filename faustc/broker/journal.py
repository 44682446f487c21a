"""Remembers what the coordinators decided: an append-only file of checksummed lines.

Both coordinators write to one journal, so that the end of a transaction and the
offsets that it commits are one line: there is no order between two files to get
wrong. Each line is a CRC-32C, a space, and a JSON array that starts with its kind.
A torn tail, as kill -9 or a full disk leaves it, is cut back to the last whole line.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from faustc._native.checksum import crc32c

logger = logging.getLogger(__name__)

# Below this a rewrite would save nothing worth its fsync.
REWRITE_BYTES = 1 << 20
# A journal is rewritten when it has grown to this many times what is alive in it.
REWRITE_FACTOR = 4


def _line(entry: list[Any]) -> bytes:
    body = json.dumps(entry, separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %s\n" % (crc32c(body), body)


class Journal:
    """An append-only file, or nothing at all (path None: kept in memory by the owners).

    `append` returns after write(2): what was answered survives kill -9 of the
    broker. Power loss may take what was written since the last `sync`, unless
    sync_each is set. Owners replay `load()` once, and register a `snapshot` that
    yields entries which say the same as all that they ever appended. on_write is
    called after each append, to have `sync` called soon; any thread may call that.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        sync_each: bool = False,
        on_write: Callable[[], None] | None = None,
    ) -> None:
        self._path = path
        self._on_write = on_write
        # The file must not be swapped or closed while a thread syncs it.
        self._swapping = threading.Lock()
        self._sync_each = sync_each
        self._fd = -1
        self._size = 0
        self._rewrite_at = REWRITE_BYTES
        self._dirty = False
        self._snapshots: list[Callable[[], Iterable[list[Any]]]] = []

    def on_rewrite(self, snapshot: Callable[[], Iterable[list[Any]]]) -> None:
        """Ask this owner, too, for what is alive when the file is rewritten."""
        self._snapshots.append(snapshot)

    def load(self) -> Iterator[list[Any]]:
        """Open the file and yield its entries, oldest first; cut a torn tail off.

        Raises OSError if the file cannot be read or written.
        """
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(self._path, "rb") as file:
            for line in file:
                entry = _parse(line)
                if entry is None:
                    break
                self._size += len(line)
                yield entry
        lost = os.fstat(self._fd).st_size - self._size
        if lost:
            logger.warning("Cut %d torn bytes off the end of %s", lost, self._path)
            os.ftruncate(self._fd, self._size)

    def append(self, entry: list[Any]) -> None:
        """Write one entry; it is in the kernel's hands when this returns.

        Raises OSError if it cannot be written whole; the file is then as before.
        """
        if self._fd < 0:
            return
        if self._size > self._rewrite_at:
            self._rewrite()
        line = _line(entry)
        try:
            written = os.write(self._fd, line)
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            # Half a line would hide every later one from the next load.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        self._dirty = True
        if self._sync_each:
            self.sync()
        elif self._on_write is not None:
            self._on_write()

    def sync(self) -> None:
        """Bring what was written to the disk itself; cheap when nothing was.

        Raises OSError if the disk refuses; a later call tries again.
        """
        with self._swapping:
            if not self._dirty or self._fd < 0:
                return
            # Before the call: what is appended meanwhile needs another one.
            self._dirty = False
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        """Bring everything to the disk and close the file. May be called twice."""
        self.sync()
        with self._swapping:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _rewrite(self) -> None:
        """Replace the file by a shorter one that says the same."""
        assert self._path is not None
        lines = [_line(entry) for snapshot in self._snapshots for entry in snapshot()]
        content = b"".join(lines)
        fresh = self._path.with_suffix(".new")
        with open(fresh, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)
        with self._swapping:
            os.close(self._fd)
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            self._dirty = False
        self._size = len(content)
        self._rewrite_at = max(REWRITE_BYTES, REWRITE_FACTOR * self._size)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _parse(line: bytes) -> list[Any] | None:
    """Return the entry of a whole line, None of a torn one."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    try:
        if int(line[:8], 16) != crc32c(body):
            return None
        entry = json.loads(body)
    except ValueError:
        return None
    return entry if isinstance(entry, list) and entry else None
