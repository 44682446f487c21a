"""Agents: functions that process a stream, kept running."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, Literal

from faustc._lazy import door
from faustc.actors import Actor, current_agent, in_threads, is_plain
from faustc.answering import refuse, send_reply
from faustc.callee import Callee
from faustc.channels import Channel, Feed
from faustc.engine.inbox import Reader
from faustc.engine.isolated import IsolatedReader
from faustc.exceptions import ImproperlyConfigured
from faustc.failure import Failures, Policy
from faustc.imports import did_you_mean, symbol_by_name
from faustc.keyed import Splitter
from faustc.refs import ActorRef, actor_ref
from faustc.reqrep import Envelopes, ReqRepResponse, Request
from faustc.streams import Stream
from faustc.supervisors import SupervisorStrategy
from faustc.topics import Topic
from faustc.undecodable import pass_unreadable

__all__ = ["Agent", "Agents", "current_agent"]

logger = logging.getLogger(__name__)

TOPIC_OPTIONS = frozenset(inspect.signature(Topic.__init__).parameters) - {"self", "app", "topics"}


class Agent(Callee):
    """A function over a stream, run by `concurrency` actors that share the work.

    With order="key" the events of one key stay in order while others of the partition go
    on beside them. With isolated_partitions each partition has an actor of its own. A
    plain function (`def`, not `async def`) gets one value at a time, in a thread.

    If it raises, the event in hand is logged with its place and counted, and on_error is
    called with the agent and the error. Then on_failure says what becomes of the event
    (see faustc.failure; by default it is taken as done, Faust's rule), and
    supervisor_strategy what becomes of the actors (see faustc.supervisors; by default the
    function is started again on the next event).
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
        order: Literal["key"] | None = None,
        on_failure: Policy = "skip",
        **topic_options: Any,
    ) -> None:
        self.fun = fun
        self.app = app
        self.name = name or _name_of(fun, app)
        self.concurrency = concurrency
        self.isolated_partitions = isolated_partitions
        self.order = order
        self.supervisor_strategy = supervisor_strategy
        self.failures = Failures(self, on_failure)
        self._check(topic_options)
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
        self._actors: list[Actor] = []  # those that run
        self._splitter: Splitter | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._window = (0.0, 0)  # when the supervisor began to count restarts, and how many

    def _check(self, topic_options: Mapping[str, Any]) -> None:
        """Raise ImproperlyConfigured where options do not go together, or mean nothing."""
        for option in topic_options:
            if option not in TOPIC_OPTIONS:
                known = {*TOPIC_OPTIONS, *inspect.signature(Agent.__init__).parameters}
                raise ImproperlyConfigured(
                    f"agent {self.name}: there is no option {option!r}{did_you_mean(option, known)}"
                )
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ImproperlyConfigured(f"concurrency is 1 or more, not {self.concurrency!r}")
        if self.order not in (None, "key"):
            raise ImproperlyConfigured(f"order is 'key' or None, not {self.order!r}")
        if self.isolated_partitions and (self.concurrency > 1 or self.order):
            raise ImproperlyConfigured(
                f"agent {self.name}: isolated_partitions=True has one actor for each partition; "
                "it goes with neither concurrency nor order"
            )

    def __repr__(self) -> str:
        return f"<Agent {self.name}>"

    @cached_property
    def supervisor(self) -> SupervisorStrategy:
        """What says what becomes of its actors when one fails."""
        strategy = self.supervisor_strategy or self.app.conf.agent_supervisor
        if isinstance(strategy, str):
            strategy = symbol_by_name(strategy)
        made = strategy() if inspect.isclass(strategy) else strategy
        if not isinstance(made, SupervisorStrategy):
            raise ImproperlyConfigured(
                f"agent {self.name}: a supervisor_strategy is a class of faustc.supervisors, or "
                f"derived from one, not {strategy!r}"
            )
        return made

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
                internal = {} if arg is not None else {"internal": True, "has_prefix": True}
                self._channel = self.app.topic(name, **internal, **self._topic_options)
        return self._channel

    @property
    def channel_iterator(self) -> Channel:
        """What its streams read: its channel."""
        return self.channel

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
            "supervisor_strategy": self.supervisor_strategy,
            "isolated_partitions": self.isolated_partitions,
            "use_reply_headers": self.use_reply_headers,
            "order": self.order,
            "on_failure": self.failures.policy,
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

    async def send_reply(self, request: Request, response: ReqRepResponse) -> None:
        """Send a reply to where a request wants it."""
        await send_reply(self.app, request, response)

    # -- running -----------------------------------------------------------------------

    def open(self) -> Reader | Feed:
        """Return what its actors read from, made once per start of the app."""
        if self._reader is None:
            self.failures.check_channel(self.channel)
            on_open = self._partition_came if self.isolated_partitions else None
            reader = self._reader = self.app.runner.new_reader(self.channel, self.name, on_open)
            if isinstance(reader, Reader):
                reader.on_unreadable = partial(
                    pass_unreadable, self.app, skip=self.failures.skips_unreadable
                )
        return self._reader

    @property
    def reader(self) -> Reader | Feed | None:
        """What its actors share; None before it is started."""
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
        if self._splitter is not None:
            self._splitter.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._splitter = self._pool = None
        self._actors = []

    def cancel(self) -> None:
        """Stop its actors, each after the event that it has in hand.

        The app goes on without it until it is started again. Nothing is committed past what
        it did, so that what came since comes to it then; other agents go on.
        """
        logger.info("Agent %s is cancelled", self.name)
        self._end()

    def _end(self) -> None:
        for relay in self._relays.values():
            relay.end()
        if self._reader is not None:
            self._reader.close()
        for actor in self._actors:
            actor.end()

    def stream(self, **options: Any) -> Stream[Any]:
        """Make a stream over its channel that shares the work of its actors."""
        options.setdefault("prefix", self.name)
        if options.get("reader") is None:
            options["reader"] = self.open()
        stream: Stream[Any] = self.app.conf.Stream(self.channel, app=self.app, **options)
        stream.open_envelopes(self.envelopes)
        stream.judge_undecodable = self._undecodable
        return stream

    def _undecodable(self, message: Any, ledger: Any, error: BaseException) -> bool:
        crash = self.failures.undecodable(message, ledger, error)
        if not crash:
            refuse(self, message, error)
        return crash

    def __call__(
        self,
        *,
        index: int | None = None,
        active_partitions: Any = None,
        stream: Stream[Any] | None = None,
        channel: Channel | None = None,
    ) -> ActorRef:
        """Call its function by hand, with a stream of its own, of channel if there is one given.

        Iterate over what this returns if the function yields, else await it.
        """
        return self.actor_from_stream(
            stream, index=index, active_partitions=active_partitions, channel=channel
        )

    def actor_from_stream(
        self,
        stream: Stream[Any] | None,
        *,
        index: int | None = None,
        active_partitions: Any = None,
        channel: Channel | None = None,
    ) -> ActorRef:
        """Like calling it, with this stream."""
        if stream is None:
            source = channel if channel is not None else self.channel
            stream = source.stream(
                concurrency_index=index, active_partitions=active_partitions, prefix=self.name
            )
        return actor_ref(self, stream, index, active_partitions)

    def started(self, stream: Stream[Any]) -> Any:
        """Call its function with a stream; return what that gives, to be awaited or iterated."""
        if not is_plain(self.fun):
            return self.fun(stream)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix=self.name)
        return in_threads(self.fun, stream, self._pool)

    def actors(self) -> list[tuple[str, Any]]:
        """Return a name and a coroutine for each actor, to be run by the app."""
        reader: Any = self.open()
        if isinstance(reader, IsolatedReader):
            return []  # they come with the partitions
        if self.order == "key" and self.concurrency > 1:
            self._splitter = Splitter(reader, self.concurrency)
            made = [Actor(self, index, lane) for index, lane in enumerate(self._splitter.lanes)]
        else:
            made = [Actor(self, index, reader) for index in range(self.concurrency)]
        self._actors = made
        work = [(actor.name, actor.run()) for actor in made]
        if self._splitter is not None:
            work.append((f"{self.name}: by key", self._splitter.run()))
        return work

    def _partition_came(self, tp: Any, reader: Reader) -> None:
        """Start an actor for a partition; it ends when the partition goes."""
        self._actors = [actor for actor in self._actors if not actor.ended]
        actor = Actor(self, len(self._actors), reader, tp)
        self._actors.append(actor)
        self._spawn(actor.run(), actor.name)

    def _spawn(self, work: Any, name: str) -> Any:
        """Start a task that belongs to its streams."""
        return self.app.add_future(work, name=f"{self.name}: {name}")

    # -- when one of them fails ----------------------------------------------------------

    def interrupt_others(self, actor: Actor) -> None:
        """Start the others again; what they have in hand comes again."""
        for other in self._actors:
            if other is not actor:
                other.interrupt()

    def give_up(self, actor: Actor | None) -> None:
        """End an actor, or all of them, for good."""
        if actor is not None:
            actor.end()
        if actor is None or all(one.given_up for one in self._actors):
            logger.error(
                "Agent %s: no actor is left, and its events wait: nothing is committed past them",
                self.name,
            )
            if actor is None or not self.isolated_partitions:
                self._end()

    async def restart_room(self) -> None:
        """Wait until the supervisor allows one more restart."""
        loop = asyncio.get_running_loop()
        supervisor = self.supervisor
        begun, count = self._window
        if loop.time() - begun >= supervisor.over:
            begun, count = loop.time(), 0
        self._window = begun, count + 1
        if count + 1 <= supervisor.max_restarts:
            return
        if supervisor.raises is not None:
            limit = f"{supervisor.max_restarts:g} restarts in {supervisor.over:g} s"
            await self.app.crash(supervisor.raises(f"agent {self.name}: more than {limit}"))
        await asyncio.sleep(max(0.0, begun + supervisor.over - loop.time()))

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
            try:
                result = self._on_error(self, exc)
                if isinstance(result, Awaitable):
                    await result
            except Exception:
                logger.exception("Agent %s: on_error failed, too", self.name)

    async def _to_sinks(self, value: Any) -> None:
        """Give what was yielded to every sink."""
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

    def actor_tracebacks(self) -> dict[str, list[str]]:
        """Return where each actor of each agent is just now, as text."""
        return {
            name: [actor.traceback() for actor in agent._actors] for name, agent in self.items()
        }

    def human_tracebacks(self) -> str:
        """Return where every actor is just now, for people to read."""
        return "\n".join(
            f"== {name}\n{text}"
            for name, texts in self.actor_tracebacks().items()
            for text in texts
        )


def _name_of(fun: Callable[..., Any], app: Any) -> str:
    """Name an agent after its function's module and name, seeing through partial()."""
    inner: Any = fun
    while hasattr(inner, "func"):
        inner = inner.func
    module = getattr(inner, "__module__", None) or type(inner).__module__
    if module == "__main__":
        module = app.conf.origin or module
    name: str = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{module}.{name.replace('<locals>.', '')}"
