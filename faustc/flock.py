"""Locks on files, by flock(2): gone with their process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["open_lock_file", "try_flock"]


def open_lock_file(path: Path) -> int:
    """Open a file to be locked, made if need be; raises OSError."""
    # Python's descriptors are not inherited by programs that a user's process runs.
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def try_flock(path: Path, kind: int = fcntl.LOCK_EX) -> int | None:
    """Lock a file and return its descriptor, whose closing unlocks it; None if others hold it.

    Raises OSError where the file cannot be opened (its filename is set then) or its file
    system has no locks.
    """
    fd = open_lock_file(path)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd
