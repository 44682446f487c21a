"""What a transaction is: its states, its producer's id and epoch, what it touches.

Plain state, no clock and no log: `transactions.py` decides when something moves.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from faustc.types import TopicPartition

# Epochs are 16 bits; the last but one is the last that a producer gets, so that
# there is always one more to fence it with.
LAST_EPOCH = 32766


class State(enum.Enum):
    """Where a transactional id is; the values are the names that Kafka reports."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"


# (new) -> EMPTY -> ONGOING -> PREPARE_COMMIT -> COMPLETE_COMMIT -.
#            ^         ^ |  '-> PREPARE_ABORT --> COMPLETE_ABORT --|
#            |         | '-------------------------------^         |
#            '---------'----------- next transaction, or producer -'
# The journal's line that says PREPARE_* is the decision: after it, a restart of the
# broker finishes the transaction the same way. Version 2 (KIP-890) may abort without
# having touched anything, from EMPTY or COMPLETE_*, to have its epoch bumped.
_ENDED = frozenset({State.EMPTY, State.ONGOING, State.PREPARE_ABORT})
MOVES: dict[State, frozenset[State]] = {
    State.EMPTY: _ENDED,
    State.ONGOING: frozenset({State.ONGOING, State.PREPARE_COMMIT, State.PREPARE_ABORT}),
    State.PREPARE_COMMIT: frozenset({State.COMPLETE_COMMIT}),
    State.PREPARE_ABORT: frozenset({State.COMPLETE_ABORT}),
    State.COMPLETE_COMMIT: _ENDED,
    State.COMPLETE_ABORT: _ENDED,
}


@dataclass(slots=True, eq=False)
class Transaction:
    """One transactional id and its current or last transaction.

    epoch is -1 until a producer has been given one. last_epoch is what the same
    producer had before its epoch was bumped for it, -1 if another one bumped it.
    previous_id is the producer id whose epochs ran out before this one's.
    """

    transactional_id: str
    producer_id: int
    timeout_ms: int
    epoch: int = -1
    last_epoch: int = -1
    previous_id: int = -1
    next_id: int = -1
    state: State = State.EMPTY
    started_ms: int = -1
    # Whether it is of version 2: each end bumps the epoch (KIP-890).
    bumps: bool = False
    partitions: set[TopicPartition] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)

    def move(self, to: State) -> None:
        """Change the state; a move that the table lacks is a bug of ours."""
        if to not in MOVES[self.state]:
            raise AssertionError(f"transaction {self.transactional_id}: {self.state} -> {to}")
        self.state = to

    @property
    def is_exhausted(self) -> bool:
        """Whether its producer id has no epoch left to give."""
        return self.epoch >= LAST_EPOCH

    @property
    def is_ending(self) -> bool:
        """Whether it is decided and not yet carried out."""
        return self.state in (State.PREPARE_COMMIT, State.PREPARE_ABORT)

    def entry(self) -> list[Any]:
        """Return what the journal keeps of this."""
        return [
            "transaction",
            self.transactional_id,
            [self.producer_id, self.previous_id, self.next_id],
            [self.epoch, self.last_epoch],
            self.timeout_ms,
            self.state.value,
            self.started_ms,
            int(self.bumps),
            sorted([*tp] for tp in self.partitions),
            sorted(self.groups),
        ]


def transaction_of_entry(entry: list[Any]) -> Transaction:
    """Make the transaction that `entry` wrote down."""
    _, name, ids, epochs, timeout_ms, state, started_ms, bumps, partitions, groups = entry
    return Transaction(
        name,
        ids[0],
        timeout_ms,
        epochs[0],
        epochs[1],
        ids[1],
        ids[2],
        State(state),
        started_ms,
        bool(bumps),
        {TopicPartition(topic, n) for topic, n in partitions},
        set(groups),
    )
