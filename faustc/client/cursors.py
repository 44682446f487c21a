"""Where we are in one partition, and what was fetched of it but not handed out yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

from faustc._native.batch import Batch
from faustc._native.fetch import PartitionFetch
from faustc._native.message import Message
from faustc.client.backoff import Backoff
from faustc.client.offsets import LATEST
from faustc.exceptions import CorruptFrame, KafkaError
from faustc.types import TopicPartition

UNKNOWN = -1  # an offset or leader epoch nobody knows yet
NO_ID = bytes(16)
MESSAGE_BYTES = 200  # what a small message takes with its key and value, beside its batch
# A batch that arrives damaged is fetched again: it may be the way, not the log. TCP's own
# checksum lets one damaged segment in 65,536 pass. So often at one offset, it is the log.
DAMAGED_TRIES = 3


class State(Enum):
    """What a cursor needs next; only a READY one is fetched."""

    COMMITTED = "look up the committed offset"
    RESET = "look up the offset that the reset policy names"
    VALIDATE = "ask the new leader whether our offset is still in its log"
    READY = "fetch"
    FAILED = "raise its error, until somebody seeks"
    CLOSED = "nothing: it was revoked or unassigned"


#                     v-------- reset() ---------.
#   COMMITTED ----> RESET ----> READY <----> VALIDATE
#       '----- placed() ----------^
#   any of them -- fail() --> FAILED -- seek() --> READY       any -- close() --> CLOSED
MOVES = {
    State.COMMITTED: {State.RESET, State.READY, State.FAILED, State.CLOSED},
    State.RESET: {State.RESET, State.READY, State.FAILED, State.CLOSED},
    State.READY: {State.READY, State.RESET, State.VALIDATE, State.FAILED, State.CLOSED},
    State.VALIDATE: {State.READY, State.RESET, State.FAILED, State.CLOSED},
    State.FAILED: {State.READY, State.RESET, State.FAILED, State.CLOSED},
    State.CLOSED: {State.CLOSED},
}


class Budget:
    """The bytes that all cursors of a consumer may buffer, and how many they do.

    reserved is what the fetches under way may bring. freed is called when a batch
    is handed out, so that whoever waited for room looks again.
    """

    __slots__ = ("buffered", "freed", "limit", "reserved")

    def __init__(self, limit: int, freed: Callable[[], None]) -> None:
        self.limit = limit
        self.freed = freed
        self.buffered = 0
        self.reserved = 0

    @property
    def room(self) -> int:
        """The bytes that may still be asked for; below 0 when large batches overran it."""
        return self.limit - self.buffered - self.reserved


class FetchedBatch:
    """A batch that waits to be handed out; its messages before start_offset are not wanted.

    next_offset is the position once it is done: past the batch, and past the
    control batches, aborted batches and gaps that followed it.
    """

    __slots__ = ("batch", "next_offset", "start_offset")

    def __init__(self, batch: Batch, start_offset: int) -> None:
        self.batch = batch
        self.start_offset = start_offset
        self.next_offset = batch.last_offset + 1

    def __len__(self) -> int:
        """How many records it has, those before start_offset included."""
        return len(self.batch)

    @property
    def size_bytes(self) -> int:
        """The size of the batch on the wire."""
        return self.batch.size_bytes

    def messages(self) -> list[Message]:
        """Return its messages from start_offset on; raises CorruptFrame or UnsupportedCodec."""
        return self.batch.messages(self.start_offset)

    def apply_to(
        self, target: dict[bytes, Any], *, prefix: bytes = b"", keep_deleted: bool = False
    ) -> int:
        """Put their values into target by prefix + key (`Batch.apply_to`); return how many."""
        return self.batch.apply_to(
            target, self.start_offset, prefix=prefix, keep_deleted=keep_deleted
        )


class Cursor:
    """A position in one partition that we fetch from, and the batches that wait there.

    position is the next offset to hand out, done the one before which user
    code has finished, fetch_offset the next one to fetch. `version` changes
    whenever an answer under way becomes worthless; who asks for something
    remembers it and drops the answer if it has changed.
    """

    __slots__ = (
        "_at",
        "_batches",
        "_budget",
        "_damaged",
        "_head",
        "_skip",
        "backoff",
        "buffered_bytes",
        "done",
        "error",
        "fetch_epoch",
        "fetch_offset",
        "held",
        "highwater",
        "last_stable_offset",
        "leader",
        "leader_epoch",
        "log_start_offset",
        "paused",
        "position",
        "replica",
        "reset_to",
        "retry_at",
        "state",
        "topic_id",
        "tp",
        "version",
    )

    def __init__(self, tp: TopicPartition, budget: Budget) -> None:
        self.tp = tp
        self._budget = budget
        self.topic_id = NO_ID
        self.state = State.COMMITTED
        self.version = 0
        self.paused = False  # by user code
        self.held = False  # while a rebalance is told to user code
        self.position = UNKNOWN
        self.done = UNKNOWN
        self.fetch_offset = UNKNOWN
        self.fetch_epoch = UNKNOWN  # leader epoch of the last batch fetched
        self.replica = UNKNOWN  # node that the leader told us to fetch from instead (KIP-392)
        self.leader = UNKNOWN  # and the epoch it leads in
        self.leader_epoch = UNKNOWN
        self.highwater = UNKNOWN
        self.last_stable_offset = UNKNOWN
        self.log_start_offset = UNKNOWN
        self.reset_to = LATEST
        self.retry_at = 0.0
        self.backoff = Backoff(0.1, 1.0)
        self.error: KafkaError | None = None
        self.buffered_bytes = 0
        self._batches: deque[FetchedBatch] = deque()
        # The first batch's messages once some of them are handed out, and how many are.
        self._head: list[Message] | None = None
        self._at = 0
        # What arrived damaged last: (the offset fetched from, how often in a row).
        self._damaged = (UNKNOWN, 0)
        # A batch that user code was told is corrupt: (its first offset, the one after it).
        self._skip: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return (
            f"<Cursor {self.tp.topic}/{self.tp.partition} {self.state.name}"
            f" position={self.position} fetch_offset={self.fetch_offset}"
            f" buffered={self.buffered_bytes}>"
        )

    # -- moves ---------------------------------------------------------------------

    def _move(self, state: State) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"{self.tp}: no move from {self.state.name} to {state.name}")
        self.state = state

    def seek(self, offset: int) -> None:
        """Go to an offset: what is buffered or under way is dropped, an error forgotten."""
        if self.state is State.CLOSED:
            raise RuntimeError(f"{self.tp} is no longer assigned")
        self._drop()
        self.state = State.READY
        self.position = self.done = self.fetch_offset = offset
        if self._skip and self._skip[0] < offset < self._skip[1]:
            # Inside the corrupt batch a fetch would only bring the same batch again.
            self.fetch_offset = self._skip[1]
        self._skip = None

    def reset(self, to: int, *, forget: bool) -> None:
        """Have the position looked up: to is EARLIEST, LATEST or a timestamp in milliseconds.

        What is buffered is handed out first, unless told to forget it.
        """
        if forget:
            self._drop()
            self.position = UNKNOWN
        self.version += 1
        self.reset_to = to
        self._move(State.RESET)

    def placed(self, offset: int, epoch: int = UNKNOWN) -> None:
        """Fetch from this offset on: the answer to COMMITTED, RESET or VALIDATE."""
        self._move(State.READY)
        self.version += 1
        self.fetch_offset = offset
        self.fetch_epoch = epoch
        self.ease()
        if self._batches:
            self._batches[-1].next_offset = offset
        else:
            self.position = self.done = offset

    def validate(self) -> None:
        """Fetch no more until the leader has said that our offset is in its log (KIP-320)."""
        if self.state is State.READY:
            self._move(State.VALIDATE)
            self.version += 1

    def validated(self) -> None:
        """Go on where we are: the leader's log contains it."""
        self._move(State.READY)
        self.ease()

    def truncated(self, offset: int, epoch: int) -> None:
        """Go back to `offset`, where the log now forks off from what we have read."""
        self._drop()
        self._move(State.READY)
        self.fetch_offset = self.position = min(offset, self.position)
        self.done = min(self.done, self.position)
        self.fetch_epoch = epoch
        self.ease()

    def fail(self, error: KafkaError) -> None:
        """Raise this error after what is buffered, and fetch no more until a seek."""
        self._move(State.FAILED)
        self.version += 1
        self.error = error

    def close(self) -> None:
        """Hand out nothing any more: the partition is not ours now."""
        self._drop()
        self.state = State.CLOSED

    def _drop(self) -> None:
        self.version += 1
        self._batches.clear()
        self._head = None
        self._at = 0
        if self.buffered_bytes:
            self._budget.buffered -= self.buffered_bytes
            self.buffered_bytes = 0
            self._budget.freed()
        self.error = None
        self.fetch_epoch = UNKNOWN
        self.ease()

    def put_off(self, now: float) -> float:
        """Leave it alone for a while, since a broker refused; return the delay in seconds."""
        delay_s = self.backoff.next()
        self.retry_at = now + delay_s
        return delay_s

    def ease(self) -> None:
        """Forget earlier refusals."""
        self.retry_at = 0.0
        self.backoff.reset()

    # -- filled by the fetcher -------------------------------------------------------

    @property
    def node(self) -> int:
        """The node to fetch from."""
        return self.leader if self.replica == UNKNOWN else self.replica

    @property
    def ready(self) -> bool:
        """Whether there is a batch, or an error, that may be handed out."""
        return (bool(self._batches) or self.error is not None) and not (self.paused or self.held)

    @property
    def in_batch(self) -> bool:
        """Whether some, not all, of a batch's messages are handed out."""
        return self._head is not None

    def absorb(self, answer: PartitionFetch, *, committed_only: bool) -> None:
        """Take in the batches of one answer, which started at fetch_offset.

        Control batches are dropped, and aborted ones if committed_only; the
        position still moves past them. What is damaged fails the cursor only when it
        was so several times.
        """
        if answer.highwater >= 0:
            self.highwater = answer.highwater
        if answer.last_stable_offset >= 0:
            self.last_stable_offset = answer.last_stable_offset
        if answer.log_start_offset >= 0:
            self.log_start_offset = answer.log_start_offset
        batches: Iterable[Batch] = answer.batches
        damage: CorruptFrame | None = None
        aborted = _Aborted(answer.aborted) if committed_only and answer.aborted else None
        size = 0
        for batch in batches:
            if batch.last_offset < self.fetch_offset:
                continue  # a broker answers from its index: the first batch may lie before us
            try:
                unwanted = aborted is not None and aborted.covers(batch)
            except CorruptFrame as error:  # a control batch that cannot be read
                damage = error
                break
            if unwanted or batch.is_control or not len(batch):
                self._pass(batch.last_offset + 1)
            else:
                self._batches.append(FetchedBatch(batch, self.fetch_offset))
                size += batch.size_bytes
            self.fetch_offset = batch.last_offset + 1
            self.fetch_epoch = batch.leader_epoch
        self.buffered_bytes += size
        self._budget.buffered += size
        if damage is None and answer.corrupt is not None and self._again_damaged():
            damage = answer.corrupt
        if damage is not None:
            self.fail(damage.at(self.tp.topic, self.tp.partition, self.fetch_offset))

    def _again_damaged(self) -> bool:
        """Count a damaged arrival; say whether it was so often enough at this offset."""
        offset, times = self._damaged
        times = times + 1 if offset == self.fetch_offset else 1
        self._damaged = (self.fetch_offset, times)
        return times >= DAMAGED_TRIES

    def _pass(self, offset: int) -> None:
        """Count everything before offset as read, without handing anything out."""
        if self._batches:
            self._batches[-1].next_offset = offset
        else:
            if self.done == self.position:
                self.done = offset
            self.position = offset

    def damaged(self, first: int, after: int) -> None:
        """Remember the extent of a corrupt batch, from its first offset to the one after it."""
        self._skip = (first, after)

    # -- emptied by the consumer -----------------------------------------------------

    def take_batches(self, max_bytes: int | None = None) -> list[FetchedBatch]:
        """Hand out whole batches, the first whatever its size, then up to max_bytes in all."""
        taken: list[FetchedBatch] = []
        size = 0
        if self._head is not None:
            self._batches[0].start_offset = self.position
        while self._batches:
            entry = self._batches[0]
            size += entry.size_bytes
            if taken and max_bytes is not None and size > max_bytes:
                break
            taken.append(entry)
            self._finish_head()
        return taken

    def take_messages(self, limit: int) -> list[Message]:
        """Hand out the messages that wait, at most `limit`.

        A batch whose records cannot be read fails the cursor: what lies before
        it is returned, and its error is raised by whoever asks next.
        """
        taken: list[Message] = []
        while self._batches and len(taken) < limit:
            head = self._open_head()
            if head is None:
                break
            start, self._at = self._at, min(len(head), self._at + limit - len(taken))
            taken += head[start : self._at]
            if self._at == len(head):
                self._finish_head()
            else:
                self.position = taken[-1].offset + 1
        return taken

    def take_opened(self, max_bytes: int) -> tuple[list[Message], int]:
        """Hand out the messages of whole batches until they take max_bytes of memory.

        Returns them and about how many bytes they take; otherwise as take_messages.
        """
        taken: list[Message] = []
        size = 0
        while self._batches and size < max_bytes:
            head = self._open_head()
            if head is None:
                break
            size += self._batches[0].batch.opened_bytes + MESSAGE_BYTES * len(head)
            if taken or self._at:
                taken += head[self._at :]
            else:
                taken = head  # one batch, the usual case, needs no copy
            self._finish_head()
        return taken, size

    def take_one(self) -> Message | None:
        """Hand out the next message; None when there is none."""
        while self._batches:
            head = self._open_head()
            if head is None:
                return None
            if not head:
                self._finish_head()
                continue
            message = head[self._at]
            self._at += 1
            if self._at == len(head):
                self._finish_head()
            else:
                self.position = message.offset + 1
            return message
        return None

    def _open_head(self) -> list[Message] | None:
        """Return the first batch's messages, parsed once; None when they cannot be."""
        if self._head is None:
            entry = self._batches[0]
            try:
                self._head = entry.messages()
            except KafkaError as error:
                self._refuse_head(entry, error)
                return None
            self._at = 0
        return self._head

    def _refuse_head(self, entry: FetchedBatch, error: KafkaError) -> None:
        position = max(self.position, entry.batch.base_offset)
        if isinstance(error, CorruptFrame):
            error.at(self.tp.topic, self.tp.partition, position)
        self._drop()
        self.position = self.fetch_offset = position
        self._skip = (entry.batch.base_offset, entry.batch.last_offset + 1)
        self.fail(error)

    def _finish_head(self) -> None:
        entry = self._batches.popleft()
        size = entry.batch.size_bytes
        self.buffered_bytes -= size
        self._budget.buffered -= size
        self._budget.freed()
        self.position = entry.next_offset
        self._head = None
        self._at = 0


class _Aborted:
    """Which batches of one answer belong to aborted transactions.

    The broker lists (producer id, first offset) of each one that touches the
    fetched range. A producer is out from that offset to its ABORT marker, and
    may be in the list again after it (KIP-98).
    """

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self._ahead = deque(sorted(aborted, key=lambda entry: entry[1]))
        self._out: set[int] = set()

    def covers(self, batch: Batch) -> bool:
        """Say whether the batch is aborted; call it for every batch, in order."""
        while self._ahead and self._ahead[0][1] <= batch.last_offset:
            self._out.add(self._ahead.popleft()[0])
        if batch.producer_id not in self._out:
            return False
        if batch.is_control:
            if batch.control_type == 0:
                self._out.discard(batch.producer_id)
            return False
        return batch.is_transactional
