"""Where a process is: which code blocks its event loop, and what its tasks and threads do."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback

from faustc.stacks import stack_of

__all__ = ["BlockingDetector", "cry"]

logger = logging.getLogger(__name__)


class BlockingDetector:
    """Reports an event loop that did not get its turn for some time, from a thread of its own.

    Once for each time it is blocked, with what its thread is doing just then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._ended = threading.Event()
        self._turn = threading.Event()
        self._thread = threading.Thread(target=self._run, name="blocking", daemon=True)
        self._loop_thread = threading.get_ident()

    def start(self) -> None:
        """Begin to look; called on the loop's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._turn.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._turn.clear()
            self._loop.call_soon_threadsafe(self._turn.set)
            if not self._turn.wait(self._timeout_s):
                frame = sys._current_frames().get(self._loop_thread)
                where = "".join(traceback.format_stack(frame)) if frame is not None else "?"
                logger.warning(
                    "The event loop is blocked for more than %g s, by:\n%s", self._timeout_s, where
                )
                self._turn.wait()
            self._ended.wait(self._timeout_s / 4)


def cry(loop: asyncio.AbstractEventLoop | None) -> str:
    """Describe what every thread and every task of a loop is doing."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        stack = "".join(traceback.format_stack(frame))
        parts.append(f"== thread {names.get(ident, ident)}\n{stack}")
    for task in asyncio.all_tasks(loop) if loop is not None else ():
        parts.append(f"== task {task.get_name()}\n{stack_of(task.get_coro())}")
    return "\n".join(parts) + "\n"
