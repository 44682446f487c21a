"""What an application is made of: the definitions that its decorators and methods collect."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from datetime import timedelta, tzinfo
from typing import Any, TypeVar, overload

from faustc import crontab
from faustc._lazy import door
from faustc.agents import Agent, Agents
from faustc.channels import Channel
from faustc.discovery import SCAN_CATEGORIES, SCAN_IGNORE, discover
from faustc.exceptions import ImproperlyConfigured
from faustc.runner import Runner, Task, call
from faustc.streams import Stream
from faustc.timers import itertimer, seconds
from faustc.topics import Topic

__all__ = ["Definitions"]

Fun = TypeVar("Fun", bound=Callable[..., Any])
DefinesAgent = Callable[[Callable[[Any], Any]], Agent]


class Definitions:
    """The part of an app that is about defining."""

    conf: Any
    runner: Runner
    fixups: Any
    trace: Callable[..., Any]
    tables: Any
    is_leader: Callable[[], bool]

    def __init__(self, **options: Any) -> None:
        self.agents = Agents()
        self.tasks: list[Task] = []
        self.commands: list[Any] = []
        self._services_to_make: list[Any] = []
        self._web_server: Any = None  # a service that serves instead of our own
        super().__init__(**options)

    def topic(self, *topics: str, **options: Any) -> Topic:
        """Describe one topic, or several that are read together (see Topic)."""
        topic: Topic = self.conf.Topic(self, topics=topics, **options)
        return topic

    def Table(  # noqa: N802 - Faust's name
        self,
        name: str,
        *,
        default: Callable[[], Any] | None = None,
        window: Any = None,
        partitions: int | None = None,
        help: str | None = None,
        **options: Any,
    ) -> Any:
        """Define a table: a dictionary whose changes are kept in Kafka (see Table)."""
        return self._add_table(self.conf.Table, name, default, window, partitions, help, options)

    def GlobalTable(  # noqa: N802 - Faust's name
        self,
        name: str,
        *,
        default: Callable[[], Any] | None = None,
        window: Any = None,
        partitions: int | None = None,
        help: str | None = None,
        **options: Any,
    ) -> Any:
        """Define a table that every worker has all of (see GlobalTable)."""
        return self._add_table(
            self.conf.GlobalTable, name, default, window, partitions, help, options
        )

    def SetTable(  # noqa: N802 - Faust's name
        self,
        name: str,
        *,
        window: Any = None,
        partitions: int | None = None,
        start_manager: bool = False,
        help: str | None = None,
        **options: Any,
    ) -> Any:
        """Define a table of sets (see SetTable)."""
        options["start_manager"] = start_manager
        return self._add_table(self.conf.SetTable, name, None, window, partitions, help, options)

    Set = SetTable  # Faust 1.0's name

    def SetGlobalTable(  # noqa: N802 - Faust's name
        self,
        name: str,
        *,
        window: Any = None,
        partitions: int | None = None,
        start_manager: bool = False,
        help: str | None = None,
        **options: Any,
    ) -> Any:
        """Define a table of sets that every worker has all of (see SetGlobalTable)."""
        options["start_manager"] = start_manager
        return self._add_table(
            self.conf.SetGlobalTable, name, None, window, partitions, help, options
        )

    def _add_table(
        self,
        cls: Any,
        name: str,
        default: Callable[[], Any] | None,
        window: Any,
        partitions: int | None,
        help: str | None,
        options: dict[str, Any],
    ) -> Any:
        given = {"default": default, "window": window, "partitions": partitions, "help": help}
        options.update({what: one for what, one in given.items() if one is not None})
        table = cls(self, name=name, **options)
        self.tables.add(table)
        if window is not None:
            return table.using_window(window)
        return table

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

    @overload
    def agent(self, channel: Callable[[Any], Any], /) -> Agent: ...

    @overload
    def agent(self, channel: Channel | str | None = None, **options: Any) -> DefinesAgent: ...

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

    def _later(
        self, work: Callable[[], Any], fun: Fun, name: str | None, on_leader: bool, kind: str
    ) -> Fun:
        """Have a task run when the app is started; return the function it was made of."""
        self.tasks.append(Task(work, name or str(getattr(fun, "__qualname__", kind)), on_leader))
        return fun

    async def _tick(self, fun: Callable[..., Any], on_leader: bool, traced: bool) -> None:
        """Call what is called again and again, if it is this worker's turn."""
        if not on_leader or self.is_leader():
            with self.trace(str(getattr(fun, "__qualname__", "timer")), trace_enabled=traced):
                await call(fun, self)

    # On an app these define, on a Service class they mark.
    @overload
    def task(self, fun: Fun, /) -> Fun: ...

    @overload
    def task(self, *, on_leader: bool = False, traced: bool = True) -> Callable[[Fun], Fun]: ...

    def task(self, fun: Any = None, *, on_leader: bool = False, traced: bool = True) -> Any:
        """Start the decorated coroutine function once the app runs; it may take the app.

        on_leader: once this worker leads, be it later, when the one that led is gone.
        traced: with a tracer, as a span.
        """

        def define(fun: Callable[..., Any]) -> Any:
            async def once() -> None:
                if on_leader:
                    await self.runner.leading()
                with self.trace(str(getattr(fun, "__qualname__", "task")), trace_enabled=traced):
                    await call(fun, self)

            return self._later(once, fun, None, on_leader, "task")

        return define if fun is None else define(fun)

    def timer(
        self,
        interval: float | timedelta,
        on_leader: bool = False,
        traced: bool = True,
        name: str | None = None,
        max_drift_correction: float = 0.1,
    ) -> Callable[[Fun], Fun]:
        """Run the decorated coroutine function every interval, the first time after one.

        on_leader: only at ticks at which this worker leads.
        """
        seconds(interval)

        def define(fun: Fun) -> Fun:
            async def ticking() -> None:
                label = name or str(getattr(fun, "__qualname__", "timer"))
                async for _ in itertimer(
                    interval, max_drift_correction=max_drift_correction, name=label
                ):
                    await self._tick(fun, on_leader, traced)

            return self._later(ticking, fun, name, on_leader, "timer")

        return define

    def crontab(
        self,
        cron_format: str,
        *,
        timezone: tzinfo | str | None = None,
        tz: tzinfo | str | None = None,
        on_leader: bool = False,
        traced: bool = True,
    ) -> Callable[[Fun], Fun]:
        """Run the decorated coroutine function at the times of a cron expression.

        timezone, or tz, is a tzinfo or a name such as "Europe/Oslo"; by default it is the
        setting timezone, which is UTC. A time that is missed, because the function or the
        worker was not ready, is left out.
        """
        crontab.check(cron_format)
        zone = crontab.time_zone(timezone if timezone is not None else tz)

        def define(fun: Fun) -> Fun:
            async def scheduled() -> None:
                async for _ in crontab.itercron(cron_format, zone or self.conf.timezone):
                    await self._tick(fun, on_leader, traced)

            return self._later(scheduled, fun, None, on_leader, "crontab")

        return define

    def service(self, cls: Any) -> Any:
        """Let a Service, given as class or instance, start and stop with the app."""
        if not callable(getattr(cls, "maybe_start", None)):
            raise ImproperlyConfigured(f"app.service: {cls!r} is no Service")
        self._services_to_make.append(cls)
        return cls

    def web_server(self, service: Any) -> Any:
        """Let a Service, given as class or instance, serve in place of the app's web server."""
        if not callable(getattr(service, "maybe_start", None)):
            raise ImproperlyConfigured(f"app.web_server: {service!r} is no Service")
        if self._web_server is not None:
            raise ImproperlyConfigured("app.web_server: there is one already")
        self._web_server = service
        return service

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
        more = list(extra_modules)
        if self.conf.autodiscover:
            more += [name for fixup in self.fixups for name in fixup.autodiscover_modules()]
        discover(self.conf, more, categories=categories, ignore=ignore)
