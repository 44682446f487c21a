"""The event loop an app lives on, and the way to it from other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from faustc.exceptions import NotReady

__all__ = ["Home"]

T = TypeVar("T")


class Home:
    """Holds which loop is the app's: the one it was started on, or first sent from.

    No loop is looked for before somebody uses the app, so an app may be made
    anywhere. When its loop is gone, the next one that needs it becomes home;
    on_move is called then, since whatever lived on the old loop is lost.
    """

    def __init__(self, on_move: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_move = on_move

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The app's loop, None while there is none."""
        return self._loop

    def settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a loop the app's. Raises NotReady if the app is alive on another one."""
        with self._lock:
            old = self._loop
            if old is loop:
                return
            if old is not None and old.is_running():
                raise NotReady("the app is running on another event loop")
            if old is not None:
                self._on_move()
            self._loop = loop

    def leave(self) -> None:
        """Let the app be used from any loop again."""
        with self._lock:
            self._loop = None

    def other(self) -> asyncio.AbstractEventLoop | None:
        """Return the app's loop if the caller runs on another one; else None.

        A caller that finds no living loop makes its own the app's.
        """
        here = asyncio.get_running_loop()
        if self._loop is here:
            return None
        with self._lock:
            loop = self._loop
            if loop is not None and loop.is_running():
                return loop
            if loop is not None:
                self._on_move()
            self._loop = here
            return None

    async def run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run a coroutine function on the app's loop; await its result on this one."""
        loop = self.other()
        if loop is None:
            return await function(*args)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(*args), loop))

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the app's loop, from any thread, with or without a loop.

        Raises NotReady if there is no loop: the app is not started.
        """
        loop = self._loop
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not None and (loop is None or loop is here or not loop.is_running()):
            self.other()
            function(*args)
        elif loop is not None and loop.is_running():
            loop.call_soon_threadsafe(function, *args)
        else:
            raise NotReady("the app is not started, and this thread runs no event loop")
