"""When a cron expression is next due."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from faustc.clock import now_ms
from faustc.crontab import next_after

__all__ = ["secs_for_next"]


def secs_for_next(cron_format: str, tz: tzinfo | None = None) -> float:
    """Return in how many seconds a cron expression is next due; tz None is UTC."""
    now = datetime.fromtimestamp(now_ms() / 1000, tz or UTC)
    return (next_after(cron_format, now) - now).total_seconds()
