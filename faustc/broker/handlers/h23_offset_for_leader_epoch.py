"""OffsetForLeaderEpoch (23), versions 2 to 4: there is one epoch, it ends where the log does."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.partition import Partition
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import NONE, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_OR_PARTITION

API = Api("OffsetForLeaderEpoch", 23, 2, 4)


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer where each asked epoch ends."""
    return wire.answer(
        call,
        topics=[
            {
                "topic": topic.topic,
                "partitions": [
                    _row(broker.partition(topic.topic, part.partition), part)
                    for part in topic.partitions
                ],
            }
            for topic in call.request.topics
        ],
    )


def _row(partition: Partition | None, part: Any) -> dict[str, Any]:
    row = {"error_code": NONE, "partition": part.partition, "leader_epoch": -1, "end_offset": -1}
    if partition is None:
        return {**row, "error_code": UNKNOWN_TOPIC_OR_PARTITION}
    if part.current_leader_epoch > partition.leader_epoch:
        return {**row, "error_code": UNKNOWN_LEADER_EPOCH}
    if part.leader_epoch != partition.leader_epoch:
        return row
    return {**row, "leader_epoch": partition.leader_epoch, "end_offset": partition.log_end}
