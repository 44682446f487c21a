"""Keeps what groups committed, and what open transactions will commit.

Offsets of a transaction are held apart, under the producer id, until its end makes
them visible all at once or drops them. Left out: the expiry of offsets that nobody
has read for a week (Kafka's offsets.retention.minutes); here they stay until they
are deleted, or their topic or group is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from faustc.broker.journal import Journal
from faustc.types import TopicPartition

# Kafka's offset.metadata.max.bytes; it counts characters, despite the name.
MAX_METADATA_CHARS = 4096


class Committed(NamedTuple):
    """A group's position in a partition, as committed; leader_epoch -1 if not given."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    commit_ms: int = -1


Offsets = dict[TopicPartition, Committed]


class OffsetsStore:
    """Every group's offsets, in memory, and in the journal before they are answered."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._committed: dict[str, Offsets] = {}
        # producer id -> group -> what its open transaction will commit
        self._held: dict[int, dict[str, Offsets]] = {}

    def commit(self, group_id: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Commit for all to see, at once."""
        self._journal.append(["offsets", group_id, _rows(offsets)])
        self._committed.setdefault(group_id, {}).update(offsets)

    def hold(
        self, producer_id: int, group_id: str, offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """Keep for the end of the producer's transaction."""
        self._journal.append(["held", producer_id, group_id, _rows(offsets)])
        self._held.setdefault(producer_id, {}).setdefault(group_id, {}).update(offsets)

    def settle(self, producer_id: int, commit: bool) -> None:
        """End a producer's transaction: show what it held, or drop it.

        The caller has journaled the end of the transaction, which says this too.
        """
        for group_id, offsets in self._held.pop(producer_id, {}).items():
            if commit:
                self._committed.setdefault(group_id, {}).update(offsets)

    def get(self, group_id: str, partition: TopicPartition) -> Committed | None:
        """Return what the group committed for a partition, None if nothing."""
        return self._committed.get(group_id, {}).get(partition)

    def of_group(self, group_id: str) -> Mapping[TopicPartition, Committed]:
        """Return all that the group committed."""
        return self._committed.get(group_id, {})

    def is_held(self, group_id: str, partition: TopicPartition) -> bool:
        """Return whether an open transaction is about to commit this partition."""
        return any(partition in groups.get(group_id, ()) for groups in self._held.values())

    def held_of_group(self, group_id: str) -> set[TopicPartition]:
        """Return the partitions that open transactions are about to commit."""
        return {tp for groups in self._held.values() for tp in groups.get(group_id, ())}

    def delete(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        """Forget some of a group's offsets, those held for it too."""
        gone = list(partitions)
        if gone:
            self._journal.append(["no offsets", group_id, [list(tp) for tp in gone]])
            self._drop(group_id, gone)

    def delete_group(self, group_id: str) -> None:
        """Forget all of a group's offsets."""
        self.delete(group_id, [*self.of_group(group_id), *self.held_of_group(group_id)])

    def delete_topic(self, topic: str) -> None:
        """Forget what every group committed for a topic: it is gone, or will be new."""
        for group_id in self.groups():
            known = {*self.of_group(group_id), *self.held_of_group(group_id)}
            self.delete(group_id, [tp for tp in known if tp.topic == topic])

    def groups(self) -> set[str]:
        """Return the groups that have offsets, held ones included."""
        held = {group_id for groups in self._held.values() for group_id in groups}
        return held | self._committed.keys()

    def _drop(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        places = [self._committed, *self._held.values()]
        for tp in partitions:
            for place in places:
                place.get(group_id, {}).pop(tp, None)
        for place in places:
            if group_id in place and not place[group_id]:
                del place[group_id]

    def replay(self, entry: list[Any]) -> bool:
        """Take in a journal entry; False if it is not one of offsets."""
        match entry:
            case ["offsets", group_id, rows]:
                self._committed.setdefault(group_id, {}).update(_unrows(rows))
            case ["held", producer_id, group_id, rows]:
                groups = self._held.setdefault(producer_id, {})
                groups.setdefault(group_id, {}).update(_unrows(rows))
            case ["no offsets", group_id, rows]:
                self._drop(group_id, [TopicPartition(topic, n) for topic, n in rows])
            case _:
                return False
        return True

    def snapshot(self) -> Iterator[list[Any]]:
        """Yield entries from which all of this can be made again."""
        for group_id, offsets in self._committed.items():
            yield ["offsets", group_id, _rows(offsets)]
        for producer_id, groups in self._held.items():
            for group_id, offsets in groups.items():
                yield ["held", producer_id, group_id, _rows(offsets)]


def _rows(offsets: Mapping[TopicPartition, Committed]) -> list[list[Any]]:
    return [[*tp, *committed] for tp, committed in offsets.items()]


def _unrows(rows: list[list[Any]]) -> Offsets:
    return {TopicPartition(row[0], row[1]): Committed(*row[2:]) for row in rows}
