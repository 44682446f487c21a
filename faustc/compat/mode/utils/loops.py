"""The event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["call_asap", "get_event_loop"]


def get_event_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop, or that of this thread, made if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.get_event_loop_policy().get_event_loop()


def call_asap(
    callback: Callable[..., Any],
    *args: Any,
    context: Any = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.Handle:
    """Call it in the loop as soon as may be; from any thread."""
    return (loop or get_event_loop()).call_soon_threadsafe(callback, *args, context=context)
