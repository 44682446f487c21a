"""Messages that never saw Kafka, and deliveries awaited from another loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple

from faustc.types import HeadersArg, RecordMetadata, TopicPartition, prepare_headers
from faustc.types.tuples import making_message

__all__ = ["LocalMessage", "PendingDelivery", "headers_list", "timestamp_ms"]


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
    checksum: bytes | None = None
    event: Any = None  # the one it was made of, if it was put as an event

    @property
    def tp(self) -> TopicPartition:
        """The channel's name and -1."""
        return TopicPartition(self.topic, self.partition)

    @property
    def serialized_key_size(self) -> int:
        """The key's length if it is bytes, else -1."""
        return _size(self.key)

    @property
    def serialized_value_size(self) -> int:
        """The value's length if it is bytes, else -1."""
        return _size(self.value)

    def metadata(self) -> RecordMetadata:
        """Describe it like a message that Kafka stored."""
        return RecordMetadata(
            self.topic, self.partition, self.tp, self.offset, self.timestamp, self.timestamp_type
        )


def made_message(
    topic: str,
    partition: int,
    offset: int,
    timestamp: float = 0,
    timestamp_type: int = 0,
    headers: HeadersArg = None,
    key: Any = None,
    value: Any = None,
    checksum: bytes | None = None,
    serialized_key_size: int | None = None,
    serialized_value_size: int | None = None,
    tp: TopicPartition | None = None,
    **more: Any,
) -> LocalMessage:
    """Make a message by hand, with Faust's arguments; those about its way through are ignored."""
    unknown = more.keys() - {"time_in", "time_out", "time_total", "generation_id"}
    if unknown:
        raise TypeError(f"Message takes no {', '.join(sorted(unknown))}")
    pairs = tuple(headers_list(headers) or ())
    return LocalMessage(
        topic, partition, offset, int(timestamp), timestamp_type, key, value, pairs, checksum
    )


making_message.append(made_message)


def _size(data: Any) -> int:
    return len(data) if isinstance(data, bytes) else -1


def headers_list(headers: HeadersArg) -> list[tuple[str, bytes | None]] | None:
    """Return headers as pairs, text in UTF-8, or None when there are none."""
    if not headers:
        return None
    prepared = prepare_headers(headers)
    return list(prepared.items()) if isinstance(prepared, dict) else prepared


def timestamp_ms(timestamp: float | None) -> int | None:
    """Turn Faust's seconds into Kafka's milliseconds."""
    return None if timestamp is None else int(timestamp * 1000)


class PendingDelivery:
    """A delivery that lives on another loop; awaitable on any.

    The result is a RecordMetadata.
    """

    __slots__ = ("_delivery", "_loop", "_result")

    def __init__(
        self, delivery: Awaitable[RecordMetadata], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._delivery = delivery
        self._loop = loop
        self._result: RecordMetadata | None = None

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._wait().__await__()

    async def _wait(self) -> RecordMetadata:
        if self._result is None:
            if self._loop is asyncio.get_running_loop():
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
        if self._result is not None:
            callback(self)
            return
        add = getattr(self._delivery, "add_done_callback")  # noqa: B009
        self._loop.call_soon_threadsafe(add, lambda _: callback(self))


async def _await(delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    return await delivery
