"""A child process that writes to a store, for ever: its parent kills it.

`python -m tests.unit.stores.crashing CLASS FOLDER write|load|full [N]` goes on where the store is
(full: on a disk that has no room after a while), and with N it kills itself once it has written
so many batches of the database. The change at offset n sets key n % KEYS to the text of n, so
that what a store holds says which changes it has seen; every seventh change deletes instead.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from faustc.imports import symbol_by_name
from faustc.stores.durable import DurableStore
from faustc.testing.stores import changelog
from faustc.types import TopicPartition

TP = TopicPartition("crash-changelog", 0)
KEYS = 3000
#: Larger than what a batch of the database takes, so that a kill may come between two.
CHANGES = 2500


def change(offset: int) -> tuple[bytes, bytes | None]:
    """Return the change that is at an offset of the changelog."""
    return b"%d" % (offset % KEYS), None if offset % 7 == 0 else b"%d" % offset


def state_at(position: int) -> dict[bytes, bytes]:
    """Return what the first changes lead to."""
    state: dict[bytes, bytes] = {}
    # Each key is touched once in KEYS offsets: the last round says it all.
    for offset in range(max(0, position - KEYS), position):
        key, value = change(offset)
        if value is not None:
            state[key] = value
    return state


def die_after(store: DurableStore, batches: int) -> None:
    """Let the process be killed when a store has written so many batches of the database."""
    write, written = store._write_batch, 0

    def counted(changes: Iterable[tuple[bytes, bytes | None]]) -> bool:
        nonlocal written
        full = write(changes)
        written += 1
        if written == batches:
            os.kill(os.getpid(), signal.SIGKILL)
        return full

    store._write_batch = counted  # type: ignore[method-assign]


def run_out_of_space(limit_bytes: int) -> None:
    """Let no file grow beyond a limit: writing fails then, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


def main(store_class: type[DurableStore], folder: Path, how: str, batches: int = 0) -> None:
    store = store_class(TP, folder, {})
    if how == "full":
        run_out_of_space(300_000)
    die_after(store, batches)
    position = store.position or 0
    print("open", flush=True)
    while True:
        changes = [change(offset) for offset in range(position, position + CHANGES)]
        if how != "load":
            store.write(dict(changes), position + CHANGES)
        else:
            store.load(changelog(changes, start=position, per_batch=400))
        position += CHANGES
        print(position, flush=True)


if __name__ == "__main__":
    main(symbol_by_name(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
