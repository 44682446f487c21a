"""What is asked of a group's coordinator: one request each, answers made plain.

Nothing here remembers anything of the group; `Membership` does. Two sockets are
used: a broker answers one connection's requests in order and keeps a JoinGroup
open for as long as a rebalance takes, so commits and LeaveGroup go by another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from faustc.client import codes
from faustc.client.backoff import Backoff, Deadline
from faustc.client.client import Client
from faustc.client.connection import BrokerConnection
from faustc.exceptions import (
    BrokerError,
    CommitFailed,
    ConnectionLost,
    CorruptFrame,
    KafkaTimeout,
)
from faustc.types import OffsetAndMetadata, TopicPartition

__all__ = [
    "Coordinator",
    "GroupMetadata",
    "Joined",
    "MemberIdRequired",
    "commit_offsets",
    "fetch_offsets",
]

PROTOCOL_TYPE = "consumer"

# How long a partition may be unknown to the coordinator before a commit fails. Its view of a
# new topic lags by a moment; that of a deleted one never comes back.
UNKNOWN_PARTITION_GRACE_S = 1.0


class GroupMetadata(NamedTuple):
    """Who commits: what a broker checks a commit against, to keep zombies out (KIP-447)."""

    group_id: str
    generation: int = -1
    member_id: str = ""
    group_instance_id: str | None = None


class Joined(NamedTuple):
    """The answer to JoinGroup; members (id, instance id, subscription) only for the leader."""

    generation: int
    member_id: str
    protocol: str
    is_leader: bool
    skip_assignment: bool
    members: tuple[tuple[str, str | None, bytes], ...]


class MemberIdRequired(BrokerError):
    """The coordinator gave us a member id, to join again with (KIP-394)."""

    def __init__(self, member_id: str) -> None:
        super().__init__(codes.MEMBER_ID_REQUIRED, "MEMBER_ID_REQUIRED", member_id)
        self.member_id = member_id


class Coordinator:
    """Speaks to the coordinator of one group, wherever it is; finds it again when it has moved.

    Every method is one attempt: it raises ConnectionLost or KafkaTimeout, or
    BrokerError with the code that was answered. Whoever calls decides what next.
    """

    def __init__(self, client: Client, group_id: str, group_instance_id: str | None) -> None:
        self._client = client
        self._group_id = group_id
        self._instance_id = group_instance_id
        self._waiting: BrokerConnection | None = None

    async def join(
        self,
        member_id: str,
        protocols: Sequence[tuple[str, bytes]],
        *,
        session_timeout_ms: int,
        rebalance_timeout_ms: int,
        reason: str,
        timeout_s: float,
    ) -> Joined:
        """Ask to be in the next generation; the answer comes when everyone has."""
        answer = await self._ask(
            "JoinGroup",
            timeout_s=timeout_s,
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            member_id=member_id,
            group_instance_id=self._instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=[{"name": name, "metadata": blob} for name, blob in protocols],
            reason=reason[:255],
        )
        if answer.error_code == codes.MEMBER_ID_REQUIRED:
            raise MemberIdRequired(answer.member_id)
        self._check(answer.error_code, "JoinGroup")
        is_leader = answer.leader == answer.member_id
        return Joined(
            generation=answer.generation_id,
            member_id=answer.member_id,
            protocol=answer.protocol_name or "",
            is_leader=is_leader,
            skip_assignment=bool(getattr(answer, "skip_assignment", False)),
            members=tuple(
                (m.member_id, m.group_instance_id, bytes(m.metadata)) for m in answer.members
            ),
        )

    async def sync(
        self,
        generation: int,
        member_id: str,
        protocol: str,
        assignments: Mapping[str, bytes],
        *,
        timeout_s: float,
    ) -> bytes:
        """Hand in the leader's assignments (nothing from the others) and return our own."""
        answer = await self._ask(
            "SyncGroup",
            timeout_s=timeout_s,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=self._instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=protocol,
            assignments=[
                {"member_id": member, "assignment": blob} for member, blob in assignments.items()
            ],
        )
        self._check(answer.error_code, "SyncGroup")
        return bytes(answer.assignment or b"")

    async def heartbeat(
        self, generation: int, member_id: str, *, timeout_s: float, purpose: str = "group"
    ) -> None:
        """Say that we live."""
        answer = await self._ask(
            "Heartbeat",
            timeout_s=timeout_s,
            purpose=purpose,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=self._instance_id,
        )
        self._check(answer.error_code, "Heartbeat")

    async def leave(self, member_id: str, reason: str, *, timeout_s: float) -> None:
        """Give our partitions back at once, rather than after the session timeout."""
        answer = await self._ask(
            "LeaveGroup",
            timeout_s=timeout_s,
            purpose="offsets",
            members=[
                {
                    "member_id": member_id,
                    "group_instance_id": self._instance_id,
                    "reason": reason[:255],
                }
            ],
        )
        for code in (answer.error_code, *(m.error_code for m in answer.members or ())):
            self._check(code, "LeaveGroup")

    async def probe(self, generation: int, member_id: str, *, timeout_s: float) -> None:
        """See whether whoever keeps our JoinGroup or SyncGroup is still there, and still the one.

        It may rightly keep them for as long as the slowest member takes, so their own
        timeouts would be late to notice. Fails them if it is not; raises nothing.
        """
        waiting = self._waiting
        try:
            await self.heartbeat(generation, member_id, timeout_s=timeout_s, purpose="offsets")
        except (ConnectionLost, KafkaTimeout) as exc:
            reason: Exception = exc
        except BrokerError as exc:
            if codes.lookup(exc.code).refresh != "coordinator":
                return  # whatever it thinks of us, it is there
            reason = exc
        else:
            return
        if waiting is not None and waiting is self._waiting:
            waiting.close(reason)

    def forget(self) -> None:
        """Find the coordinator again before the next request."""
        self._client.forget_coordinator("group", self._group_id)

    async def _ask(
        self, name: str, *, timeout_s: float, purpose: str = "group", **fields: Any
    ) -> Any:
        deadline = Deadline(timeout_s)
        try:
            finding_s = min(timeout_s, self._client.request_timeout_s)
            node = await self._client.coordinator("group", self._group_id, finding_s)
            connection = await _connect(self._client, node, purpose, deadline)
            if purpose == "group":
                self._waiting = connection
            return await connection.request(
                name, max(deadline.left(), 0.001), group_id=self._group_id, **fields
            )
        except (ConnectionLost, KafkaTimeout):
            self.forget()
            raise
        except CorruptFrame as exc:
            self.forget()
            raise ConnectionLost(f"an answer to {name} that is none: {exc}") from exc

    def _check(self, code: int, what: str) -> None:
        if code == codes.NONE:
            return
        if codes.lookup(code).refresh == "coordinator":
            self.forget()
        raise codes.error_for(code, f"{what} of group {self._group_id}")


