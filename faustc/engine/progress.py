"""How far the filling of tables has come, in words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from faustc.clock import monotonic

__all__ = ["Filling", "filled", "under_way"]

BAR = 20  # characters


class Filling(Protocol):
    """A shard on its way from `start` to `end` of its changelog."""

    start: int
    end: int
    records: int
    begun_at: float
    shard: Any


def _seconds(followings: Collection[Filling]) -> float:
    """Return how long ago the first of them began."""
    now = monotonic()
    return max(now - min((following.begun_at for following in followings), default=now), 1e-6)


def filled(followings: Collection[Filling]) -> str:
    """Say what was filled, from how many records, and how fast."""
    records = sum(following.records for following in followings)
    topics = sorted({following.shard.tp.topic for following in followings})
    took = _seconds(followings)
    what = f"{', '.join(topics)} ({len(followings)} partitions)"
    return (
        f"Tables are whole: {what}, {records:,} records in {took:.1f} s ({records / took:,.0f}/s)"
    )


def under_way(
    topic: str,
    followings: Collection[Filling],
    positions: Collection[int],
    *,
    bar: bool = False,
) -> str:
    """Say how far one changelog has been read, and how long it may take still.

    bar: draw it, too.
    """
    done = sum(positions) - sum(following.start for following in followings)
    whole = sum(following.end - following.start for following in followings)
    took = _seconds(followings)
    rate = done / took
    left = f"about {(whole - done) / rate:.0f} s left" if rate else "nothing yet"
    share = done / whole if whole else 1.0
    drawn = f"{'█' * round(share * BAR):░<{BAR}} " if bar else ""
    return f"Filling {topic}: {drawn}{done:,} of {whole:,} ({share:.0%}), {rate:,.0f}/s, {left}"
