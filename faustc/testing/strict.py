"""Lets no exception end in the event loop's handler, where a test would not see it."""

from __future__ import annotations

import asyncio
import gc
from types import TracebackType
from typing import Any

__all__ = ["StrictLoop"]


class StrictLoop:
    """Collects what reaches the running loop's exception handler in a `with` block; then raises it.

    If the block raises something itself, that is what is raised, with a note of the rest.
    """

    def __init__(self) -> None:
        self._loop: Any = None
        self.contexts: list[dict[str, Any]] = []
        self._before: Any = None

    def __enter__(self) -> StrictLoop:
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_exception_handler()
        self._loop.set_exception_handler(self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A task whose exception nobody looked at says so when it is collected.
        gc.collect(1)
        self._loop.set_exception_handler(self._before)
        if not self.contexts:
            return
        story = "reached the event loop: " + "; ".join(map(_said, self.contexts))
        if exc is not None:
            exc.add_note(story)
            return
        causes = [c["exception"] for c in self.contexts if c.get("exception") is not None]
        raise AssertionError(story) from (causes[0] if causes else None)

    def _take(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.contexts.append(context)


def _said(context: dict[str, Any]) -> str:
    said = str(context.get("message", "an error"))
    exception = context.get("exception")
    return said if exception is None else f"{said} ({exception!r})"
