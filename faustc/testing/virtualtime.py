"""Virtual time: a running event loop whose clock jumps to its next timer when nothing is ready.

It is put on a loop that exists, so tests keep whatever runner they have::

    ready callbacks? --yes--> run them, time stands still
          | no
    descriptor ready? --yes--> as above
          | no
    a thread works for us? --yes--> wait for it, time passes as it really does
          | no
    jump to the next timer
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faustc.exceptions import ImproperlyConfigured

__all__ = ["MAX_JUMPED_S", "VirtualTime", "virtual_time"]

# A test that waits for what never comes would jump for ever, from heartbeat to heartbeat.
MAX_JUMPED_S = 86_400.0


class VirtualTime:
    """The clock of one loop from `install` to `remove`. Seconds everywhere.

    It never steps back: once removed, the loop's time goes on from where it is, at
    the pace of the real one. max_jumped_s bounds how far it may run ahead by itself,
    that is, without being asked to by `advance`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, max_jumped_s: float = MAX_JUMPED_S
    ) -> None:
        if not isinstance(getattr(loop, "_selector", None), selectors.BaseSelector):
            raise ImproperlyConfigured(
                f"virtual time needs asyncio's own event loop, not {type(loop).__name__}; "
                "run the test on asyncio.SelectorEventLoop, or in real time"
            )
        if getattr(loop, "_faustc_virtual_time", None) is not None:
            raise ImproperlyConfigured("this event loop is on virtual time already")
        self._loop: Any = loop
        self._max_jumped_s = max_jumped_s
        self._limit = 0.0
        self._now = 0.0
        self._threads = 0  # calls that run in an executor
        self._selector: _JumpingSelector | None = None
        # The loop's own method, whatever an earlier virtual time has put in its place.
        self._real_time: Callable[[], float] = getattr(loop, "_faustc_real_time", loop.time)

    @property
    def now(self) -> float:
        """The loop's time."""
        return self._now

    def install(self) -> None:
        """Take over the clock of the loop."""
        loop = self._loop
        self._now = loop.time()
        loop._faustc_real_time = self._real_time
        self._limit = self._now + self._max_jumped_s
        self._selector = _JumpingSelector(loop._selector, self)
        self._run_in_executor = loop.run_in_executor
        loop._selector = self._selector
        loop.time = lambda: self._now
        loop.run_in_executor = self._in_executor
        loop._faustc_virtual_time = self

    def remove(self) -> None:
        """Give the clock back; the loop's time goes on from now on its own."""
        if self._selector is None:
            return
        loop, real_time = self._loop, self._real_time
        ahead = self._now - real_time()
        loop._selector = self._selector.inner
        loop.time = lambda: real_time() + ahead
        del loop.run_in_executor
        loop._faustc_virtual_time = None
        self._selector = None

    async def advance(self, seconds: float) -> None:
        """Let time pass, with every timer on the way; returns when it has."""
        if seconds < 0:
            raise ValueError(f"time does not go back ({seconds} s)")
        self._limit = max(self._limit, self._now + seconds + self._max_jumped_s)
        await asyncio.sleep(seconds)

    def jump(self, seconds: float) -> None:
        """Go on to the next timer; called when there is nothing else to do."""
        self._now += seconds
        if self._now > self._limit:
            self._limit = self._now + self._max_jumped_s  # so that the loop can be shut down
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self._loop))
            raise RuntimeError(
                f"nothing but timers for {self._max_jumped_s:g} s of virtual time: something is "
                f"waited for that never comes. Tasks: {', '.join(waiting)}"
            )

    def pass_by(self, seconds: float) -> None:
        """Take note of real time that went by."""
        self._now += seconds

    @property
    def held(self) -> bool:
        """Whether a thread works for us, whose result must not find time far ahead."""
        return self._threads > 0

    def _in_executor(self, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._run_in_executor(executor, function, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, future: asyncio.Future[Any]) -> None:
        self._threads -= 1


class _JumpingSelector(selectors.BaseSelector):
    """Looks at descriptors without waiting for them: where the loop would wait, time jumps."""

    def __init__(self, inner: selectors.BaseSelector, clock: VirtualTime) -> None:
        self.inner = inner
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        clock = self._clock
        if timeout is None:
            return self.inner.select(None)  # no timer at all: only a descriptor can wake us
        ready = self.inner.select(0)
        if ready or timeout <= 0:
            return ready
        if clock.held:
            began = time.monotonic()
            ready = self.inner.select(timeout)
            clock.pass_by(time.monotonic() - began)
            return ready
        clock.jump(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self.inner.get_key(fileobj)

    def get_map(self) -> Any:
        return self.inner.get_map()

    def close(self) -> None:
        self.inner.close()


def clock_of(loop: asyncio.AbstractEventLoop) -> VirtualTime | None:
    """Return the virtual time that a loop is on, None when it is on the real one."""
    return getattr(loop, "_faustc_virtual_time", None)


@contextmanager
def virtual_time(*, max_jumped_s: float = MAX_JUMPED_S) -> Iterator[VirtualTime]:
    """Put the running loop on virtual time for a `with` block."""
    clock = VirtualTime(asyncio.get_running_loop(), max_jumped_s=max_jumped_s)
    clock.install()
    try:
        yield clock
    finally:
        clock.remove()
