"""CreateTopics (19), versions 2 to 7.

Left out: replica assignments other than to this node, and replication factors above
what one node has.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.config_rows import DEFAULT_SOURCE, TOPIC_SOURCE
from faustc.broker.topic_config import SETTINGS, InvalidConfig, TopicConfig, check
from faustc.broker.topics import MAX_PARTITIONS, name_problem
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    INVALID_CONFIG,
    INVALID_PARTITIONS,
    INVALID_REPLICA_ASSIGNMENT,
    INVALID_REPLICATION_FACTOR,
    INVALID_REQUEST,
    INVALID_TOPIC_EXCEPTION,
    KAFKA_STORAGE_ERROR,
    NONE,
    TOPIC_ALREADY_EXISTS,
)

logger = logging.getLogger(__name__)

API = Api("CreateTopics", 19, 2, 7)

_BY_DEFAULT = -1


async def handle(broker: Broker, call: Call) -> Answer:
    """Create each topic that can be, or only say whether it could."""
    times = Counter(topic.name for topic in call.request.topics)
    rows = []
    for topic in call.request.topics:
        if times[topic.name] > 1:
            row = _refusal(topic.name, INVALID_REQUEST, "the topic is named twice in the request")
        else:
            row = _create(broker, topic, call.request.validate_only)
        rows.append(row)
    return wire.answer(call, topics=rows)


def _create(broker: Broker, asked: Any, validate_only: bool) -> dict[str, Any]:
    problem = name_problem(asked.name)
    if problem is not None:
        return _refusal(asked.name, INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
    if broker.topics.get(asked.name) is not None:
        return _refusal(asked.name, TOPIC_ALREADY_EXISTS, f"Topic '{asked.name}' already exists.")
    count, error, reason = _partitions(broker, asked)
    if error:
        return _refusal(asked.name, error, reason)
    try:
        config = {each.name: check(each.name, each.value) for each in asked.configs}
    except InvalidConfig as exc:
        return _refusal(asked.name, INVALID_CONFIG, str(exc))
    topic_id = None
    if not validate_only:
        try:
            topic_id = broker.topics.create(asked.name, count, config).id
        except OSError as exc:
            logger.error("Cannot create topic %s: %s", asked.name, exc)
            return _refusal(asked.name, KAFKA_STORAGE_ERROR, str(exc))
    made = TopicConfig(config)
    return {
        "name": asked.name,
        "topic_id": topic_id,
        "error_code": NONE,
        "error_message": None,
        "num_partitions": count,
        "replication_factor": 1,
        "configs": [
            {
                "name": name,
                "value": made.get(name),
                "read_only": False,
                "config_source": TOPIC_SOURCE if name in config else DEFAULT_SOURCE,
                "is_sensitive": False,
            }
            for name in SETTINGS
        ],
    }


def _partitions(broker: Broker, asked: Any) -> tuple[int, int, str | None]:
    """Return how many partitions are wanted, or an error code and why."""
    if asked.assignments:
        if asked.num_partitions != _BY_DEFAULT or asked.replication_factor != _BY_DEFAULT:
            return 0, INVALID_REQUEST, "both partitions and assignments are given"
        numbers = sorted(each.partition_index for each in asked.assignments)
        nodes = {tuple(each.broker_ids) for each in asked.assignments}
        if numbers != list(range(len(numbers))) or nodes != {(broker.options.node_id,)}:
            return 0, INVALID_REPLICA_ASSIGNMENT, "there is one node, and partitions begin at 0"
        return len(numbers), NONE, None
    if asked.replication_factor not in (_BY_DEFAULT, 1):
        reason = (
            "Replication factor must be larger than 0."
            if asked.replication_factor <= 0
            else f"Unable to replicate the partition {asked.replication_factor} time(s): "
            "only 1 broker(s) are registered."
        )
        return 0, INVALID_REPLICATION_FACTOR, reason
    if asked.num_partitions == _BY_DEFAULT:
        return broker.options.default_partitions, NONE, None
    if not 0 < asked.num_partitions <= MAX_PARTITIONS:
        return 0, INVALID_PARTITIONS, f"{asked.num_partitions} partitions; 1 to {MAX_PARTITIONS}"
    return asked.num_partitions, NONE, None


def _refusal(name: str, code: int, reason: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "error_code": code,
        "error_message": reason,
        "num_partitions": -1,
        "replication_factor": -1,
        "configs": [],
    }
