"""Where the bytes of a segment are: in a file, or in memory.

Both have one interface, so that a log in memory is the same log. Files are opened
when they are first read or written, and the least recently used are closed again:
a hundred topics have more files than a process may have descriptors.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """A growing run of bytes."""

    @property
    def size(self) -> int: ...
    def create(self) -> None: ...
    def append(self, data: bytes) -> None: ...
    def read(self, at: int, size: int) -> bytes: ...
    def truncate(self, size: int) -> None: ...
    def close(self) -> None: ...
    def delete(self) -> None: ...


class MemoryStorage:
    """Bytes that go with the process."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.size = 0

    def create(self) -> None:
        """There is nothing to make."""

    def append(self, data: bytes) -> None:
        """Add to the end."""
        self._data += data
        self.size += len(data)

    def read(self, at: int, size: int) -> bytes:
        """Return up to size bytes from `at` on."""
        with memoryview(self._data) as whole:
            return bytes(whole[at : at + size])

    def truncate(self, size: int) -> None:
        """Drop what lies behind size."""
        del self._data[size:]
        self.size = size

    def close(self) -> None:
        """Nothing to give back; the bytes stay readable."""

    def delete(self) -> None:
        """Let go of the bytes."""
        self.truncate(0)


class OpenFiles:
    """The descriptors in use, `limit` of them at most."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._open: OrderedDict[Path, int] = OrderedDict()

    def descriptor(self, path: Path, *, create: bool = False) -> int:
        """Return a descriptor of a file; create makes it if it is not there, and its folder.

        Raises OSError.
        """
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            if not create:
                raise
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, flags | os.O_CREAT, 0o644)
        self._open[path] = fd
        while len(self._open) > self._limit:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def close(self, path: Path) -> None:
        """Close a file, if it is open."""
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)

    def close_all(self) -> None:
        """Close every file."""
        for path in list(self._open):
            self.close(path)


class FileStorage:
    """Bytes in a file that comes to be with the first of them."""

    def __init__(self, path: Path, files: OpenFiles) -> None:
        self.path = path
        self._files = files
        self.size = path.stat().st_size if path.exists() else 0

    def create(self) -> None:
        """Make the file, empty as it may be: its name says where the log goes on."""
        self._files.descriptor(self.path, create=True)

    def append(self, data: bytes) -> None:
        """Add to the end; the kernel has it all when this returns.

        Raises OSError if it cannot be written whole; the file is then as before.
        """
        fd = self._files.descriptor(self.path, create=True)
        try:
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, memoryview(data)[written:])
        except OSError:
            # Half a batch in the middle of a log would hide all that comes later.
            os.ftruncate(fd, self.size)
            raise
        self.size += len(data)

    def read(self, at: int, size: int) -> bytes:
        """Return up to size bytes from `at` on."""
        size = min(size, self.size - at)
        if size <= 0:
            return b""
        fd = self._files.descriptor(self.path)
        data = os.pread(fd, size, at)
        while len(data) < size:  # Linux gives 2 GiB at most at a time
            more = os.pread(fd, size - len(data), at + len(data))
            if not more:
                break
            data += more
        return data

    def truncate(self, size: int) -> None:
        """Drop what lies behind size."""
        os.ftruncate(self._files.descriptor(self.path), size)
        self.size = size

    def close(self) -> None:
        """Give the descriptor back; reading opens the file again."""
        self._files.close(self.path)

    def delete(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.size = 0
