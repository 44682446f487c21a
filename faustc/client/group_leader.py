"""The leader's part in a rebalance: share the partitions out, and watch the topics it shared."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from faustc.client import codes, wire
from faustc.client.assignors import Assignor, Subscription
from faustc.client.client import Client
from faustc.client.cluster import Cluster
from faustc.client.coordinator import Joined
from faustc.exceptions import CorruptFrame

__all__ = ["GroupLeader"]

logger = logging.getLogger(__name__)


class GroupLeader:
    """What a member does, and has to remember, when the group makes it its leader."""

    def __init__(self, client: Client, assignors: Mapping[str, Assignor], group_id: str) -> None:
        self._client = client
        self._assignors = assignors
        self._group_id = group_id
        self._everything = False
        self._shared: dict[str, int] = {}

    def watch(self, topics: Iterable[str], *, everything: bool) -> None:
        """Keep the metadata of these topics current, or of all there are."""
        self._everything = everything
        self._client.set_topics(None if everything else {*topics, *self._shared})

    @property
    def missing(self) -> bool:
        """Whether a topic that somebody subscribed to does not exist (yet)."""
        return not all(self._shared.values())

    def change(self, cluster: Cluster) -> str:
        """Say what makes the last sharing out of date; empty if nothing does."""
        for topic, before in self._shared.items():
            now = _count(cluster, topic, before)
            if now != before:
                return f"topic {topic} has {now} partitions, {before} before"
        return ""

    async def share_out(
        self, joined: Joined, own_topics: Iterable[str], timeout_s: float
    ) -> dict[str, bytes]:
        """Return what to hand in with SyncGroup: an encoded assignment for each member.

        Raises KafkaTimeout if the topics' metadata does not come within timeout_s.
        """
        members = {
            member_id: self._decode(member_id, instance_id, blob)
            for member_id, instance_id, blob in joined.members
        }
        topics = {topic for member in members.values() for topic in member.topics}
        if not self._everything:
            self._client.set_topics(topics.union(own_topics))
        cluster = await self._client.refresh(timeout_s)
        self._shared = {topic: _count(cluster, topic, 0) for topic in topics}
        if missing := sorted(topic for topic, count in self._shared.items() if not count):
            logger.warning("group %s: no such topics yet: %s", self._group_id, ", ".join(missing))
        if joined.skip_assignment:
            # A static leader that came back: the group goes on with what it has (KIP-814).
            return {}
        assignor = self._assignors.get(joined.protocol)
        if assignor is None:
            raise codes.error_for(codes.INCONSISTENT_GROUP_PROTOCOL, repr(joined.protocol))
        counts = {topic: count for topic, count in self._shared.items() if count}
        return {
            member: wire.encode_assignment(share)
            for member, share in assignor.assign(members, counts).items()
        }

    def _decode(self, member_id: str, instance_id: str | None, blob: bytes) -> Subscription:
        try:
            said = wire.decode_subscription(blob)
        except CorruptFrame as exc:
            # One broken member must not stop the others from reading.
            logger.error("group %s: %s is left out: %s", self._group_id, member_id, exc)
            return Subscription(())
        return said._replace(group_instance_id=instance_id)


def _count(cluster: Cluster, topic: str, otherwise: int) -> int:
    """Count a topic's partitions; `otherwise` where an error hides them for the moment."""
    partitions = cluster.partitions(topic)
    if partitions is not None:
        return len(partitions)
    if cluster.topic_error(topic) in (codes.NONE, codes.UNKNOWN_TOPIC_OR_PARTITION):
        return 0
    return otherwise
