"""What is known of a cluster at one moment: brokers, topics, leaders, epochs.

A snapshot never changes; a metadata answer makes the next one (`updated`).
Answers may come from a broker that is behind, so a partition's leader epoch
never goes backwards while the topic is the same one (KIP-320).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from faustc.client import codes
from faustc.types import TopicPartition

NO_TOPIC_ID = bytes(16)


class Node(NamedTuple):
    """Where a broker listens."""

    node_id: int
    host: str
    port: int
    rack: str | None = None


class PartitionInfo(NamedTuple):
    """One partition; leader is -1 while there is none, leader_epoch -1 when it is not known."""

    leader: int
    leader_epoch: int
    replicas: tuple[int, ...] = ()
    isr: tuple[int, ...] = ()
    offline: tuple[int, ...] = ()
    error: int = 0


class TopicInfo(NamedTuple):
    """One topic; with an error, its partitions are what an earlier answer said, or none."""

    topic_id: bytes
    is_internal: bool
    partitions: Mapping[int, PartitionInfo]
    error: int = 0


class Cluster:
    """An immutable snapshot; share it freely, and take `client.cluster` anew after an await."""

    __slots__ = ("_topics", "brokers", "cluster_id", "controller_id", "topic_names")

    def __init__(
        self,
        *,
        cluster_id: str | None = None,
        controller_id: int = -1,
        brokers: Mapping[int, Node] | None = None,
        topics: Mapping[str, TopicInfo] | None = None,
    ) -> None:
        self.cluster_id = cluster_id
        self.controller_id = controller_id
        self.brokers: Mapping[int, Node] = MappingProxyType(dict(brokers or {}))
        self._topics: dict[str, TopicInfo] = dict(topics or {})
        self.topic_names: Mapping[bytes, str] = MappingProxyType(
            {
                info.topic_id: name
                for name, info in self._topics.items()
                if info.topic_id != NO_TOPIC_ID
            }
        )

    def __repr__(self) -> str:
        brokers, topics = len(self.brokers), len(self._topics)
        return f"<Cluster {self.cluster_id} of {brokers} brokers, {topics} topics>"

    def topics(self) -> frozenset[str]:
        """Return the names of the topics whose partitions are known."""
        return frozenset(name for name, info in self._topics.items() if info.partitions)

    def topic(self, topic: str) -> TopicInfo | None:
        """Return all that is known of a topic."""
        return self._topics.get(topic)

    def partitions(self, topic: str) -> tuple[int, ...] | None:
        """Return the numbers of a topic's partitions in order, None for an unknown topic."""
        info = self._topics.get(topic)
        return tuple(info.partitions) if info is not None and info.partitions else None

    def partition(self, tp: TopicPartition) -> PartitionInfo | None:
        """Return what is known of one partition."""
        info = self._topics.get(tp[0])
        return info.partitions.get(tp[1]) if info is not None else None

    def leader(self, tp: TopicPartition) -> tuple[int, int] | None:
        """Return (node id, leader epoch), None while no leader is known."""
        info = self.partition(tp)
        if info is None or info.leader < 0:
            return None
        return info.leader, info.leader_epoch

    def topic_id(self, topic: str) -> bytes:
        """Return the 16 bytes of a topic's id, all zero when it is not known."""
        info = self._topics.get(topic)
        return info.topic_id if info is not None else NO_TOPIC_ID

    def topic_name(self, topic_id: bytes) -> str | None:
        """Return the name of the topic with this id."""
        return self.topic_names.get(topic_id)

    def topic_error(self, topic: str) -> int:
        """Return the error code of the last answer for a topic, 0 when it was none or unasked."""
        info = self._topics.get(topic)
        return info.error if info is not None else 0

    def is_internal(self, topic: str) -> bool:
        """Say whether a topic is one of Kafka's own, such as __consumer_offsets."""
        info = self._topics.get(topic)
        return info is not None and info.is_internal

    def updated(self, answer: Any, *, asked: Iterable[str] | None) -> Cluster:
        """Return the snapshot after a Metadata answer.

        asked: the topics that were asked for; those known but not asked for
        stay as they are. None: all were, and the rest is gone.
        """
        brokers = {
            b.node_id: Node(b.node_id, b.host, b.port, b.rack or None)
            for b in answer.brokers or ()
            if b.host and 0 < b.port < 65536
        }
        topics = {} if asked is None else dict(self._topics)
        for found in answer.topics or ():
            if found.name:
                topics[found.name] = _merged(self._topics.get(found.name), found)
        return Cluster(
            cluster_id=answer.cluster_id or self.cluster_id,
            controller_id=answer.controller_id,
            brokers=brokers or self.brokers,
            topics=topics,
        )

    def with_leaders(
        self,
        leaders: Mapping[TopicPartition, tuple[int, int]],
        nodes: Iterable[Node] = (),
    ) -> Cluster:
        """Return the snapshot with leaders that a Fetch or Produce answer told (KIP-951).

        leaders: partition -> (node id, leader epoch); older epochs are ignored.
        """
        topics = dict(self._topics)
        for tp, (leader, epoch) in leaders.items():
            info = topics.get(tp[0])
            known = info.partitions.get(tp[1]) if info is not None else None
            if info is None or known is None or epoch <= known.leader_epoch or leader < 0:
                continue
            partitions = dict(info.partitions)
            partitions[tp[1]] = known._replace(leader=leader, leader_epoch=epoch, error=0)
            topics[tp[0]] = info._replace(partitions=MappingProxyType(partitions))
        brokers = dict(self.brokers)
        brokers.update((node.node_id, node) for node in nodes)
        return Cluster(
            cluster_id=self.cluster_id,
            controller_id=self.controller_id,
            brokers=brokers,
            topics=topics,
        )

    def without(self, topics: Iterable[str]) -> Cluster:
        """Return the snapshot with these topics forgotten."""
        gone = set(topics)
        return Cluster(
            cluster_id=self.cluster_id,
            controller_id=self.controller_id,
            brokers=self.brokers,
            topics={name: info for name, info in self._topics.items() if name not in gone},
        )


