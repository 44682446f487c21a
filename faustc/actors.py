"""Actors: what runs an agent's function, again and again while there is something to read."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from typing import Any

from faustc.answering import Answers
from faustc.exceptions import DeliveryFailed, ProducerFenced, TransactionAborted
from faustc.failure import Fate
from faustc.shelves import Shelf, current_shelf
from faustc.stacks import stack_of
from faustc.streams import Stream
from faustc.supervisors import Verdict

__all__ = ["Actor", "current_agent", "in_threads", "is_plain"]

logger = logging.getLogger(__name__)

# A function that fails before it took any event would fail again at once.
IDLE_RESTART_MIN_S = 0.1
IDLE_RESTART_MAX_S = 10.0

# What a body is told, under exactly_once, whose transaction is about to be undone.
_UNDONE = (TransactionAborted, ProducerFenced, DeliveryFailed)

_current: contextvars.ContextVar[Any] = contextvars.ContextVar("agent", default=None)


def current_agent() -> Any:
    """Return the agent that the running task belongs to, None outside of agents."""
    return _current.get()


class Actor:
    """Runs one agent's function on one stream at a time, and starts it again when it ends."""

    def __init__(self, agent: Any, index: int, reader: Any, partition: Any = None) -> None:
        self.agent = agent
        self.index = index
        self.partition = partition  # the one it has, where partitions are isolated
        self.name = f"{agent.name}[{index if partition is None else _short(partition)}]"
        self.task: asyncio.Task[Any] | None = None
        self.given_up = False
        self._reader = reader
        self._interrupted = False
        self._calling = False  # the function runs, or waits for something
        self._result: Any = None  # what it returned: where it is
        self._stream_in_use: Stream[Any] | None = None
        self._shelf = Shelf(agent._spawn, agent._relays)
        self._pause_s = IDLE_RESTART_MIN_S

    def __repr__(self) -> str:
        return f"<Actor {self.name}>"

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.task is not None and self.task.done()

    def traceback(self) -> str:
        """Return where in its function it is just now, as text."""
        if self.task is None:
            return f"{self.name}: not started"
        if self.task.done():
            return f"{self.name}: ended"
        return f"{self.name}:\n{stack_of(self._result) or '  between two runs'}"

    def interrupt(self) -> None:
        """Start the function again; what it has in hand comes again.

        One that is being started again anyway is left to that.
        """
        if self.task is not None and self._calling:
            if self._interrupted:  # and it did not mind
                self.task.uncancel()
            self._interrupted = True
            self.task.cancel()

    def end(self) -> None:
        """End it, after the event that it has in hand; nobody takes its place."""
        self.given_up = True
        if self._reader is not self.agent.reader:  # it is its own
            self._reader.close()
        stream = self._stream_in_use
        idle = stream is None or stream.in_use.in_hand is None
        if idle and self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def run(self) -> None:
        """Run the function until there is nothing more to read."""
        self.task = asyncio.current_task()
        _current.set(self.agent)
        current_shelf.set(self._shelf)
        try:
            while not self._reader.closed and not self.given_up:
                await self._run_once()
        except asyncio.CancelledError:
            if not self.given_up:
                raise
        finally:
            self._shelf.close(self.agent.app.runner.close_reader)

    def _stream(self) -> Stream[Any]:
        agent = self.agent
        return agent.stream(  # type: ignore[no-any-return]
            concurrency_index=self.index if agent.concurrency > 1 else None,
            active_partitions=None if self.partition is None else {self.partition},
            reader=self._reader,
        )

    async def _run_once(self) -> None:
        """Run the function once, and see to what it leaves in hand when it ends."""
        agent = self.agent
        stream = self._stream_in_use = self._stream()
        answers = Answers(agent, stream)
        self._interrupted = False
        error: Exception | None = None
        try:
            await self._call(stream, answers)
        except asyncio.CancelledError:
            if not self._interrupted or self.task is None or self.task.uncancel():
                raise  # somebody else wants it to end
            self._take_back(stream.in_use)
            return
        except Exception as exc:  # noqa: BLE001 - whatever user code raises ends one event
            error = exc
        finally:
            self._calling = False
            self._result = None
        if self._interrupted and self.task is not None:
            self.task.uncancel()  # it ended by something else
        stream = stream.in_use
        if error is None:
            await self._returned(stream)
        else:
            await self._failed(stream, answers, error)

    async def _call(self, stream: Stream[Any], answers: Answers) -> None:
        agent = self.agent
        self._calling = True
        result = self._result = agent.started(stream)
        if isinstance(result, AsyncGenerator):
            async with aclosing(result):  # a sink may fail where the function did not
                async for value in result:
                    if (request := answers.request()) is not None:
                        await answers.give(request, value)
                    await agent._to_sinks(value)
        elif isinstance(result, Awaitable):
            await result
        else:
            raise TypeError(f"agent {agent.name}: the function has to be a coroutine function")

    async def _returned(self, stream: Stream[Any]) -> None:
        if self._reader.closed:
            stream.finish()
            return
        logger.warning("Agent %s returned; starting it again on the next event", self.agent.name)
        await self._start_again(stream)

    async def _failed(self, stream: Stream[Any], answers: Answers, error: Exception) -> None:
        """Report it, do with the event what the policy says, with the actor what its supervisor."""
        agent = self.agent
        if stream.stale or (agent.app.runner.gate is not None and isinstance(error, _UNDONE)):
            # It comes again, here or elsewhere, and that is nobody's fault.
            logger.info("Agent %s gives up an event that comes again: %s", agent.name, error)
            await self._start_again(stream, Fate.AGAIN)
            return
        await agent._report(stream, error)
        fate, delay_s = Fate.DONE, 0.0
        in_hand = stream.in_hand_with_ledgers
        if in_hand:
            fate, delay_s = await agent.failures.judge(in_hand, error)
        if fate is Fate.DONE:
            await answers.fail(error)
        verdict = Verdict.CRASH if fate is Fate.CRASH else agent.supervisor.decide(error)
        if verdict is Verdict.CRASH:
            self.given_up = True
            stream.let_go()
            await agent.app.crash(error)
            return
        if self._reader.closed and fate is Fate.DONE:
            stream.finish()
            return
        if verdict in (Verdict.FORFEIT_ONE, Verdict.FORFEIT_ALL):
            self._settle(stream, fate)
            logger.error("Agent %s: %s (after %r)", agent.name, verdict.value, error)
            agent.give_up(self if verdict is Verdict.FORFEIT_ONE else None)
            return
        if delay_s:
            await self._wait(stream, delay_s)
        if verdict is Verdict.RESTART_ALL:
            agent.interrupt_others(self)
        await self._start_again(stream, fate)

    async def _wait(self, stream: Stream[Any], delay_s: float) -> None:
        """Wait before a retry; less if the app is stopping, or the partition goes."""
        loop = asyncio.get_running_loop()
        until = loop.time() + delay_s
        while loop.time() < until:
            if all(self._reader.stopped(message.tp) for _, message in stream.in_hand_with_ledgers):
                return
            await asyncio.sleep(min(0.1, max(0.0, until - loop.time())))

    async def _start_again(self, stream: Stream[Any], fate: Fate = Fate.DONE) -> None:
        took_something = stream.events_total > 0 or stream.in_hand is not None
        self._settle(stream, fate)
        if took_something:
            self._pause_s = IDLE_RESTART_MIN_S
            await self.agent.restart_room()
        else:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, IDLE_RESTART_MAX_S)

    def _settle(self, stream: Stream[Any], fate: Fate) -> None:
        """Acknowledge what is in hand, or give it back; and what was only collected."""
        if fate is Fate.AGAIN:
            self._take_back(stream)
            return
        stream.hand_back()
        self._shelf.put_back()

    def _take_back(self, stream: Stream[Any]) -> None:
        """Let what is in hand be handed out again, before anything else."""
        stream.take_back()
        self._shelf.put_back()


def _short(tp: Any) -> str:
    return f"{tp.topic}/{tp.partition}"


def is_plain(fun: Callable[..., Any]) -> bool:
    """Say whether a function is an ordinary one, which would block the event loop."""
    inner: Any = fun
    while isinstance(inner, partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    if not inspect.isroutine(inner):  # an object that can be called
        inner = inspect.unwrap(type(inner).__call__)
    return not (
        inspect.iscoroutinefunction(inner)
        or inspect.isasyncgenfunction(inner)
        or inspect.isgeneratorfunction(inner)
    )


async def in_threads(
    fun: Callable[[Any], Any], stream: Stream[Any], pool: Executor
) -> AsyncIterator[Any]:
    """Have a plain function process each value in a thread; yield what it returns, but None."""
    loop = asyncio.get_running_loop()
    async for value in stream:
        context = contextvars.copy_context()
        result = await loop.run_in_executor(pool, context.run, fun, value)
        if isinstance(result, Awaitable | AsyncGenerator):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(
                f"{fun!r} is a plain function, but returns {type(result).__name__}: if it wraps a "
                "coroutine function, let it say so with functools.wraps"
            )
        if result is not None:
            yield result
