"""Holds both coordinators and their one journal, for the broker to start and stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from faustc.broker.groups import GroupCoordinator
from faustc.broker.groups_rebalance import Clock
from faustc.broker.journal import Journal
from faustc.broker.offsets_store import OffsetsStore
from faustc.broker.transactions import TransactionCoordinator
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

FILE_NAME = "coordinators.journal"


class Coordinators:
    """The groups, the transactions, and what they remember in `folder` (None: nothing).

    write_marker and now_ms are as TransactionCoordinator has them. sync_each: every
    answer waits for the disk, not just for the kernel. on_write: have `sync` called soon.
    """

    def __init__(
        self,
        folder: Path | None,
        clock: Clock,
        now_ms: Callable[[], int],
        write_marker: Callable[[TopicPartition, int, int, bool], None],
        *,
        sync_each: bool = False,
        min_session_timeout_ms: int = 1_000,
        on_write: Callable[[], None] | None = None,
    ) -> None:
        path = folder / FILE_NAME if folder else None
        self._journal = Journal(path, sync_each=sync_each, on_write=on_write)
        self.now_ms = now_ms
        self.offsets = OffsetsStore(self._journal)
        self.groups = GroupCoordinator(
            clock, self.offsets, self._journal, min_session_timeout_ms=min_session_timeout_ms
        )
        self.transactions = TransactionCoordinator(
            clock, self.offsets, self._journal, write_marker, now_ms
        )
        for owner in (self.offsets, self.groups, self.transactions):
            self._journal.on_rewrite(owner.snapshot)

    def start(self) -> None:
        """Read the journal, finish what it says was decided, and start the clocks.

        The logs must be open: markers are written to them. Raises OSError if the
        journal cannot be read.
        """
        owners = (self.offsets, self.groups, self.transactions)
        for entry in self._journal.load():
            if not any(owner.replay(entry) for owner in owners):
                logger.warning("Skip a journal entry of an unknown kind: %s", entry[0])
        self.groups.start()
        self.transactions.start()

    def sync(self) -> None:
        """Bring what was answered to the disk itself."""
        self._journal.sync()

    def topic_deleted(self, topic: str) -> None:
        """Forget what groups committed for a topic."""
        self.offsets.delete_topic(topic)

    def close(self) -> None:
        """Stop the clocks and close the journal."""
        self.groups.close()
        self.transactions.close()
        self._journal.close()
