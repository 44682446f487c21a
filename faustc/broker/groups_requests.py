"""Turns requests about groups into what the coordinators take, and their answers back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from faustc.broker.broker import Broker
from faustc.broker.groups import Committer
from faustc.broker.offsets_store import MAX_METADATA_CHARS, Committed, Offsets
from faustc.client.codes import OFFSET_METADATA_TOO_LARGE, UNKNOWN_TOPIC_OR_PARTITION
from faustc.types import TopicPartition

T = TypeVar("T")


def member_of(request: Any) -> Committer:
    """Return the member that sent this; versions without an instance id have None."""
    return Committer(
        request.group_id, request.generation_id, request.member_id, request.group_instance_id
    )


async def parked(loop: asyncio.AbstractEventLoop, ask: Callable[[Callable[[T], None]], None]) -> T:
    """Ask the coordinator and wait for its answer; the coordinator bounds the wait.

    An answer to a connection that died meanwhile is dropped: its handler was
    cancelled here, and the future with it.
    """
    waiter: asyncio.Future[T] = loop.create_future()

    def put(answer: T) -> None:
        if not waiter.done():
            waiter.set_result(answer)

    ask(put)
    return await waiter


class CommitRows:
    """The offsets of one OffsetCommit or TxnOffsetCommit, the good and the refused."""

    def __init__(self, broker: Broker, topics: Any) -> None:
        self._topics = topics
        self._errors: dict[TopicPartition, int] = {}
        self.offsets: Offsets = {}
        now_ms = broker.now_ms()
        for topic in topics:
            for row in topic.partitions:
                tp = TopicPartition(topic.name, row.partition_index)
                note = row.committed_metadata or ""
                if broker.partition(*tp) is None:
                    self._errors[tp] = UNKNOWN_TOPIC_OR_PARTITION
                elif len(note) > MAX_METADATA_CHARS:
                    self._errors[tp] = OFFSET_METADATA_TOO_LARGE
                else:
                    epoch = row.committed_leader_epoch
                    self.offsets[tp] = Committed(row.committed_offset, epoch, note, now_ms)

    def answer(self, error: int) -> list[dict[str, Any]]:
        """Return the topics of the answer; error is for those that were good."""
        return [
            {
                "name": topic.name,
                "partitions": [
                    {
                        "partition_index": row.partition_index,
                        "error_code": self._errors.get(
                            TopicPartition(topic.name, row.partition_index), error
                        ),
                    }
                    for row in topic.partitions
                ],
            }
            for topic in self._topics
        ]

    @property
    def refused(self) -> bool:
        """Whether not one offset was good."""
        return not self.offsets and bool(self._errors)
