"""What is looked at about once a second: lag, rates, and readers that make no progress."""

from __future__ import annotations

import asyncio
from typing import Any

from faustc.engine.assignment import Assignment
from faustc.engine.counters import Counters
from faustc.engine.stuck import CommitWatch, StuckWatch

__all__ = ["Watch", "measure_lag"]


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


async def measure_lag(assignment: Assignment, consumer: Any, counters: Counters) -> None:
    """Work out the lag of each partition that has been fetched from."""
    done = assignment.committable()
    lag = {}
    for tp in assignment.partitions & set(consumer.assignment()):
        end = consumer.highwater(tp)
        if end is not None:
            counters.tp_end_offsets[tp] = end
            # Before the first message came, what is done is what is not wanted.
            position = done[tp] if tp in done else await consumer.position(tp)
            lag[tp] = max(0, end - position)
    counters.lag = lag
