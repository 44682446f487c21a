"""Streams: `async for` over what a topic or channel brings.

The await is per batch, not per message: while a batch lasts, the loop below is
a plain one. An event is acknowledged when its body comes back for the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from faustc.events import Event, current_event, current_stream
from faustc.exceptions import DecodeError, Skip

__all__ = ["Stream", "StreamView", "current_event"]

logger = logging.getLogger(__name__)

# When data is always ready, the loop gets its turn this often: timers, heartbeats
# and other agents wait no longer than this for one agent's plain loop.
TURN_S = 0.005

Processor = Callable[[Any], Any]


class Stream:
    """Iterates over a channel. One at a time: it has one current event.

    Iterating gives values; `events()` gives events, `items()` pairs of key and
    value, `take()` lists. Derived views share the position of their stream.
    """

    def __init__(
        self,
        channel: Any,
        *,
        app: Any = None,
        processors: Iterable[Processor] | None = None,
        on_start: Callable[[], Any] | None = None,
        concurrency_index: int | None = None,
        enable_acks: bool = True,
        prefix: str = "",
        reader: Any = None,
        beacon: Any = None,
        loop: Any = None,
    ) -> None:
        self.channel = channel
        self.app = app if app is not None else channel.app
        self.concurrency_index = concurrency_index
        self.enable_acks = enable_acks
        self.prefix = prefix
        self.events_total = 0
        self._processors = list(processors or ())
        self._on_start = on_start
        self._reader = reader  # whom we share the work with; None: one of our own, when iterated
        self._owns_reader = reader is None
        self._decode_key, self._decode_value = channel.decoders()
        self._message: Any = None
        self._value: Any = None
        self._ledger: Any = None
        self._event: Event | None = None
        self._walks = 0  # iterations begun,
        self._left = 0  # and the last one that was left in the middle
        # take(): what is collected and not handed out, and what is in hand beside _message
        self._buffer: list[tuple[Any, Any, Any]] = []  # (value, ledger, message)
        self._held: list[tuple[Any, Any]] = []  # (ledger, message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.label}>"

    def open_envelopes(self, envelopes: Any) -> None:
        """Let values come in envelopes, which are opened (see Registry.value_decoder)."""
        self._decode_key, self._decode_value = self.channel.decoders(envelopes)

    @property
    def label(self) -> str:
        """A short name for logs."""
        return str(self.channel.label)

    # -- what is in hand ---------------------------------------------------------------

    @property
    def current_event(self) -> Event | None:
        """The event in progress; made when asked for."""
        if self._event is None and self._message is not None:
            self._event = self._make_event(self._value)
        return self._event

    def _make_event(self, value: Any) -> Event:
        message = self._message
        key = self._decode_key(message.key)
        event: Event = self.app.create_event(key, value, message.headers, message)
        event.ledger = self._ledger
        return event

    @property
    def in_hand(self) -> Any:
        """The message whose event the body has not come back from; None between two."""
        return self._message

    @property
    def busy(self) -> bool:
        """Whether an event is in hand, or some are collected for a list."""
        return self._message is not None or bool(self._buffer)

    def finish(self) -> bool:
        """Acknowledge what is in hand: its body came back, or was given up."""
        message, self._message, self._event, self._value = self._message, None, None, None
        held, self._held = self._held, []
        if message is None or not self.enable_acks:
            return False
        for ledger, one in held:
            ledger.ack(one.offset)
        return bool(held) or bool(self._ledger.ack(message.offset))

    async def ack(self, event: Event) -> bool:
        """Acknowledge one event, of a stream with manual acknowledgement."""
        return bool(event.ack())

    # -- iterating ---------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._walk(None)

    def events(self) -> StreamView:
        """Iterate over events instead of values."""
        return StreamView(self, lambda: self._walk(self._shape_event))

    def items(self) -> StreamView:
        """Iterate over pairs of key and value."""
        return StreamView(self, lambda: self._walk(self._shape_item))

    def enumerate(self, start: int = 0) -> StreamView:
        """Iterate over pairs of a running number and a value."""
        return StreamView(self, lambda: self._enumerate(start))

    async def _enumerate(self, start: int) -> AsyncIterator[Any]:
        number = start
        async for value in self:
            yield number, value
            number += 1

    def take(self, max_: int, within: float | Any = 0) -> StreamView:
        """Iterate over lists of up to max_ values, none older than `within` seconds.

        within may be a timedelta; 0 waits for max_ however long it takes. The
        events of a list are acknowledged when its body comes back.
        """
        within_s = within.total_seconds() if hasattr(within, "total_seconds") else float(within)
        return StreamView(self, lambda: self._take(max_, within_s))

    def noack(self) -> Stream:
        """Return this stream with manual acknowledgement: `event.ack()` or `stream.ack(event)`."""
        self.enable_acks = False
        return self

    def add_processor(self, processor: Processor) -> None:
        """Let a function, or coroutine function, have each value first; Skip drops the event."""
        self._processors.append(processor)

    def _shape_event(self, value: Any) -> Event:
        self._event = event = self._make_event(value)
        return event

    def _shape_item(self, value: Any) -> tuple[Any, Any]:
        return self._decode_key(self._message.key), value

    async def _walk(self, shape: Callable[[Any], Any] | None) -> AsyncIterator[Any]:
        """Yield what each event is shaped into. The one loop that values and events come from."""
        reader = await self._open()
        walk = self._walks
        decode, processors = self._decode_value, self._processors
        monotonic = time.monotonic
        turn_over = monotonic() + TURN_S
        try:
            while (portion := await reader.portion()) is not None:
                self._ledger = ledger = portion.ledger
                ack = ledger.ack
                for message in portion.pending:
                    self._message = message
                    try:
                        self._value = value = decode(message.value)
                        if processors:
                            self._value = value = await self._processed(value)
                        if shape is not None:
                            value = shape(value)
                    except (DecodeError, Skip) as exc:
                        self._message = self._event = None
                        self._drop(message, ledger, exc)
                        continue
                    self.events_total += 1
                    yield value
                    # Not in a finally: if the body failed, whoever runs it decides.
                    if self._message is not None:
                        self._message = self._event = None
                        if self.enable_acks:
                            ack(message.offset)
                    if monotonic() >= turn_over:
                        await asyncio.sleep(0)
                        turn_over = monotonic() + TURN_S
        except GeneratorExit:
            self._left = walk
            reader.left(self)
            raise

    def _drop(self, message: Any, ledger: Any, why: DecodeError | Skip) -> None:
        """Pass an event that does not decode (and say so), or that a processor skipped."""
        if isinstance(why, DecodeError):
            self.app.runner.decode_failed(self.channel, message, why)
        ledger.ack(message.offset)

    async def _processed(self, value: Any) -> Any:
        for processor in self._processors:
            value = processor(value)
            if isinstance(value, Awaitable):
                value = await value
        return value

    async def _take(self, max_: int, within_s: float) -> AsyncIterator[list[Any]]:
        """Collect values, then hand them out together and acknowledge them together."""
        reader = await self._open()
        walk = self._walks
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        portion = await reader.portion()
                except TimeoutError:
                    pass  # what came until now has waited long enough
                else:
                    if portion is None:
                        return
                    await self._collect(portion, max_)
                    if deadline is None and within_s > 0:
                        deadline = loop.time() + within_s
                over = deadline is not None and loop.time() >= deadline
                if over or len(self._buffer) >= max_:
                    deadline = None
                    taken, self._buffer = self._buffer, []
                    if taken:
                        self._held = [(ledger, message) for _, ledger, message in taken]
                        self._value, self._ledger, self._message = taken[-1]
                        self.events_total += len(taken)
                        yield [value for value, _, _ in taken]
                        self.finish()
                    await asyncio.sleep(0)
        except GeneratorExit:
            self._left = walk
            reader.left(self)
            raise

    async def _collect(self, portion: Any, max_: int) -> None:
        """Move messages of a portion to the buffer until that is full."""
        decode, ledger = self._decode_value, portion.ledger
        for message in portion.pending:
            self._message, self._ledger = message, ledger
            try:
                value = decode(message.value)
                if self._processors:
                    value = await self._processed(value)
            except (DecodeError, Skip) as exc:
                self._drop(message, ledger, exc)
            else:
                self._buffer.append((value, ledger, message))
            if len(self._buffer) >= max_:
                break
        self._message = None

    def release(self, tp: Any) -> None:
        """Give back what was collected of a partition that goes: it is handed out elsewhere."""
        gone = [entry[1:] for entry in self._buffer if entry[2].tp == tp]
        self._buffer = [entry for entry in self._buffer if entry[2].tp != tp]
        if self._left == self._walks and self._message is not None:
            # Left in the middle of an event that nobody came back from: not done, and
            # nothing to wait for either.
            in_hand = self._held or [(self._ledger, self._message)]
            gone = [one for one in in_hand if one[1].tp == tp] + gone
        if gone:
            ledger, first = gone[0]
            ledger.cut(first.offset)

    def hand_back(self) -> None:
        """Finish what is in hand, and return what was collected and not handed out."""
        self.finish()
        buffer, self._buffer = self._buffer, []
        if buffer:
            self._reader.give_back([(ledger, message) for _, ledger, message in buffer])

    async def _open(self) -> Any:
        """Return whom we read from, joining the app's readers the first time."""
        if self._reader is None:
            self._reader = await self.app.runner.open_reader(self.channel)
            # A stream that nobody holds any more must hold back neither commits nor fetching.
            gone = weakref.finalize(self, self.app.runner.forget_reader, self.channel, self._reader)
            gone.atexit = False
        self._walks += 1
        self.hand_back()  # an iteration that ended in `break`: its owner came back for more
        self._reader.holders.add(self)
        current_stream.set(weakref.ref(self))
        if self._on_start is not None:
            started, self._on_start = self._on_start, None
            result = started()
            if isinstance(result, Awaitable):
                await result
        return self._reader

    async def stop(self) -> None:
        """Read no more: the iteration ends, and the topic's other readers go on."""
        if self._owns_reader and self._reader is not None:
            self.app.runner.close_reader(self.channel, self._reader)


class StreamView:
    """A stream seen as events, pairs or lists; each `async for` over it goes on where it was."""

    def __init__(self, stream: Stream, walk: Callable[[], AsyncIterator[Any]]) -> None:
        self.stream = stream
        self._walk = walk

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._walk()
