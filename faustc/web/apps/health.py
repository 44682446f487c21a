"""Whether a worker does its work: what `/` answers, by its status as well."""

from __future__ import annotations

from typing import Any

__all__ = ["troubles"]

# Commits that failed one after the other, before that is more than a broker's restart.
FAILED_COMMITS = 3


def troubles(app: Any) -> list[str]:
    """Say what is wrong with a worker, in words; nothing if it is well.

    A rebalance is no trouble.
    """
    found = []
    if app.crash_reason is not None:
        found.append(f"crashed: {type(app.crash_reason).__name__}; the log says why")
    elif app.state != "running":
        found.append(f"{app.state}, not running")
    monitor = app.monitor
    if monitor.commits_failing >= FAILED_COMMITS:
        found.append(f"the last {monitor.commits_failing} commits of offsets failed")
    found += [
        f"{name} has been at one event of {tp.topic}/{tp.partition} for {s:.0f} s"
        for (name, tp), s in monitor.stuck.items()
    ]
    return found
