"""The application: definitions in, engine and face wired, started and stopped.

No logic of its own: what it registers is run by the modules below it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Mapping
from datetime import timedelta, tzinfo
from functools import cached_property
from typing import Any, NoReturn, TypeVar, overload

from faustc import crontab
from faustc._lazy import door
from faustc.agents import Agent, Agents
from faustc.channels import Channel
from faustc.discovery import IGNORED, import_all
from faustc.engine.transport import Transport, driver
from faustc.events import Event
from faustc.exceptions import ImproperlyConfigured
from faustc.flow import FlowControl
from faustc.replies import ReplyConsumer
from faustc.runner import Runner, leader_only, repeated
from faustc.sensors.observed import Observed
from faustc.service import Service
from faustc.settings import Settings as AppSettings
from faustc.settings import options_in
from faustc.signals import Signal
from faustc.streams import Stream
from faustc.timers import itertimer, seconds
from faustc.topics import Topic, Topics
from faustc.types import HeadersArg, TopicPartition
from faustc.web.pages import Pages

__all__ = ["App"]

Fun = TypeVar("Fun", bound=Callable[..., Any])
DefinesAgent = Callable[[Callable[[Any], Any]], Agent]

LATER = {
    **dict.fromkeys(("Table", "Set", "SetTable", "GlobalTable", "SetGlobalTable"), "tables"),
    **dict.fromkeys(("tables", "table_route"), "tables"),
    **dict.fromkeys(("LiveCheck", "router", "assignor"), "this"),
}


class App(Pages, Observed, Service):
    """An instance of the library: topics, agents and tasks that run together.

    Making one reads its settings and touches nothing else; every keyword is a
    setting (see Settings). It may be shared between threads: it lives on the
    loop that started it, and what other threads ask of it is brought there.
    """

    #: The class of the settings.
    Settings: type[AppSettings] = AppSettings

    on_before_configured = Signal("Before the settings are made. (app)")
    on_configured = Signal("The settings are made and may be changed. (app, conf)")
    on_after_configured = Signal("The settings are final. (app)")
    on_worker_init = Signal("A worker from the command line begins. (app)")
    on_partitions_assigned = Signal("Partitions came. (app, assigned)")
    on_partitions_revoked = Signal("Partitions go, after their commit. (app, revoked)")
    on_before_shutdown = Signal("The app is about to stop. (app)")

    def __init__(
        self,
        id: str,
        *,
        monitor: Any = None,
        config_source: Any = None,
        loop: Any = None,
        beacon: Any = None,
        **options: Any,
    ) -> None:
        self.lock = threading.RLock()
        # Made at once, so that a misspelt setting is an error where it was written.
        self._conf = self.Settings(id, **options)
        if config_source is not None:
            self._conf.update(options_in(config_source))
        self._announced = False
        #: Started by start_client: it calls agents, and runs none.
        self.client_only = False
        if monitor is not None:
            self.monitor = monitor
        self._topics_by_name: dict[str, Topic] = {}
        self._services: list[Any] = []
        self.commands: list[Any] = []
        self.tasks: list[Callable[..., Any]] = []
        self.agents = Agents()
        self.runner = Runner(self)
        self.topics = Topics(self.runner.topics)
        self.flow_control = FlowControl()
        super().__init__(beacon=beacon, loop=loop)

    def __repr__(self) -> str:
        return f"<App {self._conf.id}: {self.state}>"

    def __getattr__(self, name: str) -> Any:
        if name in LATER:
            raise AttributeError(f"app.{name} is not there yet: {LATER[name]} come later")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # -- settings and what is made when first asked for ----------------------------------

    @property
    def conf(self) -> AppSettings:
        """The settings. They may be replaced, and changed until the app is first used."""
        if not self._announced:
            with self.lock:
                if not self._announced:
                    self._announced = True
                    self.on_before_configured.send()
                    self.on_configured.send(self._conf)
                    self.on_after_configured.send()
        return self._conf

    @conf.setter
    def conf(self, conf: AppSettings) -> None:
        with self.lock:
            self._conf = conf

    def config_from_object(
        self, obj: Any, *, silent: bool = False, force: bool = False
    ) -> Mapping[str, Any]:
        """Take settings from a mapping, an object's attributes, or a module's path."""
        options = options_in(obj, self._conf.NAMES)
        self._conf.update(options)
        return options

    def finalize(self) -> None:
        """Check the settings together and make them final."""
        self.conf.finalize()

    @property
    def finalized(self) -> bool:
        """Whether the settings are final."""
        return self._conf.finalized

    @property
    def label(self) -> str:
        return f"App {self._conf.id}"

    def _made(self, name: str, make: Callable[[], Any]) -> Any:
        """Make an attribute once, however many threads ask for it at the same time."""
        with self.lock:
            found = self.__dict__.get(name)
            if found is None:
                found = self.__dict__[name] = make()
            return found

    @property
    def transport(self) -> Transport:
        """The driver that `broker` names."""
        transport: Transport = self._made("_transport", lambda: driver(self.conf.broker))
        return transport

    @transport.setter
    def transport(self, transport: Transport) -> None:
        self.__dict__["_transport"] = transport

    @property
    def serializers(self) -> Any:
        """What turns keys and values into bytes and back."""
        conf = self.conf
        return self._made(
            "_serializers",
            # None where nobody set one: what does not decode then says so.
            lambda: conf.Serializers(
                key_serializer=conf.key_serializer if conf.is_set("key_serializer") else None,
                value_serializer=(
                    conf.value_serializer if conf.is_set("value_serializer") else None
                ),
            ),
        )

    @property
    def producer(self) -> Any:
        """The producer. Raises ProducerClosed before the app is started."""
        return self.runner.engine.running_producer()

    @property
    def consumer(self) -> Any:
        """The consumer. Raises ConsumerNotStarted before the app is started."""
        return self.runner.engine.running_consumer()

    @property
    def rebalancing(self) -> bool:
        """Whether partitions are being taken away and given anew."""
        return self.runner.rebalancing

    def is_leader(self) -> bool:
        """Say whether this worker leads its group: exactly one of each generation does.

        Raises ConsumerNotStarted before the app is started.
        """
        return bool(self.runner.engine.running_consumer().is_leader)

    # -- definitions -----------------------------------------------------------------------

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

    # On an app these define, on a Service class they mark.
    @overload  # type: ignore[override]
    def task(self, fun: Fun, /) -> Fun: ...

    @overload
    def task(self, *, on_leader: bool = False, traced: bool = True) -> Callable[[Fun], Fun]: ...

    def task(self, fun: Any = None, *, on_leader: bool = False, traced: bool = True) -> Any:
        """Start the decorated coroutine function once the app runs; it may take the app."""

        def define(fun: Callable[..., Any]) -> Callable[..., Any]:
            self.tasks.append(leader_only(self, fun) if on_leader else fun)
            return fun

        return define if fun is None else define(fun)

    def timer(  # type: ignore[override]
        self,
        interval: float | timedelta,
        on_leader: bool = False,
        traced: bool = True,
        name: str | None = None,
        max_drift_correction: float = 0.1,
    ) -> Callable[[Fun], Fun]:
        """Run the decorated coroutine function every interval, the first time after one."""
        seconds(interval)

        def define(fun: Fun) -> Fun:
            label = name or str(getattr(fun, "__qualname__", "timer"))
            once = leader_only(self, fun) if on_leader else fun
            self.tasks.append(
                repeated(
                    self,
                    once,
                    label,
                    lambda: itertimer(
                        interval, max_drift_correction=max_drift_correction, name=label
                    ),
                )
            )
            return fun

        return define

    def crontab(  # type: ignore[override]
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
            once = leader_only(self, fun) if on_leader else fun

            label = str(getattr(fun, "__qualname__", "crontab"))
            self.tasks.append(
                repeated(
                    self,
                    once,
                    label,
                    lambda: crontab.itercron(cron_format, zone or self.conf.timezone),
                )
            )
            return fun

        return define

    def service(self, cls: Any) -> Any:
        """Let a Service, given as class or instance, start and stop with the app."""
        self._services.append(cls)
        return cls

    def command(self, *options: Any, base: Any = None, **attributes: Any) -> Any:
        """Make a command of the command line of the decorated function."""

        def define(fun: Callable[..., Any]) -> Any:
            command = door("command")(self, fun, options, base, attributes)
            self.commands.append(command)
            return command

        return define

    def stream(self, channel: Any, **options: Any) -> Stream[Any]:
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
        categories: Iterable[str] = (),  # Venusian's, Faust's way; here a module has them all
        ignore: Iterable[Callable[[str], bool]] = (),
    ) -> None:
        """Import the packages that `autodiscover` names, and these, for their decorators."""
        wanted = self.conf.autodiscover
        packages: list[str] = list(extra_modules)
        if callable(wanted):
            packages += wanted()
        elif wanted is True:
            if self.conf.origin is None:
                raise ImproperlyConfigured(
                    "autodiscover=True needs to know the app's package: run it with -A, "
                    "or set origin"
                )
            packages.append(self.conf.origin.partition(":")[0])
        elif wanted:
            packages += list(wanted)
        import_all(packages, ignore=[*IGNORED, *ignore])

    # -- sending and committing, from any thread -------------------------------------------

    async def send(
        self,
        channel: Channel | str,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        schema: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        force: bool = False,
    ) -> Any:
        """Send a message to a channel, an agent, or a topic by name (see Topic.send)."""
        target: Any = self._named(channel) if isinstance(channel, str) else channel
        return await target.send(
            key=key,
            value=value,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            schema=schema,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            callback=callback,
            force=force,
        )

    def _named(self, name: str) -> Topic:
        topic = self._topics_by_name.get(name)
        if topic is None:
            topic = self._topics_by_name.setdefault(name, self.topic(name))
        return topic

    async def commit(self, topics: Collection[TopicPartition | str] | None = None) -> bool:
        """Commit what is done, of all or of some topics or partitions."""
        return await self.runner.home.run(self.runner.commit, topics)

    # -- running ---------------------------------------------------------------------------

    async def _set_up(self) -> None:
        await self._start_sensors()
        await self._start_web()
        await self.runner.start()

    @property
    def _reply_consumer(self) -> ReplyConsumer:
        # Programs use it by this name, since Faust's ask_nowait leaves adding the promise to them.
        return self.runner.replies

    async def start_client(self) -> None:
        """Start it to call agents and to send only, on the running loop.

        Neither agents nor tasks and timers are run, and no group is joined.
        `stop` stops it; it may be started as a worker afterwards.
        """
        if self.started:
            return
        self.client_only = True
        await self.start()

    async def maybe_start_client(self) -> None:
        """Start it to call agents, unless it is started, as a client or as a worker."""
        await self.start_client()

    async def stop(self) -> None:
        """Stop it; one that was only sent from delivers what was sent, and disconnects."""
        if self.state == "init":
            await self.runner.home.run(self.runner.stop)
        await super().stop()

    def _hold(self) -> None:
        self.runner.hold()

    async def _wind_down(self) -> None:
        await self.on_before_shutdown.asend()
        await self.runner.wind_down()

    async def _tear_down(self) -> None:
        try:
            await self.runner.stop()
        finally:
            self.client_only = False
            await self._stop_web()
            await self._stop_sensors()

    def on_init_dependencies(self) -> list[Any]:
        """Return services that start and stop with the app: here, those registered."""
        services: list[Any] = self._services
        return [one(beacon=self.beacon) if isinstance(one, type) else one for one in services]

    def create_event(self, key: Any, value: Any, headers: HeadersArg, message: Any) -> Event:
        """Make an event; override it, or set Event, for a class of your own."""
        event: Event = self._event_class(self, key, value, headers, message)
        return event

    @cached_property
    def _event_class(self) -> Any:
        return self.conf.Event

    def Worker(self, **options: Any) -> Any:  # noqa: N802 - Faust's name
        """Make a Worker that runs this app in a process of its own."""
        return door("Worker")(self, **options)

    def test_context(self, **options: Any) -> Any:
        """Run it against a broker in memory: `async with app.test_context() as t`.

        See faustc.testing.AppTest.
        """
        return door("test_app")(self, **options)

    def main(self) -> NoReturn:
        """Run the command line with this app, then exit; for scripts."""
        door("main")(self)
        raise SystemExit(0)

    def worker_init(self) -> None:
        """Run when a worker from the command line begins; override as needed."""
