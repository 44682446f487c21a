"""Offsets that only the brokers know: by timestamp, first, last, and where an epoch ended.

The protocol's names for it are ListOffsets (KIP-79) and OffsetForLeaderEpoch
(KIP-101, KIP-320). Both must be asked of a partition's leader, so one question
about many partitions becomes one request to each leader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from faustc.client import codes
from faustc.client.backoff import Backoff, Deadline
from faustc.client.client import Client
from faustc.exceptions import KafkaError, KafkaTimeout
from faustc.types import TopicPartition

EARLIEST = -2
LATEST = -1

CONSUMER = -1  # the replica id of those who are no replica
ATTEMPT_S = 10.0  # one leader that does not answer must not use up the whole deadline
# What background look-ups give a leader at first, doubled with each attempt: one that hangs
# is found out before another may lead, one that is only slow gets its time.
FIRST_ATTEMPT_S = 2.5


class ListedOffset(NamedTuple):
    """The answer for one partition; offset and timestamp are -1 where nothing matches."""

    offset: int
    timestamp: int
    leader_epoch: int


class EpochEnd(NamedTuple):
    """Where a leader epoch ends in the leader's log; -1 and -1 if the leader does not know it."""

    leader_epoch: int
    end_offset: int


T = TypeVar("T")
Leaders = Mapping[TopicPartition, tuple[int, int]]


async def list_offsets(
    client: Client,
    wanted: Mapping[TopicPartition, int],
    *,
    isolation_level: int = 0,
    timeout_s: float,
) -> dict[TopicPartition, ListedOffset]:
    """Return for each partition the first offset at or after a timestamp (milliseconds).

    EARLIEST and LATEST are timestamps too; with isolation_level 1 LATEST is
    the last stable offset. Retries what is retriable; raises KafkaTimeout
    naming what is missing after timeout_s, BrokerError for anything else.
    """
    deadline = Deadline(timeout_s)
    backoff = Backoff(0.1, 1.0)
    client.add_topics(*{tp.topic for tp in wanted})
    found: dict[TopicPartition, ListedOffset] = {}
    last: KafkaError | None = None
    while True:
        missing = {tp: at for tp, at in wanted.items() if tp not in found}
        answers = await list_offsets_once(
            client,
            missing,
            isolation_level=isolation_level,
            timeout_s=max(0.001, min(deadline.left(), ATTEMPT_S)),
        )
        for tp, answer in answers.items():
            if not isinstance(answer, KafkaError):
                found[tp] = answer
            elif not answer.retriable:
                raise answer
            else:
                last = answer
        if len(found) == len(wanted):
            return found
        if deadline.expired():
            names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in wanted if tp not in found)
            raise KafkaTimeout(f"no offsets of {names} within {timeout_s:g} s: {last}") from last
        await deadline.sleep(backoff.next())


async def list_offsets_once(
    client: Client,
    wanted: Mapping[TopicPartition, int],
    *,
    isolation_level: int = 0,
    timeout_s: float,
) -> dict[TopicPartition, ListedOffset | KafkaError]:
    """Ask each leader once; a partition that could not be had comes with its error."""

    async def ask(
        node_id: int, leaders: Leaders
    ) -> dict[TopicPartition, ListedOffset | KafkaError]:
        answer = await client.request(
            "ListOffsets",
            node=node_id,
            timeout_s=timeout_s,
            retry=False,
            replica_id=CONSUMER,
            isolation_level=isolation_level,
            timeout_ms=int(timeout_s * 1000),
            topics=_by_topic(
                leaders,
                "name",
                lambda tp, epoch: {
                    "partition_index": tp.partition,
                    "current_leader_epoch": epoch,
                    "timestamp": wanted[tp],
                },
            ),
        )
        return {
            TopicPartition(topic.name, part.partition_index): _refused(
                part.error_code, topic.name, part.partition_index
            )
            or ListedOffset(part.offset, part.timestamp, part.leader_epoch)
            for topic in answer.topics
            for part in topic.partitions
        }

    return await _ask_leaders(client, wanted, ask)


async def epoch_ends_once(
    client: Client, wanted: Mapping[TopicPartition, int], *, timeout_s: float
) -> dict[TopicPartition, EpochEnd | KafkaError]:
    """Ask each leader once where the given leader epochs end in its log."""

    async def ask(node_id: int, leaders: Leaders) -> dict[TopicPartition, EpochEnd | KafkaError]:
        answer = await client.request(
            "OffsetForLeaderEpoch",
            node=node_id,
            timeout_s=timeout_s,
            retry=False,
            replica_id=CONSUMER,
            topics=_by_topic(
                leaders,
                "topic",
                lambda tp, epoch: {
                    "partition": tp.partition,
                    "current_leader_epoch": epoch,
                    "leader_epoch": wanted[tp],
                },
            ),
        )
        return {
            TopicPartition(topic.topic, part.partition): _refused(
                part.error_code, topic.topic, part.partition
            )
            or EpochEnd(part.leader_epoch, part.end_offset)
            for topic in answer.topics
            for part in topic.partitions
        }

    return await _ask_leaders(client, wanted, ask)


async def _ask_leaders(
    client: Client,
    wanted: Iterable[TopicPartition],
    ask: Callable[[int, Leaders], Awaitable[dict[TopicPartition, T | KafkaError]]],
) -> dict[TopicPartition, T | KafkaError]:
    """Ask the leader of each partition, all leaders at once; errors come as values."""
    out: dict[TopicPartition, T | KafkaError] = {}
    by_node: dict[int, dict[TopicPartition, tuple[int, int]]] = {}
    for tp in wanted:
        leader = client.cluster.leader(tp)
        if leader is None:
            out[tp] = codes.error_for(codes.LEADER_NOT_AVAILABLE, f"{tp.topic}/{tp.partition}")
        else:
            by_node.setdefault(leader[0], {})[tp] = leader

    async def one(node_id: int, leaders: Leaders) -> dict[TopicPartition, T | KafkaError]:
        try:
            answers = await ask(node_id, leaders)
        except KafkaError as error:
            return dict.fromkeys(leaders, error)
        for tp in leaders:
            if tp not in answers:
                answers[tp] = codes.error_for(
                    codes.UNKNOWN_TOPIC_OR_PARTITION, f"{tp.topic}/{tp.partition}: no answer for it"
                )
        return answers

    for answers in await asyncio.gather(*(one(*item) for item in by_node.items())):
        out.update(answers)
    if any(isinstance(answer, KafkaError) and _is_stale(answer) for answer in out.values()):
        client.request_refresh()
    return out


def _by_topic(
    leaders: Leaders, name: str, part: Callable[[TopicPartition, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for tp, (_, epoch) in leaders.items():
        topics.setdefault(tp.topic, []).append(part(tp, epoch))
    return [{name: topic, "partitions": parts} for topic, parts in topics.items()]


def _refused(code: int, topic: str, partition: int) -> KafkaError | None:
    return codes.error_for(code, f"{topic}/{partition}") if code else None


def _is_stale(error: KafkaError) -> bool:
    """Say whether the metadata may be what is wrong: leaders move when brokers go, too."""
    code = getattr(error, "code", None)
    return code is None or codes.lookup(code).refresh == "metadata"
