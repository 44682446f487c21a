"""DeleteRecords (21), versions 0 to 2, complete."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.partition import Partition
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    KAFKA_STORAGE_ERROR,
    NONE,
    OFFSET_OUT_OF_RANGE,
    POLICY_VIOLATION,
    UNKNOWN_TOPIC_OR_PARTITION,
)

API = Api("DeleteRecords", 21, 0, 2)

_ALL = -1


async def handle(broker: Broker, call: Call) -> Answer:
    """Move the start of each partition's log."""
    return wire.answer(
        call,
        topics=[
            {
                "name": topic.name,
                "partitions": [
                    _row(broker.partition(topic.name, part.partition_index), part)
                    for part in topic.partitions
                ],
            }
            for topic in call.request.topics
        ],
    )


def _row(partition: Partition | None, part: Any) -> dict[str, Any]:
    error = NONE
    if partition is None:
        error = UNKNOWN_TOPIC_OR_PARTITION
    elif not partition.config.deletes:
        error = POLICY_VIOLATION
    else:
        offset = partition.log_end if part.offset == _ALL else part.offset
        if not 0 <= offset <= partition.log_end:
            error = OFFSET_OUT_OF_RANGE
        else:
            try:
                partition.delete_before(offset)
            except OSError:
                error = KAFKA_STORAGE_ERROR
    start = -1 if partition is None or error else partition.log_start
    return {"partition_index": part.partition_index, "low_watermark": start, "error_code": error}
