"""What is looked at about once a second: lag, rates, and readers that make no progress."""

from __future__ import annotations

import asyncio
from typing import Any

from faustc.clock import monotonic
from faustc.engine.assignment import Assignment
from faustc.engine.counters import Counters
from faustc.engine.stuck import CommitWatch, StuckWatch
from faustc.exceptions import NoBrokersAvailable
from faustc.types import TopicPartition

__all__ = ["Watch", "check_brokers", "measure_lag"]


class Watch:
    """Notes in the counters what is known of batches; the running loop's clock is its own."""

    def __init__(
        self,
        assignment: Assignment,
        counters: Counters,
        stuck_after_s: float,
        livelock_after_s: float,
    ) -> None:
        self._assignment = assignment
        self._counters = counters
        self._stuck = StuckWatch(stuck_after_s)
        self._commits = CommitWatch(livelock_after_s)
        self._looked_at = asyncio.get_running_loop().time()

    def look(self, producer: Any = None) -> None:
        """Work out what is per second, and name readers that stay on one event for very long."""
        assignment, counters = self._assignment, self._counters
        now = asyncio.get_running_loop().time()
        counters.stuck = self._stuck.look(assignment, now)
        self._commits.look(counters.committed, counters.lag, now)
        counters.send_latency.extend(getattr(producer, "take_latencies", list)())
        counters.send_errors = getattr(producer, "errors", 0)
        since_s, self._looked_at = now - self._looked_at, now
        for reader in assignment.readers():
            counters.events_by_stream[reader.name] = reader.taken_total
            counters.events_by_task[reader.name] = reader.taken_total
        if since_s > 0:
            counters.sample(assignment.outstanding(), assignment.waiting(), since_s)


def check_brokers(consumer: Any, outage_s: float) -> None:
    """Raise NoBrokersAvailable once no broker was reached for too long.

    Whoever runs the worker is to hear of it; until then it is waited out.
    """
    since = getattr(consumer, "away_since", None)
    if since is not None and monotonic() - since >= outage_s:
        raise NoBrokersAvailable(
            f"no broker was reached for {outage_s:g} s (broker_outage_timeout); what is not "
            "committed comes again"
        )


async def measure_lag(assignment: Assignment, consumer: Any, counters: Counters) -> None:
    """Work out the lag of each partition that has been fetched from."""
    done = assignment.committable()
    lag = {}
    for tp in assignment.partitions & set(consumer.assignment()):
        end = consumer.highwater(tp)
        if end is not None:
            counters.tp_end_offsets[tp] = end
            # Before the first message came, what is done is what is not wanted.
            position = done[tp] if tp in done else await _known(consumer, tp)
            if position is not None:
                lag[tp] = max(0, end - position)
    counters.lag = lag


async def _known(consumer: Any, tp: TopicPartition) -> int | None:
    """Return a position; None while it is to be found out, where the driver can say so."""
    known = getattr(consumer, "known_position", None)
    found: int | None = await consumer.position(tp) if known is None else known(tp)
    return found
