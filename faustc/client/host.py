"""An event loop on a thread of its own, and calls from one loop into another.

Group membership lives on such a thread: user code that blocks its own loop
must not keep a heartbeat from being sent. Neither side ever blocks the other;
what crosses is a coroutine function with its arguments, and its outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from faustc.exceptions import KafkaTimeout, NotReady

__all__ = ["LoopThread", "SameLoop", "call_across"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# The loop itself holds its tasks weakly, and the one who asked may be gone.
_running: set[asyncio.Task[Any]] = set()


async def call_across(
    loop: asyncio.AbstractEventLoop,
    function: Callable[P, Coroutine[Any, Any, R]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Run a coroutine function on another loop and return what it returns.

    Cancelling the call cancels the coroutine over there, without waiting for
    it to end. The coroutine object is made on the other loop, so that nothing
    is left un-awaited when that loop is closed. Raises NotReady if it is closed
    before it answers; whoever closes a loop with `asyncio.run` cancels its
    tasks first, so a waiter hears of that too.
    """
    here = asyncio.get_running_loop()
    if loop is here:
        return await function(*args, **kwargs)
    waiter: asyncio.Future[R] = here.create_future()
    task: asyncio.Task[R] | None = None
    given_up = False

    def begin() -> None:
        nonlocal task
        if given_up:
            return
        task = loop.create_task(function(*args, **kwargs))
        _running.add(task)
        task.add_done_callback(finished)

    def finished(done: asyncio.Task[R]) -> None:
        _running.discard(done)
        if not done.cancelled():
            done.exception()  # seen here: the waiter may be gone, and then nobody would look
        try:
            here.call_soon_threadsafe(settle, done)
        except RuntimeError:
            logger.debug("Nobody is left to hear the result of %r", done)

    def settle(done: asyncio.Task[R]) -> None:
        if waiter.done():
            return
        if done.cancelled():
            waiter.set_exception(NotReady(f"{function.__qualname__} was cancelled on its own loop"))
        elif (failure := done.exception()) is not None:
            waiter.set_exception(failure)
        else:
            waiter.set_result(done.result())

    def give_up() -> None:
        nonlocal given_up
        given_up = True
        if task is not None:
            task.cancel()

    _post(loop, begin, function)
    try:
        return await waiter
    except asyncio.CancelledError:
        try:
            loop.call_soon_threadsafe(give_up)
        except RuntimeError:
            pass  # that loop is closed: nothing runs there any more
        raise


def _post(
    loop: asyncio.AbstractEventLoop, begin: Callable[[], None], what: Callable[..., Any]
) -> None:
    try:
        # A fresh context: the caller's variables (a current event, say) mean nothing over there.
        loop.call_soon_threadsafe(begin, context=contextvars.Context())
    except RuntimeError as exc:
        raise NotReady(f"the loop that was to run {what.__qualname__} is closed") from exc


class LoopThread:
    """An asyncio loop on a daemon thread; must never be closed from its own thread."""

    def __init__(self, name: str = "faustc") -> None:
        self.name = name
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._closed = False

    def start(self) -> None:
        """Start the thread; calls are taken from now on."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether calls are taken."""
        return self._thread.is_alive() and not self._closed

    async def run(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a coroutine function on the thread's loop; see `call_across`.

        Raises NotReady when the thread has been closed, or is closed meanwhile.
        """
        if not self.alive:
            raise NotReady(f"thread {self.name} is not running")
        return await call_across(self.loop, function, *args, **kwargs)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have a plain function called on the thread's loop; dropped once that is closed."""
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            logger.debug("Thread %s is closed; %r is dropped", self.name, function)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Cancel what runs on the loop, stop it and wait for the thread to end.

        Raises KafkaTimeout if it does not end in time (something over there
        blocks); the thread is a daemon, so the process can end all the same.
        """
        if self._closed:
            return
        self._closed = True
        if self._thread.ident is None:
            self.loop.close()
            return
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            pass  # it is closed: the thread is about to end
        here = asyncio.get_running_loop()
        give_up_at = here.time() + timeout_s
        while self._thread.is_alive():
            if here.time() > give_up_at:
                raise KafkaTimeout(f"thread {self.name} did not end within {timeout_s:g} s")
            await asyncio.sleep(0.002)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        except BaseException:
            logger.exception("The loop of thread %s died", self.name)
            raise
        finally:
            self._closed = True
            self._wind_up()

    def _wind_up(self) -> None:
        # Twice over: a call posted while the loop was stopping begins in the first round.
        self.loop.run_until_complete(asyncio.sleep(0))
        while left := asyncio.all_tasks(self.loop):
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        self.loop.close()


class SameLoop:
    """What a LoopThread is to its user, on the user's own loop: for links that cannot leave it.

    User code that blocks the loop then keeps heartbeats from being sent.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Do nothing: the loop runs."""

    async def run(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a coroutine function, as part of the calling task."""
        return await function(*args, **kwargs)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have a plain function called."""
        self.loop.call_soon_threadsafe(function, *args)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Do nothing: the loop is the user's."""
