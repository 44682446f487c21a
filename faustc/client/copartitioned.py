"""An assignor that keeps partitions of one number together, and knows of tables.

Where streams are joined, or change a table, partition 3 of one topic is of use only to who has
partition 3 of the other. Members say in their user data which topics belong together and how
many standbys those want; the leader treats the partitions of one number as one *unit*, named
after the first of its topics, and shares the others out as ever. With the assignment it tells
each member whose changelogs to follow, and everybody's web address.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from faustc.client.assignors import Assignment, CooperativeSticky
from faustc.client.balancing import (
    Subscription,
    balance,
    in_order,
    owners_of,
    subscribers_of,
)
from faustc.client.standbys import place_standbys
from faustc.client.userdata import (
    Share,
    Wishes,
    decode_share,
    decode_wishes,
    encode_addresses,
    encode_share,
    encode_wishes,
)
from faustc.types import TopicPartition

__all__ = ["Copartitioned", "Share"]

Group = frozenset[str]

# A state that lacks no more than so many records of the changelogs counts as current: to
# read them takes a moment (Kafka Streams' acceptable.recovery.lag).
ACCEPTABLE_LAG = 10_000


class Copartitioned(CooperativeSticky):
    """Balances as cooperative-sticky does, but gives topics of a group to the same members.

    Topics of a group are kept together as far as they have as many partitions. Who reads but
    some of them has no part in them while somebody reads all: a worker that is starting may not
    know of a repartition topic yet, and must not have a table's partition beside another. The
    attributes may be replaced, not changed, from any thread and at any time;
    they count from the next rebalance. on_share is told, on the membership's thread, what came
    with an assignment, before that is carried out.
    """

    name = "faustc-copartitioned"

    def __init__(
        self, on_share: Callable[[Share, frozenset[TopicPartition]], object] | None = None
    ) -> None:
        #: Topics that belong together, and how many standbys their partitions want.
        self.groups: Mapping[Group, int] = {}
        #: The same, of all topics that we read with so many partitions.
        self.sizes: Mapping[int, int] = {}
        #: Where our web server is.
        self.url = ""
        #: Partitions (of any topic of a group) whose tables we have some state of: how far
        #: that goes in the changelogs, as the sum of their positions.
        self.held: Mapping[TopicPartition, int] = {}
        #: The transactional id of our producer; empty if it has none.
        self.producer = ""
        #: Those of former members whose transactions were aborted here.
        self.aborted: frozenset[str] = frozenset()
        self._producers: frozenset[str] = frozenset()
        self._leads = False
        self._on_share = on_share
        self._following: frozenset[TopicPartition] = frozenset()
        self._coming: frozenset[TopicPartition] = frozenset()
        self._digest = ""
        self._nudge = 0

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        """Return our wishes, for the leader."""
        groups, sizes, url = self.groups, self.sizes, self.url
        names = sorted([standbys, *sorted(group)] for group, standbys in groups.items())
        known = json.dumps([sorted(topics), names, sorted(sizes.items()), url])
        self._digest = f"{zlib.crc32(known.encode()):08x}"
        return encode_wishes(
            Wishes(
                groups=groups,
                sizes=sizes,
                url=url,
                held=self.held,
                following=self._following,
                coming=self._coming,
                generation=generation,
                digest=self._digest,
                nudge=self._nudge,
                producer=self.producer,
                producers=self._producers,
                aborted=self.aborted & self._producers,
            )
        )

    def assigned(self, assignment: Assignment, generation: int) -> str | None:
        """Pass on what came with it; say why it is out of date, if it is."""
        share = decode_share(assignment.user_data)
        self._following, self._coming = share.standbys, share.coming
        # Everybody keeps in mind what is to be aborted: the leader may die before it has done so.
        self._producers = share.producers | share.gone
        leads, self._leads = self._leads, False
        if not leads:
            share = share._replace(gone=frozenset())
        if self._on_share is not None:
            self._on_share(share, frozenset(assignment.partitions))
        if share.digest in (None, self._digest):
            return None
        # A static member that comes back is given what its former self had, without a
        # rebalance, and nobody hears that its topics or its address are others now.
        self._nudge += 1
        return "the group has shared out by what an earlier start of this member said"

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        """Share out, as the leader."""
        self._leads = True
        return _Sharing(members, partitions).done()


class _Sharing:
    """One sharing out."""

    def __init__(self, members: Mapping[str, Subscription], partitions: Mapping[str, int]) -> None:
        self.members = members
        self.partitions = partitions
        said = {member: decode_wishes(one.user_data) for member, one in members.items()}
        self.wishes = {member: wishes for member, wishes in said.items() if wishes is not None}
        wanted = subscribers_of(members, partitions)
        self.groups = [
            (group, standbys)
            for member, wishes in self.wishes.items()
            for group, standbys in [
                *wishes.groups.items(),
                *self._of_sizes(members[member].topics, wishes.sizes),
            ]
        ]
        self.together = [
            topics
            for alike in _together(
                (group for group, _ in self.groups), {topic: partitions[topic] for topic in wanted}
            )
            for topics in _that_somebody_reads(alike, wanted)
        ]
        # Each group goes by the name of its first topic, and so do its partitions.
        self.first = {topic: topics[0] for topics in self.together for topic in topics}
        self.topics = {topics[0]: topics for topics in self.together}
        self.as_units = {
            member: one._replace(
                topics=tuple(ts[0] for ts in self.together if all(member in wanted[t] for t in ts))
            )
            for member, one in members.items()
        }
        self.counts = {topics[0]: partitions[topics[0]] for topics in self.together}
        self.following = {
            member: frozenset(unit for tp in wishes.following if (unit := self._unit(tp)))
            for member, wishes in self.wishes.items()
        }
        self.claimed = owners_of({m: (one.generation, one.owned) for m, one in members.items()})

    def done(self) -> dict[str, Assignment]:
        lags = self._lags()
        shares = balance(
            self.as_units,
            self.counts,
            {**self._planned(), **_owners_of_groups(self.together, self.partitions, self.claimed)},
            lags,
            each_topic=True,
        )
        given = self._without_transfers(shares)
        coming = {
            member: {unit for unit in units if unit not in given[member]}
            for member, units in shares.items()
        }
        standbys = self._standbys(shares, coming, lags)
        addresses = self._addresses(given)
        producers = {w.producer for w in self.wishes.values() if w.producer}
        seen = frozenset().union(*(w.producers for w in self.wishes.values()))
        gone = seen.difference(producers, *(w.aborted for w in self.wishes.values()))
        return {
            member: Assignment(
                tuple(sorted(given[member])),
                encode_share(
                    standbys[member],
                    coming[member],
                    addresses,
                    self.wishes[member].digest,
                    producers,
                    gone,
                )
                if member in self.wishes
                else None,
            )
            for member in shares
        }

    def _of_sizes(
        self, topics: Iterable[str], sizes: Mapping[int, int]
    ) -> Iterable[tuple[Group, int]]:
        """Return the topics with as many partitions as tables have, by that number."""
        for size, standbys in sizes.items():
            yield frozenset(t for t in topics if self.partitions.get(t) == size), standbys

    def _unit(self, tp: TopicPartition) -> TopicPartition | None:
        name = self.first.get(tp.topic)
        if name is None or not 0 <= tp.partition < self.counts[name]:
            return None
        return TopicPartition(name, tp.partition)

    def _planned(self) -> dict[TopicPartition, str]:
        """Return who waits for what: the second of two generations does what the first planned."""
        claims = {
            member: (wishes.generation, {unit for tp in wishes.coming if (unit := self._unit(tp))})
            for member, wishes in self.wishes.items()
        }
        return owners_of(claims)

    def _lags(self) -> dict[TopicPartition, dict[str, int]]:
        """Return how much each member's state of a unit lacks; 0 for what hardly matters."""
        positions: dict[TopicPartition, dict[str, int]] = {}
        for member, wishes in self.wishes.items():
            for tp, position in wishes.held.items():
                unit = self._unit(tp)
                if unit is not None:
                    known = positions.setdefault(unit, {})
                    known[member] = max(position, known.get(member, 0))
        lags: dict[TopicPartition, dict[str, int]] = {}
        for unit, known in positions.items():
            newest = max(known.values())
            lags[unit] = {
                member: 0 if newest - position <= ACCEPTABLE_LAG else newest - position
                for member, position in known.items()
            }
        begun = {unit: max(known.values(), default=0) + 1 for unit, known in lags.items()}
        for member, units in self.following.items():
            for unit in units:
                # It has only begun, or else it would say how far it is.
                lags.setdefault(unit, {}).setdefault(member, begun.get(unit, 1))
        return lags

    def _real(self, unit: TopicPartition) -> list[TopicPartition]:
        return [TopicPartition(topic, unit.partition) for topic in self.topics[unit.topic]]

    def _without_transfers(
        self, shares: Mapping[str, Iterable[TopicPartition]]
    ) -> dict[str, list[TopicPartition]]:
        """Return what each member is given now: a unit only once nobody else has any of it.

        Whoever has some of it lets go and joins again (KIP-429). A unit of which two
        had parts for a moment would have two that change its tables.
        """
        owners: dict[TopicPartition, set[str]] = {}
        for member, one in self.members.items():
            for tp in one.owned:
                owners.setdefault(tp, set()).add(member)
        given: dict[str, list[TopicPartition]] = {}
        for member, units in shares.items():
            mine = given[member] = []
            for unit in units:
                real = self._real(unit)
                free = all(owners.get(tp, {member}) <= {member} for tp in real)
                mine += [tp for tp in real if free or member in owners.get(tp, ())]
        return given

    def _standbys(
        self,
        shares: Mapping[str, Collection[TopicPartition]],
        coming: Mapping[str, Collection[TopicPartition]],
        lags: Mapping[TopicPartition, Mapping[str, int]],
    ) -> dict[str, set[TopicPartition]]:
        """Return the units that each member follows, by the shares that are to be."""
        counts: dict[str, int] = {}
        for group, standbys in self.groups:
            for topic in group & self.first.keys():
                name = self.first[topic]
                counts[name] = max(standbys, counts.get(name, 0))
        order = {member: place for place, member in enumerate(in_order(self.members))}
        subscribers = subscribers_of(self.as_units, self.counts)
        found = place_standbys(
            {
                TopicPartition(name, number): standbys
                for name, standbys in counts.items()
                for number in range(self.counts[name])
            },
            {unit: member for member, units in shares.items() for unit in units},
            {
                name: [m for m in subscribers[name] if m in self.wishes]
                for name, standbys in counts.items()
                if standbys > 0
            },
            {unit: self._best_first(unit, known, order) for unit, known in lags.items()},
            self.following,
            {member: len(shares[member]) for member in order},
        )
        # Who waits for a unit until its owner has let go of it begins to fill its tables.
        for member in self.wishes:
            found[member].update(unit for unit in coming[member] if counts.get(unit.topic))
        return found

    def _best_first(
        self, unit: TopicPartition, lags: Mapping[str, int], order: Mapping[str, int]
    ) -> list[str]:
        """Return who would be a standby at once: current ones first, then those that are one."""
        return sorted(lags, key=lambda m: (lags[m], unit not in self.following[m], order[m]))

    def _addresses(self, given: Mapping[str, Iterable[TopicPartition]]) -> dict[str, object]:
        owners: dict[str, list[str | None]] = {t: [None] * self.partitions[t] for t in self.first}
        for member, some in given.items():
            for topic, number in some:
                owners[topic][number] = member
        alike: list[tuple[list[str], list[str | None]]] = []
        for topics in self.together:
            first = len(alike)
            for topic in topics:
                for names, same in alike[first:]:
                    if same == owners[topic]:
                        names.append(topic)
                        break
                else:
                    alike.append(([topic], owners[topic]))
        return encode_addresses(
            alike, {m: self.wishes[m].url if m in self.wishes else "" for m in self.members}
        )


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


def _that_somebody_reads(
    topics: tuple[str, ...], wanted: Mapping[str, Collection[str]]
) -> list[tuple[str, ...]]:
    """Return topics as they are if some member reads all of them, else apart by who reads them."""
    if set.intersection(*(set(wanted[topic]) for topic in topics)):
        return [topics]
    lists: dict[frozenset[str], list[str]] = {}
    for topic in topics:
        lists.setdefault(frozenset(wanted[topic]), []).append(topic)
    return [tuple(some) for some in lists.values()]


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
