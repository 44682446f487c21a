"""Agents: functions that process a stream, kept running."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import aclosing
from typing import Any

from faustc import asking
from faustc._lazy import door
from faustc.answering import Answers, send_reply
from faustc.channels import Channel, Feed
from faustc.engine.inbox import Reader
from faustc.exceptions import ImproperlyConfigured
from faustc.replies import ReplyPromise
from faustc.reqrep import Envelopes, ReqRepResponse, Request
from faustc.shelves import Shelf, current_shelf
from faustc.streams import Stream
from faustc.topics import Topic
from faustc.types import HeadersArg

__all__ = ["Agent", "Agents", "current_agent"]

logger = logging.getLogger(__name__)

# A function that fails before it took any event would fail again at once.
IDLE_RESTART_MIN_S = 0.1
IDLE_RESTART_MAX_S = 10.0
# Failures that each cost an event are bounded by the events; so many a second,
# as with Faust's supervisor, are let through without a pause.
RESTARTS_PER_SECOND = 100

_current: contextvars.ContextVar[Agent | None] = contextvars.ContextVar("agent", default=None)


def current_agent() -> Agent | None:
    """Return the agent that the running task belongs to, None outside of agents."""
    return _current.get()


class Agent:
    """A function over a stream, run by `concurrency` actors that share the work.

    If it raises, the event in hand is logged with its place and counted, taken
    as done (Faust's rule), and the function is started again on the next one.
    """

    def __init__(
        self,
        fun: Callable[[Any], Any],
        *,
        app: Any,
        name: str | None = None,
        channel: Channel | str | None = None,
        concurrency: int = 1,
        sink: Iterable[Any] | None = None,
        on_error: Callable[[Agent, BaseException], Any] | None = None,
        supervisor_strategy: Any = None,
        isolated_partitions: bool = False,
        use_reply_headers: bool = True,
        help: str | None = None,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        **topic_options: Any,
    ) -> None:
        if isolated_partitions:
            raise ImproperlyConfigured("isolated_partitions=True is not supported yet")
        if supervisor_strategy is not None:
            raise ImproperlyConfigured(
                "supervisor_strategy is not supported yet; agents are restarted one by one"
            )
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ImproperlyConfigured(f"concurrency is 1 or more, not {concurrency!r}")
        self.fun = fun
        self.app = app
        self.name = name or _name_of(fun, app)
        self.concurrency = concurrency
        self.use_reply_headers = use_reply_headers
        self.envelopes = Envelopes(expected=not use_reply_headers)
        self.help = help if help is not None else inspect.cleandoc(fun.__doc__ or "")
        self.errors_total = 0
        self.mute_warned = False  # that it is asked, and does not yield
        self._on_error = on_error
        self._sinks = list(sink or ())
        self._channel_arg = channel
        types = {"schema": schema, "key_type": key_type, "value_type": value_type}
        self._topic_options = {**types, **topic_options}
        self._channel: Channel | None = None
        self._reader: Reader | Feed | None = None
        self._relays: dict[Any, Any] = {}  # what forwards for its streams

    def __repr__(self) -> str:
        return f"<Agent {self.name}>"

    @property
    def label(self) -> str:
        """A short name for logs."""
        return f"Agent: {self.name.rpartition('.')[2]}"

    @property
    def channel(self) -> Channel:
        """What it reads; without one it has a topic of its own, called after app and function."""
        if self._channel is None:
            arg = self._channel_arg
            if isinstance(arg, Channel):
                given = {k: v for k, v in self._topic_options.items() if v is not None}
                if given:
                    raise ImproperlyConfigured(
                        f"agent {self.name}: {', '.join(given)} belong to the channel it was given"
                    )
                self._channel = arg
            else:
                name = arg if arg is not None else f"{self.app.conf.id}-{self.name}"
                internal = {} if arg is not None else {"internal": True}
                self._channel = self.app.topic(name, **internal, **self._topic_options)
        return self._channel

    def get_topic_names(self) -> list[str]:
        """Return the names of the topics it reads."""
        return list(self.channel.topics) if isinstance(self.channel, Topic) else []

    def info(self) -> Mapping[str, Any]:
        """Return what `clone` would make it from."""
        return {
            "app": self.app,
            "fun": self.fun,
            "name": self.name,
            "channel": self.channel,
            "concurrency": self.concurrency,
            "sink": list(self._sinks),
            "on_error": self._on_error,
            "use_reply_headers": self.use_reply_headers,
            "help": self.help,
        }

    def clone(self, *, cls: type[Agent] | None = None, **options: Any) -> Any:
        """Make another agent like this one, with some options changed; the app does not run it."""
        return (cls or type(self))(**{**self.info(), **options})

    def test_context(
        self,
        channel: Channel | None = None,
        supervisor_strategy: Any = None,
        on_error: Callable[[Agent, BaseException], Any] | None = None,
        **options: Any,
    ) -> Any:
        """Make a copy for a test, to be fed by hand: `async with agent.test_context() as agent`.

        See faustc.testing.AgentTestWrapper.
        """
        wrap = door("test_agent")
        return wrap(self, channel, supervisor_strategy, on_error, **options)

    def add_sink(self, sink: Any) -> None:
        """Give what the agent yields to one more function, topic, channel or agent."""
        if sink not in self._sinks:
            self._sinks.append(sink)

    # -- calling it --------------------------------------------------------------------

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
        force: bool = False,
        **options: Any,
    ) -> Any:
        """Send a message to its channel; see Topic.send.

        With reply_to (an agent, topic, channel, or a topic's name) what it yields for
        the message is sent there, each as a ReqRepResponse.
        """
        return await asking.send(
            self,
            value,
            headers,
            reply_to,
            correlation_id,
            key=key,
            partition=partition,
            timestamp=timestamp,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            callback=callback,
            force=force,
            **options,
        )

    async def cast(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
    ) -> None:
        """Send a message to its channel and expect no answer."""
        await self.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers
        )

    async def ask(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
    ) -> Any:
        """Send it a value; return the first value that it yields for it.

        May be called on any loop, of an app that is started or not. The reply comes
        to the app's reply topic, or to that of reply_to. Raises RequestFailed if the
        agent raised, NoReply if the app stops first or reply_expires passes; to wait for
        less than that, put it into asyncio.timeout().
        """
        return await asking.ask(
            self,
            value,
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            reply_to=reply_to,
            correlation_id=correlation_id,
        )

    async def ask_nowait(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
        force: bool = False,
    ) -> ReplyPromise:
        """Like ask, but return once it is sent, with a promise to await for the reply."""
        return await asking.ask_nowait(
            self,
            value,
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            reply_to=reply_to,
            correlation_id=correlation_id,
            force=force,
        )

    def map(
        self,
        values: AsyncIterable[Any] | Iterable[Any],
        key: Any = None,
        reply_to: Any = None,
    ) -> AsyncIterator[Any]:
        """Ask for each of many values; iterate over the replies as they come."""
        return asking.kvmap(self, asking.pairs(key, values), reply_to)

    def kvmap(
        self,
        items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]],
        reply_to: Any = None,
    ) -> AsyncIterator[Any]:
        """Ask for each of many pairs of key and value; iterate over the replies as they come."""
        return asking.kvmap(self, items, reply_to)

    async def join(
        self,
        values: AsyncIterable[Any] | Iterable[Any],
        key: Any = None,
        reply_to: Any = None,
    ) -> list[Any]:
        """Ask for each of many values; return the replies in the order of the values."""
        return await asking.kvjoin(self, asking.pairs(key, values), reply_to)

    async def kvjoin(
        self,
        items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]],
        reply_to: Any = None,
    ) -> list[Any]:
        """Ask for each of many pairs of key and value; return the replies in that order."""
        return await asking.kvjoin(self, items, reply_to)

    async def send_reply(self, request: Request, response: ReqRepResponse) -> None:
        """Send a reply to where a request wants it."""
        await send_reply(self.app, request, response)

    # -- running -----------------------------------------------------------------------

    def open(self) -> Reader | Feed:
        """Return what its actors read from, made once per start of the app."""
        if self._reader is None:
            self._reader = self.app.runner.new_reader(self.channel, self.name)
        return self._reader

    def close(self) -> None:
        """Let the actors' streams end, and forget the reader."""
        for relay in self._relays.values():
            relay.close()
        self._relays.clear()
        reader, self._reader = self._reader, None
        if isinstance(reader, Feed):
            self.channel.close_feed(reader)
        elif reader is not None:
            reader.close()

    def stream(self, **options: Any) -> Stream[Any]:
        """Make a stream over its channel that shares the work of its actors."""
        options.setdefault("prefix", self.name)
        stream: Stream[Any] = self.app.conf.Stream(
            self.channel, app=self.app, reader=self.open(), **options
        )
        stream.open_envelopes(self.envelopes)
        return stream

    def actors(self) -> list[tuple[str, Any]]:
        """Return a name and a coroutine for each actor, to be run by the app."""
        return [(f"{self.name}[{index}]", self._run(index)) for index in range(self.concurrency)]

    def _spawn(self, work: Any, name: str) -> Any:
        """Start a task that belongs to its streams."""
        return self.app.add_future(work, name=f"{self.name}: {name}")

    async def _run(self, index: int) -> None:
        """Run the function for as long as there is something to read."""
        _current.set(self)
        shelf = Shelf(self._spawn, self._relays)
        current_shelf.set(shelf)
        try:
            await self._keep_running(index, shelf)
        finally:
            shelf.close(self.app.runner.close_reader)

    async def _keep_running(self, index: int, shelf: Shelf) -> None:
        loop = asyncio.get_running_loop()
        pause_s = IDLE_RESTART_MIN_S
        window, in_window = loop.time(), 0
        reader = self.open()
        while not reader.closed:
            stream = self.stream(concurrency_index=index if self.concurrency > 1 else None)
            answers = Answers(self, stream)
            failed = True
            try:
                result = self.fun(stream)
                if isinstance(result, AsyncGenerator):
                    async with aclosing(result):  # a sink may fail where the function did not
                        async for value in result:
                            if (request := answers.request()) is not None:
                                await answers.give(request, value)
                            await self._to_sinks(value)
                elif isinstance(result, Awaitable):
                    await result
                else:
                    raise TypeError(
                        f"agent {self.name}: the function has to be a coroutine function"
                    )
                failed = False
            except Exception as exc:  # noqa: BLE001 - whatever user code raises ends one event
                await self._report(stream.in_use, exc)
                await answers.fail(exc)
            stream = stream.in_use
            ended = bool(reader.closed)  # meanwhile
            if ended:
                stream.finish()
                return
            if not failed:
                logger.warning("Agent %s returned; starting it again on the next event", self.name)
            took_something = stream.events_total > 0 or stream.in_hand is not None
            stream.hand_back()
            shelf.put_back()
            if took_something:
                pause_s = IDLE_RESTART_MIN_S
                in_window += 1
                if in_window >= RESTARTS_PER_SECOND:
                    await asyncio.sleep(max(0.0, window + 1.0 - loop.time()))
                    window, in_window = loop.time(), 0
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, IDLE_RESTART_MAX_S)

    async def _report(self, stream: Stream[Any], exc: Exception) -> None:
        """Say what failed and on which event; count it."""
        self.errors_total += 1
        counters = self.app.monitor
        counters.agent_errors_total += 1
        counters.agent_errors_by_agent[self.name] += 1
        message = stream.in_hand
        if message is None:
            where = "before it had an event"
        else:
            where = f"on {message.topic}/{message.partition} offset {message.offset}"
        logger.error("Agent %s raised %s: %r", self.name, where, exc, exc_info=exc)
        if self._on_error is not None:
            result = self._on_error(self, exc)
            if isinstance(result, Awaitable):
                await result

    async def _to_sinks(self, value: Any) -> None:
        for sink in self._sinks:
            if isinstance(sink, Agent | Channel):
                await sink.send(value=value)
            elif isinstance(sink, str):
                await self.app.send(sink, value=value)
            else:
                result = sink(value)
                if isinstance(result, Awaitable):
                    await result


class Agents(dict[str, Agent]):
    """The app's agents by name: `app.agents`."""

    def by_topic(self) -> dict[str, list[Agent]]:
        """Return the agents that read each topic."""
        found: dict[str, list[Agent]] = {}
        for agent in self.values():
            for topic in agent.get_topic_names():
                found.setdefault(topic, []).append(agent)
        return found


def _name_of(fun: Callable[..., Any], app: Any) -> str:
    """Name an agent after its function's module and name, seeing through partial()."""
    inner = fun
    while hasattr(inner, "func"):
        inner = inner.func
    module = inner.__module__
    if module == "__main__":
        module = app.conf.origin or module
    name: str = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{module}.{name.replace('<locals>.', '')}"
