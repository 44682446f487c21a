"""Share out evenly, and move as little as possible: what all sticky assignors have in common.

Pure computation. What is shared out are partitions; for `Copartitioned` a partition stands
for all of its number in topics that are kept together. Four steps: everybody keeps what they
have; what is free goes to who has its state; the rest to the least loaded; then whoever
has too much gives, by preference, to who has the state of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from faustc.types import TopicPartition

__all__ = [
    "States",
    "Subscription",
    "balance",
    "in_order",
    "owners_of",
    "subscribers_of",
    "without_transfers",
]

#: Who has the state of a partition's tables, and how far from current it is: 0 is as good as
#: current.
States = Mapping[TopicPartition, Mapping[str, int]]


class Subscription(NamedTuple):
    """What one member told its group: the consumer protocol's subscription, decoded.

    owned is what it reads now (KIP-429); generation (KIP-792) the one it got that in, -1 unknown.
    """

    topics: tuple[str, ...]
    user_data: bytes | None = None
    owned: frozenset[TopicPartition] = frozenset()
    generation: int = -1
    rack: str | None = None
    group_instance_id: str | None = None


def in_order(members: Mapping[str, Subscription]) -> list[str]:
    """Return the members as Java orders them: static ones by instance id, then the others by id.

    A static member's place then survives its restart.
    """

    def place(member: str) -> tuple[bool, str]:
        instance = members[member].group_instance_id
        return (instance is None, instance if instance is not None else member)

    return sorted(members, key=place)


def subscribers_of(
    members: Mapping[str, Subscription], partitions: Mapping[str, int]
) -> dict[str, list[str]]:
    """Map each topic that exists to the members that want it, in order."""
    wanted: dict[str, list[str]] = {}
    for member in in_order(members):
        for topic in dict.fromkeys(members[member].topics):
            if partitions.get(topic, 0) > 0:
                wanted.setdefault(topic, []).append(member)
    return wanted


def owners_of(
    claims: Mapping[str, tuple[int, Collection[TopicPartition]]],
) -> dict[TopicPartition, str]:
    """Believe the newest generation's claim; where two of one generation clash, neither."""
    best: dict[TopicPartition, tuple[int, str | None]] = {}
    for member, (generation, partitions) in claims.items():
        for tp in partitions:
            known = best.get(tp)
            if known is None or generation > known[0]:
                best[tp] = (generation, member)
            elif generation == known[0]:
                best[tp] = (generation, None)
    return {tp: member for tp, (_, member) in best.items() if member is not None}


def without_transfers(
    shares: Mapping[str, Collection[TopicPartition]],
    owned: Mapping[str, Collection[TopicPartition]],
) -> dict[str, list[TopicPartition]]:
    """Take out of each share what another member still owns (KIP-429).

    The owner sees that it lost it, lets go and joins again; until then nobody is given it.
    """
    owners: dict[TopicPartition, set[str]] = {}
    for member, held in owned.items():
        for tp in held:
            owners.setdefault(tp, set()).add(member)
    return {
        member: [tp for tp in share if tp not in owners or member in owners[tp]]
        for member, share in shares.items()
    }


def balance(
    members: Mapping[str, Subscription],
    partitions: Mapping[str, int],
    owners: Mapping[TopicPartition, str],
    states: States | None = None,
    *,
    each_topic: bool = False,
) -> dict[str, list[TopicPartition]]:
    """Share out evenly, leaving each partition with its owner where that is even.

    The loads of members with equal subscriptions differ by at most one; with each_topic, so
    do their parts of every topic. With unequal ones no chain of moves from a member to
    another that has at least two fewer is left undone.
    """
    return _Balance(members, partitions, owners, states or {}).done(each_topic)


