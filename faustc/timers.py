"""Ticks: at a steady interval, however long the work between them takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

__all__ = ["itertimer", "seconds"]

logger = logging.getLogger(__name__)


def seconds(interval: float | timedelta) -> float:
    """Return an interval in seconds; raises ValueError unless it is above zero."""
    value = interval.total_seconds() if isinstance(interval, timedelta) else float(interval)
    if not value > 0:
        raise ValueError(f"an interval has to be above zero seconds, not {interval!r}")
    return value


async def itertimer(
    interval: float | timedelta, *, max_drift_correction: float = 0.1, name: str = "timer"
) -> AsyncIterator[float]:
    """Yield, every interval seconds, how late this tick is; the first after one interval.

    A late tick makes the next wait shorter, by at most max_drift_correction
    seconds. Ticks that were missed are not made up for.
    """
    step_s = seconds(interval)
    loop = asyncio.get_running_loop()
    due = loop.time() + step_s
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        late = loop.time() - due
        if late > step_s:
            logger.info("Timer %s is %.2f s late; ticks that were missed are left out", name, late)
        yield late
        now = loop.time()
        # On the grid if it can be reached, else as near as the correction allows.
        due = max(due + step_s, now + max(0.0, step_s - max_drift_correction))
