"""The half of a producer that is about transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

from faustc.client.accumulator import Accumulator
from faustc.client.coordinator import GroupMetadata
from faustc.client.partitioner import TopicLanes
from faustc.client.sender import Sender
from faustc.client.transactions import Transactions
from faustc.exceptions import KafkaError, NotReady
from faustc.types import OffsetAndMetadata, TopicPartition

__all__ = ["Transacting"]


class Transacting:
    """Begins and ends transactions, of a producer that was given a transactional_id::

    async with Producer(transactional_id="copier-1") as producer:
        async with producer.transaction():
            await producer.send("copies", b"1")
            await producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
    """

    _accumulator: Accumulator | None
    _closed: bool
    _sender: Sender | None
    _topics: dict[str, TopicLanes]
    _transactions: Transactions | None

    def _running(self) -> tuple[Accumulator, Sender]:
        raise NotImplementedError

    def transaction(self, timeout_s: float = 60.0) -> AbstractAsyncContextManager[None]:
        """Return a transaction, for `async with`: committed at the end, aborted if that raises.

        The end raises TransactionAborted when it could only be aborted: its work has to be done
        again; ProducerFenced when this producer can do nothing more; KafkaTimeout after timeout_s,
        and then nobody knows how it ended: `commit_transaction` may be called again.
        """
        return self._transactional().transaction(timeout_s)

    async def begin_transaction(self) -> None:
        """Begin a transaction; raises NotReady while another is open."""
        self._running()
        self._transactional().begin()

    async def commit_transaction(self, timeout_s: float = 60.0) -> None:
        """Have it all seen; raises as the end of `transaction` does."""
        self._running()
        await self._transactional().commit(timeout_s)

    async def abort_transaction(self, timeout_s: float = 60.0) -> None:
        """Have none of it seen; raises ProducerFenced, KafkaTimeout."""
        self._running()
        await self._transactional().abort(timeout_s)

    async def send_offsets_to_transaction(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        group: GroupMetadata | str | Callable[[], GroupMetadata],
        timeout_s: float = 60.0,
    ) -> None:
        """Commit offsets of a group with the transaction; group is `consumer.group_metadata()`.

        `consumer.claim(offsets)` does, too, and holds through a rebalance. A group's name alone
        keeps no zombie out (KIP-447). Raises CommitFailed when its member is none any more,
        KafkaTimeout; abort the transaction then.
        """
        self._running()
        if isinstance(group, str):
            group = GroupMetadata(group)
        who = group if callable(group) else partial(_same, group)
        await self._transactional().send_offsets(offsets, who, timeout_s)

    def _transactional(self) -> Transactions:
        if self._transactions is None:
            raise NotReady("this producer has no transactional_id")
        return self._transactions

    def _open_or_close(self, opened: bool) -> None:
        """Take messages, or take none: what a transaction has at its end stays so."""
        accumulator = self._accumulator
        if accumulator is None or self._closed or (self._sender and self._sender.broken):
            return
        self._topics = accumulator.topics if opened else {}
        accumulator.refuse = None if opened else NotReady("no transaction is open")

    def _poke(self) -> None:
        if self._sender is not None:
            self._sender.flush()

    def _drop(self, error: KafkaError) -> None:
        """Give up what a transaction that is to be aborted has not sent."""
        accumulator, sender = self._accumulator, self._sender
        if accumulator is not None and sender is not None:
            failures = accumulator.failures
            listener, failures.listener = failures.listener, None
            sender.drop_unsent(error)
            failures.listener = listener
            failures.take()  # whoever ends the transaction hears of them


def _same(group: GroupMetadata) -> GroupMetadata:
    return group
