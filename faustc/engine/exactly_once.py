"""The commit of a worker that works exactly once: one transaction has all of it, or none.

::

    close the gate: bodies come to the end of their events, none begins
    take positions, send what tables changed, flush
    the group's offsets, by who we are in it (KIP-447)
    EndTxn
    stores get what their changelogs have
    open the gate

What goes wrong before EndTxn is undone: the transaction is aborted, tables forget what they have
not committed, and events come again from the committed offsets. What goes wrong in it is asked
about until it is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from faustc.client import codes
from faustc.engine.beyond import MAX_CHARS
from faustc.engine.checkpoint import Checkpoint
from faustc.engine.gate import Gate
from faustc.exceptions import (
    BrokerError,
    CommitFailed,
    ConnectionLost,
    DeliveryFailed,
    KafkaTimeout,
    MessageTooLarge,
    ProducerFenced,
    TransactionAborted,
)
from faustc.types import OffsetAndMetadata, TopicPartition

__all__ = ["ExactlyOnce"]

logger = logging.getLogger(__name__)

# How long the coordinator of the group is asked to take offsets, before all is undone.
OFFSETS_S = 20.0
# Refusals that are over with the transaction, or with our membership.
_PASSES = {
    codes.ILLEGAL_GENERATION,
    codes.UNKNOWN_MEMBER_ID,
    codes.FENCED_INSTANCE_ID,
    codes.OUT_OF_ORDER_SEQUENCE_NUMBER,
    codes.INVALID_PRODUCER_EPOCH,
    codes.INVALID_TXN_STATE,
    codes.INVALID_PRODUCER_ID_MAPPING,
    codes.UNKNOWN_PRODUCER_ID,
    codes.PRODUCER_FENCED,
    codes.TRANSACTION_ABORTABLE,
}
# What is undone again and again: a pause that grows, so that it does not spin.
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 5.0


class ExactlyOnce(Checkpoint):
    """Ends transactions, and has undone what cannot be committed.

    undo is the engine's: it aborts the transaction, and lets events come again.
    """

    def __init__(
        self, *args: Any, gate: Gate, undo: Callable[[str], Awaitable[None]], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.producer: Any = None  # a TransactingProducer, once it is started
        self._gate = gate
        self._undo = undo
        self._doomed: str | None = None
        self._ending: dict[TopicPartition, int] = {}  # what the commit in doubt has
        # What was written down with the offsets that were committed last.
        self._told: dict[TopicPartition, str] = {}
        self._pause_s = PAUSE_MIN_S

    def doom(self, why: str) -> None:
        """Let what is not committed be undone with the next commit."""
        if self._doomed is None:
            self._doomed = why

    def given_up(self, partitions: Collection[TopicPartition]) -> None:
        """These go, or are gone, and what their events did was not committed: undo it."""
        self.doom(f"{len(partitions)} partitions went before their events were committed")

    async def commit(
        self,
        partitions: Collection[TopicPartition] | None = None,
        *,
        timeout_s: float = 40.0,
    ) -> bool:
        """Commit all that is done, whichever partitions it is asked for: it is one transaction.

        False if it has to wait, or was undone. Raises DeliveryFailed for what can never be sent.
        """
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                self._gate.close()
                try:
                    return await self._end(timeout_s)
                finally:
                    self._gate.open()
        except DeliveryFailed as exc:
            self._failed = exc
            raise
        except (KafkaTimeout, ConnectionLost, TimeoutError) as exc:
            self._count_failure()
            logger.warning("Not committed yet, trying again later: %s", str(exc) or "timed out")
        return False

    async def _end(self, timeout_s: float) -> bool:
        if self._failed is not None:
            raise self._failed
        producer = self.producer
        if producer is None:
            return True  # nothing was sent, and nothing read
        if producer.in_doubt:
            await self._resolve()
        if self._doomed is None:
            if not await self._gate.quiet(timeout_s, lambda: self._doomed is not None):
                if self._doomed is None:
                    return False
            else:
                try:
                    done = await self._commit(None)
                except (TransactionAborted, ProducerFenced, CommitFailed) as exc:
                    _check_hope(exc)
                    self._count_failure()
                    self.doom(str(exc))
                except DeliveryFailed as exc:
                    _check_hope(exc)
                    self.doom(str(exc))
                else:
                    self._pause_s = PAUSE_MIN_S
                    return done
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        why = self._doomed or ""
        await self._undo(why)
        self._doomed = None
        return False

    async def _resolve(self) -> None:
        """Find out what came of a commit that was begun."""
        try:
            await self.producer.commit()
        except (TransactionAborted, ProducerFenced) as exc:
            self.doom(str(exc))
        else:
            self._landed(self._ending)

    async def _commit(self, partitions: Collection[TopicPartition] | None) -> bool:
        offsets, told = self._positions()
        tables = self._tables if self._tables is not None and self._tables.pending else None
        if not offsets and tables is None and not self.producer.dirty:
            return True
        started = self._sensors.on_commit_initiated(self._consumer)
        if self._attachments is not None:
            await self._attachments.publish(offsets)
        if tables is not None:
            tables.take()
            await tables.send()
        await self._flush()
        if offsets:
            await self.producer.send_offsets(
                {tp: OffsetAndMetadata(offset, told[tp]) for tp, offset in offsets.items()},
                self._consumer.claim(offsets),
                OFFSETS_S,
            )
        if self._doomed is not None:  # partitions went meanwhile
            raise TransactionAborted(self._doomed)
        self._ending = offsets
        self._told.update(told)
        await self.producer.commit()
        self._landed(offsets)
        self._sensors.on_commit_completed(self._consumer, started)
        return True

    def _positions(self) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
        """Return what there is to commit, and what is to be written down with it."""
        positions = self._assignment.done_by_some()
        told = self._assignment.told_with(positions)
        offsets = self._taken = {
            tp: offset
            for tp, offset in positions.items()
            if offset > self._committed.get(tp, 0)
            or (offset == self._committed.get(tp, 0) and told[tp] != self._told.get(tp, ""))
        }
        for tp in offsets:
            if len(told[tp]) > MAX_CHARS:
                raise TransactionAborted(
                    f"too many events of {tp.topic}/{tp.partition} are done beyond one that is not"
                )
        return offsets, {tp: told[tp] for tp in offsets}

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what was committed for partitions that are no longer ours."""
        super().forget(partitions)
        for tp in partitions:
            self._told.pop(tp, None)

    def _landed(self, offsets: dict[TopicPartition, int]) -> None:
        if self._tables is not None:
            self._tables.landed(alone=True)  # a zombie's transaction is never committed
        self._note(offsets)
        self._ending = {}


def _check_hope(error: BaseException) -> None:
    """Raise DeliveryFailed if the same would happen again, however often it is undone."""
    cause: BaseException | None = error
    while cause is not None:
        refused = isinstance(cause, BrokerError) and not (cause.retriable or cause.code in _PASSES)
        if refused or isinstance(cause, MessageTooLarge):
            raise DeliveryFailed(f"a message can never be sent: {cause}") from error
        cause = cause.__cause__
