"""Coordinates transactions: who produces under a transactional id, and how each one ends.

As Kafka's transaction coordinator does it, on one node, both versions: in version 1
the producer names each partition first, in version 2 (KIP-890) the first write does,
and each end bumps the producer's epoch.

Left out: expiry of transactional ids that nobody used for a week, two-phase commit
(KIP-939), and __transaction_state as a topic: the journal has its place, and a
transaction names the groups that it commits for, not partitions of __consumer_offsets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from faustc.broker.group_state import Timer
from faustc.broker.groups_rebalance import Clock
from faustc.broker.journal import Journal
from faustc.broker.offsets_store import OffsetsStore
from faustc.broker.transaction_state import LAST_EPOCH, State, Transaction, transaction_of_entry
from faustc.client.codes import (
    CONCURRENT_TRANSACTIONS,
    INVALID_PRODUCER_EPOCH,
    INVALID_PRODUCER_ID_MAPPING,
    INVALID_REQUEST,
    INVALID_TRANSACTION_TIMEOUT,
    INVALID_TXN_STATE,
    NONE,
    PRODUCER_FENCED,
    TRANSACTION_ABORTABLE,
)
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

# Kafka's transaction.max.timeout.ms.
MAX_TIMEOUT_MS = 900_000
# Ids are written down this many at a time; what a restart skips, nobody misses.
_ID_BLOCK = 1000
# How long a disk that refused a marker is left alone.
_RETRY_S = 1.0


class Producer(NamedTuple):
    """What InitProducerId and EndTxn answer: an error, or who the producer is from now on."""

    error: int
    producer_id: int = -1
    epoch: int = -1


class Claim(NamedTuple):
    """Who a producer says that it is."""

    transactional_id: str | None
    producer_id: int
    epoch: int


class TransactionCoordinator:
    """All transactional ids of the broker, and the giver of producer ids.

    write_marker(partition, producer_id, epoch, commit) appends a control batch to a
    partition's log, and does nothing for a partition that is gone. It may be called
    twice for one transaction: after a restart there is no telling how far it got.
    now_ms is the wall clock, for the journal's sake alone.
    """

    def __init__(
        self,
        clock: Clock,
        offsets: OffsetsStore,
        journal: Journal,
        write_marker: Callable[[TopicPartition, int, int, bool], None],
        now_ms: Callable[[], int],
        *,
        max_timeout_ms: int = MAX_TIMEOUT_MS,
    ) -> None:
        self._clock = clock
        self._offsets = offsets
        self._journal = journal
        self._write_marker = write_marker
        self._now_ms = now_ms
        self._max_timeout_ms = max_timeout_ms
        self._transactions: dict[str, Transaction] = {}
        self._timers: dict[str, Timer] = {}
        self._next_id = 0
        self._id_limit = 0

    # -- the journal

    def replay(self, entry: list[Any]) -> bool:
        """Take in a journal entry; False if it is not one of transactions."""
        match entry:
            case ["producer ids", limit]:
                self._next_id = self._id_limit = limit
            case ["transaction", *_]:
                transaction = transaction_of_entry(entry)
                self._transactions[transaction.transactional_id] = transaction
                if transaction.is_ending:
                    self._settle(transaction)
            case _:
                return False
        return True

    def snapshot(self) -> Iterator[list[Any]]:
        """Yield entries from which all of this can be made again."""
        yield ["producer ids", self._id_limit]
        for transaction in self._transactions.values():
            yield transaction.entry()

    def start(self) -> None:
        """Finish what was decided before a restart; give the open ones their time-outs."""
        for transaction in self._transactions.values():
            if transaction.is_ending:
                self._carry_out(transaction)
            elif transaction.state is State.ONGOING:
                spent_ms = max(0, self._now_ms() - transaction.started_ms)
                self._start_timer(transaction, max(0, transaction.timeout_ms - spent_ms))

    def close(self) -> None:
        """Call every timer off. Open transactions stay open, in the journal."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # -- producers

    def new_producer_id(self) -> int:
        """Return an id that no producer has had, on this data folder, ever."""
        if self._next_id >= self._id_limit:
            self._journal.append(["producer ids", self._id_limit + _ID_BLOCK])
            self._id_limit += _ID_BLOCK
        self._next_id += 1
        return self._next_id - 1

    def init_producer(
        self, transactional_id: str | None, timeout_ms: int, producer_id: int = -1, epoch: int = -1
    ) -> Producer:
        """Make the caller the one producer of a transactional id; abort what an older one left.

        A caller that names its id and epoch goes on as itself after an error, unless
        another producer came meanwhile (KIP-360). While an older transaction is being
        aborted the answer is CONCURRENT_TRANSACTIONS: ask again.
        """
        if (producer_id < 0) != (epoch < 0):
            return Producer(INVALID_REQUEST)
        if transactional_id is None:
            return Producer(NONE, self.new_producer_id(), 0)
        if not transactional_id:
            return Producer(INVALID_REQUEST)
        if not 0 < timeout_ms <= self._max_timeout_ms:
            return Producer(INVALID_TRANSACTION_TIMEOUT)
        known = self._transactions.get(transactional_id)
        if known is None:
            known = Transaction(transactional_id, self.new_producer_id(), timeout_ms)
        if known.is_ending:
            return Producer(CONCURRENT_TRANSACTIONS)
        if epoch >= 0 and not _may_go_on(known, producer_id, epoch):
            return Producer(PRODUCER_FENCED)
        if known.state is State.ONGOING:
            self._fence(known, "a new producer came")
            return Producer(CONCURRENT_TRANSACTIONS)
        fresh = transaction_of_entry(known.entry())
        if 0 <= epoch == known.last_epoch != known.epoch:
            pass  # asked again: our answer was lost
        elif known.is_exhausted:
            fresh.previous_id, fresh.producer_id = known.producer_id, self.new_producer_id()
            fresh.epoch, fresh.last_epoch = 0, known.epoch if epoch >= 0 else -1
        else:
            fresh.epoch = known.epoch + 1
            fresh.last_epoch = known.epoch if epoch >= 0 else -1
        fresh.timeout_ms = timeout_ms
        fresh.move(State.EMPTY)
        fresh.started_ms, fresh.bumps = -1, False
        self._keep(fresh)
        return Producer(NONE, fresh.producer_id, fresh.epoch)

    def _keep(self, transaction: Transaction) -> None:
        self._journal.append(transaction.entry())
        self._transactions[transaction.transactional_id] = transaction

    # -- what a transaction touches

    def add_partitions(self, claim: Claim, partitions: Iterable[TopicPartition]) -> int:
        """Make partitions part of the producer's transaction; the first one opens it."""
        return self._add(claim, frozenset(partitions), frozenset())

    def add_group(self, claim: Claim, group_id: str) -> int:
        """Make a group's offsets part of the producer's transaction."""
        return self._add(claim, frozenset(), frozenset((group_id,)))

    def _add(
        self, claim: Claim, partitions: frozenset[TopicPartition], groups: frozenset[str]
    ) -> int:
        transaction = self._transactions.get(claim.transactional_id or "")
        error = _check(transaction, claim)
        if error or transaction is None:
            return error
        if transaction.is_ending:
            return CONCURRENT_TRANSACTIONS
        opens = transaction.state is not State.ONGOING
        if not opens and partitions <= transaction.partitions and groups <= transaction.groups:
            return NONE
        after = transaction_of_entry(transaction.entry())
        after.move(State.ONGOING)
        after.partitions |= partitions
        after.groups |= groups
        if opens:
            after.started_ms = self._now_ms()
        self._keep(after)
        if opens:
            self._start_timer(after, after.timeout_ms)
        return NONE

    def admit_write(
        self,
        claim: Claim,
        partitions: Iterable[TopicPartition] = (),
        group_id: str | None = None,
        *,
        adds: bool,
        knows_abortable: bool,
    ) -> int:
        """Return NONE if a transactional write may go to these partitions or this group.

        adds: the request's version names what it touches by writing to it (KIP-890:
        Produce 12, TxnOffsetCommit 5). Otherwise it must have been added before: a
        write that comes late, after the end, must not open a transaction that nobody
        ends. knows_abortable: the version can say TRANSACTION_ABORTABLE.
        """
        wanted = frozenset(partitions)
        groups = frozenset(() if group_id is None else (group_id,))
        if adds:
            error = self._add(claim, wanted, groups)
        else:
            transaction = self._transactions.get(claim.transactional_id or "")
            error = _check(transaction, claim)
            if transaction is not None and not error:
                if transaction.is_ending:
                    error = CONCURRENT_TRANSACTIONS
                elif not (wanted <= transaction.partitions and groups <= transaction.groups):
                    error = TRANSACTION_ABORTABLE if knows_abortable else INVALID_TXN_STATE
        # Who writes learns it as logs say it; only coordinators say PRODUCER_FENCED.
        return code_before(error, is_old=True)

    # -- the end

    def end(self, claim: Claim, commit: bool, *, bumps: bool) -> Producer:
        """Commit or abort; who asks again is told the same. bumps: version 2 (EndTxn 5)."""
        transaction = self._transactions.get(claim.transactional_id or "")
        if not claim.transactional_id:
            return Producer(INVALID_REQUEST)
        if transaction is None:
            return Producer(INVALID_PRODUCER_ID_MAPPING)
        is_repeat = _is_repeated_end(transaction, claim)
        error = NONE if is_repeat else _check(transaction, claim)
        if error:
            return Producer(error)
        state = transaction.state
        if state is State.ONGOING:
            return self._end(transaction, commit, bumps)
        same = (State.PREPARE_COMMIT, State.COMPLETE_COMMIT) if commit else (
            State.PREPARE_ABORT, State.COMPLETE_ABORT
        )  # fmt: skip
        if state in same and (is_repeat or not transaction.bumps):
            if transaction.is_ending:
                return Producer(CONCURRENT_TRANSACTIONS)
            return Producer(NONE, transaction.producer_id, transaction.epoch)
        if bumps and not commit and not is_repeat and not transaction.is_ending:
            # Nothing was written, as far as we know; a write on its way is fenced.
            return self._end(transaction, commit, bumps)
        return Producer(INVALID_TXN_STATE)

    def _end(self, transaction: Transaction, commit: bool, bumps: bool) -> Producer:
        decided = transaction_of_entry(transaction.entry())
        decided.bumps = bumps
        if bumps:
            if decided.is_exhausted:
                decided.next_id = self.new_producer_id()
            decided.last_epoch, decided.epoch = decided.epoch, decided.epoch + 1
        self._decide(decided, State.PREPARE_COMMIT if commit else State.PREPARE_ABORT)
        if decided.next_id >= 0:
            return Producer(NONE, decided.next_id, 0)
        now = self._transactions[decided.transactional_id]
        return Producer(NONE, now.producer_id, now.epoch)

    def _fence(self, transaction: Transaction, reason: str) -> None:
        """Abort with a higher epoch, so that the producer cannot go on as if nothing was."""
        logger.info(
            "Abort the transaction of %s, producer %d epoch %d: %s",
            transaction.transactional_id,
            transaction.producer_id,
            transaction.epoch,
            reason,
        )
        fenced = transaction_of_entry(transaction.entry())
        fenced.epoch, fenced.last_epoch = fenced.epoch + 1, -1
        fenced.bumps = False
        self._decide(fenced, State.PREPARE_ABORT)

    def _decide(self, transaction: Transaction, state: State) -> None:
        transaction.move(state)
        self._keep(transaction)  # from here on it cannot end otherwise
        timer = self._timers.pop(transaction.transactional_id, None)
        if timer is not None:
            timer.cancel()
        self._settle(transaction)
        self._carry_out(transaction)

    def _settle(self, transaction: Transaction) -> None:
        commits = transaction.state is State.PREPARE_COMMIT
        self._offsets.settle(transaction.producer_id, commits)

    def _carry_out(self, transaction: Transaction) -> None:
        """Write the markers and be done; try again later if the disk refuses."""
        commit = transaction.state is State.PREPARE_COMMIT
        done = transaction_of_entry(transaction.entry())
        done.move(State.COMPLETE_COMMIT if commit else State.COMPLETE_ABORT)
        done.partitions.clear()
        done.groups.clear()
        if done.next_id >= 0:
            done.previous_id, done.producer_id, done.next_id = done.producer_id, done.next_id, -1
            done.last_epoch, done.epoch = done.epoch, 0
        try:
            for tp in sorted(transaction.partitions):
                self._write_marker(tp, transaction.producer_id, transaction.epoch, commit)
            self._keep(done)
        except OSError as exc:
            name = transaction.transactional_id
            logger.error("Cannot write the end of %s's transaction, will retry: %s", name, exc)
            self._timers[name] = self._clock.call_later(_RETRY_S, self._carry_out, transaction)

    # -- time-outs

    def _start_timer(self, transaction: Transaction, timeout_ms: int) -> None:
        name = transaction.transactional_id
        self._timers[name] = self._clock.call_later(timeout_ms / 1000, self._expire, name)

    def _expire(self, transactional_id: str) -> None:
        self._timers.pop(transactional_id, None)
        transaction = self._transactions[transactional_id]
        if transaction.state is State.ONGOING:
            self._fence(transaction, f"open for {transaction.timeout_ms} ms")

    def find(self, transactional_id: str) -> Transaction | None:
        """Return a transaction to look at, None if the id is unknown."""
        return self._transactions.get(transactional_id)


