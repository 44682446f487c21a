"""What time it is, for whatever must agree with the timers of the event loop.

A loop may run on a time of its own (faustc.testing does that), so a moment that is
compared with what a timer waits for has to come from the loop, too. How much CPU
time somebody took is another matter: that is time.monotonic.
"""

from __future__ import annotations

import asyncio
import time

__all__ = ["monotonic", "now_ms"]


def monotonic() -> float:
    """Return the time of the running loop in seconds; outside of one that of all usual loops.

    So moments taken on two threads may be compared, unless one has a time of its own.
    """
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def now_ms() -> int:
    """Return the time of day in milliseconds, ahead by as much as the running loop is."""
    return int((time.time() - time.monotonic() + monotonic()) * 1000)
