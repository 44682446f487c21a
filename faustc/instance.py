"""What a worker is called, again after a restart: by a file in its data folder, under a lock.

Its transactions go by that name, so the next worker with the same folder aborts what this one
may leave open. Workers that share a folder have a file each; whoever starts takes the first
that nobody holds.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from pathlib import Path

from faustc.flock import try_flock

__all__ = ["Instance"]

logger = logging.getLogger(__name__)

MOST = 1000
_NAME = re.compile(r"[0-9a-f]{12}")


class Instance:
    """Holds a name from `take` to `leave`; the lock goes with the process, whatever ends it."""

    def __init__(self) -> None:
        self.name = ""
        self._fd: int | None = None

    def take(self, folder: Path) -> str:
        """Return the name; one that is new, and not kept, if the folder cannot be written to."""
        if not self.name:
            try:
                self.name = self._kept(folder)
            except OSError as exc:
                logger.warning(
                    "No name is kept in %s (%s): what this worker leaves open when it is killed is "
                    "aborted by others, or when its time is up",
                    folder,
                    exc.strerror,
                )
        if not self.name:
            self.name = secrets.token_hex(6)
        return self.name

    def _kept(self, folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(MOST):
            file = folder / f"instance-{number}"
            fd = try_flock(file)
            if fd is None:
                continue
            self._fd = fd
            found = _NAME.match(os.pread(fd, 64, 0).decode("ascii", "replace"))
            if found is not None:
                return found[0]
            name = secrets.token_hex(6)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{name}\n".encode(), 0)
            os.fsync(fd)
            return name
        return ""

    def leave(self) -> None:
        """Let another worker have it."""
        fd, self._fd, self.name = self._fd, None, ""
        if fd is not None:
            os.close(fd)
