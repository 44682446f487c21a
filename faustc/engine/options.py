"""What the engine needs to know of an app's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EngineOptions"]


@dataclass
class EngineOptions:
    """What the engine needs to know of the app's settings; seconds where a name ends in _s.

    drain_timeout_s bounds how long a revoke or a stop waits for events in hand.
    After stuck_after_s on one event a reader is named in the log, and after
    livelock_after_s without a commit so are partitions that have something to do.
    A worker whose group reaches no broker for outage_s ends.
    Tables are filled recovery_delay_s after an assignment. poll_ms is how long
    the pump waits for messages before it looks around, watch_interval_s how often
    the lag is measured. standbys is how many others are to follow each table.
    exactly_once: what an event does, and that it is done, is one transaction; with
    transactional_id, and aborted by brokers when it is open for transaction_timeout_s.
    """

    commit_interval_s: float = 3.0
    commit_every: int = 10_000
    drain_timeout_s: float = 30.0
    stuck_after_s: float = 300.0
    livelock_after_s: float = 300.0
    outage_s: float = 900.0
    recovery_delay_s: float = 0.0
    allow_declare: bool = True
    start_timeout_s: float = 30.0
    poll_ms: int = 250
    watch_interval_s: float = 1.0
    standbys: int = 0
    exactly_once: bool = False
    transactional_id: str = ""
    transaction_timeout_s: float = 60.0
    consumer: Mapping[str, Any] = field(default_factory=dict)
    producer: Mapping[str, Any] = field(default_factory=dict)
    admin: Mapping[str, Any] = field(default_factory=dict)
