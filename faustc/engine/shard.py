"""One partition of one table on this worker: what user code sees, before the store has it.

A change goes three steps, each a dictionary of bytes: `dirty` (made, not sent yet), `flying`
(sent to the changelog, not known to be there), the store. Reading looks at them in that order.
A commit takes all that is dirty, sends it with one call, waits for the acknowledgement, and
writes it to the store together with its position. An abort forgets dirty and flying.
A key that changes several times between two commits is sent once, with its last value.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from faustc.stores.base import Store
from faustc.types import TopicPartition

__all__ = ["Shard"]

# How long a compacted topic keeps deletions unless it says so: delete.retention.ms.
DEFAULT_DELETIONS_KEPT_S = 86_400.0
# What may be changed and not committed, of one partition, before a commit is asked for.
DEFAULT_MAX_BYTES = 8 << 20


class Shard:
    """The state of one partition: bytes by key.

    tp is the changelog's partition; `dirty_bytes` what was written since the last commit, about.
    deletions_kept_s: for how long the changelog keeps the records of deletions.
    Once that is max_bytes, on_full is called with each further change: a commit is due.
    One that is `followed` is filled from its changelog all the time, as others write to it.
    """

    def __init__(
        self,
        tp: TopicPartition,
        store: Store,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        on_full: Callable[[], None] = lambda: None,
        followed: bool = False,
        deletions_kept_s: float = DEFAULT_DELETIONS_KEPT_S,
    ) -> None:
        self.tp = tp
        self.store = store
        self.max_bytes = max_bytes
        self._on_full = on_full
        self.followed = followed
        self.deletions_kept_s = deletions_kept_s
        #: Told of the batches that the changelog brings.
        self.listener: Callable[[Sequence[Any]], Awaitable[None]] | None = None
        self.dirty: dict[bytes, bytes | None] = {}
        self.dirty_bytes = 0
        self.flying: dict[bytes, bytes | None] = {}
        #: Goes up by one with each change that does not come from user code: caches of
        #: decoded values are good for one edition only.
        self.edition = 0
        self.closed = False
        self._sending: dict[bytes, bytes | None] = {}
        self._landed_at: int | None = None

    @property
    def partition(self) -> int:
        return self.tp.partition

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if it has none."""
        for changes in (self.dirty, self.flying):
            if key in changes:
                return changes[key]
        return self.store.get(key)

    def set(self, key: bytes, value: bytes | None) -> None:
        """Change a key; None: it goes. Free until the next commit."""
        self.dirty[key] = value
        self.dirty_bytes += len(key) + (len(value) if value is not None else 0)
        if self.dirty_bytes >= self.max_bytes:
            self._on_full()

    def drop(self, key: bytes) -> None:
        """Take a key away; the changelog hears of it only if it may have heard of the key."""
        sent = key in self.flying or key in self._sending
        if self.dirty.get(key) is None or sent or self.store.get(key) is not None:
            self.set(key, None)
        else:
            del self.dirty[key]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over a view as of now: all pairs, in no order."""
        changed = {**self.flying, **self.dirty}
        if not changed:
            yield from self.store.items()
            return
        for key, value in self.store.items():
            if key not in changed:
                yield key, value
        for key, new in changed.items():
            if new is not None:
                yield key, new

    def __len__(self) -> int:
        changed = {**self.flying, **self.dirty}
        count = len(self.store)
        for key, value in changed.items():
            count += (value is not None) - (self.store.get(key) is not None)
        return count

    @property
    def is_too_old(self) -> bool:
        """Whether deletions may be missing from the changelog that the store has not seen."""
        written_at = self.store.written_at
        return written_at is not None and time.time() - written_at >= self.deletions_kept_s

    @property
    def pending(self) -> bool:
        """Whether there is something that a commit would send."""
        return bool(self.dirty or self._sending)

    @property
    def overfull(self) -> bool:
        """Whether a commit is long overdue."""
        return self.dirty_bytes >= 2 * self.max_bytes

    # -- a commit ----------------------------------------------------------------------

    def take_off(self) -> dict[bytes, bytes | None]:
        """Return what is to be sent now; from here on it is flying."""
        # A commit that failed left what it sent: nobody knows what arrived, so it goes again.
        self._sending = {**self._sending, **self.dirty}
        self.dirty, self.dirty_bytes = {}, 0
        self.flying = {**self.flying, **self._sending} if self.flying else self._sending
        self._landed_at = None
        return self._sending

    def is_sending(self, changes: dict[bytes, bytes | None]) -> bool:
        """Say whether these were taken off last, and neither landed nor forgotten since."""
        return self._sending is changes and not self.closed

    def landed(self, position: int, first: int | None = None) -> None:
        """Note that all that was sent is in the changelog, before this position.

        first: where it begins, if nothing of others is within; None where others cannot
        have written. Behind a gap the store stays at its position: what is in there may be
        of a worker that has the partition now, and the store would claim to have it.
        """
        self._sending = {}
        if self.followed:
            # Others write, too: the order is the changelog's, so what we wrote waits until
            # the store has got there by following.
            self._landed_at = position
            self._let_go_of_flying()
            return
        flown, self.flying = self.flying, {}
        at = self.store.position
        self.store.write(flown, position if first is None or at is None or first <= at else at)

    # -- from the changelog ------------------------------------------------------------

    def load(self, batches: Sequence[Any]) -> int:
        """Take records of the changelog, as they were fetched, into the store; return how many."""
        position = self.store.position
        if position is not None and batches and batches[0].next_offset <= position:
            # The changelog was deleted and created again: what we have is of another one.
            self.clear()
        self.edition += 1
        count = self.store.load(batches)
        self._let_go_of_flying()
        return count

    def reached(self, position: int) -> None:
        """Note that there is nothing for us in the changelog before this position."""
        if self.store.position is None or self.store.position < position:
            self.store.write({}, position)
            self._let_go_of_flying()

    def _let_go_of_flying(self) -> None:
        at = self._landed_at
        if at is not None and self.store.position is not None and self.store.position >= at:
            self.flying = {}
            self._landed_at = None

    def clear(self) -> None:
        """Forget everything that the store has, to be filled anew."""
        self.store.clear()
        self.edition += 1

    def abort(self) -> None:
        """Forget every change that the store does not have."""
        self.dirty, self.dirty_bytes, self.flying, self._sending = {}, 0, {}, {}
        self._landed_at = None
        self.edition += 1

    def close(self) -> None:
        """Let go of the store; changes that it does not have are gone."""
        if not self.closed:
            self.closed = True
            self.abort()
            self.store.close()
