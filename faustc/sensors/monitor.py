"""The monitor: the numbers of one app, `app.monitor`."""

from __future__ import annotations

from typing import Any

from faustc.engine.counters import Counters

__all__ = ["Monitor"]


class Monitor(Counters):
    """Counts what one app receives, sends, fails at and commits. Read from any thread."""

    def asdict(self) -> dict[str, Any]:
        """Return every number; partitions are named topic/number."""
        return {
            name: {_name(key): count for key, count in value.items()}
            if isinstance(value, dict)
            else value
            for name, value in vars(self).items()
        } | {"lag_total": self.lag_total}


def _name(key: Any) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
