"""A consumer group without a broker: members with real user data, generation by generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from faustc.client.assignors import Assignment, Subscription
from faustc.client.copartitioned import Copartitioned, Share
from faustc.types import TopicPartition


@dataclass
class Member:
    """One worker: what it wants, has, and has on its disk."""

    name: str
    topics: tuple[str, ...]
    groups: Mapping[frozenset[str], int]
    readable: bool = True
    instance: str | None = None
    disk: dict[TopicPartition, int] = field(default_factory=dict)
    owned: frozenset[TopicPartition] = frozenset()
    share: Share = field(default_factory=Share)
    stale: str | None = None
    sent: bytes | None = None

    def __post_init__(self) -> None:
        self.assignor = Copartitioned(self._heard)
        self.assignor.url = f"http://{self.name}"

    def _heard(self, share: Share, target: frozenset[TopicPartition]) -> None:
        self.share = share

    def subscription(self, generation: int) -> Subscription:
        self.assignor.groups = self.groups
        self.assignor.held = dict(self.disk)
        data = self.assignor.user_data(self.topics, self.owned, generation)
        self.sent = data if self.readable else b"\x00of another program"
        return Subscription(
            self.topics,
            self.sent,
            self.owned,
            generation if self.owned else -1,
            group_instance_id=self.instance,
        )


class Group:
    """Its members, and how often it has shared out."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self.partitions = partitions
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.log_end = 1_000_000

    def join(self, member: Member) -> None:
        self.members[member.name] = member

    def leave(self, name: str) -> Member:
        gone = self.members.pop(name)
        gone.owned = frozenset()
        return gone

    def rebalance(self) -> bool:
        """One generation; say whether somebody has to let go of something."""
        said = {name: m.subscription(self.generation) for name, m in self.members.items()}
        leader = next(iter(self.members.values()))
        result = leader.assignor.assign(said, self.partitions)
        assert set(result) == set(self.members)
        again = Copartitioned().assign(dict(reversed(said.items())), self.partitions)
        assert again == result, "it depends on more than what members said"
        for name, share in result.items():
            for other, one in self.members.items():
                taken = set(share.partitions) & one.owned
                assert other == name or not taken, f"{taken} given on before it was free"
        self.generation += 1
        let_go = False
        for name, member in self.members.items():
            share = result[name]
            target = frozenset(share.partitions)
            let_go |= bool(member.owned - target)
            member.owned = target
            member.stale = member.assignor.assigned(Assignment(tuple(target), share.user_data), 1)
        return let_go

    def settle(self) -> int:
        """Rebalance until nobody lets go of anything; return how many generations that took."""
        for generation in range(1, 6):
            if not self.rebalance():
                self.work()
                return generation
        raise AssertionError("does not settle")

    def work(self) -> None:
        """Let time pass: owners write to changelogs, standbys follow."""
        self.log_end += 100_000
        for member in self.members.values():
            for tp in member.owned | member.share.standbys:
                member.disk[tp] = self.log_end

    def owner(self, tp: TopicPartition) -> str | None:
        """Return who has a partition."""
        return next((name for name, m in self.members.items() if tp in m.owned), None)

    def standbys(self, unit: TopicPartition) -> set[str]:
        """Return who follows a unit's tables."""
        return {name for name, m in self.members.items() if unit in m.share.standbys}
