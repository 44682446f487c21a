"""Who an idempotent producer is to the brokers, and when it becomes somebody new."""

from __future__ import annotations

from typing import NamedTuple

MAX_EPOCH = 32767


class Identity(NamedTuple):
    """A producer id and its epoch (KIP-98)."""

    producer_id: int
    epoch: int


NOBODY = Identity(-1, -1)


def after(sequence: int, messages: int) -> int:
    """Return the sequence `messages` further on; Kafka's wrap to 0 after 2**31 - 1."""
    return (sequence + messages) & 0x7FFFFFFF


class Persona:
    """The identity that all lanes of one producer share, as far as they have caught up.

    A lane whose sequences have a gap asks for the next epoch and starts again
    from 0 (KIP-360). The broker then refuses what was sent under the old one
    and may still be on its way, so a late request cannot write a second time.
    The other lanes follow when nothing of theirs is in flight.
    """

    __slots__ = ("current", "idempotent", "transactional")

    def __init__(self, *, idempotent: bool, transactional: bool = False) -> None:
        self.idempotent = idempotent
        #: Ids and epochs are the coordinator's alone to give, in between two transactions.
        self.transactional = transactional
        self.current = NOBODY

    @property
    def wanted(self) -> bool:
        """Whether a producer id has to be asked for: there is none, or its epochs are used up."""
        return self.idempotent and not self.transactional and self.current == NOBODY

    def become(self, producer_id: int, epoch: int) -> None:
        """Take on what InitProducerId answered."""
        self.current = Identity(producer_id, epoch)

    def bump(self) -> None:
        """Go to the next epoch; after the last one, be nobody until `become`."""
        if self.current.epoch >= MAX_EPOCH:
            self.current = NOBODY
        elif self.current != NOBODY:
            self.current = Identity(self.current.producer_id, self.current.epoch + 1)
