"""An assignor that keeps partitions of one number together, for topics that belong together.

Where streams are joined, partition 3 of one topic is of use only to who has partition 3
of the other. Members say in their user data which topics belong together; the leader
treats those as one, and shares the others out as ever.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from faustc.client.assignors import (
    Assignment,
    CooperativeSticky,
    Subscription,
    balance,
    owners_of,
    subscribers_of,
    without_transfers,
)
from faustc.types import TopicPartition

__all__ = ["Copartitioned"]

Group = frozenset[str]


class Copartitioned(CooperativeSticky):
    """Balances as cooperative-sticky does, but gives topics of a group to the same members.

    Topics of a group are kept together as far as they have as many partitions and the
    same members. `groups` may be replaced at any time; it counts from the next rebalance.
    """

    name = "faustc-copartitioned"

    def __init__(self) -> None:
        self.groups: frozenset[Group] = frozenset()

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        """Return the groups, for the leader."""
        return json.dumps(sorted(sorted(group) for group in self.groups)).encode()

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        """Share out, as the leader."""
        wanted = subscribers_of(members, partitions)
        together = _together(
            (group for member in members.values() for group in _groups_in(member.user_data)),
            {topic: (partitions[topic], tuple(who)) for topic, who in wanted.items()},
        )
        claims = {
            member: (subscription.generation, subscription.owned)
            for member, subscription in members.items()
        }
        owned_by = owners_of(claims)
        # Each group goes by the name of its first topic, and so do its partitions.
        first = {topic: topics[0] for topics in together for topic in topics}
        shares = balance(
            {
                member: subscription._replace(
                    topics=tuple({first[topic] for topic in subscription.topics if topic in first})
                )
                for member, subscription in members.items()
            },
            {topics[0]: partitions[topics[0]] for topics in together},
            _owners_of_groups(together, partitions, owned_by),
        )
        by_first = {topics[0]: topics for topics in together}
        real = {
            member: [TopicPartition(topic, p) for name, p in share for topic in by_first[name]]
            for member, share in shares.items()
        }
        owned = {member: subscription.owned for member, subscription in members.items()}
        return {
            member: Assignment(tuple(sorted(share)))
            for member, share in without_transfers(real, owned).items()
        }


def _together(groups: Iterable[Group], alike: Mapping[str, object]) -> list[tuple[str, ...]]:
    """Return all topics, in lists of those that are kept together.

    Groups that have a topic in common are one. alike tells of each topic what has to be the same.
    """
    root = {topic: topic for topic in alike}

    def find(topic: str) -> str:
        while root[topic] != topic:
            topic = root[topic]
        return topic

    for group in groups:
        known = sorted(topic for topic in group if topic in root)
        for topic in known[1:]:
            root[find(topic)] = find(known[0])
    lists: dict[tuple[str, object], list[str]] = {}
    for topic in sorted(alike):
        lists.setdefault((find(topic), alike[topic]), []).append(topic)
    return [tuple(topics) for topics in lists.values()]


def _owners_of_groups(
    together: Iterable[tuple[str, ...]],
    partitions: Mapping[str, int],
    owned_by: Mapping[TopicPartition, str],
) -> dict[TopicPartition, str]:
    """Return who has most of the partitions of each number, of topics that are kept together."""
    found = {}
    for topics in together:
        for number in range(partitions[topics[0]]):
            have = Counter(
                member
                for topic in topics
                if (member := owned_by.get(TopicPartition(topic, number))) is not None
            )
            if have:
                most = max(have.values())
                found[TopicPartition(topics[0], number)] = min(m for m in have if have[m] == most)
    return found


def _groups_in(data: bytes | None) -> list[Group]:
    """Return the groups in a member's user data; none in bytes that are something else."""
    try:
        groups = json.loads(data or b"[]")
        return [frozenset(map(str, group)) for group in groups if isinstance(group, list)]
    except (ValueError, TypeError):
        return []
