"""The input: batches put into the log as other producers might have, with what is in such logs.

Gaps where compaction took records away, batches that it left empty, transactions that were
committed or aborted, with their control batches, at the end of the log as well.
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass
from typing import Any

from faustc.broker.broker import Broker
from faustc.types import TopicPartition
from tests.reference.batches import Record, encode_batch
from tests.simulation.scenario import Scenario

__all__ = ["TOPIC", "Event", "Feed"]

TOPIC = "in"
# What an event is, and how often among others.
SHAPES = {
    "plain": 60,
    "slow": 8,
    "poison": 4,
    "undecodable": 3,
    "null": 3,
    "forget": 4,
    "keyless": 4,
}


@dataclass(frozen=True)
class Event:
    """One message of the input, and what has to come of it."""

    id: int
    tp: TopicPartition
    offset: int
    key: str | None
    shape: str
    fan: int  # how many messages it has to cause

    @property
    def counts(self) -> bool:
        """Whether it is counted in the table."""
        return self.shape in ("plain", "slow") and self.key is not None


class Feed:
    """Writes the input; knows every message of it."""

    def __init__(self, scenario: Scenario, broker: Broker) -> None:
        self._scenario = scenario
        self._broker = broker
        self._chance = random.Random(f"{scenario.seed} feed")
        #: By partition and offset. What was aborted is there for those who read it all.
        self.events: dict[TopicPartition, dict[int, Event]] = {
            TopicPartition(TOPIC, n): {} for n in range(scenario.partitions)
        }
        self.aborted: dict[TopicPartition, dict[int, Event]] = {tp: {} for tp in self.events}
        self._made = 0
        self._keys: list[list[str]] = [[] for _ in range(scenario.partitions)]
        for n in range(scenario.keys):
            key = f"k{n}"
            self._keys[zlib.crc32(key.encode()) % scenario.partitions].append(key)

    def __iter__(self) -> Any:
        """Yield how long to wait before each call of `put`."""
        scenario, chance = self._scenario, self._chance
        bursts = chance.choice((1, 5, 20))
        pause_s = scenario.lasts_s * bursts / max(scenario.events, 1) / 2
        while self._made < scenario.events:
            yield chance.uniform(0, 2 * pause_s)
            for _ in range(bursts):
                if self._made < scenario.events:
                    self._put()

    def _put(self) -> None:
        chance = self._chance
        number = chance.randrange(self._scenario.partitions)
        kind = chance.choices(
            ("plain", "gaps", "empty", "committed", "aborted"), (70, 10, 3, 8, 9)
        )[0]
        partition = self._broker.partition(TOPIC, number)
        assert partition is not None
        tp, base = partition.tp, partition.log_end
        deltas = list(range(chance.randint(1, 4)))
        last = len(deltas) - 1
        header: dict[str, int] = {}
        if kind == "gaps":
            last = chance.randint(len(deltas), 12)
            deltas = sorted(chance.sample(range(last + 1), len(deltas)))
        elif kind == "empty":
            deltas = []
        elif kind != "plain":
            producer_id = self._broker.coordinators.transactions.new_producer_id()
            header = {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": 0}
            header["attributes"] = 0x10  # in a transaction
        events = [self._event(tp, base + delta) for delta in deltas]
        records = [
            Record(
                None if event.key is None else event.key.encode(),
                _value(event),
                offset_delta=delta,
            )
            for delta, event in zip(deltas, events, strict=True)
        ]
        raw = encode_batch(
            records, last_offset_delta=last, base_timestamp=self._broker.now_ms(), **header
        )
        # What compaction leaves is nothing that a producer may send, so it goes in by the log.
        partition._append(raw, self._broker.now_ms())
        into = self.aborted if kind == "aborted" else self.events
        into[tp].update((event.offset, event) for event in events)
        if header:
            partition.append_marker(producer_id, 0, kind == "committed")

    def _event(self, tp: TopicPartition, offset: int) -> Event:
        chance = self._chance
        self._made += 1
        keys = self._keys[tp.partition]
        shape = chance.choices(tuple(SHAPES), tuple(SHAPES.values()))[0]
        key = chance.choice(keys) if keys and shape != "keyless" else None
        if shape == "forget" and key is not None:
            key = f"f{tp.partition}"  # of those nobody knows the count
        fan = chance.choice((0, 1, 1, 1, 2, 3)) if shape in ("plain", "slow", "keyless") else 0
        return Event(self._made, tp, offset, key, shape, fan)


def _value(event: Event) -> bytes | None:
    if event.shape == "null":
        return None
    if event.shape == "undecodable":
        return b"{" + str(event.id).encode()
    return json.dumps({"id": event.id, "shape": event.shape, "fan": event.fan}).encode()
