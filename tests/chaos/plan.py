"""What goes wrong when: a plan made from a seed, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["PLANS", "WIRE", "Act", "Plan", "schedule"]

#: What a proxy can do to connections, see `proxy`.
WIRE = ("cut", "delay", "truncate", "corrupt", "block")
WORKER_KINDS = ("kill", "term", "stop")
BROKER_KINDS = ("broker-kill", "broker-roll")

STOPPED_S = 15.0
#: The share of workers' ends that may come before the worker works.
EARLY = 0.2


class Act(NamedTuple):
    """One fault: when, what, to which worker or broker; for how long, where it lasts.

    A worker is hit when it is at work for a while, however long that takes on a slow machine, or
    it would mostly be hit while Python starts; unless it is `early`: then whatever it does.
    """

    at_s: float
    kind: str
    target: int
    for_s: float
    early: bool = False


@dataclass(frozen=True)
class Plan:
    """How often what is done, and to how many workers; records and partitions unless told."""

    name: str
    acts: Mapping[str, int]
    workers: int = 2
    partitions: int = 6
    records: int = 30_000
    rate: float = 500.0


PLANS = {
    plan.name: plan
    for plan in (
        Plan("none", {}, records=5_000),
        Plan("kills", {"kill": 6, "term": 3, "broker-kill": 3}),
        Plan(
            "bounce",
            {"kill": 5, "term": 4, "broker-kill": 2, "broker-roll": 1},
            workers=3,
            partitions=9,
            records=100_000,
        ),
        # Far enough from each other that a silence has one cause.
        Plan("one-kill", {"kill": 1}, records=15_000),
        Plan("one-broker-kill", {"broker-kill": 1}, records=15_000),
        Plan("zombie", {"stop": 5}, records=60_000),
        Plan("roll", {"broker-roll": 6}, records=60_000),
        Plan("wire", dict.fromkeys(WIRE, 4)),
        Plan("mixed", {"kill": 3, "term": 1, "broker-kill": 1, **dict.fromkeys(WIRE, 1)}),
        Plan("short", {"kill": 3, "term": 1, "broker-kill": 1}, records=12_000),
    )
}


def schedule(plan: Plan, seed: int, *, records: int, brokers: Sequence[int]) -> list[Act]:
    """Spread the faults of a plan over the time in which records are sent.

    Each kind of target has its faults spread evenly, each somewhere in its own stretch:
    brokers need time to be in sync again, and workers may be hit together with them.
    """
    chosen = random.Random(f"plan {plan.name} {seed}")
    begin_s, end_s = 4.0, max(8.0, records / plan.rate - 2.0)
    acts: list[Act] = []
    wire = [kind for kind in WIRE for _ in range(plan.acts.get(kind, 0))]
    workers = [kind for kind in WORKER_KINDS for _ in range(plan.acts.get(kind, 0))]
    at_brokers = [kind for kind in BROKER_KINDS for _ in range(plan.acts.get(kind, 0))]
    turns = list(brokers)
    chosen.shuffle(turns)
    for kinds in (wire, workers, at_brokers):
        chosen.shuffle(kinds)
        stretch = (end_s - begin_s) / max(1, len(kinds))
        for number, kind in enumerate(kinds):
            at_s = begin_s + (number + chosen.random() * 0.8) * stretch
            if kinds is workers:
                target = chosen.randint(1, plan.workers)
            else:
                target = turns[number % len(turns)]  # each in turn, so that each has its share
            if kind == "stop":
                for_s = STOPPED_S
            elif kind in WIRE:
                for_s = chosen.uniform(2.0, 8.0)
            else:
                for_s = chosen.uniform(0.5, 3.0)
            early = kind in ("kill", "term") and chosen.random() < EARLY
            acts.append(Act(at_s, kind, target, for_s, early))
    return sorted(acts)
