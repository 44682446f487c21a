"""Lists of events: collected for a while, handed out together, acknowledged together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Any

from faustc.exceptions import DecodeError, ImproperlyConfigured, Skip

__all__ = ["Shape", "take"]


class Shape(Enum):
    """What is in the lists."""

    VALUES = "values"
    EVENTS = "events"


def take(
    stream: Any,
    max_: int,
    within: Any,
    shape: Shape,
    timestamp_field: str | None = None,
    *,
    by_hand: bool = False,
) -> Callable[[], AsyncIterator[list[Any]]]:
    """Return what begins to collect the values of a stream; checks the arguments at once."""
    if not isinstance(max_, int) or max_ < 1:
        raise ImproperlyConfigured(f"take() collects 1 or more, not {max_!r}")
    try:
        within_s = _seconds(within)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"take(within=...) is seconds or a timedelta, not {within!r}"
        ) from None
    return lambda: _take(stream, max_, within_s, shape, timestamp_field, by_hand)


def _seconds(within: Any) -> float:
    if within is None:
        return 0.0
    return within.total_seconds() if hasattr(within, "total_seconds") else float(within)


async def _take(
    stream: Any,
    max_: int,
    within_s: float,
    shape: Shape,
    timestamp_field: str | None,
    by_hand: bool,
) -> AsyncIterator[list[Any]]:
    reader = await stream._open()
    walk = stream._walks
    stream._by_hand = by_hand
    loop = asyncio.get_running_loop()
    deadline: float | None = None
    ended = False
    try:
        while not ended:
            try:
                async with asyncio.timeout_at(deadline):
                    portion = await stream.next_portion(reader)
            except TimeoutError:
                pass  # what came until now has waited long enough
            else:
                # At its end an iterable leaves some; what Kafka's readers left they took back.
                ended = portion is None
                if portion is not None:
                    await _collect(stream, portion, max_, shape)
                    if deadline is None and within_s > 0 and stream._buffer:
                        deadline = loop.time() + within_s
            over = ended or (deadline is not None and loop.time() >= deadline)
            if over or len(stream._buffer) >= max_:
                deadline = None
                if stream._gated:
                    await stream._gate.passed()
                taken, stream._buffer = stream._buffer, []
                if taken:
                    stream._held = [(ledger, message) for _, ledger, message, *_ in taken]
                    stream.events_total += len(taken)
                    yield _in_hand(stream, taken, shape, timestamp_field)
                    stream.finish()
                await asyncio.sleep(0)
    except BaseException as exc:
        stream._left = walk
        if isinstance(exc, GeneratorExit):
            reader.left(stream)
        raise
    finally:
        await stream._ended(walk)


def _in_hand(stream: Any, taken: list[Any], shape: Shape, timestamp_field: str | None) -> list[Any]:
    """Let the stream have the last event in hand, and return all that the body gets."""
    if timestamp_field is not None:
        for value, _, message, *_ in taken:
            _stamp(value, timestamp_field, message.timestamp / 1000)
    last, stream._ledger, stream._message, stream._decode_key, stream._event = taken[-1]
    stream._value = last.value if shape is Shape.EVENTS else last
    return [one for one, *_ in taken]


def _stamp(value: Any, name: str, timestamp: float) -> None:
    if isinstance(value, dict):
        value[name] = timestamp
    elif hasattr(value, "__is_model__"):
        setattr(value, name, timestamp)


async def _collect(stream: Any, portion: Any, max_: int, shape: Shape) -> None:
    """Move messages of a portion to the buffer until that is full."""
    decode, processors = stream.turn_to(portion)
    ledger = portion.ledger
    for message in portion.pending:
        stream._message, stream._ledger = message, ledger
        try:
            stream._value = value = decode(message.value)
            if processors:
                stream._value = value = await stream.processed(value, processors)
            if shape is Shape.EVENTS:
                value = stream.current_event
        except (DecodeError, Skip) as exc:
            if await stream.drop(message, ledger, exc):
                break  # it comes again, first
        else:
            # The event is kept if there is one: it may have been given another key.
            entry = value, ledger, message, stream._decode_key, stream._event
            stream._buffer.append(entry)
        stream._event = None
        if len(stream._buffer) >= max_:
            break
    stream._message = None