# Errors that tell of the asking or of the moment, not that the topic is gone.
_PASSING = frozenset(
    {codes.LEADER_NOT_AVAILABLE, codes.TOPIC_AUTHORIZATION_FAILED, codes.REQUEST_TIMED_OUT}
)


def _merged(known: TopicInfo | None, found: Any) -> TopicInfo:
    """Return what an answer says of a topic, less what is older than what we know."""
    error = found.error_code
    topic_id = found.topic_id.bytes if found.topic_id is not None else NO_TOPIC_ID
    if error and not found.partitions:
        keep = known is not None and error in _PASSING
        return TopicInfo(
            topic_id=known.topic_id if known is not None and keep else topic_id,
            is_internal=bool(found.is_internal),
            partitions=known.partitions if known is not None and keep else MappingProxyType({}),
            error=error,
        )
    partitions = {
        p.partition_index: PartitionInfo(
            leader=p.leader_id,
            leader_epoch=p.leader_epoch,
            replicas=tuple(p.replica_nodes or ()),
            isr=tuple(p.isr_nodes or ()),
            offline=tuple(p.offline_replicas or ()),
            error=p.error_code,
        )
        for p in found.partitions or ()
    }
    # A topic deleted and created again has another id, and its epochs begin anew.
    if known is not None and known.topic_id == topic_id:
        for number, old in known.partitions.items():
            new = partitions.get(number)
            if new is None:
                # Kafka never removes partitions: the answer is older than what we know.
                # Without ids the topic may just as well be another one.
                if topic_id != NO_TOPIC_ID:
                    partitions[number] = old
            elif 0 <= new.leader_epoch < old.leader_epoch:
                partitions[number] = old
    return TopicInfo(
        topic_id=topic_id,
        is_internal=bool(found.is_internal),
        partitions=MappingProxyType(dict(sorted(partitions.items()))),
        error=error,
    )
