"""Messages that never saw Kafka, and deliveries awaited from another loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple

from faustc.types import HeadersArg, RecordMetadata, TopicPartition

__all__ = ["LocalMessage", "PendingDelivery", "SoonDelivery", "headers_list"]


class LocalMessage(NamedTuple):
    """What `event.message` is when the event came through an in-memory channel.

    key and value are the objects that were sent, not bytes. timestamp is in
    milliseconds.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: Any
    value: Any
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def tp(self) -> TopicPartition:
        """The channel's name and -1."""
        return TopicPartition(self.topic, self.partition)

    def metadata(self) -> RecordMetadata:
        """Describe it like a message that Kafka stored."""
        return RecordMetadata(
            self.topic, self.partition, self.tp, self.offset, self.timestamp, self.timestamp_type
        )


def headers_list(headers: HeadersArg) -> list[tuple[str, bytes | None]] | None:
    """Return headers as pairs, or None when there are none."""
    if not headers:
        return None
    items = getattr(headers, "items", None)
    return list(items() if items is not None else headers)


def timestamp_ms(timestamp: float | None) -> int | None:
    """Turn Faust's seconds into Kafka's milliseconds."""
    return None if timestamp is None else int(timestamp * 1000)


class PendingDelivery:
    """A delivery that lives on another loop, or is done already; awaitable on any.

    The result is a RecordMetadata.
    """

    __slots__ = ("_delivery", "_loop", "_result")

    def __init__(
        self,
        delivery: Awaitable[RecordMetadata] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        result: RecordMetadata | None = None,
    ) -> None:
        self._delivery = delivery
        self._loop = loop
        self._result = result

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._wait().__await__()

    async def _wait(self) -> RecordMetadata:
        if self._result is None:
            assert self._delivery is not None
            if self._loop is None or self._loop is asyncio.get_running_loop():
                self._result = await self._delivery
            else:
                waiting = asyncio.run_coroutine_threadsafe(_await(self._delivery), self._loop)
                self._result = await asyncio.wrap_future(waiting)
        return self._result

    def done(self) -> bool:
        """Say whether the message was written or given up."""
        return self._result is not None or bool(getattr(self._delivery, "done", bool)())

    def result(self) -> RecordMetadata:
        """Return where the message is; raises what awaiting would, or InvalidStateError."""
        if self._result is None:
            result: Callable[[], RecordMetadata] = getattr(self._delivery, "result")  # noqa: B009
            self._result = result()
        return self._result

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call callback(self) once it is done (at once, when it is)."""
        if self._result is not None or self._delivery is None:
            callback(self)
            return
        add = getattr(self._delivery, "add_done_callback")  # noqa: B009
        if self._loop is None:
            add(lambda _: callback(self))
        else:
            self._loop.call_soon_threadsafe(add, lambda _: callback(self))


class SoonDelivery:
    """A delivery that is asked for already and sent as soon as its turn comes.

    Awaitable on any loop; the result is a RecordMetadata.
    """

    def __init__(self, home: Any) -> None:
        self._home = home
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._wait().__await__()

    async def _wait(self) -> RecordMetadata:
        self.future.looked_at = True  # type: ignore[attr-defined] # see Outbox
        delivery = await asyncio.wrap_future(self.future)
        result: RecordMetadata = await self._home.run(_await, delivery)
        return result

    def done(self) -> bool:
        """Say whether the message was written or given up."""
        if not self.future.done():
            return False
        return self.future.exception() is not None or bool(self.future.result().done())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call callback(self), on the app's loop, once brokers have it or it was given up."""

        def sent(future: concurrent.futures.Future[Any]) -> None:
            if future.exception() is None:
                future.result().add_done_callback(lambda _: callback(self))
            else:
                callback(self)

        self.future.add_done_callback(sent)


async def _await(delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    return await delivery