def code_before(error: int, *, is_old: bool) -> int:
    """Return the error as versions say it that do not know PRODUCER_FENCED yet."""
    return INVALID_PRODUCER_EPOCH if is_old and error == PRODUCER_FENCED else error


def _check(transaction: Transaction | None, claim: Claim) -> int:
    """Return NONE if the claim is the current producer's, else why not."""
    if not claim.transactional_id:
        return INVALID_REQUEST
    if transaction is None or transaction.producer_id != claim.producer_id:
        return INVALID_PRODUCER_ID_MAPPING
    return NONE if transaction.epoch == claim.epoch else PRODUCER_FENCED


def _may_go_on(transaction: Transaction, producer_id: int, epoch: int) -> bool:
    if transaction.epoch < 0:
        return True  # forgotten, as after a deleted data folder: it starts anew
    if producer_id == transaction.producer_id:
        return epoch in (transaction.epoch, transaction.last_epoch)
    is_previous = producer_id == transaction.previous_id and epoch >= LAST_EPOCH
    return is_previous and epoch == transaction.last_epoch


def _is_repeated_end(transaction: Transaction, claim: Claim) -> bool:
    """Whether this is the EndTxn that bumped the epoch, its answer lost."""
    if not transaction.bumps or transaction.state in (State.EMPTY, State.ONGOING):
        return False
    if claim.producer_id == transaction.producer_id:
        return claim.epoch + 1 == transaction.epoch
    is_previous = claim.producer_id == transaction.previous_id
    return is_previous and claim.epoch == LAST_EPOCH and transaction.epoch == 0
