"""Metadata (3), versions 0 to 13. Left out: authorized operations (all are) and racks."""

from __future__ import annotations

import logging
from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.topics import Topic, name_problem
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    INVALID_TOPIC_EXCEPTION,
    KAFKA_STORAGE_ERROR,
    NONE,
    UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
)

logger = logging.getLogger(__name__)

API = Api("Metadata", 3, 0, 13)

_BY_ID = 12


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer who leads what: this node, everything. Creates topics, if it may."""
    request = call.request
    if request.topics is None or (call.version == 0 and not request.topics):
        topics = [_row(broker, topic) for topic in broker.topics]
    else:
        may_create = call.version < 4 or request.allow_auto_topic_creation
        topics = [_asked(broker, call.version, topic, may_create) for topic in request.topics]
    node = broker.options.node_id
    return wire.answer(
        call,
        brokers=[{"node_id": node, "host": broker.host, "port": broker.port, "rack": None}],
        cluster_id=broker.cluster_id,
        controller_id=node,
        topics=topics,
    )


def _asked(broker: Broker, version: int, asked: Any, may_create: bool) -> dict[str, Any]:
    if asked.name is None or (version >= _BY_ID and asked.topic_id is not None):
        topic = broker.topics.by_id(asked.topic_id)
        if topic is None:
            name = None if version >= _BY_ID else ""
            return _missing(UNKNOWN_TOPIC_ID, name, asked.topic_id)
        return _row(broker, topic)
    topic = broker.topics.get(asked.name)
    if topic is not None:
        return _row(broker, topic)
    if name_problem(asked.name) is not None:
        return _missing(INVALID_TOPIC_EXCEPTION, asked.name)
    if not may_create or not broker.options.auto_create_topics:
        return _missing(UNKNOWN_TOPIC_OR_PARTITION, asked.name)
    try:
        return _row(broker, broker.topics.create(asked.name, broker.options.default_partitions))
    except OSError as exc:
        logger.error("Cannot create topic %s: %s", asked.name, exc)
        return _missing(KAFKA_STORAGE_ERROR, asked.name)


def _missing(code: int, name: str | None, topic_id: Any = None) -> dict[str, Any]:
    return {
        "error_code": code,
        "name": name,
        "topic_id": topic_id,
        "is_internal": False,
        "partitions": [],
    }


def _row(broker: Broker, topic: Topic) -> dict[str, Any]:
    node = broker.options.node_id
    return {
        "error_code": NONE,
        "name": topic.name,
        "topic_id": topic.id,
        "is_internal": False,
        "partitions": [
            {
                "error_code": NONE,
                "partition_index": partition.tp.partition,
                "leader_id": node,
                "leader_epoch": partition.leader_epoch,
                "replica_nodes": [node],
                "isr_nodes": [node],
                "offline_replicas": [],
            }
            for partition in topic.partitions
        ],
    }
