"""Where a coroutine or an asynchronous generator is just now, down to what it awaits."""

from __future__ import annotations

import traceback
from types import FrameType
from typing import Any

__all__ = ["stack_of"]

# (the frame, what is awaited) of coroutines, asynchronous generators, and generators
_ATTRIBUTES = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def stack_of(awaitable: Any) -> str:
    """Return its frames as text, the outermost first; "" if it has none, or has ended."""
    frames: list[traceback.FrameSummary] = []
    while awaitable is not None:
        for frame_name, next_name in _ATTRIBUTES:
            if hasattr(awaitable, frame_name):
                frame: FrameType | None = getattr(awaitable, frame_name)
                awaitable = getattr(awaitable, next_name)
                if frame is not None:
                    code = frame.f_code
                    frames.append(
                        traceback.FrameSummary(code.co_filename, frame.f_lineno, code.co_qualname)
                    )
                break
        else:
            break
    return "".join(traceback.format_list(frames))
