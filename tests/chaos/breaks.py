"""Ways to break a worker on purpose, so that a test can show that the checker sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faustc.engine.checkpoint import Checkpoint
from faustc.engine.ledger import Ledger
from faustc.engine.shard import Shard
from faustc.engine.tables import Tables

#: The key whose changes `lose_changelog` keeps from the changelog, as the table writes it.
LOST_KEY = b'"lost"'


def commit_early() -> None:
    """Commit up to what was handed out, done or not."""
    Ledger.position = property(lambda self: self._top)  # type: ignore[assignment]


def ack_in_flight() -> None:
    """Acknowledge events as they are handed out."""
    hand_out = Ledger.hand_out

    def and_acknowledge(self: Ledger, offsets: Any, next_offset: int) -> None:
        hand_out(self, offsets, next_offset)
        for offset in offsets:
            self.ack(offset)

    Ledger.hand_out = and_acknowledge  # type: ignore[method-assign]


def skip_flush() -> None:
    """Commit without waiting until what was sent is on the brokers."""
    start = Checkpoint.__init__

    async def nothing(*args: Any, **named: Any) -> None:
        return None

    def without_flush(self: Checkpoint, *args: Any, **named: Any) -> None:
        start(self, *args, **named)
        assert callable(self._flush)
        self._flush = nothing

    Checkpoint.__init__ = without_flush  # type: ignore[method-assign]
    # Nobody knows yet where in the changelog they are.
    Tables.landed = lambda self: self._in_flight.clear()  # type: ignore[method-assign]


def lose_changelog() -> None:
    """Keep the changes of one key from the changelog; the table itself has them."""
    change = Shard.set

    def but_one(self: Shard, key: bytes, value: bytes | None) -> None:
        if key == LOST_KEY:
            self.flying = {**self.flying, key: value}
        else:
            change(self, key, value)

    Shard.set = but_one  # type: ignore[method-assign]


BREAKS: dict[str, Callable[[], None]] = {
    break_it.__name__: break_it
    for break_it in (commit_early, ack_in_flight, skip_flush, lose_changelog)
}


def apply(name: str) -> None:
    """Break this process in the named way; the empty name leaves it whole."""
    if name:
        BREAKS[name]()
