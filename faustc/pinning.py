"""Tasks that a stream's body starts keep the event they were started for.

The context of a task says which stream it belongs to, not which event: that is set
once per stream, so it costs nothing per event. A task of its own may live longer
than the event, though. So the loop's task factory notes, when a task is made, which
event was in hand just then.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from faustc.events import Event, current_stream

__all__ = ["Pinned", "keep_events"]


class Pinned:
    """Stands for a stream, to a task that was started while an event was in hand."""

    __slots__ = ("__weakref__", "_event", "_make")

    def __init__(self, make: Callable[[], Event | None]) -> None:
        self._make: Callable[[], Event | None] | None = make
        self._event: Event | None = None

    def __call__(self) -> Pinned:
        """Be what a weak reference to a stream would be."""
        return self

    @property
    def current_event(self) -> Event | None:
        """The event that the task was started for."""
        if self._make is not None:
            self._event, self._make = self._make(), None
        return self._event

    def pin(self) -> Pinned:
        """Return itself: a task of the task keeps the same event."""
        return self


def keep_events(loop: asyncio.AbstractEventLoop) -> None:
    """Let the tasks that are made on a loop keep their event; once per loop.

    A task factory that the loop has already goes on making the tasks.
    """
    inner: Any = loop.get_task_factory()
    if isinstance(inner, _Factory):
        return
    loop.set_task_factory(_Factory(inner))


class _Factory:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        reference: Any = current_stream.get()
        if reference is not None:
            stream = reference()
            pinned = stream.pin() if stream is not None else None
            if pinned is not None:
                context = options.get("context") or contextvars.copy_context()
                if context.get(current_stream) is reference:
                    context.run(current_stream.set, pinned)
                    options["context"] = context
        if self._inner is None:
            return asyncio.Task(coro, loop=loop, **options)
        return self._inner(loop, coro, **options)
