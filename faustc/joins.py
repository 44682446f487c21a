"""Join strategies: which events of two streams belong together, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from faustc.exceptions import ImproperlyConfigured
from faustc.joining import Joined, Joining, Rules
from faustc.models import FieldDescriptor
from faustc.shelves import current_shelf
from faustc.topics import Topic
from faustc.windows import SlidingWindow

__all__ = ["InnerJoin", "Join", "Joined", "LeftJoin", "OuterJoin", "RightJoin"]

#: So much later than its time, in seconds, a message may come.
GRACE_S = 1.0
MAX_EVENTS = 100_000


class Join:
    """Pairs of the events of two streams that have the same key, within a window of time.

    stream is the combination of the two, `left & right`. fields say where keys are: a
    field of each model, or a function of the value of each stream in turn; with one
    field, the stream without that model is joined by the key of its messages, and
    without any both are. within is how far apart in time the two may be, in seconds or
    a timedelta; a SlidingWindow as window sets how much earlier and how much later than
    the left one the right one may be. grace is how much later than their time messages
    may come. Of each stream at most max_events wait.
    """

    #: Whether events of the left, and of the right stream are kept if they have no counterpart.
    keep: ClassVar[tuple[bool, bool]] = (False, False)

    def __init__(
        self,
        *,
        stream: Any,
        fields: tuple[Any, ...] = (),
        within: float | timedelta | None = None,
        window: SlidingWindow | None = None,
        grace: float | timedelta = GRACE_S,
        max_events: int = MAX_EVENTS,
    ) -> None:
        if within is not None and window is None:
            window = SlidingWindow(within, within)
        elif not isinstance(window, SlidingWindow) or within is not None:
            raise ImproperlyConfigured(
                "a join needs to know how far apart in time two events may be: within=60, "
                "or window=SlidingWindow(before, after)"
            )
        if max_events < 1:
            raise ImproperlyConfigured(f"max_events of a join is 1 or more, not {max_events!r}")
        self.stream = stream
        self.fields = {getattr(field, "model", n): field for n, field in enumerate(fields)}
        self.window = window
        grace_s = grace.total_seconds() if isinstance(grace, timedelta) else float(grace)
        self._parts = _parts(stream)
        self._rules = Rules(
            keys=_keys(fields, self._parts),
            before_ms=window.before * 1000,
            after_ms=window.after * 1000,
            keep=self.keep,
            grace_ms=grace_s * 1000,
            max_events=max_events,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.stream.label}>"

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and isinstance(other, Join)
            and (other.stream is self.stream and other.fields == self.fields)
            and other._rules == self._rules
        )

    def __hash__(self) -> int:
        return hash((type(self), id(self.stream)))

    async def open(self, stream: Any) -> Joining:
        """Begin to join, for a stream whose strategy this is.

        In an agent that fails, what waits goes on waiting for its next run.
        """
        shelf = current_shelf.get()
        key = type(self), stream.label, self._rules[1:]
        if shelf is not None and (kept := shelf.join(key)) is not None:
            return kept  # type: ignore[no-any-return]
        topics = [
            topic
            for part in stream.combined
            if isinstance(part.channel, Topic)
            for topic in part.channel.topics
        ]
        readers = [(part, await part.opened()) for part in stream.combined]
        await _fit(stream.app.runner, topics)
        joining = Joining(stream, readers, self._rules)
        if shelf is not None:
            shelf.keep_join(key, joining, stream.combined)
        return joining


class InnerJoin(Join):
    """Pairs only."""


class LeftJoin(Join):
    """Pairs, and (value, None) for each event of the left stream that none came for."""

    keep = (True, False)


class RightJoin(Join):
    """Pairs, and (None, value) for each event of the right stream that none came for."""

    keep = (False, True)


class OuterJoin(Join):
    """Pairs, and events of both streams that none came for."""

    keep = (True, True)


async def _fit(runner: Any, topics: list[str]) -> None:
    """See to it that counterparts are in partitions of the same number, and at one worker."""
    counts = {topic: await runner.partition_count(topic) for topic in topics}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{topic} has {n}" for topic, n in counts.items())
        raise ImproperlyConfigured(
            f"topics that are joined need as many partitions each, and {listing}; "
            "group_by() one of them with partitions="
        )
    if len(counts) > 1:
        runner.engine.keep_together(counts)


def _parts(stream: Any) -> list[Any]:
    """Return the two streams that are to be joined; raises if they are not two."""
    parts = list(getattr(stream, "combined", ()))
    if len(parts) != 2:
        raise ImproperlyConfigured(
            f"a join is of two streams, as in (orders & payments).join(...), not of {stream!r}; "
            "stream.join(table) looks up what a table has"
        )
    for part in (stream, *parts):
        if part.concurrency_index is not None:
            raise ImproperlyConfigured(
                "a join needs all events of its streams in one place: not in an agent with "
                "concurrency above 1"
            )
        if part.active_partitions is not None:
            raise ImproperlyConfigured(
                "a join needs all partitions of its streams in one place: not in an agent with "
                "isolated_partitions"
            )
    if any(part.combined for part in parts):
        raise ImproperlyConfigured(
            "what is joined are streams of topics or channels; send what a join gives to a "
            "topic to join it again"
        )
    if stream.steps():
        raise ImproperlyConfigured("filters and processors come before the join, or after it")
    return parts


Key = Callable[[Any], Any] | None


def _keys(fields: tuple[Any, ...], parts: list[Any]) -> tuple[Key, Key]:
    """Return how the keys of the left and of the right values are found."""
    models = [getattr(part.channel, "value_type", None) for part in parts]
    if len(fields) == 2:
        found = [_key(field) for field in fields]
        first, second = (getattr(field, "model", None) for field in fields)
        crossed = first is not second and (first is models[1] or second is models[0])
        return (found[1], found[0]) if crossed else (found[0], found[1])
    if len(fields) > 2:
        raise ImproperlyConfigured(f"a join has one field for each of two streams, not {fields!r}")
    if not fields:
        return None, None
    key, model = _key(fields[0]), getattr(fields[0], "model", None)
    if model is None or model not in models:
        raise ImproperlyConfigured(
            f"neither of the streams that are joined is known to have {fields[0]!r}: give a field "
            "of the value_type of one of their topics, or a field or function for each stream"
        )
    return (key if models[0] is model else None, key if models[1] is model else None)


def _key(field: Any) -> Key:
    if isinstance(field, FieldDescriptor):
        return field.getattr
    if callable(field):
        return field  # type: ignore[no-any-return]
    raise ImproperlyConfigured(
        f"a join takes fields (Order.account) or functions of the value, not {field!r}"
    )
