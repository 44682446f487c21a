"""Workers that are broken on purpose, on a real Kafka: the checker has to see each of them.

Nothing here is left to luck: a worker halts at a record of the test's choice, or keeps what it
sends, and it is killed once the group's offsets show what is wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import KafkaException

from tests.chaos.checker import Evidence, Figures, check
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import LedgerProducer
from tests.chaos.reading import Cluster
from tests.chaos.watching import Samples
from tests.conftest import Kafka

pytestmark = [pytest.mark.kafka, pytest.mark.long]

LIMIT_S = 60.0


@dataclass
class Scene:
    """One partition, one worker at a time, and a ledger that sends when it is told to."""

    id: str
    asked: Cluster
    fleet: Fleet
    ledger: LedgerProducer

    @property
    def source(self) -> str:
        return f"{self.id}-in"

    @property
    def target(self) -> str:
        return f"{self.id}-out"

    def send(self, *keys: str) -> None:
        for key in keys:
            self.ledger.send(key)
        self.ledger.flush()

    def committed(self) -> int:
        try:
            return self.asked.committed(self.id, self.source, [0]).get(0, 0)
        except KafkaException:
            return 0

    def written(self) -> int:
        return self.asked.ends(self.target, [0], committed=False)[0]

    def until(self, true: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + LIMIT_S
        while not true():
            said = self.fleet.look()
            assert not said, said
            assert time.monotonic() < give_up, what
            time.sleep(0.05)

    def finish(self) -> None:
        """Have a whole worker do the rest, and end it."""
        self.fleet.start("1")
        self.send("last")
        self.until(lambda: self.committed() == self.ledger.sent, "all committed")
        assert self.fleet.end() == []

    def figures(self, samples: Samples | None = None) -> Figures:
        return check(
            Evidence(
                guarantee="at_least_once",
                ledger=self.ledger.entries,
                inputs=self.asked.inputs(self.source),
                outputs=self.asked.outputs(self.target),
                table=self.asked.replay(f"{self.id}-counts-changelog"),
                ends=self.asked.ends(self.source, [0], committed=False),
                committed=self.asked.committed(self.id, self.source, [0]),
                samples=samples.committed if samples else (),
            )
        )


@pytest.fixture
def scene(kafka: Kafka, new_name: Callable[[str], str], tmp_path: Path) -> Iterator[Scene]:
    id = new_name("chaos")
    asked = Cluster(kafka.bootstrap)
    asked.create_topic(f"{id}-in", 1, 1)
    asked.create_topic(f"{id}-out", 1, 1, **{"message.timestamp.type": "LogAppendTime"})
    environment = {
        "CHAOS_ID": id,
        "CHAOS_BROKERS": kafka.bootstrap,
        "CHAOS_PARTITIONS": "1",
        "CHAOS_REPLICAS": "1",
        "CHAOS_SESSION_S": "3",
    }
    fleet = Fleet(tmp_path, 1, environment)
    yield Scene(id, asked, fleet, LedgerProducer(kafka.bootstrap, f"{id}-in"))
    fleet.kill_all()
    asked.close()


KEYS = ["a", "b", "a", "c"] * 5


def test_a_worker_that_nobody_broke_has_no_figure(scene: Scene) -> None:
    samples = Samples(
        scene.asked, group=scene.id, source=scene.source, target=scene.target, partitions=1
    )
    scene.fleet.start("1")
    scene.send(*KEYS, "hold")
    scene.until(lambda: scene.committed() == len(KEYS) + 1, "all committed")
    scene.fleet.kill("1")
    scene.finish()
    samples.stop()
    figures = scene.figures(samples)
    assert figures.wrong("exactly_once") == {}
    assert figures.records == len(KEYS) + 2
    assert len(samples.committed) > 2


@pytest.mark.parametrize("broken", ["commit_early", "ack_in_flight"])
def test_offsets_that_pass_an_event_in_hand(scene: Scene, broken: str) -> None:
    scene.send(*KEYS, "hold", "after")
    samples = Samples(
        scene.asked, group=scene.id, source=scene.source, target=scene.target, partitions=1
    )
    scene.fleet.start("1", CHAOS_BREAK=broken, CHAOS_HOLD="hold")
    scene.until(lambda: scene.committed() > len(KEYS), "a commit that passes what is in hand")
    scene.fleet.kill("1")
    scene.finish()
    samples.stop()
    wrong = scene.figures(samples).wrong("at_least_once")
    assert wrong["lost"] >= 1
    assert wrong["table_missing"] >= 1


def test_offsets_that_are_committed_before_what_was_sent_has_arrived(scene: Scene) -> None:
    scene.send(*KEYS)
    scene.fleet.start("1", CHAOS_BREAK="skip_flush", CHAOS_LINGER_S="3600")
    scene.until(lambda: scene.committed() == len(KEYS), "a commit of all")
    scene.fleet.kill("1")
    assert scene.written() == 0
    scene.finish()
    wrong = scene.figures().wrong("at_least_once")
    assert wrong["lost"] == wrong["table_missing"] == len(KEYS)


def test_output_that_comes_after_its_commit_though_nobody_was_killed(scene: Scene) -> None:
    samples = Samples(
        scene.asked, group=scene.id, source=scene.source, target=scene.target, partitions=1
    )
    scene.send(*KEYS)
    scene.fleet.start("1", CHAOS_BREAK="skip_flush", CHAOS_LINGER_S="5")
    scene.until(lambda: any(c.get(0, 0) == len(KEYS) for _, c in samples.committed), "a commit")
    assert scene.written() == 0
    scene.until(lambda: scene.written() == len(KEYS), "all outputs")
    scene.fleet.kill("1")
    samples.stop()
    figures = scene.figures(samples)
    assert figures.overtaken == len(KEYS)
    assert figures.lost == 0


def test_a_changelog_that_lacks_a_record(scene: Scene) -> None:
    scene.send(*KEYS, "lost", "lost")
    scene.fleet.start("1", CHAOS_BREAK="lose_changelog")
    scene.until(lambda: scene.committed() == len(KEYS) + 2, "all committed")
    scene.fleet.kill("1")
    scene.send("lost")
    scene.finish()
    wrong = scene.figures().wrong("at_least_once")
    assert wrong["table_missing"] == 2
    assert wrong["counted_short"] == 1


def test_a_worker_that_ends_by_itself(scene: Scene) -> None:
    scene.fleet.start("1", CHAOS_STORE="nothing://")
    give_up = time.monotonic() + LIMIT_S
    while not scene.fleet.exits:
        scene.fleet.look()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert scene.fleet.exits[0].why == "ended by itself"
    assert scene.fleet.exits[0].code not in (0, None)


def test_readers_that_an_open_transaction_holds_back(scene: Scene, kafka: Kafka) -> None:
    samples = Samples(
        scene.asked,
        group=scene.id,
        source=scene.source,
        target=scene.target,
        partitions=1,
        pause_s=0.05,
    )
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": scene.id}
    )
    producer.init_transactions(30)
    told = json.dumps({"key": "a", "n": 1, "count": 1, "from": [0, 0]})
    for finish in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(scene.target, told)
        assert producer.flush(30) == 0
        held_s = samples.held_s
        scene.until(lambda held_s=held_s: samples.held_s > held_s + 1.0, "held back")  # type: ignore[misc]
        finish(30)
    samples.stop()
    assert samples.held_s > 2.0
    assert [output.source for output in scene.asked.outputs(scene.target)] == [(0, 0)]
