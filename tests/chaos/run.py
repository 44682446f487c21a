"""One run: a cluster, workers, a ledger, faults by plan, and what the checker says after it."""

from __future__ import annotations

import contextlib
import pickle
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException

from tests.chaos.checker import Evidence, Fault, Figures, check
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import LedgerProducer, keys_of
from tests.chaos.plan import BROKER_KINDS, WIRE, WORKER_KINDS, Act, Plan, schedule
from tests.chaos.proxy import Trouble
from tests.chaos.reading import Cluster
from tests.chaos.watching import Samples, Watcher
from tests.kafka_cluster import KafkaCluster

__all__ = ["Result", "Setup", "run"]

BROKERS = (1, 2, 3)
READY_LIMIT_S = 90.0
IN_SYNC_LIMIT_S = 90.0
# From the last fault on: all that waits, at many times the rate at which it came.
DRAIN_LIMIT_S = 180.0
SAY_EVERY_S = 10.0
# On a slow machine faults wait for workers and brokers to be up again; records go on meanwhile.
PLAN_LIMIT_S = 600.0
PROXIED = "PROXIED"


@dataclass(frozen=True)
class Setup:
    """What a run is made of; the same setup has the same plan."""

    plan: Plan
    guarantee: str
    store: str
    seed: int
    records: int


@dataclass
class Result:
    """What came out of a run."""

    setup: Setup
    figures: Figures
    drained: bool
    drain_s: float
    silence_s: float
    partition_silence_s: float
    held_s: float
    generations: int
    exits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ends: list[Fault] = field(default_factory=list)
    #: Workers with stores on disk that are not what their changelogs say.
    stores_differ: int = 0

    @property
    def wrong(self) -> dict[str, int]:
        """What breaks the guarantee; empty for a good run."""
        found = self.figures.wrong(self.setup.guarantee)
        if not self.drained:
            found["not_drained"] = 1
        if self.exits:
            found["exits"] = len(self.exits)
        if self.stores_differ:
            found["stores_differ"] = self.stores_differ
        return found


