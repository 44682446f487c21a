"""Iterating over messages: what is in hand, and when it is acknowledged.

The await is per batch, not per message: while a batch lasts, the loop below is
a plain one. An event is acknowledged when its body comes back for the next.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from faustc.events import Event, current_stream
from faustc.exceptions import DecodeError, DecodeLater, Skip
from faustc.operators import maybe_await
from faustc.pinning import Pinned, keep_events
from faustc.serialized import decoded, in_hand_of
from faustc.sources import as_is, open_reader
from faustc.takes import Shape, take

__all__ = ["Iteration", "Processor", "View"]

# When data is always ready, the loop gets its turn this often: timers, heartbeats
# and other agents wait no longer than this for one agent's plain loop.
TURN_S = 0.005

T = TypeVar("T")
V = TypeVar("V")
Processor = Callable[[Any], Any]


class Iteration(Generic[T]):
    """What a stream is while it is iterated: one event in hand, or one list of them."""

    app: Any
    channel: Any
    combined: list[Any]
    join_strategy: Any
    enable_acks: bool
    _processors: list[Processor]
    _on_start: Callable[[], Any] | None
    # Defaults of what few streams change are here: CPython's attributes are quicker while
    # an object has at most thirty.
    _opens: Callable[[], Awaitable[Any]] | None = None  # where the reader comes from
    _begun = False  # on_start was called, and on_stop is due
    _by_hand = False  # this iteration leaves acknowledging to its body
    # Who deals with what does not decode, if not we: message, ledger, error; True: raise it
    judge_undecodable: Callable[[Any, Any, BaseException], bool] | None = None
    _giver: Any = None  # the reader of what is in hand, where that is another's
    _gate: Any = None  # what it passes between two events, where those are told from others
    _gated = False  # whether it waits there: those in memory go on
    _left = 0  # the last of the iterations that was left in the middle

    def __init__(self, reader: Any) -> None:
        self.events_total = 0
        self._reader = reader  # whom we share the work with; None: one of our own, when iterated
        self._owns_reader = reader is None
        self._thrown: list[BaseException] = []  # before there was a reader
        self._decode_key: Callable[[Any], Any] = as_is
        self._decode_value: Callable[[Any], Any] = as_is
        self._message: Any = None
        self._value: Any = None
        self._ledger: Any = None
        self._event: Event | None = None
        self._walks = 0  # iterations begun
        # take(): what is collected and not handed out, and what is in hand beside _message
        self._buffer: list[tuple[Any, ...]] = []  # (value, ledger, message, decode_key, event)
        self._held: list[tuple[Any, Any]] = []  # (ledger, message)

    # -- hooks, for subclasses -----------------------------------------------------------

    async def on_start(self) -> None:
        """Run when an iteration begins; calls the constructor's on_start."""
        if self._on_start is not None:
            await maybe_await(self._on_start())

    async def on_stop(self) -> None:
        """Run when the iteration has ended or was left, or the stream is stopped."""

    async def on_merge(self, value: T | None = None) -> T | None:
        """Have each value last, after the processors; what this returns is handed out."""
        return value

    # -- what is in hand ---------------------------------------------------------------

    @property
    def current_event(self) -> Event | None:
        """The event in progress; made when asked for."""
        if self._event is None and self._message is not None:
            self._event = self._make_event(self._value)
        return self._event

    def _make_event(self, value: Any) -> Event:
        return self.event_of(value, self._ledger, self._message, self._decode_key)

    def event_of(self, value: Any, ledger: Any, message: Any, decode_key: Any) -> Event:
        """Make an event of a message that was read here."""
        key = decoded(decode_key, message, message.key)
        event: Event = self.app.create_event(key, value, message.headers, message)
        event.ledger = ledger
        return event

    def pin(self) -> Pinned | None:
        """Return what stands for the event in hand when that is over; None between two."""
        if self._message is None:
            return None
        known, decode_key = self._event, self._decode_key
        value, ledger, message = self._value, self._ledger, self._message

        def event() -> Event | None:
            if known is None and self._message is message:
                return self.current_event
            return known or self.event_of(value, ledger, message, decode_key)

        return Pinned(event)

    @property
    def in_hand(self) -> Any:
        """The message whose event the body has not come back from; None between two."""
        return self._message

    @property
    def in_hand_with_ledgers(self) -> list[tuple[Any, Any]]:
        """The messages in hand, each after its ledger: one, those of a list, those of a pair."""
        entries = self._held or ([] if self._message is None else [(self._ledger, self._message)])
        if self.join_strategy is None:
            return entries
        return [
            one
            for ledger, message in entries
            for one in (ledger.members(message) if ledger is self._reader else [(ledger, message)])
        ]

    def messages_held(self) -> list[Any]:
        """Return the messages in hand, and those that were only collected."""
        return [
            *(message for _, message in self.in_hand_with_ledgers),
            *(entry[2] for entry in self._buffer),
        ]

    @property
    def key_in_hand(self) -> Any:
        """The key of the event in hand, decoded."""
        return self._key() if self._message is not None else None

    def _key(self) -> Any:
        if self._event is not None:
            return self._event.key
        return decoded(self._decode_key, self._message, self._message.key)

    def rekey(self, key: Any) -> None:
        """Give the event in hand another key."""
        event = self.current_event
        if event is not None:
            event.key = key

    @property
    def busy(self) -> bool:
        """Whether an event is in hand, or some are collected for a list."""
        return self._message is not None or bool(self._buffer)

    @property
    def undone(self) -> bool:
        """Whether an event is in hand that is ours, so that what it does is not whole yet."""
        return self._message is not None and self._left != self._walks and not self.stale

    @property
    def stale(self) -> bool:
        """Whether what is in hand is not ours any more: it comes again, here or elsewhere."""
        return self._message is not None and all(
            getattr(one, "closed", False) for one, _ in self.in_hand_with_ledgers
        )

    def finish(self) -> bool:
        """Acknowledge what is in hand: its body came back, or was given up."""
        entries = self.let_go()
        if not entries or not self.enable_acks or self._by_hand:
            return False
        changed = False
        for ledger, message in entries:
            changed = bool(ledger.ack(message.offset)) or changed
        return changed

    def let_go(self) -> list[tuple[Any, Any]]:
        """Forget what is in hand, and return it: ledgers and messages."""
        message, self._message, self._event, self._value = self._message, None, None, None
        self._giver = None
        held, self._held = self._held, []
        return held or ([] if message is None else [(self._ledger, message)])

    async def ack(self, event: Event) -> bool:
        """Acknowledge one event, of a stream with manual acknowledgement; False if it was."""
        return bool(event.ack())

    # -- iterating ---------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[T]:
        return self._walk(None)

    def events(self) -> View[Event]:
        """Iterate over events instead of values."""
        return View(self, lambda: self._walk(self._shape_event))

    def items(self) -> View[tuple[Any, T]]:
        """Iterate over pairs of key and value."""
        return View(self, lambda: self._walk(self._shape_item))

    def enumerate(self, start: int = 0) -> View[tuple[int, T]]:
        """Iterate over pairs of a running number and a value."""
        return View(self, lambda: self._enumerate(start))

    async def _enumerate(self, start: int) -> AsyncIterator[tuple[int, T]]:
        number = start
        async for value in self:
            yield number, value
            number += 1

    def take(self, max_: int, within: Any = 0) -> View[list[T]]:
        """Iterate over lists of up to max_ values, none older than `within` seconds.

        within may be a timedelta; 0 waits for max_ however long it takes. The
        events of a list are acknowledged when its body comes back.
        """
        return View(self, take(self, max_, within, Shape.VALUES))

    def take_events(self, max_: int, within: Any = 0) -> View[list[Event]]:
        """Iterate over lists of events, as `take` does over lists of values."""
        return View(self, take(self, max_, within, Shape.EVENTS))

    def take_with_timestamp(
        self, max_: int, within: Any, timestamp_field_name: str
    ) -> View[list[T]]:
        """Do as `take`, with the time of each message, in seconds, put into its value.

        It becomes the item of that name of a dict, or the attribute of a model; other
        values stay as they are.
        """
        return View(self, take(self, max_, within, Shape.VALUES, timestamp_field_name))

    def noack_take(self, max_: int, within: Any = 0) -> View[list[Event]]:
        """Iterate over lists of events, each of which the body acknowledges: `event.ack()`."""
        return View(self, take(self, max_, within, Shape.EVENTS, by_hand=True))

    def _shape_event(self, value: Any) -> Event:
        event = self._event
        if event is None:
            self._event = event = self._make_event(value)
        return event

    def _shape_item(self, value: Any) -> tuple[Any, Any]:
        return self._key(), value

    async def _walk(self, shape: Callable[[Any], Any] | None) -> AsyncIterator[Any]:
        """Yield what each event is shaped into. The one loop that values and events come from."""
        reader = await self._open()
        walk = self._walks
        decode, processors = self._decode_value, self.steps()
        monotonic = time.monotonic
        turn_over = monotonic() + TURN_S
        try:
            while (portion := await self.next_portion(reader)) is not None:
                if self.combined:
                    decode, processors = self.turn_to(portion)
                self._ledger = ledger = portion.ledger
                ack = ledger.ack
                for message in portion.pending:
                    self._message = message
                    try:
                        self._value = value = decode(message.value)
                        if processors:
                            self._value = value = await self.processed(value, processors)
                        if shape is not None:
                            value = shape(value)
                    except (DecodeError, Skip) as exc:
                        self._message = self._event = None
                        if await self.drop(message, ledger, exc):
                            break  # it comes again, first
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
                        if self._gated:
                            await self._gate.passed()
                        turn_over = monotonic() + TURN_S
        except BaseException as exc:
            self._left = walk
            if isinstance(exc, GeneratorExit):
                reader.left(self)
            raise
        finally:
            await self._ended(walk)

    async def next_portion(self, reader: Any) -> Any:
        """Wait for messages; what is raised there may be about an event, which is in hand then."""
        try:
            while self._gated:
                portion = await reader.portion()
                if not self._gate.closed:
                    return portion
                await self._gate.passed()
                if portion is None or not getattr(portion.ledger, "closed", False):
                    return portion  # or else it was taken back meanwhile
            return await reader.portion()
        except Exception:
            fault, reader.fault = reader.fault, None
            if fault is not None:
                self._ledger, self._message, self._giver = fault
            raise

    def steps(self) -> list[Processor]:
        """Return what each value goes through: the processors, and on_merge where overridden."""
        steps = self._processors
        if type(self).on_merge is not Iteration.on_merge:
            steps = [*steps, self.on_merge]
        if self.app.sensors.wants_events:
            steps = [*steps, self._begin_event]
        return steps

    def _begin_event(self, value: Any) -> Any:
        """Tell the sensors that the body is about to have an event."""
        if self._message is not None:  # what is combined is told of by the whole
            self._value = value
            begin = getattr(self._ledger, "begin", None)  # Kafka's have it; iterables tell nobody
            if begin is not None:
                begin(self, self._message.offset, self.current_event)
        return value

    def turn_to(self, portion: Any) -> tuple[Callable[[Any], Any], list[Processor]]:
        """Return how values of a portion are decoded, and what they go through."""
        if not self.combined or self.join_strategy is not None:
            return self._decode_value, self.steps()
        part = portion.part
        decode, steps = part.turn_to(portion.portion)
        self._decode_key = part._decode_key
        return in_hand_of(decode, self), [*steps, *self.steps()]

    async def made(self, message: Any) -> Any:
        """Return the value of a message after the processors."""
        self._value = value = self._decode_value(message.value)
        steps = self.steps()
        if steps:
            self._value = value = await self.processed(value, steps)
        return value

    @contextmanager
    def holding(self, message: Any, ledger: Any) -> Iterator[None]:
        """Have an event in hand that is taken on behalf of another stream."""
        token = current_stream.set(weakref.ref(self))
        self._message, self._ledger, self._event, self._value = message, ledger, None, None
        try:
            yield
        finally:
            current_stream.reset(token)
            self._message = self._event = self._value = None

    async def drop(self, message: Any, ledger: Any, why: DecodeError | Skip) -> bool:
        """Pass an event that does not decode (and say so), or that a processor skipped.

        True: it may decode now, and its reader brings it again.
        """
        if isinstance(why, DecodeLater):
            try:
                await why.wait()
            finally:
                self._reader.give_back([(ledger, message)])
            return True
        if isinstance(why, DecodeError):
            await self.app.runner.decode_failed(self.channel, message, why)
            if self.judge_undecodable is not None:
                if self.judge_undecodable(message, ledger, why):
                    self._message, self._ledger = message, ledger
                    raise why
                return False
        ledger.ack(message.offset)
        return False

    async def processed(self, value: Any, processors: Iterable[Processor]) -> Any:
        """Let processors have a value, one after the other."""
        for processor in processors:
            value = processor(value)
            if isinstance(value, Awaitable):
                value = await value
        if self._event is not None:  # somebody looked at it on the way
            self._event.value = value
        return value

    # -- beginning and ending ------------------------------------------------------------

    async def opened(self) -> Any:
        """Return whom we read from, joining the app's readers the first time."""
        if self._reader is None:
            runner = self.app.runner
            runner.opening += 1
            try:
                self._reader = await (self._opens() if self._opens else open_reader(self))
            finally:
                runner.opening -= 1
        return self._reader

    async def _open(self) -> Any:
        """Begin an iteration."""
        reader = await self.opened()
        self._walks += 1
        self._by_hand = False
        self.hand_back()  # an iteration that ended in `break`: its owner came back for more
        reader.holders.add(self)
        gate = self.app.runner.gate
        if gate is not None:
            gate.add(self)
            self._gate, self._gated = gate, self._is_gated()
        keep_events(asyncio.get_running_loop())
        current_stream.set(weakref.ref(self))
        for error in self._thrown:
            reader.throw(error)
        self._thrown.clear()
        await self.begin()
        return reader

    def _is_gated(self) -> bool:
        if self.combined:
            return any(part._is_gated() for part in self.combined)
        return bool(getattr(self.channel, "acks", False)) and not self.channel.in_memory

    async def begin(self) -> None:
        """Call on_start, of the combined streams as well, unless on_stop is still due."""
        if not self._begun:
            self._begun = True
            await self.on_start()
            for part in self.combined:
                await part.begin()

    async def end(self) -> None:
        """Call on_stop if on_start was called."""
        if self._begun:
            self._begun = False
            await self.on_stop()
            for part in self.combined:
                await part.end()

    async def _ended(self, walk: int) -> None:
        stopped = getattr(self.channel, "on_stop_iteration", None)
        if stopped is not None:  # an iterable has none
            stopped()
        if walk == self._walks:
            await self.end()

    def release(self, tp: Any) -> None:
        """Give back what was collected of a partition that goes: it is handed out elsewhere."""
        gone = [entry[1:3] for entry in self._buffer if entry[2].tp == tp]
        self._buffer = [entry for entry in self._buffer if entry[2].tp != tp]
        if self._left == self._walks and self._message is not None:
            # Left in the middle of an event that nobody came back from: not done, and
            # nothing to wait for either.
            in_hand = self._held or [(self._ledger, self._message)]
            gone = [one for one in in_hand if one[1].tp == tp] + gone
        seen = set()
        for ledger, first in gone:
            if id(ledger) not in seen:  # of each, the first is the lowest
                seen.add(id(ledger))
                ledger.cut(first.offset)

    def take_back(self) -> None:
        """Let what is in hand be handed out again, before anything else."""
        giver = self._giver or self._reader
        in_hand = self.let_go()
        self.hand_back()
        if in_hand:
            giver.give_back(in_hand)

    def hand_back(self) -> None:
        """Finish what is in hand, and return what was collected and not handed out."""
        self.finish()
        buffer, self._buffer = self._buffer, []
        if buffer:
            self._reader.give_back([(ledger, message) for _, ledger, message, *_ in buffer])


class View(Generic[V]):
    """A stream seen as events, pairs or lists; each `async for` over it goes on where it was."""

    def __init__(self, stream: Any, walk: Callable[[], AsyncIterator[V]]) -> None:
        self.stream = stream
        self._walk = walk

    def __aiter__(self) -> AsyncIterator[V]:
        return self._walk()
