"""What a service's own code waits with: every wait ends when the service is asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from faustc.timers import itertimer

__all__ = ["WaitResult", "WaitResults", "Waits"]

Seconds = float | timedelta


class WaitResult(NamedTuple):
    """What was waited for gave `result`, or the service is stopping: `stopped`."""

    result: Any
    stopped: bool


class WaitResults(NamedTuple):
    """Those that are done, what each of them gave, and whether the service is stopping."""

    done: list[Any]
    results: list[Any]
    stopped: bool


class Waits:
    """Waiting, as part of Service."""

    _should_stop: asyncio.Event
    _given_loop: Any = None

    @property
    def loop(self) -> Any:
        """The loop that was given or set, else the running one: none is looked for before that.

        Raises RuntimeError where none runs.
        """
        return asyncio.get_running_loop() if self._given_loop is None else self._given_loop

    @loop.setter
    def loop(self, loop: Any) -> None:
        self._given_loop = loop

    @property
    def should_stop(self) -> bool:
        """Whether it is stopping or was asked to."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """A name for logs."""
        raise NotImplementedError

    async def sleep(self, n: Seconds) -> None:
        """Sleep n seconds, or until the service is asked to stop."""
        try:
            async with asyncio.timeout(_seconds(n)):
                await self._should_stop.wait()
        except TimeoutError:
            pass  # slept to the end

    async def itertimer(
        self, interval: Seconds, *, max_drift_correction: float = 0.1, name: str = ""
    ) -> AsyncIterator[float]:
        """Yield every interval until the service is asked to stop."""
        async for late in itertimer(
            interval, max_drift_correction=max_drift_correction, name=name or self.label
        ):
            if self.should_stop:
                return
            yield late

    async def wait(self, *what: Awaitable[Any], timeout: Seconds | None = None) -> Any:
        """Wait for an awaitable, or for all of several, or until the service is to stop.

        Returns WaitResult for one, WaitResults for several or none. What is not done
        when the service stops is cancelled. Raises what an awaitable raises, and
        TimeoutError after timeout seconds.
        """
        if len(what) != 1:
            return await self.wait_many(what, timeout=timeout)
        done, results, stopped = await self._wait(what, timeout, asyncio.ALL_COMPLETED)
        return WaitResult(results[0] if done else None, stopped)

    async def wait_many(
        self, what: Iterable[Awaitable[Any]], *, timeout: Seconds | None = None
    ) -> WaitResults:
        """Wait for all, or until the service is to stop; otherwise as `wait`."""
        return await self._wait(what, timeout, asyncio.ALL_COMPLETED)

    async def wait_first(
        self, *what: Awaitable[Any], timeout: Seconds | None = None
    ) -> WaitResults:
        """Wait for the first, or until the service is to stop; the others are cancelled."""
        return await self._wait(what, timeout, asyncio.FIRST_COMPLETED)

    async def wait_for_stopped(self, *what: Awaitable[Any], timeout: Seconds | None = None) -> bool:
        """Wait for all, or until the service is to stop; return whether that is so."""
        return (await self._wait(what, timeout, asyncio.ALL_COMPLETED)).stopped

    async def _wait(
        self, what: Iterable[Awaitable[Any]], timeout: Seconds | None, until: str
    ) -> WaitResults:
        given = list(what)
        tasks = {id(one): asyncio.ensure_future(one) for one in given}
        stop = asyncio.ensure_future(self._should_stop.wait())
        waiting = set(tasks.values())
        try:
            async with asyncio.timeout(None if timeout is None else _seconds(timeout)):
                while not stop.done() and (waiting or not given):
                    done, _ = await asyncio.wait(
                        {*waiting, stop}, return_when=asyncio.FIRST_COMPLETED
                    )
                    waiting -= done
                    failed = [one for one in done if not one.cancelled() and one.exception()]
                    if failed or (until == asyncio.FIRST_COMPLETED and done - {stop}):
                        break
            finished = [one for one in given if tasks[id(one)].done()]
            results = [tasks[id(one)].result() for one in finished]
            return WaitResults(finished, results, self.should_stop)
        finally:
            left = [one for one in (*tasks.values(), stop) if not one.done()]
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)


def _seconds(n: Seconds) -> float:
    return n.total_seconds() if isinstance(n, timedelta) else float(n)
