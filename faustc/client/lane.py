"""A lane: the parcels of one partition, in order, and their sequence numbers.

::

    open -> ready -> in_flight -> (done)
                       |   ^
                       v   |
                       retry

Order is kept across failures as the Java client keeps it: while anything waits
to be sent again, nothing newer is sent, and the oldest goes alone.

A parcel that was sent and given up may leave a gap in the sequences: nobody knows
whether it was written. What was sent after it is then sent again under its own
number: success says there is no gap, "out of order" that there is one and that
none of these was written. Only then, or when nothing sent is left, a new epoch
begins. Renumbering earlier could write a second time what is there already.

Nothing here waits, reads a clock or knows a socket.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

from faustc.client.identity import NOBODY, Identity, Persona, after
from faustc.client.parcel import Parcel, failure
from faustc.exceptions import KafkaError
from faustc.types import TopicPartition


class Lane:
    """One partition's queue. It belongs to its producer; only the sender takes from it."""

    __slots__ = (
        "_sent",
        "failures_in_a_row",
        "gap",
        "hold_until",
        "identity",
        "in_flight",
        "known",
        "next_sequence",
        "node",
        "open",
        "ready",
        "restart",
        "retry",
        "sent_to",
        "tp",
    )

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.node = -1  # the leader, -1 while unknown
        self.open: Parcel | None = None
        self.ready: deque[Parcel] = deque()
        self.retry: list[Parcel] = []
        self.in_flight: list[Parcel] = []
        self.identity = NOBODY
        self.next_sequence = 0
        self.known = False  # the broker has something of this identity
        self.gap: tuple[int, ...] = ()  # the last parcel that may be missing; () for none
        self.restart = False  # it is missing: begin a new epoch
        self.hold_until = 0.0
        self.failures_in_a_row = 0
        self.sent_to = -1
        self._sent = 0

    def __repr__(self) -> str:
        return (
            f"<Lane {self.tp.topic}/{self.tp.partition} of node {self.node}: {len(self.ready)} "
            f"ready, {len(self.in_flight)} in flight, {len(self.retry)} to retry>"
        )

    @property
    def idle(self) -> bool:
        """Whether there is nothing that could be sent, now or after an answer."""
        return not (self.open or self.ready or self.retry)

    @property
    def backlog(self) -> int:
        """How many parcels wait or are in flight."""
        return len(self.ready) + len(self.retry) + len(self.in_flight)

    def next_size(self) -> int:
        """Return how many bytes the next parcel has, at most."""
        if self.retry:
            return len(self.retry[0].data)
        if self.ready and self.ready[0].builder is not None:
            return self.ready[0].builder.size_bytes
        return 0

    def close_open(self) -> None:
        """Let nothing more into the open parcel; it is ready to go."""
        if self.open is not None:
            self.ready.append(self.open)
            self.open = None

    def next(self, now: float, persona: Persona, window: int) -> Parcel | None:
        """Take the parcel that may be sent now, sealed; None when none may.

        window: how many may be under way at once, counted from the oldest that is not
        answered. A broker remembers the last five batches of a producer: the sixth
        written after one makes it forget, and that one's retry a second copy.
        """
        if now < self.hold_until:
            return None
        if self.in_flight:
            # The new leader must not get the newer one before the old leader has answered.
            behind = self.retry or self.gap or self.restart or self.sent_to != self.node
            # From a producer that it does not know, a broker takes any sequence: the
            # second parcel would be written, although the first was refused.
            if persona.idempotent and not self.known:
                window = 1
            if behind or self._sent + 1 - self.in_flight[0].order[0] >= window:
                return None
        elif persona.idempotent and not self._identify(persona):
            return None
        if self.retry:
            parcel = self.retry.pop(0)
        elif self.ready:
            parcel = self.ready[0]
            if persona.idempotent:
                parcel.seal(self.identity, self.next_sequence)
                self.next_sequence = after(self.next_sequence, parcel.count)
            else:
                parcel.seal(NOBODY, -1)
            self._sent += 1
            parcel.order = (self._sent,)
            self.ready.popleft()  # last: a codec may raise
        else:
            return None
        parcel.attempts += 1
        self.in_flight.append(parcel)
        self.sent_to = self.node
        return parcel

    def _identify(self, persona: Persona) -> bool:
        """With nothing in flight, see to it that sequences may go on; False: not yet."""
        if self.gap and not self.retry:
            self.restart = True
        if self.restart and persona.current == self.identity:
            if persona.transactional:
                return False  # not before the transaction was aborted
            persona.bump()
        if persona.current == self.identity:
            return self.identity != NOBODY
        if not self.restart and (self.retry or persona.current == NOBODY):
            return self.identity != NOBODY  # the old one is still good here
        if persona.current == NOBODY:
            return False
        self._begin(persona.current)
        return True

    def _begin(self, identity: Identity) -> None:
        self.identity = identity
        self.next_sequence = 0
        self.known = False
        self.restart = False
        self.gap = ()
        for parcel in self.retry:
            parcel.restamp(identity, self.next_sequence)
            self.next_sequence = after(self.next_sequence, parcel.count)

    # --- what became of a parcel in flight; each is called once per attempt ---

    def written(self, parcel: Parcel, base_offset: int, log_append_time: int) -> None:
        """The broker has it."""
        self.in_flight.remove(parcel)
        self.failures_in_a_row = 0
        if parcel.identity == self.identity:
            self.known = True
        if parcel.order > self.gap:
            self.gap = ()  # a broker takes no sequence before its predecessor
        parcel.written(base_offset, log_append_time)

    def put_back(self, parcel: Parcel, error: KafkaError) -> None:
        """It has to be sent again, in its old place."""
        self.in_flight.remove(parcel)
        parcel.last_error = error
        if not parcel.done:
            insort(self.retry, parcel, key=_order)
        else:
            self._gap(parcel)  # its time ran out meanwhile

    def reject(self, parcel: Parcel, error: KafkaError) -> None:
        """It will never be written: its sequences are missing."""
        self.in_flight.remove(parcel)
        parcel.give_up(error)
        self._gap(parcel)

    def divide(self, parcel: Parcel, parts: list[Parcel]) -> None:
        """It was split: the parts take its place."""
        self.in_flight.remove(parcel)
        for part in parts:
            insort(self.retry, part, key=_order)

    def lost_sequence(self, parcel: Parcel, error: KafkaError) -> None:
        """The broker expected another sequence.

        With something before it on its way, that is the reason, and it is sent
        again behind that. As the first, its predecessors are missing on the broker,
        and neither it nor what follows was written: start again from 0 in a new epoch.
        """
        first = all(parcel.order <= p.order for p in (*self.in_flight, *self.retry))
        self.put_back(parcel, error)
        if first:
            self.restart = True

    def _gap(self, parcel: Parcel) -> None:
        if parcel.sequence >= 0:
            self.gap = max(self.gap, parcel.order)

    # --- giving up ---

    def expire(self, now: float, delivery_timeout_s: float, why: Exception | None) -> None:
        """Give up what is past its deadline; why is the cause where a parcel has none of its own.

        One in flight stays there until its answer: only then is it known whether its
        sequences were used.
        """
        for parcel in self.in_flight:
            if parcel.deadline <= now and not parcel.done:
                self._time_out(parcel, delivery_timeout_s, why)
        while self.retry and self.retry[0].deadline <= now:
            parcel = self.retry.pop(0)
            self._time_out(parcel, delivery_timeout_s, why)
            self._gap(parcel)  # an earlier attempt may have been written
        if self.open is not None and self.open.deadline <= now:
            self.close_open()
        while self.ready and self.ready[0].deadline <= now:
            self._time_out(self.ready.popleft(), delivery_timeout_s, why)

    def _time_out(self, parcel: Parcel, timeout_s: float, why: Exception | None) -> None:
        attempts = f"after {parcel.attempts} attempts" if parcel.attempts else "never sent"
        parcel.give_up(
            failure(
                parcel,
                f"not acknowledged within {timeout_s:g} s ({attempts})",
                parcel.last_error or why,
            )
        )

    def drop_unsent(self, error: KafkaError) -> None:
        """Give up what was not sent, or is known not to be written; the rest has to be settled."""
        self.close_open()
        dropped = [*self.ready, *(self.retry if self.restart else ())]
        self.ready.clear()
        if self.restart:
            self.retry.clear()
        for parcel in dropped:
            parcel.give_up(failure(parcel, str(error), error))

    def abort(self, why: str, cause: BaseException | None) -> None:
        """Give up everything."""
        self.close_open()
        for parcel in (*self.in_flight, *self.retry, *self.ready):
            parcel.give_up(failure(parcel, why, parcel.last_error or cause))
        self.retry.clear()
        self.ready.clear()


def _order(parcel: Parcel) -> tuple[int, ...]:
    return parcel.order
