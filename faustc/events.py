"""Events: a key and a value on their way through a stream, and what they came from."""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Generator
from types import TracebackType
from typing import Any, Protocol

from faustc.types import HeadersArg, TopicPartition

__all__ = ["Acked", "Event", "current_event", "current_stream"]


class Acked(int):
    """What `event.ack()` returns: true if that changed anything. It may be awaited."""

    def __await__(self) -> Generator[Any, None, bool]:
        yield from ()
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


class _Ledger(Protocol):
    def ack(self, offset: int) -> bool: ...


class _Stream(Protocol):
    @property
    def current_event(self) -> Event | None: ...


# The stream whose event the running task is at: set once per stream, not per event.
# Weak, since a task may live long after it left the stream.
current_stream: contextvars.ContextVar[weakref.ref[_Stream] | None] = contextvars.ContextVar(
    "current_stream", default=None
)


def current_event() -> Event | None:
    """Return the event that the running task is processing, None outside of streams."""
    ref = current_stream.get()
    stream = ref() if ref is not None else None
    return None if stream is None else stream.current_event


def stale_in_hand() -> bool:
    """Say whether the running task is at an event that is not ours any more: it comes again."""
    ref: Any = current_stream.get()
    stream = ref() if ref is not None else None
    if stream is None:
        return False
    stale = getattr(stream, "stale", None)
    if stale is None:  # a task that a body started, for one event
        event = stream.current_event
        return event is not None and bool(getattr(event.ledger, "closed", False))
    return bool(stale)


class Event:
    """A message as the application sees it. Made when somebody asks for one.

    `value` went through the stream's processors; `message` holds the raw bytes.
    """

    def __init__(
        self,
        app: Any,
        key: Any,
        value: Any,
        headers: HeadersArg,
        message: Any,
    ) -> None:
        self.app = app
        self.key = key
        self.value = value
        self.message = message
        self.acked = False
        self.ledger: _Ledger | None = None  # where the stream wants it acknowledged
        self._headers = headers

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: k={self.key!r} v={self.value!r}>"

    @property
    def headers(self) -> dict[str, bytes | None]:
        """The headers by name; of several with one name the last counts."""
        headers: Any = self._headers
        if not isinstance(headers, dict):
            headers = self._headers = dict(headers or ())
        found: dict[str, bytes | None] = headers
        return found

    @property
    def tp(self) -> TopicPartition:
        """Where it came from."""
        tp: TopicPartition = self.message.tp
        return tp

    def ack(self) -> Acked:
        """Mark it done: its offset may be committed. False if it was done, or is not ours now."""
        self.acked = True
        return Acked(self.ledger is not None and self.ledger.ack(self.message.offset))

    async def __aenter__(self) -> Event:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ack()

    async def send(self, channel: Any, key: Any = ..., value: Any = ..., **options: Any) -> Any:
        """Send it on, its key, value and headers as they are unless given; serialised anew.

        options are those of `app.send`.
        """
        options.setdefault("headers", self._headers)
        return await self.app.send(
            channel,
            self.key if key is ... else key,
            self.value if value is ... else value,
            **options,
        )

    async def forward(self, channel: Any, key: Any = ..., value: Any = ..., **options: Any) -> Any:
        """Send it on with the bytes it came with, without serialising again.

        A key or value that is given is serialised. What came through memory is, too.
        """
        options.setdefault("headers", self._headers)
        message = self.message
        if key is ... and _is_raw(message.key):
            options.setdefault("key_serializer", "raw")
        if value is ... and _is_raw(message.value):
            options.setdefault("value_serializer", "raw")
        return await self.app.send(
            channel,
            message.key if key is ... else key,
            message.value if value is ... else value,
            **options,
        )


def _is_raw(data: Any) -> bool:
    return data is None or isinstance(data, bytes)