async def commit_offsets(
    client: Client,
    group_id: str,
    offsets: Mapping[TopicPartition, OffsetAndMetadata],
    *,
    timeout_s: float,
    identity: Callable[[], GroupMetadata] | None = None,
) -> None:
    """Commit offsets, trying again until timeout_s where that can help.

    identity is asked before every attempt who is committing, and may raise
    (CommitFailed) to end it; without it the commit is that of no member, as after a
    manual `assign`. Raises BrokerError for what a retry does not cure,
    KafkaTimeout if it was not done in time.
    """
    deadline = Deadline(timeout_s)
    backoff = Backoff(0.1, 1.0)
    left = dict(offsets)
    unknown_until = Deadline(min(timeout_s, UNKNOWN_PARTITION_GRACE_S))
    cause: Exception | None = None
    while left:
        who = identity() if identity is not None else GroupMetadata(group_id)
        if deadline.expired():
            raise KafkaTimeout(
                f"the commit for group {group_id} was not done within {timeout_s:g} s"
            ) from cause
        try:
            left, code = await _commit_once(client, who, left, deadline)
        except (ConnectionLost, KafkaTimeout, CorruptFrame) as exc:
            client.forget_coordinator("group", group_id)
            cause = exc
        else:
            if not left:
                return
            detail = ", ".join(f"{tp.topic}/{tp.partition}" for tp in left)
            failed = codes.error_for(code, f"commit for group {group_id}: {detail}")
            if not failed.retriable:
                raise failed
            if code == codes.UNKNOWN_TOPIC_OR_PARTITION and unknown_until.expired():
                raise CommitFailed(f"no such partition for group {group_id}: {detail}") from failed
            if codes.lookup(code).refresh == "coordinator":
                client.forget_coordinator("group", group_id)
            cause = failed
        await deadline.sleep(backoff.next())


