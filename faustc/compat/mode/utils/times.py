"""Seconds and rates, as people write them."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from faustc.clock import monotonic
from faustc.exceptions import ImproperlyConfigured

__all__ = ["Seconds", "TokenBucket", "humanize_seconds", "rate", "rate_limit", "want_seconds"]

Seconds = float | str | timedelta

_PER_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


def want_seconds(s: Seconds) -> float:
    """Return seconds: of a number, of a timedelta, or of a rate ("100/m") what that is a second."""
    if isinstance(s, timedelta):
        return s.total_seconds()
    return rate(s) if isinstance(s, str) else s


def rate(r: float | str | None) -> float:
    """Return a rate per second: of a number itself, of "100/m" 100 a minute (s, m, h, d)."""
    if r is None:
        return 0.0
    if not isinstance(r, str):
        return float(r)
    count, _, unit = r.partition("/")
    try:
        return float(count) / _PER_S[unit or "s"] if float(count) else 0.0
    except (KeyError, ValueError):
        raise ImproperlyConfigured(
            f"a rate is a number, or like '100/m' (s, m, h, d): {r!r}"
        ) from None


class TokenBucket(AbstractAsyncContextManager["TokenBucket"]):
    """Lets through so many in a time, and as many more at once as were saved up.

    `async with bucket` waits for its turn; with raises, that is raised instead.
    """

    def __init__(
        self,
        rate: Seconds,
        over: Seconds = 1.0,
        *,
        fill_rate: Seconds | None = None,
        capacity: Seconds | None = None,
        raises: type[BaseException] | None = None,
    ) -> None:
        self.rate = want_seconds(rate)
        self.over = want_seconds(over)
        self.raises = raises
        self.capacity = self.rate if capacity is None else want_seconds(capacity)
        self.fill_rate = self.rate / self.over if fill_rate is None else want_seconds(fill_rate)
        self._tokens = self.capacity
        self._since: float | None = None

    @property
    def tokens(self) -> float:
        """How many may pass now."""
        now = monotonic()
        if self._since is not None:
            saved = self._tokens + (now - self._since) * self.fill_rate
            self._tokens = min(self.capacity, saved)
        self._since = now
        return self._tokens

    def pour(self, tokens: int = 1) -> bool:
        """Take tokens if there are so many; say whether there were."""
        if self.tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def expected_time(self, tokens: int = 1) -> float:
        """Return in how many seconds there will be so many tokens."""
        return max(0.0, (tokens - self.tokens) / self.fill_rate)

    async def __aenter__(self) -> TokenBucket:
        while not self.pour():
            if self.raises is not None:
                raise self.raises()
            await asyncio.sleep(self.expected_time())
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None


def rate_limit(
    rate: Seconds, over: Seconds = 1.0, *, raises: type[BaseException] | None = None
) -> TokenBucket:
    """Return a TokenBucket."""
    return TokenBucket(rate, over, raises=raises)


def humanize_seconds(
    secs: float,
    *,
    prefix: str = "",
    suffix: str = "",
    sep: str = "",
    now: str = "now",
    microseconds: bool = False,
) -> str:
    """Return seconds in the largest unit that fits: 3600 is "1 hour"."""
    for unit, size in _UNITS:
        if secs >= size:
            return _phrase(f"{secs / size:.2f}".rstrip("0").rstrip("."), unit, prefix, sep, suffix)
    whole = f"{secs:.2f}".rstrip("0").rstrip(".") if microseconds else f"{int(secs)}"
    return _phrase(whole, "second", prefix, sep, suffix) if float(whole) else now


def _phrase(count: str, unit: str, prefix: str, sep: str, suffix: str) -> str:
    return f"{prefix}{sep}{count} {unit}{'' if count == '1' else 's'}{suffix}"
