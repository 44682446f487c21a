"""The transactions of one producer: who it is to its coordinator, and how each one begins and ends.

::

    NEW --init--> READY --begin--> OPEN --commit, abort--> ENDING --> READY
                                    |                        |
                                    v                        v
                                  DOOMED --abort--> ENDING   FENCED (for good)

A message that was given up, or a sequence that is missing, dooms the transaction: it can only be
aborted, and its work done again. Which of two ways a cluster has decides how partitions come
into a transaction (KIP-890):

    version 1   AddPartitionsToTxn before the first write to each; AddOffsetsToTxn before offsets
    version 2   the write itself does; and each end gives the producer a new epoch

In version 1 an EndTxn that was lost on its way may arrive after the next transaction has begun,
and end that one. So the epoch is bumped after each whose answer was lost: a late one is
refused then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

from faustc.client.backoff import Backoff, Deadline
from faustc.client.client import GROUP, TXN, Client
from faustc.client.coordinator import GroupMetadata
from faustc.client.identity import NOBODY, Persona
from faustc.client.lane import Lane
from faustc.client.transaction_asking import FENCED, Asking, added_errors, commit_errors
from faustc.exceptions import (
    CommitFailed,
    KafkaError,
    KafkaTimeout,
    NotReady,
    ProducerFenced,
    TransactionAborted,
)
from faustc.types import OffsetAndMetadata, TopicPartition

__all__ = ["State", "Transactions"]

logger = logging.getLogger(__name__)


# How often a refused member asks again while it takes itself for the same: a generation is new to
# the coordinator a moment before it is to us.
SAME_MEMBER_TRIES = 6


class State(Enum):
    """Where the producer stands; see the picture above."""

    NEW = "not initialised"
    READY = "between two transactions"
    OPEN = "in a transaction"
    DOOMED = "in a transaction that can only be aborted"
    ENDING = "ending a transaction"
    FENCED = "fenced"


class Transactions:
    """One at a time, for one producer on one event loop.

    drain(timeout_s) waits until nothing is on its way; drop(error) gives up what was not sent yet,
    or cannot have been written. poke makes the sender look again at what waits; opened is told
    whether messages are taken.
    """

    def __init__(
        self,
        client: Client,
        persona: Persona,
        transactional_id: str,
        timeout_ms: int,
        *,
        drain: Callable[[float], Awaitable[None]],
        drop: Callable[[KafkaError], None],
        poke: Callable[[], None],
        opened: Callable[[bool], None],
    ) -> None:
        self.transactional_id = transactional_id
        self.state = State.NEW
        self._asking = Asking(client, persona, transactional_id, timeout_ms)
        #: Why the open transaction can only be aborted, or the producer do nothing more.
        self.error: KafkaError | None = None
        self._client = client
        self._persona = persona
        self._drain = drain
        self._drop = drop
        self._poke = poke
        self._opened = opened
        self._version_2 = False
        self._begun = False  # the coordinator knows, or may know, of this transaction
        self._commits: bool | None = None  # what is being tried to end it with
        self._renew = False  # the epoch is to be bumped before the next
        self._added: set[TopicPartition] = set()
        self._wanted: set[TopicPartition] = set()
        self._groups: set[str] = set()
        self._adding: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Transactions of {self.transactional_id}: {self.state.value}>"

    # --- what its owner calls ---

    async def init(self, timeout_s: float) -> None:
        """Become the one producer of our id; what an earlier one left open is aborted."""
        await self._init(Deadline(timeout_s))
        self.state = State.READY
        self._opened(False)

    def begin(self) -> None:
        """Begin a transaction: from now on messages are taken. Nothing is sent for it yet."""
        self._check(State.READY, "begin a transaction")
        self.error = None
        self._begun, self._commits = False, None
        self._added.clear()
        self._wanted.clear()
        self._groups.clear()
        self.state = State.OPEN
        self._opened(True)

    async def commit(self, timeout_s: float) -> None:
        """Make all of it visible at once, or raise.

        TransactionAborted: it can only be aborted. ProducerFenced: somebody else goes by our id,
        or the coordinator gave this transaction up. KafkaTimeout: how it ended is not known;
        commit may be called again, and nothing else but abort.
        """
        if self._commits is not True:
            self._check(State.OPEN, "commit a transaction")
        deadline = Deadline(timeout_s)
        self._opened(False)
        if self.state is State.OPEN:
            await self._drain(deadline.left())
            await self._settle_adding()
            if self.error is not None:
                raise self._refusal()
        await self._end(True, deadline)

    async def abort(self, timeout_s: float) -> None:
        """Have none of it ever seen; raises ProducerFenced, KafkaTimeout."""
        if self.state not in (State.OPEN, State.DOOMED, State.ENDING):
            self._check(State.OPEN, "abort a transaction")
        if self._commits is True:
            raise NotReady(
                f"the transaction of {self.transactional_id} is being committed, and nobody knows "
                f"how far that got: it cannot be aborted; commit again, or close the producer"
            )
        deadline = Deadline(timeout_s)
        self._opened(False)
        why = TransactionAborted(f"the transaction of {self.transactional_id} is aborted")
        why.__cause__ = self.error
        self._drop(why)
        try:
            # What was sent and not answered may yet be written. Sent again under its old
            # number until that is known, it cannot come after the end, into the next one.
            await self._drain(min(deadline.left(), timeout_s / 2))
        except KafkaTimeout as exc:
            logger.warning("Aborting, with something unanswered: %s", exc)
            self._renew = True
        await self._settle_adding()
        await self._end(False, deadline)

    async def send_offsets(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        group: Callable[[], GroupMetadata],
        timeout_s: float,
    ) -> None:
        """Commit a group's offsets with the transaction (KIP-98), if its member is what it says.

        group is asked before each attempt who it is, and may raise CommitFailed. Raises that
        when the group has moved on (KIP-447): abort then.
        """
        self._check(State.OPEN, "send offsets")
        if not offsets:
            return
        deadline = Deadline(timeout_s)
        self._begun = True
        group_id = group().group_id
        try:
            if not self._version_2 and group_id not in self._groups:
                await self._ask(
                    "AddOffsetsToTxn", TXN, self.transactional_id, deadline, group_id=group_id
                )
                self._groups.add(group_id)
            await self._commit_offsets(offsets, group, deadline)
        except KafkaTimeout as exc:
            self.doom(exc)  # they may be in the transaction, or not
            raise
        except CommitFailed as exc:
            self.doom(exc)
            raise

    @asynccontextmanager
    async def transaction(self, timeout_s: float) -> AsyncIterator[None]:
        """Begin one; commit it at the end of the block, abort it if that raises."""
        self.begin()
        try:
            yield
        except BaseException:
            if self.state in (State.OPEN, State.DOOMED):
                try:
                    await self.abort(timeout_s)
                except KafkaError as exc:
                    logger.warning("The transaction was not aborted: %s", exc)
            raise
        try:
            await self.commit(timeout_s)
        except TransactionAborted:
            await self.abort(timeout_s)
            raise

    # --- what the sender asks ---

    def admits(self, lane: Lane) -> bool:
        """Whether the lane's next batch may go; if not, what is missing is being asked for."""
        if self.state is State.FENCED:
            return False
        if self._version_2 or lane.tp in self._added:
            self._begun = True
            return True
        if self.state is State.DOOMED:
            return False
        self._begun = True
        self._wanted.add(lane.tp)
        if self._adding is None:
            self._adding = asyncio.create_task(self._add(), name="add partitions to transaction")
        return False

    def doom(self, error: KafkaError) -> None:
        """Let the open transaction be aborted only."""
        if isinstance(error, ProducerFenced):
            self._fence(error)
        elif self.state in (State.OPEN, State.DOOMED, State.ENDING):
            if self.error is None:
                self.error = error
            if self.state is State.OPEN:
                self.state = State.DOOMED
                self._opened(False)
            self._drop(self._refusal())

    def refused(self, code: int, error: KafkaError) -> None:
        """Take note that a broker refused a batch for good."""
        self.doom(self._asking.fenced_by(error) if code in FENCED else error)

    def check_open(self) -> None:
        """Raise why no message is taken now."""
        self._check(State.OPEN, "send")

    def check_sound(self) -> None:
        """Raise TransactionAborted or ProducerFenced if that is what the end would do."""
        if self.error is not None:
            raise self._refusal()

    async def close(self) -> None:
        """End what runs."""
        if self._adding is not None:
            self._adding.cancel()
            await asyncio.wait([self._adding])

    # --- ending ---

    async def _end(self, commit: bool, deadline: Deadline) -> None:
        self.state = State.ENDING
        if not self._begun:
            self._ready()
            return
        self._commits = commit
        lost = False
        who = self._persona.current

        def lose() -> None:
            nonlocal lost
            lost = True

        try:
            answer = await self._ask(
                "EndTxn",
                TXN,
                self.transactional_id,
                deadline,
                lost=lose,
                producer_id=who.producer_id,
                producer_epoch=who.epoch,
                committed=commit,
            )
        except TransactionAborted as exc:
            if commit:
                self._commits = None
                self.state = State.DOOMED
                self.error = exc
                raise
            self._renew = True  # nothing is open there: begin anew
        else:
            new_id = getattr(answer, "producer_id", -1)
            if answer.version >= 5 and new_id >= 0:
                self._persona.become(new_id, answer.producer_epoch)
                self._renew = False
            elif lost or not commit:
                self._renew = True
        if self._renew:
            self._commits = commit
            await self._init(deadline, *self._persona.current)
        self._ready()

    def _ready(self) -> None:
        self._commits = None
        self.error = None
        self.state = State.READY

    async def _init(self, deadline: Deadline, producer_id: int = -1, epoch: int = -1) -> None:
        """Ask who we are; with an id and epoch to go on as the same with the next epoch."""
        answer = await self._ask(
            "InitProducerId",
            TXN,
            self.transactional_id,
            deadline,
            transaction_timeout_ms=self._asking.timeout_ms,
            producer_id=producer_id,
            producer_epoch=epoch,
        )
        self._renew = False
        self._persona.become(answer.producer_id, answer.producer_epoch)
        node = await self._client.coordinator(TXN, self.transactional_id, deadline.left())
        connection = await self._client.connection(node, TXN)
        self._version_2 = connection.transactions_v2

    # --- what belongs to it ---

    async def _add(self) -> None:
        """Name partitions to the coordinator, as long as there are some that it was not told of."""
        try:
            while self._wanted and self.state in (State.OPEN, State.ENDING):
                wanted = sorted(self._wanted)
                topics: dict[str, list[int]] = {}
                for topic, partition in wanted:
                    topics.setdefault(topic, []).append(partition)
                named = [
                    {"name": topic, "partitions": partitions}
                    for topic, partitions in topics.items()
                ]
                await self._ask(
                    "AddPartitionsToTxn",
                    TXN,
                    self.transactional_id,
                    Deadline(self._asking.timeout_ms / 1000),
                    errors=added_errors,
                    v3_and_below_topics=named,
                )
                self._added.update(wanted)
                self._wanted.difference_update(wanted)
        except KafkaError as exc:
            self.doom(exc)
        finally:
            self._adding = None
            self._poke()

    async def _settle_adding(self) -> None:
        if self._adding is not None:
            await asyncio.wait([self._adding])

    async def _commit_offsets(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        group: Callable[[], GroupMetadata],
        deadline: Deadline,
    ) -> None:
        """Commit them; again while we are in a group that is about to have a new generation."""
        backoff = Backoff(0.05, 0.5)
        while True:
            who = group()
            try:
                return await self._commit_as(who, offsets, deadline)
            except CommitFailed:
                if deadline.expired():
                    raise
                await deadline.sleep(backoff.next())
                if group() == who and backoff.attempts > SAME_MEMBER_TRIES:
                    raise

    async def _commit_as(
        self,
        group: GroupMetadata,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        deadline: Deadline,
    ) -> None:
        topics: dict[str, list[dict[str, Any]]] = {}
        for tp, (offset, metadata) in offsets.items():
            topics.setdefault(tp.topic, []).append(
                {
                    "partition_index": tp.partition,
                    "committed_offset": offset,
                    "committed_leader_epoch": -1,
                    "committed_metadata": metadata,
                }
            )
        await self._ask(
            "TxnOffsetCommit",
            GROUP,
            group.group_id,
            deadline,
            errors=commit_errors,
            group_id=group.group_id,
            generation_id=group.generation,
            member_id=group.member_id,
            group_instance_id=group.group_instance_id,
            topics=[{"name": name, "partitions": some} for name, some in topics.items()],
        )

    async def _ask(self, name: str, kind: str, key: str, deadline: Deadline, **options: Any) -> Any:
        try:
            return await self._asking.ask(name, kind, key, deadline, **options)
        except ProducerFenced as exc:
            self._fence(exc)
            raise

    def _fence(self, error: ProducerFenced) -> None:
        self.state = State.FENCED
        self.error = error
        self._persona.current = NOBODY
        self._opened(False)
        self._drop(error)

    def _refusal(self) -> KafkaError:
        """Return what to raise for a transaction that cannot go on."""
        if isinstance(self.error, ProducerFenced):
            return ProducerFenced(*self.error.args)
        refusal = TransactionAborted(
            f"the transaction of {self.transactional_id} can only be aborted: {self.error}"
        )
        refusal.__cause__ = self.error
        return refusal

    def _check(self, wanted: State, what: str) -> None:
        if self.state in (State.DOOMED, State.FENCED):
            raise self._refusal()
        if self.state is not wanted:
            raise NotReady(f"cannot {what}: {self.transactional_id} is {self.state.value}")
