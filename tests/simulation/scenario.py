"""What one seed means: sizes, settings, what is in the input, and what goes wrong when."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

__all__ = ["GUARANTEES", "Act", "Scenario"]

GUARANTEES = ("at_least_once", "exactly_once")

COORDINATOR = ("NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE")
LEADER = ("NOT_LEADER_OR_FOLLOWER", "UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH")
# Which refusals an API may get that leave it to the client to ask again.
REFUSALS = {
    "Produce": ("NOT_LEADER_OR_FOLLOWER", "NOT_ENOUGH_REPLICAS", "REQUEST_TIMED_OUT"),
    "Fetch": LEADER,
    "ListOffsets": LEADER[:1],
    "OffsetCommit": (*COORDINATOR, "REBALANCE_IN_PROGRESS", "REQUEST_TIMED_OUT"),
    "OffsetFetch": COORDINATOR,
    "FindCoordinator": ("COORDINATOR_NOT_AVAILABLE",),
    "JoinGroup": (*COORDINATOR, "UNKNOWN_MEMBER_ID"),
    "SyncGroup": (*COORDINATOR, "REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID"),
    "Heartbeat": (*COORDINATOR, "REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION"),
    "LeaveGroup": COORDINATOR,
    "InitProducerId": ("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE"),
}
TRANSACTIONS = {
    "InitProducerId": (*COORDINATOR, "CONCURRENT_TRANSACTIONS"),
    "AddPartitionsToTxn": (*COORDINATOR, "CONCURRENT_TRANSACTIONS"),
    "AddOffsetsToTxn": (*COORDINATOR, "CONCURRENT_TRANSACTIONS"),
    "TxnOffsetCommit": COORDINATOR,
    "EndTxn": (*COORDINATOR, "CONCURRENT_TRANSACTIONS"),
}
# A drop is told apart from a slow answer only when a request times out.
OFTEN = ("Produce", "OffsetCommit", "Fetch", "Heartbeat", "JoinGroup", "SyncGroup")


@dataclass(frozen=True)
class Act:
    """Something that happens at a time: to a worker, or to the next requests of an API."""

    at_s: float
    what: str
    worker: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        about = " ".join(f"{name}={value}" for name, value in self.details.items())
        whom = "" if self.what == "fault" else f" worker {self.worker}"
        return f"{self.at_s:7.2f} {self.what}{whom} {about}".rstrip()


@dataclass
class Scenario:
    """All that a run depends on, drawn from one seed."""

    seed: int
    guarantee: str = "at_least_once"
    partitions: int = 1
    workers: int = 1
    concurrency: int = 1
    order: str | None = None
    commit_interval_s: float = 1.0
    commit_every: int = 10_000
    session_s: float = 10.0
    request_timeout_s: float = 20.0
    standbys: int = 0
    durable: bool = False
    policy: str = "skip"
    lasts_s: float = 60.0
    events: int = 100
    keys: int = 8
    acts: list[Act] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int, guarantee: str = "at_least_once") -> Scenario:
        """Draw everything from a seed."""
        chance = random.Random(f"{seed} scenario")
        concurrency = chance.choice((1, 1, 1, 2, 3, 8))
        workers = chance.choice((1, 2, 2, 3, 3))
        session_s = chance.choice((6.0, 10.0, 20.0))
        self = cls(
            seed,
            guarantee,
            partitions=chance.randint(1, 6),
            workers=workers,
            concurrency=concurrency,
            order="key" if concurrency > 1 and chance.random() < 0.5 else None,
            commit_interval_s=chance.choice((0.1, 0.3, 1.0, 3.0)),
            commit_every=chance.choice((10_000, 10_000, 5, 20)),
            session_s=session_s,
            request_timeout_s=max(chance.choice((8.0, 15.0)), session_s + 1.0),
            standbys=chance.choice((0, 1)) if workers > 1 else 0,
            durable=chance.random() < 0.5,
            policy=chance.choice(("skip", "skip", "retry", "dead")),
            lasts_s=chance.choice((20.0, 40.0, 60.0)),
            events=chance.randint(40, 250),
            keys=chance.choice((1, 5, 20)),
        )
        self.acts = sorted(self._draw(chance), key=lambda act: act.at_s)
        return self

    def _draw(self, chance: random.Random) -> list[Act]:
        acts = []
        for number in range(self.workers):
            # Not all from the beginning: some join late.
            late = number > 0 and chance.random() < 0.3
            acts.append(
                Act(chance.uniform(1, self.lasts_s * 0.6) if late else 0.0, "start", number)
            )
        for _ in range(chance.randint(0, 5)):
            what = chance.choice(("kill", "kill", "stop", "stall", "unreachable"))
            details = {"for_s": round(chance.choice((0.2, 2.0, 8.0, 25.0)), 2)}
            worker = chance.randrange(self.workers)
            acts.append(Act(chance.uniform(0.5, self.lasts_s), what, worker, details))
        apis = dict(REFUSALS)
        if self.guarantee == "exactly_once":
            apis |= TRANSACTIONS
        names = sorted(apis)
        often = [name for name in names if name in OFTEN or name in TRANSACTIONS]
        for _ in range(chance.choice((0, 3, 6, 12))):
            api = chance.choice(often if chance.random() < 0.7 else names)
            details: dict[str, Any] = {"api": api}
            kind = chance.choice(("drop", "delay_s", "error", "error", "cut_after_bytes"))
            details[kind] = {
                "drop": 1,
                "delay_s": chance.choice((0.05, 1.0, 5.0)),
                "error": chance.choice(apis[api]),
                "cut_after_bytes": chance.choice((0, 3, 20)),
            }[kind]
            if kind != "drop":
                details["times"] = chance.choice((1, 1, 2, 5))
                details["chance"] = chance.choice((1.0, 0.5))
            acts.append(Act(chance.uniform(0, self.lasts_s), "fault", 0, details))
        return acts

    def describe(self) -> str:
        """Tell all of it, for whoever looks into a failure."""
        settings = " ".join(
            f"{name}={value}" for name, value in vars(self).items() if name != "acts"
        )
        return "\n".join((settings, *(f"  {act}" for act in self.acts)))
