"""Naming who makes no progress: a worker that is stuck must not look healthy."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from faustc.engine.assignment import Assignment
from faustc.types import TopicPartition

__all__ = ["CommitWatch", "StuckWatch"]

logger = logging.getLogger(__name__)


class StuckWatch:
    """Warns about a reader whose oldest unfinished event stays the same for after_s seconds.

    One line when that is noticed, and another each time after_s has passed again.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        # (reader's name, partition) -> (offset, since when, when it was last said)
        self._seen: dict[tuple[str, TopicPartition], tuple[int, float, float]] = {}

    def look(self, assignment: Assignment, now: float) -> dict[tuple[str, TopicPartition], float]:
        """Compare with the last look; return who has been at one event for how many seconds.

        now is in seconds of any steady clock.
        """
        seen = {}
        for reader in assignment.readers():
            for tp in reader.partitions:
                inbox = reader.inbox(tp)
                if inbox is None or not inbox.ledger.outstanding:
                    continue
                key = reader.name, tp
                offset = inbox.ledger.position
                before = self._seen.get(key)
                if before is None or before[0] != offset:
                    seen[key] = offset, now, now
                    continue
                since, said = before[1:]
                if now - said >= self._after_s + reader.patience_s:
                    logger.warning(
                        "%s has been at %s/%d offset %d for %.0f s; nothing after it is committed",
                        reader.name,
                        tp.topic,
                        tp.partition,
                        offset,
                        now - since,
                    )
                    said = now
                seen[key] = offset, since, said
        self._seen = seen
        return {
            key: now - since for key, (_, since, _) in seen.items() if now - since >= self._after_s
        }


class CommitWatch:
    """Warns about a partition behind its end whose committed offset stays the same.

    That is so if a commit fails again and again, or if what every reader waits for never ends.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        # partition -> (committed, since when, when it was last said)
        self._seen: dict[TopicPartition, tuple[int, float, float]] = {}

    def look(
        self,
        committed: Mapping[TopicPartition, int],
        lag: Mapping[TopicPartition, int],
        now: float,
    ) -> None:
        """Compare with the last look; now is in seconds of any steady clock."""
        seen = {}
        for tp, behind in lag.items():
            offset = committed.get(tp, -1)
            before = self._seen.get(tp)
            if before is None or before[0] != offset or not behind:
                seen[tp] = offset, now, now
                continue
            since, said = before[1:]
            if now - said >= self._after_s:
                logger.warning(
                    "%s/%d: %s for %.0f s, though it is %d messages behind its end",
                    tp.topic,
                    tp.partition,
                    f"committed up to {offset}" if offset >= 0 else "nothing committed",
                    now - since,
                    behind,
                )
                said = now
            seen[tp] = offset, since, said
        self._seen = seen
