"""What a partition knows of its producers: sequences, epochs, transactions.

KIP-98: a producer numbers its messages per partition. A batch that came before is
answered as it was then; one that skips numbers is refused; a lower epoch is fenced.
All of it can be read back from the batch headers of the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from faustc.broker.batches import Head
from faustc.client.codes import (
    INVALID_PRODUCER_EPOCH,
    INVALID_TXN_STATE,
    OUT_OF_ORDER_SEQUENCE_NUMBER,
)

# What a producer may have in flight is 5 (max.in.flight.requests.per.connection).
REMEMBERED_BATCHES = 5
_SEQUENCE_MASK = 0x7FFFFFFF
NO_EPOCH = -1


class Refused(Exception):
    """A batch may not be appended; code is Kafka's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Written(NamedTuple):
    """One batch that a producer has in the log."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp_ms: int


class Aborted(NamedTuple):
    """A transaction that was aborted: its messages in first..last are void."""

    producer_id: int
    first_offset: int
    last_offset: int


class Producer:
    """One producer id in one partition. first_offset is its open transaction's, or -1."""

    __slots__ = ("batches", "epoch", "first_offset", "last_offset", "seen_ms")

    def __init__(self) -> None:
        self.epoch = NO_EPOCH
        self.batches: deque[Written] = deque(maxlen=REMEMBERED_BATCHES)
        self.first_offset = -1
        self.last_offset = -1
        self.seen_ms = -1

    @property
    def last_sequence(self) -> int:
        """The number of its last message, -1 if none is remembered in this epoch."""
        return self.batches[-1].last_sequence if self.batches else -1


class Producers:
    """All producers of a partition, and which of its transactions are open or aborted."""

    def __init__(self) -> None:
        self._known: dict[int, Producer] = {}
        self.open: dict[int, int] = {}
        self.aborted: list[Aborted] = []

    def get(self, producer_id: int) -> Producer | None:
        """Return what is known of a producer, None if nothing is."""
        return self._known.get(producer_id)

    def __iter__(self) -> Iterator[tuple[int, Producer]]:
        return iter(self._known.items())

    def epoch(self, producer_id: int) -> int:
        """Return the highest epoch seen of a producer, -1 if it is unknown."""
        known = self._known.get(producer_id)
        return NO_EPOCH if known is None else known.epoch

    def check(self, head: Head) -> Written | None:
        """Return the batch that this one repeats, None if it is new; raises Refused."""
        known = self._known.get(head.producer_id)
        if known is None:
            return None
        first, last = head.base_sequence, _last_sequence(head)
        if head.producer_epoch == known.epoch:
            for written in known.batches:
                if (written.first_sequence, written.last_sequence) == (first, last):
                    return written
        elif head.producer_epoch < known.epoch:
            raise Refused(
                INVALID_PRODUCER_EPOCH,
                f"producer {head.producer_id} has epoch {known.epoch}, not {head.producer_epoch}",
            )
        if known.first_offset >= 0 and not head.is_transactional:
            raise Refused(INVALID_TXN_STATE, "a plain batch inside of a transaction")
        if head.producer_epoch == known.epoch:
            expected = (known.last_sequence + 1) & _SEQUENCE_MASK
        else:
            expected = 0
        if first != expected and known.epoch != NO_EPOCH:
            raise Refused(
                OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"producer {head.producer_id} sends number {first}, {expected} is next",
            )
        return None

    def note(self, head: Head, now_ms: int) -> None:
        """Remember a batch that was appended."""
        known = self._known.setdefault(head.producer_id, Producer())
        if head.producer_epoch != known.epoch:
            known.epoch = head.producer_epoch
            known.batches.clear()
        known.batches.append(
            Written(
                head.base_sequence,
                _last_sequence(head),
                head.base_offset,
                head.last_offset,
                head.max_timestamp,
            )
        )
        known.last_offset = head.last_offset
        known.seen_ms = now_ms
        if head.is_transactional and known.first_offset < 0:
            known.first_offset = head.base_offset
            self.open[head.producer_id] = head.base_offset

    def note_marker(
        self, producer_id: int, epoch: int, committed: bool, offset: int, now_ms: int
    ) -> None:
        """Remember the end of a producer's transaction, written at an offset."""
        known = self._known.setdefault(producer_id, Producer())
        if epoch > known.epoch:  # a fence, or KIP-890: the next number is 0
            known.epoch = epoch
            known.batches.clear()
        known.seen_ms = now_ms
        known.last_offset = offset
        first = self.open.pop(producer_id, -1)
        known.first_offset = -1
        if first >= 0 and not committed:
            self.aborted.append(Aborted(producer_id, first, offset))

    def aborted_in(self, start: int, end: int) -> list[Aborted]:
        """Return the aborted transactions that have messages between two offsets."""
        return [a for a in self.aborted if a.last_offset >= start and a.first_offset < end]

    def first_open(self) -> int:
        """Return the first offset of the oldest open transaction, -1 if none is open."""
        return min(self.open.values(), default=-1)

    @property
    def open_transactions(self) -> Mapping[int, int]:
        """Producer ids with a transaction open here, and where it began."""
        return self.open

    def forget_before(self, offset: int) -> None:
        """Drop aborted transactions that the log does not hold any more."""
        self.aborted = [a for a in self.aborted if a.last_offset >= offset]

    def expire(self, before_ms: int) -> None:
        """Forget producers that have been silent since, unless their transaction is open."""
        for producer_id, known in list(self._known.items()):
            if known.seen_ms < before_ms and known.first_offset < 0:
                del self._known[producer_id]


def _last_sequence(head: Head) -> int:
    if head.base_sequence < 0:
        return -1
    return (head.base_sequence + head.last_offset_delta) & _SEQUENCE_MASK
