"""Workers that are broken on purpose, each in one way: the simulation has to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from faustc.engine.checkpoint import Checkpoint
from faustc.engine.inbox import Reader
from faustc.engine.ledger import Ledger
from faustc.engine.shard import Shard
from faustc.engine.tables import Tables

__all__ = ["WAYS"]

Way = Callable[[], AbstractContextManager[Any]]


@contextmanager
def commits_before_the_flush() -> Iterator[None]:
    """Offsets are committed while what their events sent is on its way."""
    make = Checkpoint.__init__

    def patched(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **options)

        async def no_flush() -> None:
            pass

        self._flush = no_flush
        self._tables = None  # or what they sent would be looked at before it is there

    with mock.patch.object(Checkpoint, "__init__", patched):
        yield


@contextmanager
def passes_what_is_in_hand() -> Iterator[None]:
    """The position of a ledger is the highest that was acknowledged."""
    ack = Ledger.ack
    highest: dict[int, int] = {}

    def acked(self: Ledger, offset: int) -> bool:
        highest[id(self)] = max(highest.get(id(self), -1), offset + 1)
        return ack(self, offset)

    def position(self: Ledger) -> int:
        return max(self._next, highest.get(id(self), -1))

    with (
        mock.patch.object(Ledger, "ack", acked),
        mock.patch.object(Ledger, "position", property(position)),
    ):
        yield


@contextmanager
def takes_what_is_handed_out_as_done() -> Iterator[None]:
    """Events are acknowledged before user code has seen them."""
    hand_out = Ledger.hand_out

    def handed_out(self: Ledger, offsets: Sequence[int], next_offset: int) -> None:
        hand_out(self, offsets, next_offset)
        for offset in offsets:
            self.ack(offset)

    with mock.patch.object(Ledger, "hand_out", handed_out):
        yield


@contextmanager
def goes_on_after_a_revoke() -> Iterator[None]:
    """What was fetched of a partition is handed out when it is somebody else's already."""

    def nothing(self: Any, tp: Any) -> None:
        pass

    with mock.patch.object(Reader, "drop", nothing), mock.patch.object(Reader, "stop", nothing):
        yield


@contextmanager
def loses_a_change_of_a_table() -> Iterator[None]:
    """Now and then a change never gets to the changelog."""
    take_off = Shard.take_off
    count = 0

    def taken(self: Shard) -> dict[bytes, bytes | None]:
        nonlocal count
        count += 1
        if count % 3 == 0 and len(self.dirty) > 1:
            self.dirty.pop(next(iter(self.dirty)))
        return take_off(self)

    with mock.patch.object(Shard, "take_off", taken):
        yield


@contextmanager
def writes_stores_before_changelogs() -> Iterator[None]:
    """Stores get changes that no changelog has yet."""
    send = Tables.send

    async def sent(self: Tables) -> None:
        for shard in list(self._all()):
            if shard.dirty and shard.store.position is not None:
                shard.store.write(dict(shard.dirty), shard.store.position)
        await send(self)

    with mock.patch.object(Tables, "send", sent):
        yield


#: Each with the invariants of which one has to be named.
WAYS: dict[str, tuple[Way, tuple[str, ...]]] = {
    way.__name__: (way, invariants)
    for way, invariants in (
        (commits_before_the_flush, ("I5", "I6")),
        (passes_what_is_in_hand, ("I5",)),
        (takes_what_is_handed_out_as_done, ("I5",)),
        (goes_on_after_a_revoke, ("I8",)),
        (loses_a_change_of_a_table, ("I6",)),
        (writes_stores_before_changelogs, ("I7",)),
    )
}
