"""The producer of a worker that works exactly once: what is sent goes into the open transaction.

One is open all the time, except while it is ended: then whoever sends waits. A producer that
was fenced is replaced by another one under the same transactional id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faustc.exceptions import (
    KafkaError,
    KafkaTimeout,
    NotReady,
    ProducerClosed,
    ProducerFenced,
    TransactionAborted,
)
from faustc.types import OffsetAndMetadata, TopicPartition

__all__ = ["TransactingProducer"]

logger = logging.getLogger(__name__)

# How long one attempt at ending a transaction takes before that is said, and tried again.
ATTEMPT_S = 20.0
PAUSE_S = 0.5


class TransactingProducer:
    """What is sent for an event that is not ours any more is refused: whoever has it sends it.

    make makes a producer that is not started; stale says whether the running task is at such an
    event. on_trouble is called when the transaction can only be undone.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        stale: Callable[[], bool],
        on_trouble: Callable[[], None],
    ) -> None:
        self._make = make
        self._stale = stale
        self._on_trouble = on_trouble
        self._inner: Any = make()
        self._opened = asyncio.Event()
        self._start_timeout_s: float | None = None
        #: Whether messages were sent that are in no transaction that has ended.
        self.dirty = False
        self._committing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def start(self, timeout_s: float | None = None) -> None:
        """Start, abort what an earlier life left open, and begin a transaction."""
        self._start_timeout_s = timeout_s
        await self._inner.start(timeout_s)
        await self._begin()

    async def stop(self) -> None:
        """Abort what is open, and end."""
        self._opened.set()
        await self._inner.stop()

    async def _begin(self) -> None:
        await self._inner.begin_transaction()
        self.dirty = False
        self._opened.set()

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        while True:
            if not self._opened.is_set():
                await self._opened.wait()
            if self._stale():
                raise TransactionAborted("the event is not ours any more: it comes again elsewhere")
            self.dirty = True
            try:
                return await getattr(self._inner, name)(*args, **options)
            except ProducerClosed:
                raise
            except NotReady:
                if self._opened.is_set():
                    raise
            except (TransactionAborted, ProducerFenced):
                self._on_trouble()
                raise

    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any
    ) -> Any:
        """Send in the open transaction; see Producer.send."""
        return await self._call("send", topic, value, key, **options)

    async def send_and_wait(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any
    ) -> Any:
        """Send, and wait until brokers have it; it is seen when the transaction is committed."""
        return await (await self.send(topic, value, key, **options))

    async def send_many(self, topic: str, values: Sequence[bytes | None], **options: Any) -> Any:
        """Send many in the open transaction; see Producer.send_many."""
        return await self._call("send_many", topic, values, **options)

    async def send_offsets(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], claim: Any, timeout_s: float
    ) -> None:
        """Have the offsets of the app's group committed with the transaction."""
        self.dirty = True
        await self._inner.send_offsets_to_transaction(offsets, claim, timeout_s)

    @property
    def in_doubt(self) -> bool:
        """Whether a commit was begun, and nobody knows yet what came of it."""
        return self._committing

    async def commit(self) -> None:
        """Commit what is open, and begin the next; it takes as long as it takes to know.

        Raises TransactionAborted, ProducerFenced. Cancelled, it is to be called again.
        """
        self._opened.clear()
        self._committing = True
        try:
            while True:
                try:
                    await self._inner.commit_transaction(ATTEMPT_S)
                    break
                except KafkaTimeout as exc:
                    logger.warning("Not known yet whether the transaction is committed: %s", exc)
                    await asyncio.sleep(PAUSE_S)
        except (TransactionAborted, ProducerFenced):
            self._committing = False
            raise
        self._committing = False
        await self._begin()

    async def undo(self) -> None:
        """Abort what is open, and begin the next, with another producer if need be."""
        self._opened.clear()
        while True:
            try:
                await self._inner.abort_transaction(ATTEMPT_S)
                break
            except ProducerFenced:
                await self._replace()
                break
            except NotReady as exc:
                if isinstance(exc, ProducerClosed) or self._committing:
                    await self._replace()
                break
            except KafkaError as exc:
                logger.warning("The transaction is not aborted yet, trying again: %s", exc)
                await asyncio.sleep(PAUSE_S)
        self._committing = False
        await self._begin()

    async def _replace(self) -> None:
        """Go on under the same id as another producer; that aborts what the old one left."""
        old, self._inner = self._inner, self._make()
        await old.stop(0.1)
        while True:
            try:
                await self._inner.start(self._start_timeout_s)
                return
            except KafkaError as exc:
                logger.warning("No new producer yet, trying again: %s", exc)
                await self._inner.stop()
                self._inner = self._make()
                await asyncio.sleep(PAUSE_S)
