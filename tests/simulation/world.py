"""One run of one seed: a broker, workers, an input, a plan; then all has to come to rest."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from faustc.broker.batches import head_at
from faustc.broker.groups import Committer
from faustc.broker.handlers.table import HANDLERS
from faustc.broker.partition import Partition
from faustc.testing.faults import Faults
from faustc.testing.memory import MemoryBroker
from faustc.types import TopicPartition
from tests.simulation import determined
from tests.simulation.disk import Disk
from tests.simulation.feed import TOPIC, Feed
from tests.simulation.lives import Life, Traffic, own_tasks
from tests.simulation.scenario import Act, Scenario
from tests.simulation.truth import GROUP, Truth, Violation
from tests.simulation.workers import Worker

__all__ = ["Outcome", "simulate"]

INIT_PRODUCER_ID = 22

# Once nothing goes wrong any more, this is how long it may take until all is done.
DRAIN_S = 600.0
LOOK_S = 0.5
REST_LOOKS = 600


@dataclass
class Outcome:
    """How a run went."""

    seed: int
    failure: str = ""
    digest: str = ""
    events: int = 0
    repeated: int = 0
    requests: int = 0
    virtual_s: float = 0.0
    exits: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    scenario: str = ""


def simulate(
    seed: int,
    guarantee: str = "at_least_once",
    *,
    broken: Callable[[], AbstractContextManager[Any]] = nullcontext,
    scenario: Scenario | None = None,
) -> Outcome:
    """Run a seed. broken: what makes workers worse than they are, for tests of the checks."""
    scenario = scenario or Scenario.of(seed, guarantee)
    with tempfile.TemporaryDirectory(prefix="faustc-sim-") as folder, broken():
        world = World(scenario, Path(folder))
        return determined.run(seed, world.run())  # type: ignore[no-any-return]


class World:
    """All of one run."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.folder = folder
        self.traffic = Traffic()
        self.faults = Faults(scenario.seed)
        self.workers: list[Worker] = []
        self.unhandled: list[str] = []
        self._plain: list[asyncio.Task[Any]] = []

    async def run(self) -> Outcome:
        scenario = self.scenario
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        own_tasks(loop)
        outcome = Outcome(scenario.seed, scenario=scenario.describe())
        began = loop.time()
        async with MemoryBroker() as broker:
            self.broker = broker
            for topic, count in ((TOPIC, scenario.partitions), ("out", scenario.partitions)):
                broker.broker.topics.create(topic, count)
            broker.broker.topics.create("dead", 1)
            self.feed = Feed(scenario, broker.broker)
            self.truth = truth = Truth(scenario, broker.broker, self.feed)
            Disk.current = disk = Disk(truth.stored)
            self.workers = [
                Worker(n, scenario, broker, self.faults, self.traffic, truth, disk, self.folder)
                for n in range(scenario.workers)
            ]
            try:
                with self._overhearing():
                    await self._go()
            except Violation as exc:
                outcome.failure = str(exc)
            for worker in self.workers:
                await worker.kill()
            for task in self._plain:
                task.cancel()
            await asyncio.sleep(0)
        outcome.virtual_s = loop.time() - began
        outcome.events = len(truth.visible())
        outcome.repeated = sum(count - 1 for count in truth.finished.values())
        outcome.requests = self.traffic.count
        outcome.exits = [exit_ for worker in self.workers for exit_ in worker.exits]
        outcome.trace = truth.trace
        told = hashlib.sha256("\n".join(truth.trace).encode()).hexdigest()[:16]
        outcome.digest = f"{told}-{self.traffic.digest:08x}-{self.traffic.count}"
        return outcome

    # -- the run

    async def _go(self) -> None:
        scenario, truth = self.scenario, self.truth
        self._spawn(self._feeding())
        acting = [self._spawn(self._acting(act)) for act in scenario.acts]
        await self._watch(scenario.lasts_s + 1)
        self.faults.clear()
        truth.note("nothing goes wrong any more")
        await asyncio.wait(acting, timeout=60.0)
        for act in acting:
            if act.done():
                act.result()
        await self._drain()
        await self._rest()
        truth.final()
        for worker in self.workers:
            await worker.stop()
        truth.check()
        self._check_left()
        truth.check()

    async def _watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        if self.unhandled:
            self.truth.fail("I11", f"reached the event loop: {self.unhandled[0]}")
        self.truth.check()
        for worker in self.workers:
            worker.restart_if_it_ended()

    async def _feeding(self) -> None:
        for pause_s in self.feed:
            await asyncio.sleep(pause_s)

    async def _acting(self, act: Act) -> None:
        await asyncio.sleep(act.at_s)
        self.truth.note(f"act: {act}")
        worker, details = self.workers[act.worker], act.details
        match act.what:
            case "fault":
                self.faults.control(**details)
            case "start":
                worker.start()
            case "kill":
                await worker.kill()
                await asyncio.sleep(details["for_s"])
                worker.start()
            case "stop":
                await worker.stop()
                await asyncio.sleep(details["for_s"])
                worker.start()
            case "stall" | "unreachable":
                life = worker.life
                if life is None or life.dead:
                    return
                if act.what == "stall":
                    life.stall(True)
                else:
                    life.unreachable = True
                    life.cut()
                await asyncio.sleep(details["for_s"])
                life.unreachable = False
                life.stall(False)

    async def _drain(self) -> None:
        """Wait until everything is done and committed."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_S
        for worker in self.workers:
            worker.start()
        left = "everything"
        while loop.time() < until:
            await asyncio.sleep(LOOK_S)
            self._look()
            left = self.truth.drained()
            if not left:
                return
        self.truth.fail("F1", f"not drained after {DRAIN_S:g} s: {left}")
        self.truth.check()

    async def _rest(self) -> None:
        """Check every copy of the table against the changelog, once they have had the time."""
        wrong = ""
        for _ in range(REST_LOOKS):
            self._look()
            wrong = self._wrong_tables()
            if not wrong:
                return
            await asyncio.sleep(LOOK_S)
        self.truth.fail("I6", wrong)
        self.truth.check()

    def _wrong_tables(self) -> str:
        """Say what differs in some worker's copy of the table, active or standby."""
        self.truth.read()
        copies = 0
        for worker in self.workers:
            app = worker.app
            if not worker.alive or app is None or not app.started:
                return f"worker {worker.number} is not running"
            tables = app.runner.engine.tables
            shards = [
                (kind, shard)
                for kind, parts in (
                    ("active", [part.shards for part in tables._parts.values()]),
                    ("standby", list(tables._standbys.values())),
                )
                for some in parts
                for _, shard in some
            ]
            for kind, shard in shards:
                copies += kind == "active"
                there = dict(shard.items())
                wanted = self.truth.replayed(shard.partition)
                if there != wanted and shard.partition not in self.truth.haunted:
                    differs = {
                        key: (there.get(key), wanted.get(key))
                        for key in there.keys() | wanted.keys()
                        if there.get(key) != wanted.get(key)
                    }
                    return f"{kind} {shard.tp} of {worker.number} is not its changelog: {differs}"
        if copies != self.scenario.partitions:
            return f"{copies} partitions of the table are active"
        return ""

    def _check_left(self) -> None:
        """After all have stopped: stores are as their changelogs are, and no task is left."""
        truth = self.truth
        for worker in self.workers:
            if worker.life is not None and (left := worker.life.living()):
                names = ", ".join(task.get_name() for task in left)
                truth.fail("I14", f"{worker.life.name} has stopped, and these go on: {names}")
        for path, files in Disk.current.files.items():
            if files.position is not None:
                number = int(path.rpartition("-")[2])
                wrong = truth.may_hold(number, files.data, files.position)
                if wrong:
                    truth.fail("I7", f"{path} at {files.position}: {wrong}")

    # -- who listens

    @contextmanager
    def _overhearing(self) -> Iterator[None]:
        """Hear of every commit that the broker takes, who has which producer id, who writes."""
        coordinators = self.broker.broker.coordinators
        groups, transactions = coordinators.groups, coordinators.transactions
        asking, truth = "", self.truth
        handle, append = HANDLERS[INIT_PRODUCER_ID], Partition._append
        commit, init, hold = groups.commit, transactions.init_producer, groups.hold
        settle, carry_out = coordinators.offsets.settle, transactions._carry_out
        held: dict[int, dict[TopicPartition, Any]] = {}

        async def asked(broker: Any, call: Any) -> Any:
            nonlocal asking
            asking = call.client_id
            return await handle(broker, call)

        def initiated(*args: Any, **options: Any) -> Any:
            producer = init(*args, **options)
            truth.producers[producer.producer_id] = asking
            return producer

        def committed(who: Committer, offsets: Any, **options: Any) -> int:
            code = commit(who, offsets, **options)
            if code == 0:
                name = who.member_id.split("-")[0]
                truth.commit(self._life(name), who.member_id, offsets)
            return code

        def kept(who: Committer, producer_id: int, offsets: Any) -> int:
            code = hold(who, producer_id, offsets)
            if code == 0:
                name = who.member_id.split("-")[0]
                truth.held(self._life(name), who.member_id, offsets)
            return code

        def settled(producer_id: int, commits: bool) -> None:
            offsets = coordinators.offsets._held.get(producer_id, {}).get(GROUP, {})
            held[producer_id] = dict(offsets) if commits else {}
            settle(producer_id, commits)

        def carried_out(transaction: Any) -> None:
            carry_out(transaction)
            offsets = held.pop(transaction.producer_id, {})
            name = truth.producers.get(transaction.producer_id, "?")
            if offsets:
                truth.commit(self._life(name), name, offsets)
            truth.ended(name)

        def appended(partition: Partition, records: bytes, now_ms: int) -> None:
            append(partition, records, now_ms)
            truth.appended(partition.tp, head_at(records).producer_id)

        with (
            mock.patch.dict(HANDLERS, {INIT_PRODUCER_ID: asked}),
            mock.patch.object(Partition, "_append", appended),
            mock.patch.object(groups, "commit", committed),
            mock.patch.object(transactions, "init_producer", initiated),
            mock.patch.object(groups, "hold", kept),
            mock.patch.object(coordinators.offsets, "settle", settled),
            mock.patch.object(transactions, "_carry_out", carried_out),
        ):
            yield

    def _life(self, name: str) -> Life | None:
        lives = [worker.life for worker in self.workers]
        return next((life for life in lives if life is not None and life.name == name), None)

    def _unhandled(self, loop: Any, context: dict[str, Any]) -> None:
        exception = context.get("exception")
        said = f"{context.get('message')} {exception!r}"
        if isinstance(exception, Violation):
            said = f"harness: {said}"
        self.unhandled.append(said)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._plain.append(task)
        return task
