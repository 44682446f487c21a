"""Which partition a message goes to.

With a key: murmur2 of the key, as the Java client and librdkafka's
`murmur2_random` have it. Without one: stick to a partition until enough went
there, then take another at random, preferring those with fewer batches waiting
(KIP-480, KIP-794). Sticking is what lets batches grow.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from faustc.client.lane import Lane
from faustc.types import TopicPartition

# (key, all partitions, partitions that have a leader) -> partition
Partitioner = Callable[[bytes | None, Sequence[int], Sequence[int]], int]

# How much goes to one partition before keyless messages turn to another. A batch
# may be larger; it is filled first when messages come that fast. Java's default
# batch.size, so that a slow stream spreads as finely here as it does there.
STICKY_BYTES = 16 * 1024


class TopicLanes:
    """The lanes of one topic, by partition number, and the one keyless messages go to now."""

    __slots__ = (
        "_rng",
        "_sticky_bytes",
        "available",
        "lanes",
        "looked_at",
        "size",
        "sticky",
        "topic",
        "used_at",
    )

    def __init__(self, topic: str, partitions: int, rng: random.Random | None = None) -> None:
        self.topic = topic
        self.lanes = [Lane(TopicPartition(topic, number)) for number in range(partitions)]
        self.size = partitions
        self.available: list[Lane] = []
        self.used_at = 0.0  # when a batch was begun last, on the loop's clock
        self.looked_at = 0.0  # when it was looked for last, since it is missing
        self._sticky_bytes = 0
        self._rng = rng or random.Random()
        self.sticky = self._rng.choice(self.lanes)

    def update(self, leaders: Sequence[int]) -> list[Lane]:
        """Take on the leader of each partition (-1: none); return the lanes that moved.

        There may be more partitions than before, and fewer if the topic was deleted and
        created again: then nothing more goes to the others, but their numbering is kept.
        """
        for number in range(len(self.lanes), len(leaders)):
            self.lanes.append(Lane(TopicPartition(self.topic, number)))
        self.size = len(leaders)
        moved = []
        gone = [-1] * (len(self.lanes) - len(leaders))
        for lane, leader in zip(self.lanes, (*leaders, *gone), strict=True):
            if lane.node != leader:
                lane.node = leader
                moved.append(lane)
        self.available = [lane for lane in self.lanes if lane.node >= 0]
        if self.sticky.node < 0 and (self.available or self.sticky.tp.partition >= self.size):
            self.turn()
        return moved

    @property
    def quiet(self) -> bool:
        """Whether nothing waits for any partition, nor for an answer."""
        return all(lane.idle and not lane.in_flight for lane in self.lanes)

    def turn(self) -> Lane:
        """Stick to another partition from now on, and return it.

        The chance of each is the less, the more batches wait for it.
        """
        choices = self.available or self.lanes[: self.size]
        if len(choices) > 1:
            choices = [lane for lane in choices if lane is not self.sticky]
        most = max(lane.backlog for lane in choices)
        weights = [most + 1 - lane.backlog for lane in choices]
        self.sticky = self._rng.choices(choices, weights)[0]
        self._sticky_bytes = 0
        return self.sticky

    def closed(self, lane: Lane, size: int) -> None:
        """Take note that a batch of size bytes was closed; turn if it was enough."""
        if lane is self.sticky:
            self._sticky_bytes += size
            if self._sticky_bytes >= STICKY_BYTES:
                self.turn()

    def ask(self, partitioner: Partitioner, key: bytes | None) -> Lane:
        """Return the lane that an application's partitioner chose; ValueError if there is none."""
        chosen = partitioner(key, range(self.size), [lane.tp.partition for lane in self.available])
        return self.lane(chosen)

    def lane(self, partition: int) -> Lane:
        """Return the lane of one partition; ValueError naming what there is."""
        if not 0 <= partition < self.size:
            raise ValueError(
                f"{self.topic} has no partition {partition!r}, only 0 to {self.size - 1}"
            )
        return self.lanes[partition]

    def deal(
        self,
        partitioner: Partitioner,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None,
    ) -> dict[Lane, tuple[list[bytes | None], list[bytes | None]]]:
        """Deal messages out as an application's partitioner says: values and keys by lane."""
        dealt: dict[Lane, tuple[list[bytes | None], list[bytes | None]]] = {}
        for index, value in enumerate(values):
            key = keys[index] if keys is not None else None
            some, some_keys = dealt.setdefault(self.ask(partitioner, key), ([], []))
            some.append(value)
            some_keys.append(key)
        return dealt
