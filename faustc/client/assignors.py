"""Decide, as the leader of a consumer group, who reads which partition.

Pure computation: no clock, no socket, no logging. The four assignors carry
the names and the user data of the Java client's, so they share groups with it:

    range               per topic, contiguous runs of partitions
    roundrobin          all partitions dealt out in turn
    sticky              balanced, and as few partitions as possible move (eager)
    cooperative-sticky  the same, and nobody stops reading what it keeps (KIP-429)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from faustc.client.balancing import (
    Subscription,
    balance,
    in_order,
    owners_of,
    subscribers_of,
    without_transfers,
)
from faustc.exceptions import ImproperlyConfigured
from faustc.types import TopicPartition

__all__ = [
    "Assignment",
    "Assignor",
    "CooperativeSticky",
    "Range",
    "RoundRobin",
    "Sticky",
    "Subscription",
    "assignor",
]


class Assignment(NamedTuple):
    """What one member is to read, and whatever its assignor has to tell it."""

    partitions: tuple[TopicPartition, ...]
    user_data: bytes | None = None


class Assignor(Protocol):
    """Shares the partitions of a group's topics out to its members.

    Called on the thread of the group membership: it must be quick and never block.
    """

    @property
    def name(self) -> str:
        """The protocol's name on the wire; members of one group need one in common."""

    @property
    def cooperative(self) -> bool:
        """Whether members go on reading what they own through a rebalance."""

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        """Return what to send to the leader along with our subscription."""

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        """Share out, as the leader. partitions has the count of each topic that exists."""

    def assigned(self, assignment: Assignment, generation: int) -> str | None:
        """Take note of what the leader gave us; say why it has to be shared out anew, if it has."""


class Range:
    """Gives each member one run of consecutive partitions of every topic it subscribes to.

    Topics with equal counts and subscribers are thus co-partitioned; the first
    members get the remainder of every topic, so with many topics it is uneven.
    """

    name = "range"
    cooperative = False

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        return None

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        shares: dict[str, list[TopicPartition]] = {member: [] for member in members}
        for topic, subscribers in subscribers_of(members, partitions).items():
            each, extra = divmod(partitions[topic], len(subscribers))
            start = 0
            for position, member in enumerate(subscribers):
                end = start + each + (position < extra)
                shares[member].extend(TopicPartition(topic, p) for p in range(start, end))
                start = end
        return _assignments(shares)

    def assigned(self, assignment: Assignment, generation: int) -> None:
        pass


class RoundRobin:
    """Deals all partitions out in turn, passing over members that do not subscribe."""

    name = "roundrobin"
    cooperative = False

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        return None

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        shares: dict[str, list[TopicPartition]] = {member: [] for member in members}
        ring = in_order(members)
        subscribers = {
            topic: set(who) for topic, who in subscribers_of(members, partitions).items()
        }
        turn = 0
        for topic in sorted(subscribers):
            for partition in range(partitions[topic]):
                while ring[turn % len(ring)] not in subscribers[topic]:
                    turn += 1
                shares[ring[turn % len(ring)]].append(TopicPartition(topic, partition))
                turn += 1
        return _assignments(shares)

    def assigned(self, assignment: Assignment, generation: int) -> None:
        pass


class Sticky:
    """Balances, and moves as few partitions as it can; members stop while it does.

    What a member had travels in its user data, since an eager member has given
    everything up by the time it joins.
    """

    name = "sticky"
    cooperative = False

    def __init__(self) -> None:
        self._previous: tuple[TopicPartition, ...] = ()
        self._generation = -1

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        if not self._previous:
            return None
        return encode_previous(self._previous, self._generation)

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        claims: dict[str, tuple[int, Collection[TopicPartition]]] = {}
        for member, subscription in members.items():
            if subscription.owned:
                claims[member] = (subscription.generation, subscription.owned)
            else:
                previous, generation = decode_previous(subscription.user_data)
                claims[member] = (generation, previous)
        return _assignments(balance(members, partitions, owners_of(claims)))

    def assigned(self, assignment: Assignment, generation: int) -> None:
        self._previous = assignment.partitions
        self._generation = generation


