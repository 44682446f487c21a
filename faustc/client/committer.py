"""Commits where a consumer is, on demand and by the clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from faustc.client.cursors import Cursor
from faustc.client.wakeup import Wakeup
from faustc.exceptions import KafkaError
from faustc.types import OffsetAndMetadata, TopicPartition

logger = logging.getLogger(__name__)

Commit = Callable[[Mapping[TopicPartition, OffsetAndMetadata], float], Awaitable[None]]


class Committer:
    """Commits on its own every interval_s what user code is done with.

    Done is what was handed out before user code came back for more: a message
    that it is still working on is never committed for it, so a crash repeats
    messages rather than losing them. interval_s None: never on its own.
    """

    def __init__(
        self,
        cursors: Mapping[TopicPartition, Cursor],
        commit: Commit,
        *,
        interval_s: float | None,
        timeout_s: float,
    ) -> None:
        self._cursors = cursors
        self._commit = commit
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._committed: dict[TopicPartition, int] = {}
        # One commit at a time: an older one must not overtake and undo a newer one.
        self._lock = asyncio.Lock()
        self._wakeup = Wakeup()

    async def run(self) -> None:
        """Commit every interval_s until cancelled; failures are logged, the next one may work."""
        if self._interval_s is None:
            return
        while True:
            await self._wakeup.wait(self._interval_s)
            await self.commit_done(self._cursors)

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit these; raises CommitFailed, KafkaTimeout or BrokerError."""
        async with self._lock:
            await self._commit(offsets, self._timeout_s)
            self._remember(offsets)

    async def commit_done(
        self, tps: Iterable[TopicPartition], timeout_s: float | None = None
    ) -> None:
        """Commit what is done of these partitions, unless only user code commits; never raises."""
        if self._interval_s is None:
            return
        async with self._lock:
            offsets = {}
            for tp in tps:
                cursor = self._cursors.get(tp)
                if cursor and cursor.done >= 0 and cursor.done != self._committed.get(tp):
                    offsets[tp] = OffsetAndMetadata(cursor.done)
            if not offsets:
                return
            try:
                await self._commit(offsets, self._timeout_s if timeout_s is None else timeout_s)
            except KafkaError as error:
                logger.warning("Offsets of %d partitions not committed: %s", len(offsets), error)
            else:
                self._remember(offsets)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """Forget partitions that are no longer ours."""
        for tp in tps:
            self._committed.pop(tp, None)

    def _remember(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        for tp, offset in offsets.items():
            if tp in self._cursors:
                self._committed[tp] = offset.offset
