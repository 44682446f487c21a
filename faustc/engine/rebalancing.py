"""The half of an engine that the group tells what comes and what goes, and that undoes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from faustc.engine.assignment import Assignment, listing
from faustc.engine.beyond import Beyond
from faustc.engine.checkpoint import Checkpoint
from faustc.engine.counters import Counters
from faustc.engine.declare import Declarations
from faustc.engine.exactly_once import ExactlyOnce
from faustc.engine.nursery import Nursery
from faustc.engine.observing import Telling
from faustc.engine.options import EngineOptions
from faustc.engine.outbox import Outbox
from faustc.engine.sharing import Sharing
from faustc.engine.tables import Tables
from faustc.exceptions import ConnectionLost, DeliveryFailed, KafkaError, KafkaTimeout
from faustc.types import TopicPartition

__all__ = ["Listener"]

logger = logging.getLogger(__name__)

# How long to try to abort the transactions of one member that is gone.
ABORT_OF_OTHERS_S = 30.0
# A commit on revoke is tried for so long even if nothing is waited for before it.
MIN_COMMIT_TIMEOUT_S = 5.0


class Listener:
    """What the consumer's group calls, on the app's loop, one call after the other."""

    assignment: Assignment
    checkpoint: Checkpoint | None
    consumer: Any
    counters: Counters
    declared: Declarations
    options: EngineOptions
    outbox: Outbox
    rebalancing: bool
    sharing: Sharing
    stopping: bool
    tables: Tables
    telling: Telling
    _nursery: Nursery
    _leaving: frozenset[TopicPartition]
    _held_up: frozenset[TopicPartition]
    _undoing: frozenset[TopicPartition]
    _unknown: frozenset[TopicPartition]
    _waiting: frozenset[TopicPartition]
    _on_assigned: Callable[[frozenset[TopicPartition]], Any] | None
    _on_revoked: Callable[[frozenset[TopicPartition]], Any] | None
    _on_rebalance: Callable[[], None]
    _on_crash: Callable[[BaseException], None]

    async def _reach(self) -> None:
        raise NotImplementedError

    def commit_soon(self) -> None:
        """Let the next commit come before its time."""
        raise NotImplementedError

    async def start_producer(self) -> Any:
        raise NotImplementedError

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Open what is ours now. A topic younger than we are is read from its beginning."""
        async with self.telling.of_assignment(self.consumer):
            await self._open(frozenset(assigned))

    async def _open(self, partitions: frozenset[TopicPartition]) -> None:
        named = self.assignment.names
        young = [tp for tp in partitions if self.declared.is_young(tp.topic, tp.topic in named)]
        if young:
            committed = {tp: await self.consumer.committed(tp) for tp in young}
            fresh = [tp for tp in young if committed[tp] is None]
            if fresh:
                await self.consumer.seek_to_beginning(*fresh)
        self._look_up(partitions)
        self._let_in(await self.tables.assigned(partitions))
        self.sharing.assigned(partitions)
        self.rebalancing = False
        self.counters.rebalances_total += 1
        logger.info("Assigned: %s", listing(partitions) or "nothing")
        if self._on_assigned is not None:
            await self._on_assigned(partitions)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Finish and commit what is being taken away, under one deadline, then forget it."""
        partitions = frozenset(revoked)
        self.rebalancing = True
        if not self.stopping:
            self.telling.of_rebalance()
            self._on_rebalance()
        if not partitions:
            return
        logger.info("Revoked: %s", listing(partitions))
        self._leaving |= partitions
        try:
            await self._reach()
            self.assignment.stop(partitions)
            if not self.stopping:  # then wind_down did this for all
                await self.assignment.drained(partitions, self.options.drain_timeout_s)
            if self.checkpoint is not None and not await self.checkpoint.commit(
                partitions,
                timeout_s=max(self.options.drain_timeout_s, MIN_COMMIT_TIMEOUT_S),
            ):
                self.checkpoint.given_up(partitions)
                self.commit_soon()
            if self._on_revoked is not None:
                await self._on_revoked(partitions)
        except DeliveryFailed as exc:
            self._on_crash(exc)  # the group's callbacks must not be where this ends
            raise
        finally:
            self._forget(partitions)
            self._leaving -= partitions

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget what others may have by now; a commit would be theirs to make."""
        partitions = frozenset(lost)
        if partitions:
            logger.warning("Lost, their uncommitted events come again: %s", listing(partitions))
            if self.checkpoint is not None:
                self.checkpoint.given_up(partitions)
                self.commit_soon()
        self._forget(partitions)
        if self._on_revoked is not None:
            await self._on_revoked(partitions)

    def _see_to(self, gone: frozenset[str]) -> None:
        """Abort what members left open that are gone: others wait for that to be over."""
        self._nursery.spawn(self._abort(gone), "abort transactions of others")

    async def _abort(self, gone: frozenset[str]) -> None:
        from faustc.client.transaction_asking import abort_transaction_of

        producer = await self.start_producer()
        for name in sorted(gone):
            try:
                await abort_transaction_of(producer.client, name, ABORT_OF_OTHERS_S)
            except KafkaError as exc:  # its time-out does it, later
                logger.warning("Transactions of %s are not aborted: %s", name, exc)
            else:
                logger.info("What %s left open is aborted", name)
                self.sharing.tell_aborted(name)

    def _look_up(self, partitions: frozenset[TopicPartition]) -> None:
        """Find out what others did beyond the offsets that they committed, before reading."""
        if isinstance(self.checkpoint, ExactlyOnce):
            self._unknown |= partitions
            self._nursery.spawn(self._find_out(partitions), "committed offsets")

    async def _find_out(self, partitions: frozenset[TopicPartition]) -> None:
        while wanted := partitions & self._unknown:
            try:
                found = await self.consumer.committed_offsets(wanted)
            except (KafkaTimeout, ConnectionLost) as exc:
                logger.warning("The committed offsets are not known yet, asking again: %s", exc)
                continue
            known = wanted & self._unknown  # some may have gone meanwhile
            self.assignment.beyond.update((tp, Beyond(found.get(tp))) for tp in known)
            self._unknown -= known
            ready, self._waiting = self._waiting & known, self._waiting - known
            self._let_in(ready)

    def _let_in(self, partitions: Collection[TopicPartition]) -> None:
        """Open partitions whose tables are whole by now, unless they are about to go."""
        back = frozenset(partitions) - self._leaving
        # What was done beyond the committed offset has to be known first.
        self._waiting |= back & self._unknown
        back -= self._unknown
        if held := back & self._held_up & frozenset(self.consumer.assignment()):
            self.consumer.resume(*held)
        self._held_up -= back
        self.assignment.open(back)

    async def _undo(self, why: str) -> None:
        """Undo what is not committed, and let its events come again; the gate is closed.

        Cancelled, it is to be called again, and goes on with the same partitions.
        """
        logger.warning("What is not committed is undone, and its events come again: %s", why)
        self._undoing |= self.assignment.partitions
        ours = self._undoing
        if held := ours & frozenset(self.consumer.assignment() if self.consumer else ()):
            # Or else what is being fetched just now would be taken, and dropped.
            self.consumer.pause(*held)
            self._held_up |= held
        self.assignment.close(ours)  # what is acknowledged from here on was undone
        self.outbox.drop(why)
        assert isinstance(self.checkpoint, ExactlyOnce)
        self.checkpoint.forget(ours)
        await self.checkpoint.producer.undo()
        self._unknown |= self._undoing  # whoever is whole sooner waits for the rewind
        filling = self.tables.undo()
        while self.consumer is not None:
            ours = self._undoing & frozenset(self.consumer.assignment())
            try:
                found = await self.consumer.rewind(ours, self.assignment.begun_at or {})
                break
            except (KafkaTimeout, ConnectionLost) as exc:
                logger.warning("The committed offsets are not known yet, asking again: %s", exc)
        else:
            found, ours = {}, frozenset()
        back = ours & self._undoing  # some may have gone meanwhile
        self.assignment.beyond.update((tp, Beyond(found.get(tp))) for tp in back)
        self._unknown -= self._undoing
        self._undoing = frozenset()
        ready = (back - filling) | (back & self._waiting)
        self._waiting -= ready
        self._let_in(ready)

    def _forget(self, partitions: frozenset[TopicPartition]) -> None:
        for tp in partitions:
            (self.assignment.begun_at or {}).pop(tp, None)
            self.assignment.beyond.pop(tp, None)
        self._held_up -= partitions
        self._unknown -= partitions
        self._undoing -= partitions
        self._waiting -= partitions
        self.assignment.close(partitions)
        self.tables.revoked(partitions, stay=not self.stopping)
        self.sharing.tell_held(self.tables.held())
        self.sharing.revoked(partitions)
        if self.checkpoint is not None:
            self.checkpoint.forget(partitions)