class CooperativeSticky:
    """Balances as `Sticky` does, in two steps: a partition is free before it is given on.

    The first rebalance only tells its owner to let go; the owner then joins
    again, and the second rebalance hands the partition over.
    """

    name = "cooperative-sticky"
    cooperative = True

    def user_data(
        self, topics: Sequence[str], owned: Collection[TopicPartition], generation: int
    ) -> bytes | None:
        # For leaders older than KIP-792, whose subscriptions carry no generation.
        return struct.pack(">i", generation)

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        claims = {
            member: (_generation_of(subscription), subscription.owned)
            for member, subscription in members.items()
        }
        shares = balance(members, partitions, owners_of(claims))
        owned = {member: subscription.owned for member, subscription in members.items()}
        return _assignments(without_transfers(shares, owned))

    def assigned(self, assignment: Assignment, generation: int) -> str | None:
        return None


_KNOWN: dict[str, Callable[[], Assignor]] = {
    "range": Range,
    "roundrobin": RoundRobin,
    "sticky": Sticky,
    "cooperative-sticky": CooperativeSticky,
}


def assignor(name: str) -> Assignor:
    """Make the assignor of that name, for one member.

    Raises ImproperlyConfigured, with the names there are, for an unknown one.
    """
    try:
        return _KNOWN[name]()
    except KeyError:
        known = ", ".join(_KNOWN)
        raise ImproperlyConfigured(f"no assignor named {name!r}; there are {known}") from None


def _generation_of(subscription: Subscription) -> int:
    if subscription.generation >= 0 or not subscription.user_data:
        return subscription.generation
    if len(subscription.user_data) == 4:
        return int.from_bytes(subscription.user_data, "big", signed=True)
    # librdkafka sends the sticky assignor's form here too.
    return decode_previous(subscription.user_data)[1]


def encode_previous(partitions: Iterable[TopicPartition], generation: int) -> bytes:
    """Encode what the Java StickyAssignor calls its user data, version 1."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in partitions:
        by_topic.setdefault(topic, []).append(partition)
    parts = [struct.pack(">i", len(by_topic))]
    for topic, numbers in by_topic.items():
        name = topic.encode()
        parts.append(struct.pack(f">h{len(name)}si", len(name), name, len(numbers)))
        parts.append(struct.pack(f">{len(numbers)}i", *numbers))
    parts.append(struct.pack(">i", generation))
    return b"".join(parts)


def decode_previous(data: bytes | None) -> tuple[list[TopicPartition], int]:
    """Decode the sticky assignor's user data, version 0 or 1.

    Returns no partitions and generation -1 for bytes that are something else:
    what another member sends must not stop the leader, it only loses its history.
    """
    found: list[TopicPartition] = []
    if not data:
        return found, -1
    try:
        (topics,) = struct.unpack_from(">i", data)
        at = 4
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", data, at)
            at += 2
            if length < 0 or length > len(data) - at:
                return [], -1
            topic = data[at : at + length].decode()
            at += length
            (count,) = struct.unpack_from(">i", data, at)
            at += 4
            if count < 0 or count > (len(data) - at) // 4:
                return [], -1
            for number in struct.unpack_from(f">{count}i", data, at):
                found.append(TopicPartition(topic, number))
            at += 4 * count
        generation = struct.unpack_from(">i", data, at)[0] if len(data) - at >= 4 else -1
    except (struct.error, UnicodeDecodeError):
        return [], -1
    return found, generation


def _assignments(shares: Mapping[str, Collection[TopicPartition]]) -> dict[str, Assignment]:
    return {member: Assignment(tuple(share)) for member, share in shares.items()}
