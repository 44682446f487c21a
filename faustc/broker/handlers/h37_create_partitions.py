"""CreatePartitions (37), versions 0 to 3. Left out: assignments to other nodes."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.topics import MAX_PARTITIONS
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    INVALID_PARTITIONS,
    INVALID_REPLICA_ASSIGNMENT,
    KAFKA_STORAGE_ERROR,
    NONE,
    UNKNOWN_TOPIC_OR_PARTITION,
)

API = Api("CreatePartitions", 37, 0, 3)


async def handle(broker: Broker, call: Call) -> Answer:
    """Give topics more partitions; there is no way to fewer."""
    rows = []
    for asked in call.request.topics:
        error, reason = _create(broker, asked, call.request.validate_only)
        rows.append({"name": asked.name, "error_code": error, "error_message": reason})
    return wire.answer(call, results=rows)


def _create(broker: Broker, asked: Any, validate_only: bool) -> tuple[int, str | None]:
    topic = broker.topics.get(asked.name)
    if topic is None:
        return UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition."
    now = len(topic.partitions)
    if not now < asked.count <= MAX_PARTITIONS:
        return (
            INVALID_PARTITIONS,
            f"The topic {asked.name} currently has {now} partition(s); {asked.count} would not "
            "be an increase.",
        )
    if asked.assignments is not None:
        nodes = {tuple(each.broker_ids) for each in asked.assignments}
        if len(asked.assignments) != asked.count - now or nodes != {(broker.options.node_id,)}:
            return INVALID_REPLICA_ASSIGNMENT, "there is one node for every new partition"
    if not validate_only:
        try:
            broker.topics.extend(topic, asked.count)
        except OSError as exc:
            return KAFKA_STORAGE_ERROR, str(exc)
    return NONE, None
