"""The application: definitions in, engine and face wired, started and stopped.

No logic of its own: what it registers is run by the modules below it, and what
belongs together is a class that it inherits.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any, NoReturn

from faustc._lazy import door
from faustc.boot import BootStrategy, Part
from faustc.channels import Channel
from faustc.configured import Configured
from faustc.defining import Definitions
from faustc.engine.transport import Transport, driver
from faustc.events import Event
from faustc.fixups import Fixup, fixups
from faustc.flow import FlowControl, FlowControlQueue
from faustc.replies import ReplyConsumer
from faustc.runner import Runner
from faustc.sensors.observed import Observed
from faustc.service import Service
from faustc.signals import Signal, SyncSignal
from faustc.topics import Topic, Topics
from faustc.tracing import Traced
from faustc.types import HeadersArg, TopicPartition
from faustc.web.pages import Pages

__all__ = ["App", "BootStrategy"]

logger = logging.getLogger(__name__)

LATER = {
    "LiveCheck": "this",
}


class App(Configured, Definitions, Pages, Observed, Traced, Service):  # type: ignore[misc]
    """An instance of the library: topics, agents and tasks that run together.

    Making one checks its settings and touches nothing else; every keyword is a
    setting (see Settings). It may be shared between threads: it lives on the
    loop that started it, and what other threads ask of it is brought there.

    A subclass may override what begins with `on_`, `worker_init`, `create_event`, and
    the classes below.
    """

    #: What is started; see faustc.boot.
    BootStrategy = BootStrategy
    runner: Runner
    #: Started only to ask agents and to send; start_client sets it.
    client_only = False
    #: Started only to send.
    producer_only = False
    #: Whether a worker runs it, and not some other program of yours.
    in_worker = False

    on_worker_init = SyncSignal("A worker from the command line begins. (app)")
    on_partitions_assigned = Signal("Partitions came. (app, assigned)")
    on_partitions_revoked = Signal("Partitions go, after their commit. (app, revoked)")
    on_rebalance_complete = Signal("Partitions came, and all is ready to read them. (app)")
    on_before_shutdown = Signal("The app is about to stop. (app)")
    on_produce_message = SyncSignal(
        "A message is about to be sent; headers is a list that may be changed. "
        "(app, key, value, partition, timestamp, headers)"
    )

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
        if monitor is not None:
            self.monitor = monitor
        self._topics_by_name: dict[str, Topic] = {}
        self.runner = Runner(self)
        self.topics = Topics(self.runner.topics)
        self.flow_control = FlowControl()
        self._web_server_made = False
        #: Awaited, if it is set, once the app is started: what a worker does then.
        self.on_startup_finished: Callable[[], Any] | None = None
        super().__init__(
            id=id, config_source=config_source, given=options, beacon=beacon, loop=loop
        )
        self.boot_strategy = self.BootStrategy(self)
        self.on_produce_message.watch(self.runner.announce)

    def __repr__(self) -> str:
        return f"<App {self._shown_id}: {self.state}>"

    def __getattr__(self, name: str) -> Any:
        if name in LATER:
            raise AttributeError(f"app.{name} is not there yet: {LATER[name]} come later")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # -- what is made when first asked for, and what is so just now ------------------------

    @property
    def label(self) -> str:
        return f"App {self._shown_id}"

    @property
    def shortlabel(self) -> str:
        return str(self._shown_id)

    @property
    def _shown_id(self) -> str:
        # Looking at an app must not configure it.
        return self.conf.id if self.configured else self._given_id

    @property
    def transport(self) -> Transport:
        """The driver that `broker` names, or `broker_consumer` if that is another."""
        transport: Transport = self._made("_transport", lambda: driver(self.conf.broker_consumer))
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
                key_serializer=conf.asked_for("key_serializer"),
                value_serializer=conf.asked_for("value_serializer"),
            ),
        )

    @cached_property
    def tables(self) -> Any:
        """The tables of the app by name, and what keeps them (see faustc.tables.TableManager)."""
        return self.conf.TableManager(self)

    @cached_property
    def fixups(self) -> list[Fixup]:
        """What fits it to other frameworks, such as Django."""
        return fixups(self)

    @property
    def producer(self) -> Any:
        """The producer. Raises ProducerClosed before the app is started."""
        return self.runner.engine.running_producer()

    @property
    def consumer(self) -> Any:
        """The consumer. Raises ConsumerNotStarted before the app is started."""
        return self.runner.engine.running_consumer()

    @property
    def producer_transport(self) -> Transport:
        """The driver that `broker_producer` names; `transport` unless it is another."""
        return self.runner.producer_transport()

    @producer_transport.setter
    def producer_transport(self, transport: Transport) -> None:
        self.__dict__["_producer_transport"] = transport

    @property
    def assignor(self) -> Any:
        """What the group gave this worker, and what it told it (see engine.sharing)."""
        return self.runner.engine.sharing

    @property
    def rebalancing(self) -> bool:
        """Whether partitions are being taken away and given anew."""
        return self.runner.rebalancing

    @property
    def rebalancing_count(self) -> int:
        """How many rebalances began in this run of the app."""
        return self.runner.rebalances

    @property
    def unassigned(self) -> bool:
        """Whether the group gave this worker no partition at all."""
        return self.runner.unassigned

    @property
    def in_recovery(self) -> bool:
        """Whether tables are being filled from their changelogs."""
        return self.runner.in_recovery

    @property
    def in_transaction(self) -> bool:
        """Whether what is sent goes into a transaction."""
        return False

    @property
    def consumer_generation_id(self) -> int:
        """The generation of the group that this worker is in; -1 for none."""
        return self.runner.generation

    def is_leader(self) -> bool:
        """Say whether this worker leads its group: exactly one of each generation does.

        With `topic_disable_leader` nobody does. Raises ConsumerNotStarted before the app is
        started.
        """
        return not self.conf.topic_disable_leader and bool(
            self.runner.engine.running_consumer().is_leader
        )

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
        self.finalize()
        if self.conf.debug:
            logger.warning("App %s: debug is on; leave it off in production", self.conf.id)
        parts = [part for part in self.boot_strategy.wanted() if isinstance(part, Part)]
        if Part.SENSORS in parts:
            await self._start_sensors()
        if Part.WEB in parts and self._web_server is None:
            await self._start_web()
        if Part.TABLES in parts:
            await self.tables.prepare()
        await self.runner.start(parts)
        if Part.TABLES in parts and self.tables.expiring:
            self.add_future(self.tables.sweep(), name="tables")
        if Part.AGENTS in parts:
            await self.on_started_init_extra_tasks()
        if Part.WEB in parts:
            await self.on_started_init_web_server()
        if not self.client_only:
            await self.on_started_init_extra_services()

    async def on_started_init_extra_tasks(self) -> None:
        """Run at each start: it starts what @app.task, @app.timer and @app.crontab defined."""
        for task in self.tasks:
            self.add_future(task.work(), name=task.name)

    async def on_started_init_web_server(self) -> None:
        """Run at each start: the first starts what `web_server` was given."""
        if self._web_server is not None and not self._web_server_made:
            self._web_server_made = True
            await self.on_init_extra_service(self._web_server)

    async def on_started_init_extra_services(self) -> None:
        """Run at each start: the first starts what @app.service defined."""
        made, self._services_to_make = self._services_to_make, []
        for service in made:
            await self.on_init_extra_service(service)

    async def on_init_extra_service(self, service: Any) -> Any:
        """Make a service of a class, if it is one, and start it with the app."""
        made: Any = service
        if inspect.isclass(service):
            made = made(beacon=self.beacon)
        return await self.add_runtime_dependency(made)

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
        await self.on_before_shutdown.send()
        await self.runner.wind_down()

    async def _tear_down(self) -> None:
        try:
            await self.runner.stop()
        finally:
            self.tables.leave()
            self.client_only = False
            await self._stop_web()
            await self._stop_sensors()

    def on_init_dependencies(self) -> list[Any]:
        """Return services that start and stop with the app: those of its BootStrategy."""
        return [part for part in self.boot_strategy.wanted() if not isinstance(part, Part)]

    async def maybe_start_producer(self) -> Any:
        """Return the producer, started by the first who asks."""
        return await self.runner.home.run(self._start_producer)

    async def _start_producer(self) -> Any:
        engine = await self.runner.sending_engine()
        return engine.producer

    def create_event(self, key: Any, value: Any, headers: HeadersArg, message: Any) -> Event:
        """Make an event; override it, or set Event, for a class of your own."""
        event: Event = self._event_class(self, key, value, headers, message)
        return event

    @cached_property
    def _event_class(self) -> Any:
        return self.conf.Event

    def FlowControlQueue(  # noqa: N802 - Faust's name
        self, maxsize: int | None = None, *, clear_on_resume: bool = False
    ) -> FlowControlQueue:
        """Make a queue that hands out nothing while `flow_control` is suspended.

        maxsize is that of stream_buffer_maxsize unless given; 0 means any number.
        """
        return FlowControlQueue(
            self.conf.stream_buffer_maxsize if maxsize is None else maxsize,
            flow_control=self.flow_control,
            clear_on_resume=clear_on_resume,
        )

    def Worker(self, **options: Any) -> Any:  # noqa: N802 - Faust's name
        """Make a Worker that runs this app in a process of its own."""
        return self.conf.Worker(self, **options)

    def test_context(self, **options: Any) -> Any:
        """Run it against a broker in memory: `async with app.test_context() as t`.

        See faustc.testing.AppTest.
        """
        return door("test_app")(self, **options)

    def main(self) -> NoReturn:
        """Run the command line with this app, then exit; for scripts."""
        door("main")(self)
        raise SystemExit(0)

    # -- hooks -----------------------------------------------------------------------------

    def on_rebalance_start(self) -> None:
        """Run when partitions begin to be taken away or given."""

    def on_rebalance_return(self) -> None:
        """Run when this worker knows what it has now."""

    def on_rebalance_end(self) -> None:
        """Run when what it has now is being read."""

    def worker_init(self) -> None:
        """Run when a worker from the command line begins."""

    def worker_init_post_autodiscover(self) -> None:
        """Run in a worker when the decorators were looked for."""
