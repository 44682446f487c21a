"""How long to wait before trying again, and how long at most."""

from __future__ import annotations

import asyncio
import random

from faustc.clock import monotonic
from faustc.exceptions import KafkaTimeout


class Backoff:
    """Growing delays for one thing that keeps failing.

    The n-th delay is base_s * 2**n, at most max_s, then made up to `jitter`
    shorter or longer so that many clients do not come back at the same moment
    (KIP-580). Lengths are in seconds.
    """

    __slots__ = ("_base_s", "_jitter", "_max_s", "attempts")

    def __init__(self, base_s: float, max_s: float, jitter: float = 0.2) -> None:
        self._base_s = base_s
        self._max_s = max(base_s, max_s)
        self._jitter = jitter
        self.attempts = 0

    def next(self) -> float:
        """Return the delay before the next attempt, in seconds, and count it."""
        # 2**30 is past any max_s; the bound keeps the float from overflowing after days of failure
        delay: float = min(self._base_s * 2.0 ** min(self.attempts, 30), self._max_s)
        self.attempts += 1
        return delay * random.uniform(1 - self._jitter, 1 + self._jitter)

    def reset(self) -> None:
        """Start again from base_s: the thing worked."""
        self.attempts = 0


class Deadline:
    """A moment by which an operation of several steps must be done."""

    __slots__ = ("at", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.at = monotonic() + timeout_s

    def left(self) -> float:
        """Return the seconds that are left, never below 0."""
        return max(0.0, self.at - monotonic())

    def expired(self) -> bool:
        """Say whether the moment has passed."""
        return monotonic() >= self.at

    def check(self, what: str) -> None:
        """Raise KafkaTimeout naming `what` if the moment has passed."""
        if self.expired():
            raise KafkaTimeout(f"{what}: not done within {self.timeout_s:g} s")

    async def sleep(self, delay_s: float) -> None:
        """Sleep for delay_s, or for what is left if that is less."""
        await asyncio.sleep(min(delay_s, self.left()))