def run(setup: Setup, folder: Path, say: Callable[[str], None] = print) -> Result:
    """Run it all, on a cluster of its own; logs of workers and brokers stay in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        proxied = any(kind in WIRE for kind in setup.plan.acts)
        cluster = KafkaCluster(
            len(BROKERS),
            heap="320m",
            settings={"min.insync.replicas": "2", "default.replication.factor": "3"},
            listeners={PROXIED: "PLAINTEXT"} if proxied else None,
            proxied=[PROXIED] if proxied else (),
        )
        stack.enter_context(cluster)
        proxy = stack.enter_context(Trouble(cluster, PROXIED, setup.seed)) if proxied else None
        try:
            return _Run(setup, folder, cluster, proxy, say).all_of_it()
        finally:
            for id, node in cluster.nodes.items():
                if node.log_path.exists():
                    (folder / f"broker-{id}.log").write_bytes(node.log_path.read_bytes())


class _Run:
    def __init__(
        self,
        setup: Setup,
        folder: Path,
        cluster: KafkaCluster,
        proxy: Trouble | None,
        say: Callable[[str], None],
    ) -> None:
        self.setup, self.plan = setup, setup.plan
        self.cluster = cluster
        self.proxy = proxy
        self._say = say
        self.began = time.monotonic()
        self.id = f"chaos-{setup.seed}"
        self.source, self.target = f"{self.id}-in", f"{self.id}-out"
        self.asked = Cluster(cluster.bootstrap)
        self.notes: list[str] = []
        self.brokers_busy: threading.Thread | None = None
        self.resumes: list[tuple[float, str]] = []
        self.numbers = list(range(self.plan.partitions))
        self.asked.create_topic(self.source, self.plan.partitions, len(BROKERS))
        self.asked.create_topic(
            self.target,
            self.plan.partitions,
            len(BROKERS),
            **{"message.timestamp.type": "LogAppendTime"},  # when the output came to be
        )
        bootstrap = proxy.bootstrap if proxy else cluster.bootstrap
        self.fleet = Fleet(
            folder,
            self.plan.workers,
            {
                "CHAOS_ID": self.id,
                "CHAOS_BROKERS": bootstrap,
                "CHAOS_PARTITIONS": str(self.plan.partitions),
                "CHAOS_GUARANTEE": setup.guarantee,
                "CHAOS_STORE": setup.store,
            },
        )
        self.ledger = LedgerProducer(cluster.bootstrap, self.source)

    def say(self, text: str) -> None:
        self._say(f"[{time.monotonic() - self.began:6.1f}] {text}")

    def all_of_it(self) -> Result:
        watcher = samples = None
        try:
            for worker in self.fleet.names:
                self.fleet.start(worker)
            for worker in self.fleet.names:
                self.fleet.process(worker).wait_for("Worker ready", READY_LIMIT_S)
            watcher = Watcher(self.cluster.bootstrap, self.target, self.plan.partitions)
            samples = Samples(
                self.asked,
                group=self.id,
                source=self.source,
                target=self.target,
                partitions=self.plan.partitions,
            )
            self.say(f"{len(self.fleet.names)} workers are ready")
            self._faults(watcher)
            drained, drain_s = self._drain(watcher)
            for problem in self.fleet.end():
                self.say(problem)
            samples.stop()
            watcher.stop()
            return self._judge(watcher, samples, drained, drain_s)
        finally:
            self.fleet.kill_all()
            self.ledger.stop()
            for started in (watcher, samples):
                if started is not None:
                    started.stop()
            if self.brokers_busy is not None:
                self.brokers_busy.join(IN_SYNC_LIMIT_S)
            self.asked.close()

    # -- faults ------------------------------------------------------------------------

    def _faults(self, watcher: Watcher) -> None:
        """Do what the plan says, until that and the sending is over."""
        waiting = schedule(self.plan, self.setup.seed, records=self.setup.records, brokers=BROKERS)
        began = said_at = time.monotonic()
        self.ledger.start(
            keys_of(self.setup.seed),
            self.setup.records,
            self.plan.rate,
            # A fault after the last record would show nothing.
            more=lambda: bool(waiting) and time.monotonic() - began < PLAN_LIMIT_S,
        )
        while waiting or self.ledger.running or self._broker_away() or self.resumes:
            now = time.monotonic()
            self._look()
            for act in [act for act in waiting if act.at_s <= now - began]:
                if self._act(act):
                    waiting.remove(act)
            if now - said_at >= SAY_EVERY_S:
                said_at = now
                self._progress(watcher)
            time.sleep(0.02)

    def _look(self) -> None:
        for problem in self.fleet.look():
            self.say(problem)
        for due, worker in list(self.resumes):
            if due <= time.monotonic():
                self.resumes.remove((due, worker))
                self.fleet.resume(worker)
                self.say(f"worker {worker} goes on")

    def _progress(self, watcher: Watcher) -> None:
        self.say(
            f"{self.ledger.sent} sent, {self.ledger.acknowledged} acknowledged, "
            f"{watcher.count} came out of {len(watcher.seen)} events"
        )

    def _act(self, act: Act) -> bool:
        """Do one thing; False if it has to wait."""
        if act.kind in WORKER_KINDS:
            running = [name for name in self.fleet.running if name not in self.fleet.stopped]
            able = [name for name in running if act.early or self.fleet.works(name) > act.for_s]
            if not able:
                return False
            worker = str(act.target) if str(act.target) in able else able[0]
            self.say(f"{act.kind} worker {worker}")
            if act.kind == "kill":
                self.fleet.kill(worker, again_in_s=act.for_s)
            elif act.kind == "term":
                self.fleet.term(worker, again_in_s=act.for_s)
            else:
                self.fleet.pause(worker)
                self.resumes.append((time.monotonic() + act.for_s, worker))
            return True
        if act.kind in BROKER_KINDS:
            if self._broker_away():
                return False
            self.say(f"{act.kind} {act.target}")
            self.brokers_busy = threading.Thread(target=self._bounce, args=(act,), daemon=True)
            self.brokers_busy.start()
            return True
        assert self.proxy is not None
        self.say(f"{act.kind} what leads to broker {act.target} for {act.for_s:.1f} s")
        self.proxy.harm(act.kind, act.target, act.for_s)
        return True

    def _broker_away(self) -> bool:
        return self.brokers_busy is not None and self.brokers_busy.is_alive()

    def _bounce(self, act: Act) -> None:
        """End a broker and start it again; until all replicas are in sync no other is touched."""
        if act.kind == "broker-kill":
            self.cluster.kill(act.target)
        else:
            self.cluster.nodes[act.target].stop()
        time.sleep(act.for_s)
        self.cluster.restart(act.target)
        give_up = time.monotonic() + IN_SYNC_LIMIT_S
        while not self.asked.in_sync():
            if time.monotonic() > give_up:
                self.notes.append(f"broker {act.target} is not in sync")
                break
            time.sleep(0.3)
        self.say(f"broker {act.target} is back, all replicas are in sync")

    # -- the end -----------------------------------------------------------------------

    def _drain(self, watcher: Watcher) -> tuple[bool, float]:
        """Wait until all is committed and no more comes; whether that was so, and how long."""
        began = said_at = time.monotonic()
        settled_at: float | None = None
        count = -1
        while (now := time.monotonic()) - began < DRAIN_LIMIT_S:
            self._look()
            if not self._all_committed() or watcher.count != count:
                count, settled_at = watcher.count, None
            elif settled_at is None:
                settled_at = now
            elif now - settled_at > 2.0:
                self.say(f"drained after {settled_at - began:.1f} s")
                return True, settled_at - began
            if now - said_at >= SAY_EVERY_S:
                said_at = now
                self._progress(watcher)
            time.sleep(0.1)
        self.say(f"not drained: {self._behind()}")
        return False, DRAIN_LIMIT_S

    def _behind(self) -> str:
        with contextlib.suppress(KafkaException):
            done = self.asked.committed(self.id, self.source, self.numbers)
            ends = self.asked.ends(self.source, self.numbers, committed=False)
            return f"committed {done} of {ends}"
        return "the cluster does not answer"

    def _all_committed(self) -> bool:
        with contextlib.suppress(KafkaException):
            ends = self.asked.ends(self.source, self.numbers, committed=False)
            done = self.asked.committed(self.id, self.source, self.numbers)
            return {number: end for number, end in ends.items() if end} == done
        return False

    def _judge(self, watcher: Watcher, samples: Samples, drained: bool, drain_s: float) -> Result:
        asked = self.asked
        evidence = Evidence(
            guarantee=self.setup.guarantee,
            ledger=self.ledger.entries,
            inputs=asked.inputs(self.source),
            outputs=asked.outputs(self.target),
            table=asked.replay(f"{self.id}-counts-changelog"),
            ends=asked.ends(self.source, self.numbers, committed=False),
            committed=asked.committed(self.id, self.source, self.numbers),
            samples=samples.committed,
            faults=sorted(self.fleet.ends),
        )
        (self.fleet.folder / "evidence.pickle").write_bytes(pickle.dumps(evidence))
        return Result(
            setup=self.setup,
            figures=check(evidence),
            drained=drained,
            drain_s=drain_s,
            silence_s=watcher.silence_s,
            partition_silence_s=watcher.partition_silence_s,
            held_s=samples.held_s,
            generations=self._generations(),
            exits=[str(each) for each in self.fleet.exits],
            notes=self.notes,
            ends=self.fleet.ends,
            stores_differ=self._verify(),
        )

    def _verify(self) -> int:
        """Return how many workers have stores that differ from their changelogs."""
        differ = 0
        if self.setup.store != "memory://":
            for worker in self.fleet.names:
                code, said = self.fleet.verify(worker)
                if code:
                    differ += 1
                    self.notes.append(f"stores of worker {worker} ({code}): {said[-2000:]}")
        return differ

    def _generations(self) -> int:
        """Return how many generations the group had, as the coordinators tell."""
        stabilized = re.compile(rf"Stabilized group {re.escape(self.id)} generation (\d+)")
        found = [0]
        for node in self.cluster.nodes.values():
            text = node.log_path.read_text(errors="replace")
            found += [int(number) for number in stabilized.findall(text)]
        return max(found)