class _Balance:
    """One sharing out, step by step."""

    def __init__(
        self,
        members: Mapping[str, Subscription],
        partitions: Mapping[str, int],
        owners: Mapping[TopicPartition, str],
        states: States,
    ) -> None:
        self.subscribers = subscribers_of(members, partitions)
        self.states = states
        self.order = {member: place for place, member in enumerate(in_order(members))}
        self.loads = dict.fromkeys(self.order, 0)
        self.held: dict[str, dict[str, list[int]]] = {member: {} for member in self.order}
        self.free: dict[str, list[int]] = {}
        total = 0
        for topic, who in self.subscribers.items():
            wanted_by = set(who)
            total += partitions[topic]
            for partition in range(partitions[topic]):
                owner = owners.get(TopicPartition(topic, partition))
                if owner in wanted_by:
                    assert owner is not None
                    self._take(owner, topic, partition)
                else:
                    self.free.setdefault(topic, []).append(partition)
        # Where all subscribe to the same, everybody ends up with the floor, and some with one more.
        takers = {member for who in self.subscribers.values() for member in who}
        self.floor, self.extras = divmod(total, len(takers)) if takers else (0, 0)

    def done(self, each_topic: bool) -> dict[str, list[TopicPartition]]:
        if self.states:
            self._promote()
        self._give_to_the_lightest()
        self._even_out()
        if each_topic:
            self._even_out_topics()
        return {
            member: [
                TopicPartition(topic, partition)
                for topic in sorted(topics)
                for partition in sorted(topics[topic])
            ]
            for member, topics in self.held.items()
        }

    # -- small moves -------------------------------------------------------------------

    def _take(self, member: str, topic: str, partition: int) -> None:
        self.held[member].setdefault(topic, []).append(partition)
        self.loads[member] += 1

    def _move(self, giver: str, topic: str, taker: str, partition: int | None = None) -> None:
        numbers = self.held[giver][topic]
        if partition is None:
            partition = numbers.pop()  # the last that came: what it had before stays
        else:
            numbers.remove(partition)
        if not numbers:
            del self.held[giver][topic]
        self.loads[giver] -= 1
        self._take(taker, topic, partition)

    def _above(self) -> int:
        """How many members have more than the floor."""
        return sum(load > self.floor for load in self.loads.values())

    def _by_state(self, topic: str, partition: int) -> list[str]:
        """Return who has the state of a partition and may have it, the best first."""
        known = self.states.get(TopicPartition(topic, partition))
        if not known:
            return []
        able = [member for member in known if member in self.subscribers[topic]]
        return sorted(able, key=lambda m: (known[m], self.loads[m], self.order[m]))

    # -- step 1: what is free goes to who has its state --------------------------------

    def _promote(self) -> None:
        """Give free partitions to who has their state: as many as balance allows.

        A matching by augmenting paths: who is full may pass on what was promoted to it, to
        another that has the state of that too.
        """
        spare = self.extras - self._above()
        given: dict[str, dict[TopicPartition, None]] = {}
        taker: dict[TopicPartition, str] = {}
        for topic in sorted(self.free):
            for partition in self.free[topic]:
                start = TopicPartition(topic, partition)
                came_by: dict[str, TopicPartition] = {}
                queue = deque([start])
                while queue:
                    wanted = queue.popleft()
                    end = None
                    for member in self._by_state(*wanted):
                        if member in came_by:
                            continue
                        came_by[member] = wanted
                        load = self.loads[member]
                        if load < self.floor or (load == self.floor and spare > 0):
                            end = member
                            break
                        queue.extend(given.get(member, ()))
                    if end is not None:
                        spare -= self.loads[end] == self.floor
                        self.loads[end] += 1
                        _pass_along(start, end, came_by, given, taker)
                        break
        for (topic, partition), member in taker.items():
            self.held[member].setdefault(topic, []).append(partition)
            self.free[topic].remove(partition)

    # -- step 2: the rest to the least loaded ------------------------------------------

    def _give_to_the_lightest(self) -> None:
        subscribers = self.subscribers
        # The topics with the fewest takers first: the others can still even out after them.
        for topic in sorted(self.free, key=lambda name: (len(subscribers[name]), name)):
            queue = [
                (self.loads[m], len(self.held[m].get(topic, ())), self.order[m], m)
                for m in subscribers[topic]
            ]
            heapq.heapify(queue)
            for partition in self.free[topic]:
                load, of_topic, position, member = queue[0]
                self._take(member, topic, partition)
                heapq.heapreplace(queue, (load + 1, of_topic + 1, position, member))

    # -- step 3: who has too much gives ------------------------------------------------

    def _even_out(self) -> None:
        # Every round lowers the sum of squared loads, so it ends.
        loads = self.loads
        offers = {member: self._offers(member) for member in loads} if self.states else {}
        audiences = self._audiences()
        while loads and max(loads.values()) - min(loads.values()) > 1:
            for heavy in sorted(loads, key=lambda member: -loads[member]):
                if self._give_to_who_has_it(heavy, offers.get(heavy)):
                    break
                chain = self._chain_to_lighter(heavy, audiences)
                if chain:
                    for giver, topic, taker in chain:
                        self._move(giver, topic, taker)
                    break
            else:
                return

    def _offers(self, giver: str) -> Iterator[tuple[str, int, str]]:
        """Return who else has the state of what a member has: the most current first."""
        found = [
            (lag, self.order[taker], topic, partition, taker)
            for topic, numbers in self.held[giver].items()
            for partition in numbers
            for taker, lag in self.states.get(TopicPartition(topic, partition), {}).items()
            if taker != giver and taker in self.subscribers[topic]
        ]
        return iter([(topic, partition, taker) for *_, topic, partition, taker in sorted(found)])

    def _give_to_who_has_it(
        self, heavy: str, offers: Iterator[tuple[str, int, str]] | None
    ) -> bool:
        """Move a partition to a member that has its state, if that leads to an even end.

        No more may move for it than without states, so takers are those below their share.
        """
        for topic, partition, taker in offers or ():
            load = self.loads[taker]
            if self.loads[heavy] - load < 2 or partition not in self.held[heavy].get(topic, ()):
                continue
            if load < self.floor or (load == self.floor and self._above() < self.extras):
                self._move(heavy, topic, taker, partition)
                return True
        return False

    def _audiences(self) -> dict[str, int]:
        """Number the different sets of subscribers: a search needs to look at each but once."""
        numbers: dict[tuple[str, ...], int] = {}
        return {
            topic: numbers.setdefault(tuple(who), len(numbers))
            for topic, who in self.subscribers.items()
        }

    def _chain_to_lighter(
        self, heavy: str, audiences: Mapping[str, int]
    ) -> list[tuple[str, str, str]]:
        """Find moves (giver, topic, taker) from heavy to the lightest with two fewer, or []."""
        came_by: dict[str, tuple[str, str]] = {}
        seen: set[int] = set()
        frontier = [heavy]
        while frontier:
            reached: list[str] = []
            for giver in frontier:
                # From the topic it has most of, so that topics spread out too.
                topics = self.held[giver]
                for topic in sorted(topics, key=lambda name: (-len(topics[name]), name)):
                    if audiences[topic] in seen:
                        continue
                    seen.add(audiences[topic])
                    for taker in self.subscribers[topic]:
                        if taker != heavy and taker not in came_by:
                            came_by[taker] = (giver, topic)
                            reached.append(taker)
            # The nearest ring that has one: the fewest partitions move.
            lightest = min(reached, key=lambda member: self.loads[member], default=None)
            if lightest is not None and self.loads[heavy] - self.loads[lightest] > 1:
                chain: list[tuple[str, str, str]] = []
                taker = lightest
                while taker != heavy:
                    giver, topic = came_by[taker]
                    chain.append((giver, topic, taker))
                    taker = giver
                chain.reverse()
                return chain
            frontier = reached
        return []

    # -- step 4: of every topic, too ---------------------------------------------------

    def _even_out_topics(self) -> None:
        """Swap until nobody has two more of one topic than another, at equal loads.

        Every swap lowers the sum of squared parts of topics, so it ends.
        """
        audiences = self._audiences()
        for topic in sorted(self.subscribers):
            who = self.subscribers[topic]
            while True:
                parts = {member: len(self.held[member].get(topic, ())) for member in who}
                most = max(who, key=lambda m: (parts[m], self.loads[m], -self.order[m]))
                least = min(who, key=lambda m: (parts[m], self.loads[m], self.order[m]))
                if parts[most] - parts[least] < 2:
                    break
                other = self._to_swap(most, least, topic, audiences)
                if other is None and self.loads[most] <= self.loads[least]:
                    break
                self._move(most, topic, least, self._best_for(least, most, topic))
                if self.loads[least] > self.loads[most] + 1 and other is not None:
                    self._move(least, other, most, self._best_for(most, least, other))

    def _to_swap(
        self, most: str, least: str, topic: str, audiences: Mapping[str, int]
    ) -> str | None:
        """Return a topic of which `least` has more, that both read."""
        mine, theirs = self.held[most], self.held[least]
        surplus = [
            (len(mine.get(name, ())) - len(numbers), name)
            for name, numbers in theirs.items()
            if audiences[name] == audiences[topic] and len(numbers) > len(mine.get(name, ()))
        ]
        return min(surplus)[1] if surplus else None

    def _best_for(self, taker: str, giver: str, topic: str) -> int:
        """Return the partition of a topic to give to a member: whose state it has, or the last."""
        numbers = self.held[giver][topic]
        known = [
            (lag, partition)
            for partition in numbers
            if (lag := self.states.get(TopicPartition(topic, partition), {}).get(taker)) is not None
        ]
        return min(known)[1] if known else numbers[-1]


def _pass_along(
    start: TopicPartition,
    end: str,
    came_by: Mapping[str, TopicPartition],
    given: dict[str, dict[TopicPartition, None]],
    taker: dict[TopicPartition, str],
) -> None:
    """Give what led to a member to it, and what its former taker had it for, to that, and so on."""
    member = end
    while True:
        unit = came_by[member]
        before = taker.get(unit)
        taker[unit] = member
        given.setdefault(member, {})[unit] = None
        if unit == start:
            return
        assert before is not None
        del given[before][unit]
        member = before
