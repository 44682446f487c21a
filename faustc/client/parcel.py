"""A parcel: one batch of messages on its way to one partition, and what became of it.

::

    open -> sealed -> sent -> written
      |        |       | ^       (a retry goes sent -> waiting -> sent)
      +--------+-------+------> given up

A message's `Delivery` is no more than its parcel and its index there. Futures
are made for those who wait, so a parcel nobody waits for costs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder, stamp
from faustc._native.delivery import Delivery
from faustc.client.failures import Failures
from faustc.client.identity import NOBODY, Identity, after
from faustc.exceptions import DeliveryFailed, KafkaError, MessageTooLarge
from faustc.types import RecordMetadata, TopicPartition

# Halves of what was already built: no bound of ours may cut them again.
_UNBOUNDED = 2**31 - 1


class Parcel:
    """One batch from its first message to its end; the queue in front of it is a Lane.

    It belongs to the event loop of its producer. `deadline` is on that loop's
    clock; `reserved` is what it counts for in the producer's buffer memory.
    """

    __slots__ = (
        "_callbacks",
        "_failed_in",
        "_looked_at",
        "_waiters",
        "_watched",
        "append",
        "attempts",
        "base_offset",
        "builder",
        "count",
        "data",
        "deadline",
        "done",
        "error",
        "failures",
        "identity",
        "last_error",
        "log_append_time",
        "on_done",
        "opened_at",
        "order",
        "parent",
        "parts",
        "reserved",
        "sequence",
        "tp",
    )

    def __init__(
        self,
        tp: TopicPartition,
        builder: BatchBuilder | None,
        failures: Failures,
        *,
        opened_at: float,
        deadline: float,
        reserved: int = 0,
    ) -> None:
        self.tp = tp
        self.failures = failures
        self.builder = builder
        if builder is not None:
            # the bound method: one look-up less for every message
            self.append = builder.append
        self.opened_at = opened_at
        self.deadline = deadline
        self.reserved = reserved
        self.data = b""
        self.count = 0
        self.identity = NOBODY
        self.sequence = -1
        # the place among those sent: (5,), its halves (5, 0) and (5, 1); () while never sent
        self.order: tuple[int, ...] = ()
        self.attempts = 0
        self.last_error: Exception | None = None
        self.done = False
        self.error: KafkaError | None = None
        self.base_offset = -1
        self.log_append_time = -1
        self.on_done: Callable[[Parcel], None] | None = None
        self.parts: list[tuple[int, Parcel]] = []
        self.parent: Parcel | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._callbacks: list[tuple[Callable[[Delivery], object], Delivery]] = []
        self._watched: list[tuple[int, int]] = []  # (first, count) of messages awaited
        self._looked_at: set[int] | None = None  # made when the parcel is given up
        self._failed_in = -1

    def __repr__(self) -> str:
        state = "open" if self.builder else "waiting" if self.attempts == 0 else "sent"
        if self.done:
            state = "written" if self.error is None else "given up"
        return f"<Parcel of {self.count} for {self.tp.topic}/{self.tp.partition}, {state}>"

    # --- on the way out ---

    def seal(self, identity: Identity, sequence: int) -> None:
        """Turn the builder into the bytes of a batch; sequence -1 when not idempotent."""
        builder = self.builder
        assert builder is not None
        if sequence >= 0:
            builder.set_producer_state(identity.producer_id, identity.epoch, sequence)
        self.count = builder.count
        self.data = builder.seal()
        self.identity, self.sequence = identity, sequence
        self.builder = None
        del self.append

    def restamp(self, identity: Identity, sequence: int) -> None:
        """Give a batch that is sent again a new place among the sequences."""
        if sequence >= 0:
            self.data = stamp(self.data, identity.producer_id, identity.epoch, sequence)
        self.identity, self.sequence = identity, sequence

    def split(self, compression: str | None) -> list[Parcel]:
        """Return two parcels that hold the halves of this one, which is then no more sent itself.

        They share the sequences of this one, so nothing behind it has to move.
        """
        batches = list(decode(self.data))
        messages = [message for batch in batches for message in batch.messages()]
        transactional = batches[0].is_transactional
        middle = len(messages) // 2
        start = 0
        for half in (messages[:middle], messages[middle:]):
            builder = BatchBuilder(compression, max_bytes=_UNBOUNDED, transactional=transactional)
            for message in half:
                builder.append(message.key, message.value, message.timestamp, message.headers)
            part = Parcel(
                self.tp, builder, self.failures, opened_at=self.opened_at, deadline=self.deadline
            )
            part.parent = self
            part.order = (*self.order, len(self.parts))
            part.last_error = self.last_error
            part.seal(self.identity, after(self.sequence, start) if self.sequence >= 0 else -1)
            self.parts.append((start, part))
            start += part.count
        self.data = b""
        return [part for _, part in self.parts]

    # --- the end ---

    def written(self, base_offset: int, log_append_time: int) -> None:
        """Settle: the broker has it from base_offset on (-1 when it did not say)."""
        if not self.done:
            self.base_offset, self.log_append_time = base_offset, log_append_time
            self._finish()

    def give_up(self, error: KafkaError) -> None:
        """Settle: these messages will not be sent again; error is what their waiters get."""
        if not self.done:
            if self.builder is not None:
                self.count = self.builder.count
            self.error = error
            self._finish()

    def _finish(self) -> None:
        self.done = True
        self.data, self.builder = b"", None
        if self.error is not None:
            whole, start = self._whole()
            looked = sum(start <= i < start + self.count for i in whole._seen())
            self._failed_in = self.failures.round
            self.failures.add(self.count, looked, self.error)
        if self.parent is not None:
            if all(part.done for _, part in self.parent.parts):
                self.parent._finish()
            return
        if self.on_done is not None:
            self.on_done(self)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        for callback, delivery in self._callbacks:
            asyncio.get_running_loop().call_soon(callback, delivery)
        self._waiters, self._callbacks = [], []

    def _whole(self) -> tuple[Parcel, int]:
        """Return the parcel that this one was split off, and where in it this one starts."""
        whole, start = self, 0
        while whole.parent is not None:
            start += next(at for at, part in whole.parent.parts if part is whole)
            whole = whole.parent
        return whole, start

    def _seen(self) -> set[int]:
        """Return the indexes of a failed parcel's messages that somebody has looked at."""
        if self._looked_at is None:
            self._looked_at = {i for at, n in self._watched for i in range(at, at + n)}
        return self._looked_at

    # --- asked by a Delivery ---

    def watch(self, first: int, count: int) -> None:
        """Take note that somebody waits for these messages and will see if they fail."""
        self._watched.append((first, count))

    def unwatch(self, first: int, count: int) -> None:
        """Nobody waits for these messages any more (that once did)."""
        if not self.done:
            self._watched.remove((first, count))

    async def wait_done(self) -> None:
        """Wait until the parcel is written or given up; a cancelled wait leaves it alone."""
        if not self.done:
            # one future for each who waits: cancelling one must not wake the others
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise

    async def wait(self, index: int, timestamp_ms: int) -> RecordMetadata:
        """Wait for one message; return where it is or raise why it is nowhere."""
        if not self.done:
            self.watch(index, 1)
            try:
                await self.wait_done()
            except asyncio.CancelledError:
                self.unwatch(index, 1)
                raise
        return self.result(index, timestamp_ms)

    def result(self, index: int, timestamp_ms: int) -> RecordMetadata:
        """Return where message `index` is; raises why not, or InvalidStateError when not done."""
        error = self.exception(index)
        if error is not None:
            raise error
        part, start = self.part_of(index)
        stamped_by_broker = part.log_append_time >= 0
        return RecordMetadata(
            self.tp.topic,
            self.tp.partition,
            self.tp,
            part.base_offset + index - start if part.base_offset >= 0 else -1,
            part.log_append_time if stamped_by_broker else timestamp_ms,
            int(stamped_by_broker),
        )

    def exception(self, index: int) -> Exception | None:
        """Return why message `index` was given up, or None if it was written."""
        if not self.done:
            raise asyncio.InvalidStateError(f"{self!r} is not done")
        part, _ = self.part_of(index)
        if part.error is None:
            return None
        seen = self._seen()
        if index not in seen:
            seen.add(index)
            self.failures.seen(part._failed_in)
        return _again(part.error)

    def add_done_callback(self, delivery: Delivery, callback: Callable[[Delivery], object]) -> None:
        """Call callback(delivery) soon after the parcel is done (which may be now)."""
        if self.done:
            asyncio.get_running_loop().call_soon(callback, delivery)
        else:
            self._callbacks.append((callback, delivery))

    def part_of(self, index: int) -> tuple[Parcel, int]:
        part, start = self, 0
        while part.parts:
            at, part = next((at, p) for at, p in reversed(part.parts) if start + at <= index)
            start += at
        return part, start


def _again(error: KafkaError) -> KafkaError:
    """Return a fresh copy to raise: one object raised many times would collect tracebacks."""
    copy: KafkaError
    if isinstance(error, DeliveryFailed):
        copy = DeliveryFailed(error.args[0], topic=error.topic, partition=error.partition)
    else:
        copy = MessageTooLarge(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def failure(parcel: Parcel, why: str, cause: BaseException | None) -> DeliveryFailed:
    """Return the DeliveryFailed of a parcel, its cause chained."""
    tp = parcel.tp
    error = DeliveryFailed(
        f"{tp.topic}/{tp.partition}: {why}", topic=tp.topic, partition=tp.partition
    )
    error.__cause__ = cause
    return error
