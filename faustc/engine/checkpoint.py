"""The one place where offsets are committed, and the one order it is done in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from faustc.clock import monotonic
from faustc.engine.assignment import Assignment
from faustc.engine.attachments import Attachments
from faustc.engine.counters import Counters
from faustc.engine.observing import Sensors, Unobserved
from faustc.engine.tables import Tables
from faustc.exceptions import CommitFailed, ConnectionLost, DeliveryFailed, KafkaTimeout
from faustc.types import OffsetAndMetadata, TopicPartition

__all__ = ["Checkpoint"]

logger = logging.getLogger(__name__)

# After so long without a commit others may have our partitions, without us having heard of it:
# no session is shorter, unless brokers are told to allow it (group.min.session.timeout.ms).
DOUBT_AFTER_S = 5.0


class Checkpoint:
    """Commits what is done: positions first, then sends, then changelogs, then the group's offsets.

    It must never commit an offset whose event has a send that is not
    acknowledged. A send that was given up and that nobody awaited therefore
    raises DeliveryFailed here, and that is the end of the worker: the offsets
    stay where they are and the events come again.
    """

    def __init__(
        self,
        assignment: Assignment,
        consumer: Any,
        flush: Callable[[], Awaitable[None]],
        counters: Counters,
        attachments: Attachments | None = None,
        sensors: Sensors | None = None,
        tables: Tables | None = None,
    ) -> None:
        self._tables = tables
        self._attachments = attachments
        self._assignment = assignment
        self._consumer = consumer
        self._flush = flush
        self._counters = counters
        self._sensors = sensors or Unobserved()
        self._lock = asyncio.Lock()
        self._committed: dict[TopicPartition, int] = {}
        # The positions that the commit under way has taken. A partition that goes meanwhile
        # goes from here, too: it may come back, with what others did in between.
        self._taken: dict[TopicPartition, int] = {}
        self._failed: DeliveryFailed | None = None
        self._looked_at = monotonic()

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what was committed for partitions that are no longer ours."""
        if self._attachments is not None:
            self._attachments.forget(partitions)
        for tp in partitions:
            self._taken.pop(tp, None)
            self._committed.pop(tp, None)
            self._counters.committed.pop(tp, None)
            self._counters.lag.pop(tp, None)
            self._counters.tp_end_offsets.pop(tp, None)
            self._counters.tp_read_offsets.pop(tp, None)

    def given_up(self, partitions: Collection[TopicPartition]) -> None:
        """These go without a commit: whoever has them next does their events again."""

    def _count_failure(self) -> None:
        self._counters.commit_failures_total += 1
        self._counters.commits_failing += 1

    async def commit(
        self,
        partitions: Collection[TopicPartition] | None = None,
        *,
        timeout_s: float = 40.0,
    ) -> bool:
        """Commit what is done, of these partitions or of all; True unless it has to wait.

        A generation that is gone, or brokers that do not answer, are logged: the
        events come again, or the next commit takes them along. Raises DeliveryFailed.
        """
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                return await self._commit(partitions)
        except DeliveryFailed as exc:
            # The producer says so once; what it lost must never be committed over.
            self._failed = exc
            raise
        except CommitFailed as exc:
            self._count_failure()
            logger.warning("Offsets not committed, their events will come again: %s", exc)
        except (KafkaTimeout, ConnectionLost, TimeoutError) as exc:
            self._count_failure()
            why = str(exc) or "timed out"
            logger.warning("Offsets not committed yet, trying again later: %s", why)
        return False

    async def _make_sure(self) -> None:
        """Ask the group whether our partitions are ours still, by a commit of what is committed.

        A process that was paused, or a machine that slept, may have lost them without having
        heard of it. What it has of tables must not get into changelogs then: it is older than
        what the new owner wrote there. Raises CommitFailed.
        """
        known = {tp: at for tp, at in self._committed.items() if at > 0}
        if known and self._consumer is not None:
            await self._consumer.commit(
                {tp: OffsetAndMetadata(offset, "") for tp, offset in known.items()}
            )

    async def _commit(self, partitions: Collection[TopicPartition] | None) -> bool:
        if self._failed is not None:
            raise self._failed
        # The positions are taken before the flush: what is acknowledged while it
        # runs may have sends that it does not wait for.
        offsets = self._new_positions(partitions)
        tables = self._tables if self._tables is not None and self._tables.pending else None
        looked_at, self._looked_at = self._looked_at, monotonic()
        if not offsets and tables is None:
            return True
        if tables is not None and self._looked_at - looked_at >= DOUBT_AFTER_S:
            await self._make_sure()
        started = self._sensors.on_commit_initiated(self._consumer)
        if self._attachments is not None:
            await self._attachments.publish(offsets)
        if tables is not None:
            # An event's outputs first: should we die in between, its changes of tables must not
            # be there alone, or it would be counted twice though it came out once.
            tables.take()
            await self._flush()
            await tables.send()
        await self._flush()
        if tables is not None:
            # Before the offsets: should their commit fail, what the stores have is still what
            # the changelogs have.
            tables.landed()
        if offsets:
            await self._consumer.commit(
                {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
            )
        self._note(offsets)
        self._sensors.on_commit_completed(self._consumer, started)
        return True

    def _new_positions(
        self, partitions: Collection[TopicPartition] | None
    ) -> dict[TopicPartition, int]:
        self._taken = {
            tp: offset
            for tp, offset in self._assignment.committable(partitions).items()
            if offset > self._committed.get(tp, 0)
        }
        return self._taken

    def _note(self, offsets: dict[TopicPartition, int]) -> None:
        """Note that these are committed."""
        self._committed.update(offsets)
        self._counters.committed.update(offsets)
        self._counters.commits_total += 1
        self._counters.commits_failing = 0
