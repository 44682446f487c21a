"""What an app does when it runs: readers, actors and tasks on an engine, on one loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

from faustc.boot import Part
from faustc.channels import Channel, Feed
from faustc.engine.announcing import AnnouncingProducer
from faustc.engine.declare import TopicSpec
from faustc.engine.engine import Engine
from faustc.engine.gate import Gate
from faustc.engine.inbox import Reader
from faustc.engine.isolated import IsolatedReader
from faustc.engine.transport import Transport, driver
from faustc.events import current_event, stale_in_hand
from faustc.exceptions import (
    ConsumerNotStarted,
    DecodeError,
    NotReady,
)
from faustc.home import Home
from faustc.instance import Instance
from faustc.replies import ReplyConsumer
from faustc.shapes import Shape
from faustc.topics import Topic
from faustc.types import FutureMessage, TopicPartition
from faustc.undecodable import UndecodableLog, pass_unreadable
from faustc.version import __version__
from faustc.wiring import engine_options

__all__ = ["Runner", "Task", "call"]

logger = logging.getLogger(__name__)


class Task(NamedTuple):
    """What runs while the app does: made anew by work at each start."""

    work: Callable[[], Coroutine[Any, Any, Any]]
    name: str
    on_leader: bool


class Runner:
    """Runs one app. Made with it, alive between its start and stop.

    It also gives an app that was never started a producer, on the loop of the
    first who sends.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.home = Home(self._moved)
        self._engine: Engine | None = None
        self._readers: dict[Reader, Channel] = {}
        self.feeds: WeakSet[Feed] = WeakSet()  # what agents and streams read in memory
        self.replies = ReplyConsumer(app)
        self.rebalances = 0
        self.unassigned = False
        self._until_assigned: set[asyncio.Event] = set()
        self.opening = 0  # streams that are about to read
        self.attaches = False  # stream_publish_on_commit, once the app has started
        self.undecodable = UndecodableLog()
        self.instance = Instance()
        #: How topics are to be created whose description says so, by name.
        self.described: dict[str, Shape] = {}

    # -- the engine and its loop -------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine, made when first asked for."""
        engine = self._engine
        if engine is None:
            app = self.app
            with app.lock:
                if self._engine is None:
                    self._engine = Engine(
                        app.conf.id,
                        app.transport,
                        engine_options(app.conf),
                        app.monitor,
                        app._crashed_by,
                        on_assigned=self._assigned,
                        on_revoked=app.on_partitions_revoked.send,
                        on_rebalance=self._rebalance_started,
                        sensors=app.sensors,
                        producing=self.producer_transport(),
                        gate=Gate(self._in_memory),
                        is_stale=stale_in_hand,
                        on_slow_drain=self.replies.give_up,
                    )
                engine = self._engine
        return engine

    @property
    def alive(self) -> bool:
        """Whether there is an engine, if only to send, on a loop that runs."""
        loop = self.home.loop
        running = loop is not None and loop.is_running()
        return running and self._engine is not None and not self._engine.stopping

    @property
    def gate(self) -> Gate | None:
        """What streams pass between two events; None if nobody closes it."""
        engine = self._engine
        return engine.gate if engine is not None and engine.transacts else None

    def _in_memory(self) -> bool:
        """Say whether something is on its way through memory: what came of events in hand."""
        return any(
            len(feed) and any(not getattr(one, "_gated", False) for one in feed.holders)
            for feed in self.feeds
        )

    def _rebalance_started(self) -> None:
        self.rebalances += 1
        self.app.flow_control.suspend()
        self.app.on_rebalance_start()

    async def _assigned(self, partitions: frozenset[TopicPartition]) -> None:
        app = self.app
        engine = self._engine
        self.unassigned = engine is not None and not (
            engine.assignment.partitions or engine.tables.recovering
        )
        app.on_rebalance_return()
        await app.on_partitions_assigned.send(partitions)
        app.flow_control.resume()
        app.on_rebalance_end()
        await app.on_rebalance_complete.send()
        for waiting in self._until_assigned:
            waiting.set()

    async def leading(self) -> None:
        """Wait until this worker leads its group."""
        assigned = asyncio.Event()
        self._until_assigned.add(assigned)
        try:
            while not self.app.is_leader():
                assigned.clear()
                await assigned.wait()
        finally:
            self._until_assigned.discard(assigned)

    @property
    def generation(self) -> int:
        """The generation of the group that this worker is in; -1 for none."""
        consumer = None if self._engine is None else self._engine.consumer
        return int(getattr(consumer, "generation", -1))

    def producer_transport(self) -> Transport:
        """Return the driver of `broker_producer`: one of its own only if it is another URL."""
        app, conf = self.app, self.app.conf
        if conf.broker_producer == conf.broker_consumer:
            made: Transport = app.__dict__.get("_producer_transport") or app.transport
            return made
        other: Transport = app._made("_producer_transport", lambda: driver(conf.broker_producer))
        return other

    @property
    def rebalancing(self) -> bool:
        return self._engine is not None and self._engine.rebalancing

    @property
    def in_recovery(self) -> bool:
        return self._engine is not None and self._engine.tables.recovering > 0

    def partitions_of(self, topic: str) -> int | None:
        """Return how many partitions a topic has that tables may go with; None: not known."""
        return None if self._engine is None else self._engine.tables.count_of(topic)

    def _moved(self) -> None:
        """Forget what lived on a loop that is gone."""
        if self._engine is not None:
            logger.warning("App %s: its event loop is gone; starting anew", self.app.conf.id)
        self._engine = None
        self._readers = {}
        self.replies.reset()

    async def sending_engine(self) -> Engine:
        """Return the engine, its producer running; called on the app's loop."""
        engine = self.engine
        if engine.producer is None:
            await engine.start_producer()
            self.announce()
        return engine

    def announce(self) -> None:
        """Tell of each message that is sent, once somebody listens; until then it costs nothing."""
        signal, engine = self.app.on_produce_message, self._engine
        if engine is None or engine.producer is None or not signal.connected():
            return
        if not isinstance(engine.producer, AnnouncingProducer):
            engine.producer = AnnouncingProducer(engine.producer, signal.send)

    def send_later(self, promise: FutureMessage, send: Callable[[], Any]) -> None:
        """Have a send carried out on the app's loop, after those asked for before it."""
        self.home.soon(lambda: self.engine.outbox.put(promise, send))

    def attach(self, promise: FutureMessage, send: Callable[[FutureMessage], Any]) -> bool:
        """Have a message wait until the event in hand is done; False if there is none."""
        if self._engine is None or self.home.loop is not asyncio.get_running_loop():
            return False
        event = current_event()
        if event is None or not self._engine.assignment.tracks(event.ledger):
            return False
        self._engine.attachments.put(event.tp, event.message.offset, promise, send)
        return True

    def called_back(self, callback: Callable[[Any], Any], fut: FutureMessage) -> None:
        """Call what was given with a message; what fails in there stops nothing else."""
        self.engine.spawn(_call_back(callback, fut), "callback")

    # -- life --------------------------------------------------------------------------

    async def start(self, parts: Collection[Part]) -> None:
        """Connect, create missing topics, and start these parts, with every agent."""
        app = self.app
        for name, why in app.conf.ineffective().items():
            logger.warning("Setting %s changes nothing here: %s", name, why)
        self.home.settle(asyncio.get_running_loop())
        self.attaches = app.conf.stream_publish_on_commit
        if self._engine is not None and self._engine.stopping:
            self._engine = None
        engine = self.engine
        self.rebalances = 0
        self.unassigned = False
        agents = list(app.agents.values()) if Part.AGENTS in parts else []
        if Part.CONSUMER in parts and engine.options.exactly_once:
            engine.options.transactional_id = self._transactional_id()
            await engine.transact()
        if Part.PRODUCER in parts:
            await engine.start_producer()
            self.announce()
        if Part.CONSUMER in parts:
            await self._start_reading(agents)
        elif agents:
            away = [agent.name for agent in agents if isinstance(agent.channel, Topic)]
            if away:
                logger.info("No consumer, so these agents do not run: %s", ", ".join(away))
            agents = [agent for agent in agents if not isinstance(agent.channel, Topic)]
            for agent in agents:
                agent.open()
        if Part.REPLIES in parts:
            await self._start_replies()
        for agent in agents:
            for name, actor in agent.actors():
                app.add_future(actor, name=name)

    async def _start_reading(self, agents: Collection[Any]) -> None:
        app = self.app
        readers = [reader for agent in agents if isinstance(reader := agent.open(), Reader)]
        # Of two descriptions of one topic the last counts: the one that says how many partitions.
        letters = [topic for agent in agents for topic in agent.failures.topics()]
        topics = sorted([*self.topics(), *letters], key=lambda topic: topic.partitions is not None)
        specs = [spec for topic in topics for spec in topic.specs()]
        wants_leader = any(task.on_leader for task in app.tasks)
        if wants_leader and not readers and not app.conf.topic_disable_leader:
            # There is no group without a topic, and no leader without a group.
            name = f"{app.conf.id}-__assignor-__leader"
            readers = [Reader("leader", (name,), tracked=False)]
            specs.append(TopicSpec(name, 1, app.conf.replication_factor, {}))
        self.engine.sharing.tell_address(self._told_address())
        await self.engine.start(readers, specs, app.tables.values(), app.conf.topic_partitions)

    async def _start_replies(self) -> None:
        if self.app.conf.reply_create_topic:
            await self.replies.start()

    def hold(self) -> None:
        """Let agents begin no further event."""
        if self._engine is not None:
            self._engine.hold()

    async def wind_down(self) -> None:
        """Hand out nothing more, and commit what was in hand; agents still run."""
        if self._engine is not None and not self.app.crashed:
            await self._engine.wind_down()

    async def stop(self) -> None:
        """Leave the group and close; without a commit if the app crashed."""
        engine, self._engine = self._engine, None
        self.replies.close()
        try:
            if engine is not None:
                await (engine.abandon() if self.app.crashed else engine.stop())
        finally:
            for agent in self.app.agents.values():
                agent.close()
            self._readers = {}
            self.instance.leave()
            self.home.leave()

    async def commit(self, topics: Collection[TopicPartition | str] | None) -> bool:
        """Commit what is done, of all or of some; called on the app's loop.

        Under exactly_once an event cannot wait for its own transaction: within one, a commit
        is only asked for, and this is False.
        """
        if self._engine is None:
            raise ConsumerNotStarted("the app is not started")
        if self.gate is not None and current_event() is not None:
            self._engine.commit_soon()
            return False
        partitions = None
        if topics is not None:
            names = {topics} if isinstance(topics, str) else set(topics)
            assigned = self._engine.assignment.partitions
            partitions = [tp for tp in assigned if tp in names or tp.topic in names]
        return await self._engine.commit(partitions)

    def _transactional_id(self) -> str:
        """Return what names our transactions, so that the same worker aborts what it left open.

        It is known by its group_instance_id, or its data folder, if it has one to itself.
        """
        conf = self.app.conf
        name = conf.consumer_group_instance_id or self.instance.take(conf.datadir)
        return f"{conf.id}-{name}"

    def _web_address(self) -> str:
        app = self.app
        if not app.serves_web or not app.conf.web_enabled:
            return "off"
        instead = app._web_server
        return str(app.web.address if instead is None else getattr(instead, "__name__", instead))

    def _told_address(self) -> str:
        """Return where others reach our pages; empty if there is no such place."""
        app, conf = self.app, self.app.conf
        listens = app.serves_web and conf.web_enabled and conf.web_transport.scheme != "unix"
        return str(app.web.url) if listens or conf.is_set("canonical_url") else ""

    def facts(self) -> list[tuple[str, str]]:
        """Describe the running app for the table that a worker prints."""
        conf = self.app.conf
        counts = self.engine.partition_counts()
        topics = [f"{name} ({count})" for name, count in sorted(counts.items())]
        return [
            ("id", conf.id),
            ("version", f"{__version__}, app version {conf.version}"),
            ("transport", str(conf.broker)),
            ("topics (partitions)", ", ".join(topics) or "none"),
            ("agents", ", ".join(sorted(self.app.agents)) or "none"),
            ("web", self._web_address()),
            ("data folder", str(conf.datadir.absolute())),
        ]

    # -- readers -----------------------------------------------------------------------

    def topics(self) -> list[Topic]:
        """Return the topics that agents and streams read."""
        channels = [agent.channel for agent in self.app.agents.values()]
        return [c for c in [*channels, *self._readers.values()] if isinstance(c, Topic)]

    def new_reader(
        self,
        channel: Channel,
        name: str,
        on_open: Callable[[TopicPartition, Reader], None] | None = None,
    ) -> Reader | Feed:
        """Make what a channel's messages are taken from.

        With on_open each partition has a reader of its own, and on_open is told of it.
        """
        if isinstance(channel, Topic) and not channel.in_memory:
            conf = self.app.conf
            options: dict[str, Any] = {
                "pattern": channel.pattern,
                "max_bytes": conf.consumer_max_fetch_size,
                "max_messages": _max_messages(channel, conf),
                "tracked": channel.acks,
            }
            reader = (
                Reader(name, channel.topics, **options)
                if on_open is None
                else IsolatedReader(name, channel.topics, on_open, **options)
            )
            channel.root.readers.add(reader)
            return reader
        feed = channel.open_feed()
        self.feeds.add(feed)
        return feed

    async def open_reader(self, channel: Channel) -> Reader | Feed:
        """Begin to read a channel for a stream of its own; the app has to be running."""
        reader = self.new_reader(channel, f"stream of {channel.label}")
        if isinstance(reader, Reader):
            assert isinstance(channel, Topic)
            if self.home.other() is not None:
                raise NotReady("a stream is iterated on the event loop of its app")
            if not self.app.started:
                raise NotReady(
                    f"app {self.app.conf.id} has to be started before {channel!r} is read"
                )
            self._readers[reader] = channel
            reader.on_unreadable = partial(pass_unreadable, self.app, skip=True)
            await self.engine.add_reader(reader, channel.specs())
        return reader

    def close_reader(self, channel: Channel, reader: Reader | Feed) -> None:
        """Read no more for a stream that ended, or that nobody holds any more."""
        if isinstance(reader, Feed):
            channel.close_feed(reader)
        elif self._readers.pop(reader, None) is not None and self._engine is not None:
            self._engine.remove_reader(reader)

    def forget_reader(self, channel: Channel, reader: Reader | Feed) -> None:
        """Close a reader whose stream is gone; called by the garbage collector, on any thread."""
        if not reader.closed and self.home.loop is not None and self.home.loop.is_running():
            self.home.loop.call_soon_threadsafe(self.close_reader, channel, reader)

    async def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has that is read here, once that is known."""
        return await self.engine.partition_count(topic)

    async def decode_failed(self, channel: Channel, message: Any, error: DecodeError) -> None:
        """Count a message that does not decode, and let its channel say so."""
        self._count_undecodable(message)
        error.at(message.topic, message.partition, message.offset)
        await channel.decode_failed(error, message)

    def reply_undecodable(self, message: Any, error: DecodeError) -> None:
        """Count a reply that does not decode, and say so."""
        self._count_undecodable(message)
        self.undecodable.report(message.topic, message, error)

    def _count_undecodable(self, message: Any) -> None:
        counters = self.app.monitor
        counters.decode_errors_total += 1
        counters.decode_errors_by_topic[message.topic] += 1


def _max_messages(channel: Topic, conf: Any) -> int | None:
    """Return how many messages may wait in a reader of a topic; None: as many bytes allow."""
    if channel.given_maxsize is not None:
        return channel.given_maxsize
    bounds = [conf.broker_max_poll_records]
    if conf.is_set("stream_buffer_maxsize"):
        bounds.append(conf.stream_buffer_maxsize)
    return min((bound for bound in bounds if bound is not None), default=None)


async def _call_back(callback: Callable[[Any], Any], fut: FutureMessage) -> None:
    try:
        result = callback(fut)
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("The callback of a message failed: %r", callback)


async def call(fun: Callable[..., Any], app: Any) -> None:
    """Run a task's function, which may take the app, or not."""
    takes_app = bool(inspect.signature(fun).parameters)
    result = fun(app) if takes_app else fun()
    if inspect.isawaitable(result):
        await result
