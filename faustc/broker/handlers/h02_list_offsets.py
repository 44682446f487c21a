"""ListOffsets (2), versions 1 to 11. Left out: tiered storage (its offsets are -1)."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.partition import Partition
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    KAFKA_STORAGE_ERROR,
    NONE,
    UNKNOWN_LEADER_EPOCH,
    UNKNOWN_TOPIC_OR_PARTITION,
)
from faustc.exceptions import KafkaError

API = Api("ListOffsets", 2, 1, 11)

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING = (
    -1, -2, -3, -4, -5, -6,
)  # fmt: skip
_READ_COMMITTED = 1


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer the offset of each partition at a time, or at one of its ends."""
    committed = call.version >= 2 and call.request.isolation_level == _READ_COMMITTED
    return wire.answer(
        call,
        topics=[
            {
                "name": topic.name,
                "partitions": [
                    _row(broker.partition(topic.name, part.partition_index), part, committed)
                    for part in topic.partitions
                ],
            }
            for topic in call.request.topics
        ],
    )


def _row(partition: Partition | None, part: Any, committed: bool) -> dict[str, Any]:
    row = {"partition_index": part.partition_index, "error_code": NONE, "timestamp": -1,
           "offset": -1, "leader_epoch": -1}  # fmt: skip
    if partition is None:
        return {**row, "error_code": UNKNOWN_TOPIC_OR_PARTITION}
    if part.current_leader_epoch > partition.leader_epoch:
        return {**row, "error_code": UNKNOWN_LEADER_EPOCH}
    end = partition.last_stable_offset if committed else partition.log_end
    try:
        offset, timestamp = _find(partition, part.timestamp, end)
    except (OSError, KafkaError):
        return {**row, "error_code": KAFKA_STORAGE_ERROR}
    epoch = partition.leader_epoch if offset >= 0 else -1
    return {**row, "timestamp": timestamp, "offset": offset, "leader_epoch": epoch}


def _find(partition: Partition, timestamp: int, end: int) -> tuple[int, int]:
    """Return offset and timestamp, -1 for what there is not."""
    if timestamp == LATEST:
        return end, -1
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return partition.log_start, -1
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING):
        return -1, -1
    if timestamp == MAX_TIMESTAMP:
        found = partition.log.newest()
    else:
        found = partition.log.find_time(timestamp)
    if found is None or (found.offset >= end and timestamp != MAX_TIMESTAMP):
        return -1, -1
    return found.offset, found.timestamp
