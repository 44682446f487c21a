"""DescribeConfigs (32), versions 1 to 4. Left out: documentation, and loggers as resources."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.config_rows import BROKER, TOPIC, broker_rows, topic_rows
from faustc.broker.topics import name_problem
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    INVALID_REQUEST,
    INVALID_TOPIC_EXCEPTION,
    NONE,
    UNKNOWN_TOPIC_OR_PARTITION,
)

API = Api("DescribeConfigs", 32, 1, 4)


async def handle(broker: Broker, call: Call) -> Answer:
    """Tell the settings of topics and of the node, all or those that are asked for."""
    results = []
    for resource in call.request.resources:
        error, reason, rows = _rows(broker, resource.resource_type, resource.resource_name)
        names = resource.configuration_keys
        if names is not None:
            rows = [row for row in rows if row["name"] in names]
        if not call.request.include_synonyms:
            rows = [{**row, "synonyms": []} for row in rows]
        results.append(
            {
                "error_code": error,
                "error_message": reason,
                "resource_type": resource.resource_type,
                "resource_name": resource.resource_name,
                "configs": rows,
            }
        )
    return wire.answer(call, results=results)


def _rows(broker: Broker, kind: int, name: str) -> tuple[int, str | None, list[dict[str, Any]]]:
    if kind == TOPIC:
        problem = name_problem(name)
        if problem is not None:
            return INVALID_TOPIC_EXCEPTION, problem, []
        topic = broker.topics.get(name)
        if topic is None:
            return UNKNOWN_TOPIC_OR_PARTITION, None, []
        return NONE, None, topic_rows(topic)
    if kind == BROKER:
        if name not in ("", str(broker.options.node_id)):
            return INVALID_REQUEST, f"this is broker {broker.options.node_id}, not {name}", []
        return NONE, None, broker_rows(broker) if name else []
    return INVALID_REQUEST, f"resources of type {kind} have no settings here", []
