"""DeleteTopics (20), versions 1 to 6, complete; what was stored is gone with the answer."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.topics import Topic
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    KAFKA_STORAGE_ERROR,
    NONE,
    UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
)

API = Api("DeleteTopics", 20, 1, 6)


async def handle(broker: Broker, call: Call) -> Answer:
    """Delete topics by name, or from version 6 on by id."""
    if call.version < 6:
        rows = [
            _delete(broker, broker.topics.get(name), name, None, UNKNOWN_TOPIC_OR_PARTITION)
            for name in call.request.topic_names
        ]
    else:
        rows = []
        for asked in call.request.topics:
            if asked.name is None:
                topic, error = broker.topics.by_id(asked.topic_id), UNKNOWN_TOPIC_ID
            else:
                topic, error = broker.topics.get(asked.name), UNKNOWN_TOPIC_OR_PARTITION
            rows.append(_delete(broker, topic, asked.name, asked.topic_id, error))
    return wire.answer(call, responses=rows)


def _delete(
    broker: Broker, topic: Topic | None, name: str | None, topic_id: Any, missing: int
) -> dict[str, Any]:
    if topic is None:
        return {"name": name, "topic_id": topic_id, "error_code": missing, "error_message": None}
    row = {"name": topic.name, "topic_id": topic.id, "error_code": NONE, "error_message": None}
    try:
        broker.topics.delete(topic)
        broker.coordinators.topic_deleted(topic.name)
    except OSError as exc:
        return {**row, "error_code": KAFKA_STORAGE_ERROR, "error_message": str(exc)}
    return row
