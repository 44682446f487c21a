"""Stores that cannot be trusted: told from trouble around them, marked, and set aside."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from faustc.exceptions import StoreError

__all__ = ["is_of_surroundings", "mark", "marked", "set_aside"]

MARK = "DAMAGED"
# What RocksDB says when not the files are bad but what is around them: it may pass, and
# filling the store anew would not help.
_SURROUNDINGS = (
    "lock hold by",
    "While lock file",
    "No locks available",
    "No space left",
    "Disk quota exceeded",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Cannot allocate memory",
)


def is_of_surroundings(exc: Exception) -> bool:
    """Say whether a database's error is about the disk, rights or limits, not about its files."""
    text = str(exc)
    return any(part in text for part in _SURROUNDINGS)


def mark(folder: Path, reason: str) -> None:
    """Note in a store's folder that it is damaged."""
    # A disk that takes no mark any more will fail the store's next opening, too.
    with suppress(OSError):
        (folder / MARK).write_text(f"{reason}\n", encoding="utf-8")


def marked(folder: Path) -> str | None:
    """Return why a store's folder cannot be used, as far as that is to be seen from outside."""
    if folder.exists() and not folder.is_dir():
        return "it is a file"
    try:
        return (folder / MARK).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StoreError(f"the store {folder} cannot be read: {exc.strerror}") from exc


def set_aside(folder: Path) -> Path:
    """Rename a store's folder, out of the way; return what it is called now."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = folder.with_name(f"{folder.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{folder.name}.damaged-{stamp}-{number}")
    try:
        folder.rename(aside)
    except OSError as exc:
        raise StoreError(f"the store {folder} cannot be set aside: {exc.strerror}") from exc
    return aside
