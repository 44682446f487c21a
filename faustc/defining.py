"""What an application is made of: the definitions that its decorators and methods collect."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from datetime import timedelta
from typing import Any

from faustc._lazy import door
from faustc.agents import Agent, Agents
from faustc.channels import Channel
from faustc.discovery import SCAN_CATEGORIES, SCAN_IGNORE, discover
from faustc.exceptions import ImproperlyConfigured
from faustc.runner import Task, call
from faustc.streams import Stream
from faustc.timers import itertimer, seconds
from faustc.topics import Topic

__all__ = ["Definitions"]


class Definitions:
    """The part of an app that is about defining."""

    conf: Any

    def __init__(self, **options: Any) -> None:
        self.agents = Agents()
        self.tasks: list[Task] = []
        self.commands: list[Any] = []
        self._services: list[Any] = []
        super().__init__(**options)

    def topic(self, *topics: str, **options: Any) -> Topic:
        """Describe one topic, or several that are read together (see Topic)."""
        topic: Topic = self.conf.Topic(self, topics=topics, **options)
        return topic

    def channel(
        self,
        *,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        maxsize: int | None = None,
        loop: Any = None,
    ) -> Channel:
        """Make a channel in memory."""
        return Channel(
            self, schema=schema, key_type=key_type, value_type=value_type, maxsize=maxsize
        )

    def agent(
        self,
        channel: Any = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        **options: Any,
    ) -> Any:
        """Make an agent of the decorated function (see Agent)."""

        def define(fun: Callable[[Any], Any]) -> Agent:
            agent: Agent = self.conf.Agent(
                fun, app=self, name=name, channel=given, concurrency=concurrency, **options
            )
            if agent.name in self.agents:
                raise ImproperlyConfigured(f"there is an agent {agent.name} already; use name=")
            self.agents[agent.name] = agent
            return agent

        given = channel
        if inspect.isfunction(channel):  # @app.agent without parentheses
            given = None
            return define(channel)
        return define

    def task(self, fun: Any = None, *, on_leader: bool = False, traced: bool = True) -> Any:
        """Start the decorated coroutine function once the app runs; it may take the app.

        on_leader: once this worker leads, be it later, when the one that led is gone.
        traced: with a tracer, as a span.
        """

        def define(fun: Callable[..., Any]) -> Callable[..., Any]:
            name = str(getattr(fun, "__qualname__", "task"))

            async def once() -> None:
                if on_leader:
                    await self.runner.leading()  # type: ignore[attr-defined]
                with self.trace(name, trace_enabled=traced):  # type: ignore[attr-defined]
                    await call(fun, self)

            self.tasks.append(Task(once, name, on_leader))
            return fun

        return define if fun is None else define(fun)

    def timer(
        self,
        interval: float | timedelta,
        on_leader: bool = False,
        traced: bool = True,
        name: str | None = None,
        max_drift_correction: float = 0.1,
    ) -> Any:
        """Run the decorated coroutine function every interval, the first time after one.

        on_leader: only at ticks at which this worker leads.
        """
        seconds(interval)

        def define(fun: Callable[..., Any]) -> Callable[..., Any]:
            label = name or str(getattr(fun, "__qualname__", "timer"))

            async def ticking() -> None:
                async for _ in itertimer(
                    interval, max_drift_correction=max_drift_correction, name=label
                ):
                    if not on_leader or self.is_leader():  # type: ignore[attr-defined]
                        with self.trace(label, trace_enabled=traced):  # type: ignore[attr-defined]
                            await call(fun, self)

            self.tasks.append(Task(ticking, label, on_leader))
            return fun

        return define

    def service(self, cls: Any) -> Any:
        """Let a Service, given as class or instance, start and stop with the app."""
        if not callable(getattr(cls, "maybe_start", None)):
            raise ImproperlyConfigured(f"app.service: {cls!r} is no Service")
        self._services.append(cls)
        return cls

    def command(self, *options: Any, base: Any = None, **attributes: Any) -> Any:
        """Make a command of the command line of the decorated function."""

        def define(fun: Callable[..., Any]) -> Any:
            command = door("command")(self, fun, options, base, attributes)
            self.commands.append(command)
            return command

        return define

    def stream(self, channel: Any, beacon: Any = None, **options: Any) -> Stream[Any]:
        """Make a stream over a topic, a channel, a topic's name, or any iterable."""
        if isinstance(channel, str):
            channel = self.topic(channel)
        elif not isinstance(channel, Channel | AsyncIterable | Iterable):
            raise ImproperlyConfigured(
                f"a stream is over a topic, a channel or an iterable, not {channel!r}"
            )
        stream: Stream[Any] = self.conf.Stream(channel, app=self, **options)
        return stream

    def discover(
        self,
        *extra_modules: str,
        categories: Iterable[str] = SCAN_CATEGORIES,
        ignore: Iterable[Any] = SCAN_IGNORE,
    ) -> None:
        """Import the packages that `autodiscover` names, and these, for their decorators.

        ignore: functions of a module's name, or names; one that begins with a dot is
        within each package. categories are Faust's; a decorator registers when its
        module is imported, so they are only checked.
        """
        discover(self.conf, extra_modules, categories=categories, ignore=ignore)
