"""Windows: which stretches of time a moment belongs to. Arithmetic only, no clock.

A range is a pair of seconds, its start and its end, and covers both. Times are
seconds since the epoch, sizes are seconds or a timedelta.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from math import floor
from typing import Any

from faustc.exceptions import ImproperlyConfigured

__all__ = [
    "HoppingWindow",
    "SessionWindow",
    "SlidingWindow",
    "TumblingWindow",
    "Window",
    "WindowRange",
]

WindowRange = tuple[float, float]
Seconds = float | timedelta

# A range includes its end, so one of ten seconds from 0 ends just before 10, by as much
# as Faust has it: the ends are part of the keys that windowed tables store.
GAP_S = 0.1


class Window(ABC):
    """What tables ask of a window; expires is how long it is kept, None: for ever."""

    expires: float | None = None

    @abstractmethod
    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Return every range that a moment belongs to, the earliest first."""

    @abstractmethod
    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Say whether what began at timestamp has expired, with latest_timestamp seen."""

    @abstractmethod
    def current(self, timestamp: float) -> WindowRange:
        """Return the latest range that a moment belongs to."""

    @abstractmethod
    def earliest(self, timestamp: float) -> WindowRange:
        """Return the earliest range that a moment belongs to."""

    def delta(self, timestamp: float, d: Seconds) -> WindowRange:
        """Return the latest range of the moment d seconds before."""
        return self.current(timestamp - _seconds("d", d))


class HoppingWindow(Window):
    """Windows of one size, of which one begins every step; they overlap if step is below size."""

    def __init__(self, size: Seconds, step: Seconds, expires: Seconds | None = None) -> None:
        self.size = _positive("size", size)
        self.step = _positive("step", step)
        self.expires = _expiry(expires)
        # Windows end, rather than begin, on multiples of the step: Faust's grid, which
        # makes a difference where the size is no multiple of it.
        steps = self.size / self.step
        self._origin = 0.0 if abs(steps - round(steps)) < 1e-9 else -self.size % self.step

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: size={self.size} step={self.step} expires={self.expires}>"

    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Return every range that a moment belongs to, the earliest first.

        With a step above the size a moment between two windows belongs to none.
        """
        return [self._range(n) for n in range(self._first(timestamp), self._last(timestamp) + 1)]

    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Say whether timestamp lies before the window that was current `expires` ago."""
        if not self.expires:
            return False
        return timestamp <= self.current(latest_timestamp - self.expires)[0]

    def current(self, timestamp: float) -> WindowRange:
        """Return the range that began last."""
        return self._range(self._last(timestamp))

    def earliest(self, timestamp: float) -> WindowRange:
        """Return the range that began first of those the moment belongs to."""
        return self._range(min(self._first(timestamp), self._last(timestamp)))

    def _last(self, timestamp: float) -> int:
        return floor((timestamp - self._origin) / self.step)

    def _first(self, timestamp: float) -> int:
        return floor((timestamp - self.size - self._origin) / self.step) + 1

    def _range(self, number: int) -> WindowRange:
        start = self._origin + number * self.step
        return float(start), start + self.size - GAP_S


class TumblingWindow(HoppingWindow):
    """Windows of one size, one after the other: a moment belongs to exactly one."""

    def __init__(self, size: Seconds, expires: Seconds | None = None) -> None:
        super().__init__(size, size, expires)


class SlidingWindow(Window):
    """A window around each moment, from `before` seconds earlier to `after` seconds later."""

    def __init__(self, before: Seconds, after: Seconds, expires: Seconds | None = None) -> None:
        self.before = _seconds("before", before)
        self.after = _seconds("after", after)
        if self.before < 0 or self.after < 0 or self.before + self.after == 0:
            raise ImproperlyConfigured(
                "a sliding window spans some time: before and after are not below zero, "
                f"and not both zero; got {before!r} and {after!r}"
            )
        self.expires = _expiry(expires)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: before={self.before} after={self.after} "
            f"expires={self.expires}>"
        )

    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Return the one range around the moment."""
        return [self.current(timestamp)]

    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Say whether timestamp lies `expires` or more before the latest."""
        return bool(self.expires) and timestamp <= latest_timestamp - (self.expires or 0.0)

    def current(self, timestamp: float) -> WindowRange:
        """Return the range around the moment."""
        return timestamp - self.before, timestamp + self.after

    def earliest(self, timestamp: float) -> WindowRange:
        """Return the range around the moment."""
        return self.current(timestamp)


class SessionWindow(Window):
    """Windows of activity: each goes on while the key's events are no more than `gap` apart.

    A range goes from the first event to the last one. An event that comes between two sessions,
    near enough to both, makes one of them, which has merge(value of the first, of the second).
    A session closes once `expires` seconds have passed since its last event, which is no less
    than gap: until then an event may go on with it.
    """

    def __init__(
        self,
        gap: Seconds,
        expires: Seconds | None = None,
        merge: Callable[[Any, Any], Any] = operator.add,
    ) -> None:
        self.gap = _positive("gap", gap)
        self.expires = _expiry(expires)
        if self.expires is not None and self.expires < self.gap:
            raise ImproperlyConfigured(
                f"a session goes on while events are no more than {gap!r} apart, so it cannot "
                f"expire {expires!r} after its last one: let expires be gap or more"
            )
        if not callable(merge):
            raise ImproperlyConfigured(
                f"merge of a session window is a function of two values, not {merge!r}"
            )
        self.merge = merge

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: gap={self.gap} expires={self.expires}>"

    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Return the range of an event that is alone."""
        return [self.current(timestamp)]

    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Say whether what ended at timestamp has expired, with latest_timestamp seen."""
        return self.expires is not None and timestamp <= latest_timestamp - self.expires

    def current(self, timestamp: float) -> WindowRange:
        """Return the range of an event that is alone: which session it is in, a table knows."""
        return timestamp, timestamp

    def earliest(self, timestamp: float) -> WindowRange:
        """Return the range of an event that is alone."""
        return self.current(timestamp)


def _seconds(name: str, value: Seconds) -> float:
    try:
        return value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"{name} of a window is seconds or a timedelta, not {value!r}"
        ) from None


def _positive(name: str, value: Seconds) -> float:
    seconds = _seconds(name, value)
    if not seconds > 0:
        raise ImproperlyConfigured(f"{name} of a window is above zero seconds, not {value!r}")
    return seconds


def _expiry(value: Seconds | None) -> float | None:
    """Return how long windows are kept; Faust takes 0 for None."""
    return _seconds("expires", value) if value else None
