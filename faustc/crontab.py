"""Ticks by a cron expression, in a time zone. Its syntax is that of Debian's cron (cronsim)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from faustc.clock import now_ms
from faustc.exceptions import ImproperlyConfigured

__all__ = ["check", "itercron", "next_after", "time_zone"]

_BY_NAME = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# A wait is cut into parts: the clock of the machine may be set meanwhile.
LONGEST_WAIT_S = 60.0


def _moments(expression: str, since: datetime) -> Any:
    from cronsim import CronSim, CronSimError

    try:
        return CronSim(_BY_NAME.get(expression.strip().lower(), expression), since)
    except CronSimError as exc:
        raise ImproperlyConfigured(
            f"crontab {expression!r}: {exc}; five fields are minute, hour, day of the month, "
            "month, day of the week; six begin with the second"
        ) from exc


def next_after(expression: str, moment: datetime) -> datetime:
    """Return when an expression is first due after a moment, in the moment's time zone."""
    due: datetime = next(_moments(expression, moment))
    return due


def time_zone(given: tzinfo | str | None) -> tzinfo | None:
    """Return a time zone that may be given by its name; raise ImproperlyConfigured if unknown."""
    if not isinstance(given, str):
        return given
    try:
        return ZoneInfo(given)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise ImproperlyConfigured(f"there is no time zone {given!r}") from exc


def check(expression: str) -> None:
    """Raise ImproperlyConfigured for an expression that is none, or whose day never comes."""
    if next(_moments(expression, datetime(2000, 1, 1)), None) is None:
        raise ImproperlyConfigured(f"crontab {expression!r} never comes")


async def itercron(expression: str, zone: tzinfo) -> AsyncIterator[datetime]:
    """Yield each moment of an expression when it has come; none is made up for.

    In the hour that a change of the clocks leaves out, what is due at fixed times comes
    right after it; in the hour that comes twice it comes once.
    """
    last = _now(zone)
    while True:
        due = next(_moments(expression, last))
        while (left_s := (due - _now(zone)).total_seconds()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, LONGEST_WAIT_S))
        yield due
        await asyncio.sleep(0)
        # Not the same again if the clock was set back a little, nor what was missed.
        last = max(due, _now(zone))


def _now(zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, zone)
