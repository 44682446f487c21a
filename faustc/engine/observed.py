"""Ledgers and producers that tell of every message. Made only where a sensor asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from faustc.engine.ledger import Ledger
from faustc.exceptions import DeliveryFailed, FaustError
from faustc.types import TopicPartition

if TYPE_CHECKING:
    from faustc.client.delivery import Written

__all__ = ["MessageSensors", "ObservedLedger", "ObservedProducer", "Pending"]


class MessageSensors(Protocol):
    """Told of single messages, events and sends."""

    def on_message_in(self, tp: TopicPartition, offset: int, message: Any) -> None: ...
    def on_message_out(self, tp: TopicPartition, offset: int, message: Any) -> None: ...
    def on_stream_event_in(
        self, tp: TopicPartition, offset: int, stream: Any, event: Any
    ) -> Any: ...
    def on_stream_event_out(
        self, tp: TopicPartition, offset: int, stream: Any, event: Any, state: Any = None
    ) -> None: ...
    def on_send_initiated(
        self, producer: Any, topic: str, message: Any, keysize: int, valsize: int
    ) -> Any: ...
    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None: ...
    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None: ...


class Pending:
    """How many readers each message that came in is still with, over the ledgers of all."""

    def __init__(
        self, sensors: MessageSensors, readers_of: Callable[[str], Collection[Any]]
    ) -> None:
        self.sensors = sensors
        self._readers_of = readers_of
        self._left: dict[TopicPartition, dict[int, int]] = {}

    def ledger(self, tp: TopicPartition) -> ObservedLedger:
        """Make the ledger of one reader of a partition."""
        return ObservedLedger(tp, self)

    def came(self, tp: TopicPartition, message: Any) -> None:
        left = self._left.setdefault(tp, {})
        if message.offset not in left:
            left[message.offset] = max(1, len(self._readers_of(tp.topic)))
            self.sensors.on_message_in(tp, message.offset, message)

    def went(self, tp: TopicPartition, message: Any) -> None:
        left = self._left.get(tp, {})
        count = left.get(message.offset, 0) - 1
        if count > 0:
            left[message.offset] = count
        elif left.pop(message.offset, None) is not None:
            self.sensors.on_message_out(tp, message.offset, message)

    def forget(self, tp: TopicPartition) -> None:
        self._left.pop(tp, None)


class ObservedLedger(Ledger):
    """A ledger that knows its messages, and who is at which."""

    __slots__ = ("_events", "_messages", "_pending", "_tp")

    def __init__(self, tp: TopicPartition, pending: Pending) -> None:
        super().__init__()
        self._tp = tp
        self._pending = pending
        self._messages: dict[int, Any] = {}
        self._events: dict[int, tuple[Any, Any, Any]] = {}

    def note(self, messages: Sequence[Any]) -> None:
        """Tell that messages are about to be handed out."""
        for message in messages:
            self._messages[message.offset] = message
            self._pending.came(self._tp, message)

    def begin(self, stream: Any, offset: int, event: Any) -> None:
        """Tell that a stream begins with an event."""
        state = self._pending.sensors.on_stream_event_in(self._tp, offset, stream, event)
        self._events[offset] = stream, event, state

    def ack(self, offset: int) -> bool:
        changed = super().ack(offset)
        begun = self._events.pop(offset, None)
        if begun is not None:
            stream, event, state = begun
            self._pending.sensors.on_stream_event_out(self._tp, offset, stream, event, state)
        message = self._messages.pop(offset, None)
        if message is not None:
            self._pending.went(self._tp, message)
        return changed

    def cut(self, offset: int) -> None:
        super().cut(offset)
        for kept in (self._messages, self._events):
            for gone in [one for one in kept if one >= offset]:
                del kept[gone]

    def close(self) -> None:
        super().close()
        self._messages.clear()
        self._events.clear()
        self._pending.forget(self._tp)


class ObservedProducer:
    """A producer that tells of each message it is given, and what becomes of it.

    To tell of a failure it has to look at it, so that the real producer's flush takes it
    for seen. What the sender did not look at makes flush raise here, as it would there.
    """

    def __init__(self, producer: Any, sensors: MessageSensors) -> None:
        self._producer = producer
        self._sensors = sensors
        self._failed: list[ObservedDelivery] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any
    ) -> ObservedDelivery:
        sizes = len(key or b""), len(value or b"")
        state = self._sensors.on_send_initiated(self, topic, value, *sizes)
        try:
            delivery = await self._producer.send(topic, value, key=key, **options)
        except BaseException as exc:
            self._sensors.on_send_error(self, exc, state)
            raise
        found = ObservedDelivery(delivery)

        def done(_: Any) -> None:
            error = delivery.exception()
            if error is None:
                self._sensors.on_send_completed(self, state, delivery.result())
            else:
                self._failed.append(found)
                self._sensors.on_send_error(self, error, state)

        delivery.add_done_callback(done)
        return found

    async def send_many(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        **options: Any,
    ) -> ObservedDeliveries:
        given = keys if keys is not None else [None] * len(values)
        pairs = zip(values, given, strict=True)
        return ObservedDeliveries([await self.send(topic, v, k, **options) for v, k in pairs])

    async def send_and_wait(self, topic: str, *args: Any, **options: Any) -> Any:
        return await (await self.send(topic, *args, **options))

    async def flush(self, *args: Any, **options: Any) -> None:
        await self._producer.flush(*args, **options)
        failed, self._failed = self._failed, []
        for delivery in failed:
            if not delivery.looked_at:
                error = delivery.error
                if isinstance(error, DeliveryFailed):
                    raise error
                raise DeliveryFailed(f"a message was given up: {error}") from error


class ObservedDelivery:
    """A delivery that knows whether its sender has looked at what became of it."""

    def __init__(self, delivery: Any) -> None:
        self._delivery = delivery
        self.looked_at = False

    @property
    def error(self) -> BaseException | None:
        """Why it was given up; asking for that is not the sender's looking."""
        error: BaseException | None = self._delivery.exception()
        return error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)

    def __await__(self) -> Generator[Any, None, Any]:
        self.looked_at = True
        return self._waited().__await__()

    async def _waited(self) -> Any:
        try:
            return await self._delivery
        except FaustError:
            raise
        except BaseException:
            self.looked_at = False  # given up waiting: nobody has seen it
            raise

    def result(self) -> Any:
        found = self._delivery.result
        self.looked_at = self._delivery.done()
        return found()

    def exception(self) -> Any:
        self.looked_at = self._delivery.done()
        return self._delivery.exception()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._delivery.add_done_callback(lambda _: callback(self))


class ObservedDeliveries:
    """Those of many messages that were sent with one call."""

    def __init__(self, deliveries: list[ObservedDelivery]) -> None:
        self._deliveries = deliveries

    def __len__(self) -> int:
        return len(self._deliveries)

    def __await__(self) -> Generator[Any, None, list[Written]]:
        return self._waited().__await__()

    async def _waited(self) -> list[Written]:
        from faustc.client.delivery import Written  # brings every codec along: not at import

        found = await asyncio.gather(*self._deliveries, return_exceptions=True)
        error = next((one for one in found if isinstance(one, BaseException)), None)
        if error is not None:
            raise error
        return [
            Written(m.topic_partition, m.offset, 1, m.timestamp, m.timestamp_type)
            for m in found
            if not isinstance(m, BaseException)
        ]

    def done(self) -> bool:
        return all(one.done() for one in self._deliveries)
