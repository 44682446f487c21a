"""One worker: an app with an agent and a table, started, stopped and killed as often as asked."""

from __future__ import annotations

import asyncio
import random
import traceback
from pathlib import Path
from typing import Any

import faustc
from faustc.engine.engine import Engine
from faustc.exceptions import FaustError
from faustc.testing.faults import Faults
from faustc.testing.memory import MemoryBroker, MemoryTransport
from tests.simulation.disk import Disk
from tests.simulation.feed import TOPIC, Event
from tests.simulation.lives import Life, Traffic, Wires
from tests.simulation.scenario import Scenario
from tests.simulation.truth import GROUP, RETRIES, Truth

__all__ = ["Worker"]

# A worker that ended by itself is started again after so long, as a supervisor would.
RESTART_S = 2.0
STOP_S = 120.0


class Poison(Exception):
    """What user code fails with."""


class Worker:
    """A worker that comes and goes; each time it is another app, in a life of its own."""

    def __init__(
        self,
        number: int,
        scenario: Scenario,
        broker: MemoryBroker,
        faults: Faults,
        traffic: Traffic,
        truth: Truth,
        disk: Disk,
        folder: Path,
    ) -> None:
        self.number = number
        self.exits: list[str] = []  # why it ended by itself
        self.tracebacks: list[str] = []
        self.ended_at: float | None = None  # by itself
        self.app: Any = None
        self.life: Life | None = None
        self.counts: Any = None
        self._scenario = scenario
        self._broker = broker
        self._faults = faults
        self._traffic = traffic
        self._truth = truth
        self._disk = disk
        self._folder = folder / f"worker{number}"
        self._lives = 0
        self._running: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._chance = random.Random(f"{scenario.seed} worker {number}")

    @property
    def alive(self) -> bool:
        """Whether it runs, or is starting or stopping."""
        return self._running is not None and not self._running.done()

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if self.alive:
            return
        self.ended_at = None
        self._lives += 1
        self._starting = None
        self.life = life = Life(f"w{self.number}.{self._lives}")
        self._truth.note(f"{life.name} starts")
        self._running = life.spawn(self._run(life), "worker")

    async def _run(self, life: Life) -> None:
        """Run the app until it stops; one that ends by itself comes again."""
        self.app = app = self._make(life)
        starting = self._starting = life.spawn(app.start(), "start")
        try:
            await asyncio.wait([starting])
            if not starting.cancelled():
                starting.result()
                await app.wait_until_stopped()
        except Exception as exc:  # noqa: BLE001 - whatever ends a start
            self._truth.note(f"{life.name} did not start: {exc!r}")
            if not isinstance(exc, FaustError):
                self.tracebacks.append("".join(traceback.format_exception(exc)))
        await app.stop()
        self._truth.died(life)
        reason = app.crash_reason
        self._truth.note(f"{life.name} has ended: {reason!r}")
        if reason is not None:
            self.exits.append(f"{life.name}: {reason!r}")
            self.ended_at = asyncio.get_running_loop().time()
            if not isinstance(reason, FaustError):
                self._truth.fail("I11", f"{life.name} ended by {reason!r}")

    def restart_if_it_ended(self) -> None:
        """Start it again if it has ended by itself, as a supervisor would."""
        if self.ended_at is None:
            return
        if asyncio.get_running_loop().time() >= self.ended_at + RESTART_S:
            self.start()

    async def stop(self) -> None:
        """Stop it as TERM does, and wait for it."""
        if not self.alive or self.life is None:
            return
        life, app, running = self.life, self.app, self._running
        self._truth.note(f"{life.name} is to stop")
        assert running is not None
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()  # as a Worker does it
        elif app is not None:
            life.spawn(app.stop(), "stop")
        await asyncio.wait([running], timeout=STOP_S)
        if not running.done():
            self._truth.fail("F1", f"{life.name} did not stop within {STOP_S:g} s")

    async def kill(self) -> None:
        """End it as kill -9 does."""
        if not self.alive or self.life is None:
            return
        life, app = self.life, self.app
        self._truth.note(f"{life.name} is killed")
        left = await life.kill()
        self._truth.died(life)
        self._disk.crash(life, self._chance)
        if app is not None:
            app.tables.folder.unlock()
        if left:
            self._truth.fail("harness", f"tasks of {life.name} live on: {', '.join(left)}")
        self.app = None

    # -- the app

    def _make(self, life: Life) -> Any:
        scenario = self._scenario
        app = faustc.App(
            GROUP,
            broker="kafka://memory",
            client_id=life.name,
            datadir=self._folder,
            web_enabled=False,
            topic_partitions=scenario.partitions,
            store=_store(scenario),
            commit_interval=scenario.commit_interval_s,
            broker_commit_every=scenario.commit_every,
            broker_session_timeout=scenario.session_s,
            broker_heartbeat_interval=scenario.session_s / 3,
            broker_request_timeout=scenario.request_timeout_s,
            broker_rebalance_timeout=30.0,
            table_standby_replicas=scenario.standbys,
            processing_guarantee=scenario.guarantee,
        )
        wires = Wires(self._broker.dialer(), self._traffic)
        app.transport = MemoryTransport(self._faults.dialer(wires))
        source = app.topic(TOPIC, key_type=str, key_serializer="raw")
        out = app.topic("out", key_type=str, key_serializer="raw", partitions=scenario.partitions)
        app.topic("dead", partitions=1)
        self.counts = counts = app.Table("counts", key_type=str, value_type=int, default=int)
        truth = self._truth
        chance = random.Random(f"{scenario.seed} body {life.name}")

        @app.agent(
            source,
            name="work",
            concurrency=scenario.concurrency,
            order=scenario.order,
            on_failure=_policy(scenario),
        )
        async def work(stream: Any) -> None:
            async for event in stream.events():
                message = event.message
                known = truth.begin(life, message.tp, message.offset, event.ledger)
                if known is None:
                    continue
                try:
                    await body(known, event)
                except Poison:
                    truth.end(life, known, failed=True)
                    raise
                truth.end(life, known)

        async def body(known: Event, event: Any) -> None:
            if known.shape == "slow":
                await asyncio.sleep(chance.choice((0.01, 0.5, 3.0)))
            elif known.shape == "poison":
                raise Poison(known.id)
            elif chance.random() < 0.1:
                await asyncio.sleep(0)
            if known.shape == "forget" and known.key is not None:
                if known.key in counts and chance.random() < 0.5:
                    del counts[known.key]
                else:
                    counts[known.key] += 1
            count = 0
            if known.counts:
                counts[known.key] += 1
                count = counts[known.key]
            for n in range(known.fan):
                attempt = truth.attempt(life)
                delivery = await out.send(
                    key=known.key,
                    value={"id": known.id, "n": n, "count": count},
                    headers={"attempt": attempt.encode()},
                    partition=None if known.key is not None else known.id % scenario.partitions,
                )
                if chance.random() < 0.15:
                    truth.acked.append((attempt, await delivery))

        self._watch(life, app)
        return app

    def _watch(self, life: Life, app: Any) -> None:
        """Hear of what the group gives and takes, as the engine does."""
        app.finalize()
        app.runner.home.settle(asyncio.get_running_loop())
        engine: Any = app.runner.engine
        engine.options.poll_ms = 1000
        truth = self._truth

        async def assigned(partitions: Any) -> None:
            truth.assigned(life, partitions)
            await Engine.on_partitions_assigned(engine, partitions)

        async def revoked(partitions: Any) -> None:
            try:
                await Engine.on_partitions_revoked(engine, partitions)
            finally:
                if not life.dead:
                    truth.revoked(life, partitions, "revoked")

        async def lost(partitions: Any) -> None:
            try:
                await Engine.on_partitions_lost(engine, partitions)
            finally:
                if not life.dead:
                    truth.revoked(life, partitions, "lost")

        engine.on_partitions_assigned = assigned
        engine.on_partitions_revoked = revoked
        engine.on_partitions_lost = lost


def _store(scenario: Scenario) -> str:
    return "tests.simulation.disk.SimStore://" if scenario.durable else "memory://"


def _policy(scenario: Scenario) -> Any:
    return {
        "skip": "skip",
        "retry": faustc.Retry(RETRIES, backoff=0.5),
        "dead": faustc.DeadLetter("dead"),
    }[scenario.policy]
