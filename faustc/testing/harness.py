"""`app.test_context()`: a whole application against a broker in memory, on virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from faustc.agents import Agent
from faustc.clock import now_ms
from faustc.exceptions import ImproperlyConfigured, NotReady
from faustc.testing.faults import Faults
from faustc.testing.memory import MemoryBroker, MemoryTransport
from faustc.testing.settling import unsettled
from faustc.testing.strict import StrictLoop
from faustc.testing.virtualtime import VirtualTime, clock_of, virtual_time
from faustc.topics import Topic
from faustc.types import HeadersArg, RecordMetadata, TopicPartition

__all__ = ["AppTest", "Received"]

# How long an app may take to start, or to settle. In virtual time that is no time at all,
# and under faults a session, or a JoinGroup that nobody answers, has to run out first.
PATIENCE_S = 1800.0
PATIENCE_REAL_S = 30.0
PAUSE_MIN_S = 0.001
PAUSE_MAX_S = 0.05


class Received(NamedTuple):
    """A message as its topic's types decode it; timestamp is in seconds."""

    key: Any
    value: Any
    headers: dict[str, bytes | None]
    timestamp: float
    partition: int
    offset: int


class AppTest:
    """A running application, and the broker it talks to; `async with` starts and stops both.

    The app is as it would be in a worker, with one difference: its group membership
    is on the same loop. virtual_time=False leaves the loop's clock alone. broker is a
    MemoryBroker to share with other apps, else there is one of its own. With client_only
    the app is started by `start_client`, to call the agents of another. seed is that of
    the faults planned with `control`, and of Python's random numbers meanwhile, which
    the jitter of retries comes from.

    Leaving raises what crashed the app, and what reached the loop's exception handler.
    """

    def __init__(
        self,
        app: Any,
        *,
        virtual_time: bool = True,
        broker: MemoryBroker | None = None,
        client_only: bool = False,
        seed: int = 0,
    ) -> None:
        self.app = app
        self._client_only = client_only
        self.faults = Faults(seed)
        self._virtual = virtual_time
        self._given_broker = broker
        self._broker: MemoryBroker | None = None
        self._clock: VirtualTime | None = None
        self._stack: AsyncExitStack | None = None
        self._topics: dict[str, Topic] = {}
        self._killed = False

    # -- life --------------------------------------------------------------------------

    async def __aenter__(self) -> AppTest:
        if self._stack is not None:
            raise NotReady("a test context is entered once; make another")
        self._stack = AsyncExitStack()
        loop = asyncio.get_running_loop()
        try:
            self._stack.enter_context(StrictLoop())
            self._stack.enter_context(_seeded(self.faults.seed))
            if self._virtual and clock_of(loop) is None:
                self._stack.enter_context(virtual_time())
            self._clock = clock_of(loop)
            self._broker = self._given_broker
            if self._broker is None:
                self._broker = await self._stack.enter_async_context(MemoryBroker())
            await self._stack.enter_async_context(self._running(self._broker))
        except BaseException as exc:
            await self._stack.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    async def __aexit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> None:
        assert self._stack is not None
        story = self.faults.describe()
        try:
            await self._stack.__aexit__(kind, exc, traceback)
        except BaseException as failure:
            if story and failure is not exc:
                failure.add_note(story)
            raise
        finally:
            if story and exc is not None:
                exc.add_note(story)

    @asynccontextmanager
    async def _running(self, broker: MemoryBroker) -> AsyncIterator[None]:
        app = self.app
        if app.started or app.runner.alive:
            raise NotReady(f"app {app.conf.id} is in use already; stop it before a test context")
        transport = app.__dict__.get("_transport")
        app.transport = MemoryTransport(self.faults.dialer(broker.dialer()))
        try:
            try:
                self._slow_down()
                await (app.start_client() if self._client_only else app.start())
                await self._wait(self._not_assigned, self._patience_s, "not started")
                yield
            finally:
                self.faults.clear()  # a stop is no place for surprises
                await app.stop()
            if not self._killed:
                self._check()
        finally:
            app.transport = transport  # None: made anew when somebody asks

    def _slow_down(self) -> None:
        """Have the engine look around less often: what it looks for wakes it up as well."""
        app = self.app
        app.finalize()
        app.runner.home.settle(asyncio.get_running_loop())
        engine = app.runner.engine
        if self._clock is not None:
            engine.options = replace(engine.options, poll_ms=5000, watch_interval_s=30.0)

    # -- messages ----------------------------------------------------------------------

    async def send(
        self,
        topic: Topic | Agent | str,
        key: Any = None,
        value: Any = None,
        *,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        **options: Any,
    ) -> RecordMetadata:
        """Send a message, as somebody outside would; return where it is once the broker has it.

        topic is a topic, an agent or a name; the types are those of the topic. timestamp
        is in seconds, by default the (virtual) time of day.
        """
        target: Any = self._topic(topic)
        delivery = await target.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers,
            **options,
        )  # fmt: skip
        metadata: RecordMetadata = await delivery
        return metadata

    def received(self, topic: Topic | Agent | str) -> list[Received]:
        """Return the messages of a topic: by time, and within a partition by offset."""
        target = self._topic(topic)
        if not isinstance(target, Topic):
            raise ImproperlyConfigured(f"{target!r} is in memory and keeps no messages")
        key_of, value_of = target.message_decoders()
        return [
            Received(
                key_of(message),
                value_of(message),
                dict(message.headers),
                message.timestamp / 1000,
                message.partition,
                message.offset,
            )
            for message in self.broker.messages(target.topics[0])
        ]

    def values(self, topic: Topic | Agent | str) -> list[Any]:
        """Return the values of a topic's messages, in the order of `received`."""
        return [message.value for message in self.received(topic)]

    def committed(self, topic: Topic | Agent | str, partition: int = 0) -> int | None:
        """Return the offset that the app has committed, None where it has not."""
        name = str(getattr(self._topic(topic), "topics", (topic,))[0])
        return self.broker.committed(self.app.conf.id, TopicPartition(name, partition))

    def _topic(self, topic: Any) -> Any:
        """Return what a name or agent means: the topic as the app describes it, with its types."""
        if isinstance(topic, Agent):
            return topic.channel
        if not isinstance(topic, str):
            return topic
        for known in self.app.topics:
            if topic in known.topics:
                if len(known.topics) == 1:
                    return known
                return self._topics.setdefault(topic, known.derive_topic(topics=[topic]))
        return self._topics.setdefault(topic, self.app.topic(topic))

    # -- time --------------------------------------------------------------------------

    @property
    def broker(self) -> MemoryBroker:
        """The broker in memory."""
        if self._broker is None:
            raise NotReady("the test context has not begun: `async with app.test_context() as t`")
        return self._broker

    def now(self) -> float:
        """Return the time of day, in seconds, as messages sent now would have it."""
        return now_ms() / 1000

    async def advance(self, seconds: float) -> None:
        """Let time pass, with every timer on the way; needs virtual time.

        What they set going is not waited for: `settled` does that.
        """
        if self._clock is None:
            raise ImproperlyConfigured("advance() needs virtual time; this context is without")
        await self._clock.advance(seconds)

    async def settled(self, timeout_s: float | None = None) -> None:
        """Wait until every message sent, and all that followed from it, is done and committed.

        That is: agents and streams have acknowledged every message of what they read,
        what they sent is at the broker, and its offsets are committed. Raises TimeoutError
        naming what is still waited for, or what crashed the app. timeout_s is by
        default 1800 s of virtual time, or 30 s of real time.
        """
        await self._wait(
            self._unsettled, self._patience_s if timeout_s is None else timeout_s, "not settled"
        )

    @property
    def _patience_s(self) -> float:
        return PATIENCE_S if self._clock is not None else PATIENCE_REAL_S

    async def kill(self) -> None:
        """End the app at once, without its last commit, as a crash would."""
        self._killed = True
        await self.app.crash(RuntimeError("killed by its test"))
        await self.app.wait_until_stopped()

    # -- faults ------------------------------------------------------------------------

    def control(self, api: str, **fault: Any) -> None:
        """Plan a fault for the app's next requests of an API; see Faults.control."""
        self.faults.control(api, **fault)

    # -- waiting -----------------------------------------------------------------------

    async def _wait(self, what_is_missing: Any, timeout_s: float, verdict: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        pause_s = PAUSE_MIN_S
        while True:
            self._check()
            missing = await what_is_missing()
            if not missing:
                return
            if loop.time() >= deadline:
                raise TimeoutError(
                    f"app {self.app.conf.id} is {verdict} after {timeout_s:g} s: "
                    + "; ".join(missing)
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)

    def _check(self) -> None:
        """Raise if the app has crashed."""
        reason = self.app.crash_reason
        if reason is not None:
            raise RuntimeError(f"app {self.app.conf.id} has crashed: {reason!r}") from reason

    async def _not_assigned(self) -> list[str]:
        engine = self.app.runner.engine
        wanted = {
            partition.tp
            for topic in self.broker.topic_names()
            if engine.assignment.wants(topic)
            for partition in self.broker.partitions(topic)
        }
        if not wanted:
            return []
        members = self.broker.members(self.app.conf.id)
        if members == 1:
            missing = wanted - engine.assignment.partitions
        else:  # of several, each is to have some, if there are enough for all
            units = {(engine.leading_topic(tp.topic), tp.partition) for tp in wanted}
            satisfied = members > len(units) or engine.assignment.partitions
            missing = set() if members and satisfied else wanted
        if not missing:
            for tp in engine.assignment.partitions:
                await engine.consumer.position(tp)  # or what is sent next may not be new to it
        return [f"{tp.topic}/{tp.partition} is not assigned" for tp in sorted(missing)]

    async def _unsettled(self) -> list[str]:
        return await unsettled(self.app, self.broker)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let random numbers come again in the next run; afterwards go on with those of before."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