async def _commit_once(
    client: Client,
    who: GroupMetadata,
    offsets: Mapping[TopicPartition, OffsetAndMetadata],
    deadline: Deadline,
) -> tuple[dict[TopicPartition, OffsetAndMetadata], int]:
    """Return what was not committed, and the worst code it was refused with."""
    topics: dict[str, list[dict[str, Any]]] = {}
    for tp, (offset, metadata) in offsets.items():
        topics.setdefault(tp.topic, []).append(
            {
                "partition_index": tp.partition,
                "committed_offset": offset,
                "committed_metadata": metadata,
            }
        )
    timeout_s = _share(deadline)
    connection = await _to_coordinator(client, who.group_id, timeout_s)
    answer = await connection.request(
        "OffsetCommit",
        timeout_s,
        group_id=who.group_id,
        generation_id_or_member_epoch=who.generation,
        member_id=who.member_id,
        group_instance_id=who.group_instance_id,
        topics=[{"name": name, "partitions": parts} for name, parts in topics.items()],
    )
    refused: dict[int, list[TopicPartition]] = {}
    for topic in answer.topics:
        for part in topic.partitions:
            if part.error_code != codes.NONE:
                tp = TopicPartition(topic.name, part.partition_index)
                refused.setdefault(part.error_code, []).append(tp)
    if not refused:
        return {}, codes.NONE
    worst = min(refused, key=codes.retriable)
    again = [refused[worst]] if not codes.retriable(worst) else refused.values()
    return {tp: offsets[tp] for some in again for tp in some}, worst


async def fetch_offsets(
    client: Client,
    group_id: str,
    partitions: Iterable[TopicPartition],
    *,
    timeout_s: float,
    require_stable: bool = True,
) -> dict[TopicPartition, OffsetAndMetadata | None]:
    """Return the offset a group has committed for each partition, None where it has none.

    require_stable waits for transactions that are about to commit an offset
    (KIP-447). Raises KafkaTimeout, or BrokerError for what a retry does not cure.
    """
    deadline = Deadline(timeout_s)
    backoff = Backoff(0.05, 1.0)
    wanted = list(dict.fromkeys(partitions))
    cause: Exception | None = None
    while wanted:
        if deadline.expired():
            raise KafkaTimeout(
                f"the offsets of group {group_id} did not come within {timeout_s:g} s"
            ) from cause
        try:
            found, code = await _fetch_once(client, group_id, wanted, require_stable, deadline)
        except (ConnectionLost, KafkaTimeout, CorruptFrame) as exc:
            client.forget_coordinator("group", group_id)
            cause = exc
        else:
            if code == codes.NONE:
                return {tp: found.get(tp) for tp in wanted}
            failed = codes.error_for(code, f"offsets of group {group_id}")
            if not failed.retriable:
                raise failed
            if codes.lookup(code).refresh == "coordinator":
                client.forget_coordinator("group", group_id)
            cause = failed
        await deadline.sleep(backoff.next())
    return {}


async def _fetch_once(
    client: Client,
    group_id: str,
    wanted: Sequence[TopicPartition],
    require_stable: bool,
    deadline: Deadline,
) -> tuple[dict[TopicPartition, OffsetAndMetadata | None], int]:
    by_topic: dict[str, list[int]] = {}
    for tp in wanted:
        by_topic.setdefault(tp.topic, []).append(tp.partition)
    topics = [{"name": name, "partition_indexes": parts} for name, parts in by_topic.items()]
    timeout_s = _share(deadline)
    connection = await _to_coordinator(client, group_id, timeout_s)
    where: dict[str, Any] = {"group_id": group_id, "topics": topics}
    answer = await connection.request(
        "OffsetFetch", timeout_s, require_stable=require_stable, groups=[where], **where
    )
    groups = getattr(answer, "groups", None)
    answer = groups[0] if groups else answer
    if answer.error_code != codes.NONE:
        return {}, answer.error_code
    found: dict[TopicPartition, OffsetAndMetadata | None] = {}
    for topic in answer.topics:
        for part in topic.partitions:
            if part.error_code != codes.NONE:
                return {}, part.error_code
            tp = TopicPartition(topic.name, part.partition_index)
            if part.committed_offset >= 0:
                found[tp] = OffsetAndMetadata(part.committed_offset, part.metadata or "")
    return found, codes.NONE


def _share(deadline: Deadline) -> float:
    # One attempt gets half of what is left (or all, if that is little), so that one
    # coordinator that does not answer leaves time to ask the next.
    left = deadline.left()
    return max(left / 2 if left > 2.0 else left, 0.001)


async def _to_coordinator(client: Client, group_id: str, timeout_s: float) -> BrokerConnection:
    deadline = Deadline(timeout_s)
    node = await client.coordinator("group", group_id, timeout_s)
    return await _connect(client, node, "offsets", deadline)


async def _connect(client: Client, node: int, purpose: str, deadline: Deadline) -> BrokerConnection:
    # A client takes its time to connect, longer than a heartbeat can wait.
    try:
        async with asyncio.timeout(deadline.left()):
            return await client.connection(node, purpose)
    except TimeoutError as exc:
        if isinstance(exc, KafkaTimeout):
            raise
        raise KafkaTimeout(f"no connection to node {node} in {deadline.timeout_s:g} s") from exc
