"""Plain values of Kafka's: partitions, offsets, messages, and messages on their way."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from .core import HeadersArg, OpenHeadersArg

__all__ = [
    "TP",
    "ConsumerMessage",
    "FutureMessage",
    "Message",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "PendingMessage",
    "RecordMetadata",
    "TopicPartition",
]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


TP = TopicPartition  # Faust's name
#: What `Message(...)` calls: put here by who has a message to make.
making_message: list[Callable[..., Any]] = []


class RecordMetadata(NamedTuple):
    """Where a produced message landed.

    timestamp is in milliseconds; timestamp_type 0 is CreateTime, 1 LogAppendTime.
    offset is -1 when acks=0, since nobody answered.
    """

    topic: str
    partition: int
    topic_partition: TopicPartition
    offset: int
    timestamp: int
    timestamp_type: int


class OffsetAndMetadata(NamedTuple):
    """A committed offset, the next one to be read, and the committer's note."""

    offset: int
    metadata: str = ""


class OffsetAndTimestamp(NamedTuple):
    """The first offset whose timestamp (milliseconds) is at or after the one asked for."""

    offset: int
    timestamp: int


@runtime_checkable
class Message(Protocol):
    """What `event.message` is: a message as its channel stored it.

    timestamp is in milliseconds. Sizes are -1 for null; checksum is None, since
    Kafka has one for a batch and none for a message.
    """

    if not TYPE_CHECKING:

        def __new__(cls, *args: Any, **fields: Any) -> Any:
            """Make one by hand, for tests: of an in-memory channel's kind."""
            return making_message[0](*args, **fields)

    @property
    def topic(self) -> str | None: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]: ...
    @property
    def key(self) -> Any: ...
    @property
    def value(self) -> Any: ...
    @property
    def checksum(self) -> bytes | None: ...
    @property
    def serialized_key_size(self) -> int: ...
    @property
    def serialized_value_size(self) -> int: ...
    @property
    def tp(self) -> TopicPartition: ...


ConsumerMessage = Message  # Faust's name for one that Kafka stored


class PendingMessage(NamedTuple):
    """A message to be sent: key and value as they go out, timestamp in seconds."""

    channel: Any
    key: Any
    value: Any
    partition: int | None = None
    timestamp: float | None = None
    headers: OpenHeadersArg | HeadersArg = None
    key_serializer: Any = None
    value_serializer: Any = None
    callback: Callable[[FutureMessage], Any] | None = None
    topic: str | None = None
    offset: int | None = None
    generation_id: int | None = None


class FutureMessage:
    """A message to be sent, and the promise that it was; awaitable on any event loop.

    `message` is what is sent; the result is a RecordMetadata.
    """

    def __init__(self, message: PendingMessage) -> None:
        self.message = message
        #: Set to what the producer gave back, once the message was handed to it.
        self.handed_over: concurrent.futures.Future[Any] = concurrent.futures.Future()
        # Whoever awaits and is cancelled must not cancel it for the others.
        self.handed_over.set_running_or_notify_cancel()
        self.looked_at = False  # somebody awaits it, so its failure does not go unseen
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'done' if self.done() else 'pending'}>"

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._wait().__await__()

    async def _wait(self) -> RecordMetadata:
        self.looked_at = True
        delivery = await asyncio.wrap_future(self.handed_over)
        loop = self._loop
        if loop is None or loop is asyncio.get_running_loop():
            result: RecordMetadata = await delivery
            return result
        there = asyncio.run_coroutine_threadsafe(_await(delivery), loop)
        return await asyncio.wrap_future(there)

    def hand_over(self, delivery: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Take what the producer gave back, and the loop that lives on."""
        self._loop = loop
        self.handed_over.set_result(delivery)

    def done(self) -> bool:
        """Say whether the message was written or given up."""
        if not self.handed_over.done():
            return False
        return self.handed_over.exception() is not None or bool(self.handed_over.result().done())

    def cancelled(self) -> bool:
        """Say that it was not cancelled: a message that was asked for is sent."""
        return False

    def result(self) -> RecordMetadata:
        """Return where the message is; raises what awaiting would, or InvalidStateError."""
        if not self.handed_over.done():
            raise asyncio.InvalidStateError("the message is not sent yet")
        self.looked_at = True
        result: RecordMetadata = self.handed_over.result().result()
        return result

    def exception(self) -> BaseException | None:
        """Return why the message was given up, None if it was written."""
        if not self.handed_over.done():
            raise asyncio.InvalidStateError("the message is not sent yet")
        self.looked_at = True
        error: BaseException | None = self.handed_over.exception()
        return self.handed_over.result().exception() if error is None else error

    def set_result(self, result: RecordMetadata) -> None:
        """Note where the message is; for channels of your own."""
        self.hand_over(_Settled(result, None))

    def set_exception(self, error: BaseException) -> None:
        """Note why the message was not sent; for channels of your own."""
        self.handed_over.set_exception(error)

    def add_done_callback(self, callback: Callable[[FutureMessage], object]) -> None:
        """Call callback(self) once it is done: on the app's loop, or at once when it is."""

        def sent(future: concurrent.futures.Future[Any]) -> None:
            if future.exception() is None:
                future.result().add_done_callback(lambda _: callback(self))
            else:
                callback(self)

        self.handed_over.add_done_callback(sent)


class _Settled:
    """A delivery whose outcome was known when it was made."""

    def __init__(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        self._metadata = metadata
        self._error = error

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        yield from ()
        return self._metadata

    def done(self) -> bool:
        return True

    def result(self) -> RecordMetadata:
        return self._metadata

    def exception(self) -> BaseException | None:
        return self._error

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        callback(self)


async def _await(delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    return await delivery
