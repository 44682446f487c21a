"""Settings as DescribeConfigs tells them and AlterConfigs takes them, for topics and the node."""

from __future__ import annotations

from typing import Any

from faustc.broker.broker import Broker
from faustc.broker.topic_config import BOOLEAN, INT, SETTINGS, STRING, InvalidConfig
from faustc.broker.topics import Topic
from faustc.client.codes import INVALID_CONFIG, INVALID_REQUEST, NONE, UNKNOWN_TOPIC_OR_PARTITION

TOPIC, BROKER = 2, 4  # resource types
# Where a value comes from, as Kafka numbers it.
TOPIC_SOURCE, STATIC_SOURCE, DEFAULT_SOURCE = 1, 4, 5

Row = dict[str, Any]
Outcome = tuple[int, str | None]


def topic_rows(topic: Topic) -> list[Row]:
    """Return every setting of a topic."""
    rows = []
    for name, setting in SETTINGS.items():
        is_set = name in topic.config.overrides
        source = TOPIC_SOURCE if is_set else DEFAULT_SOURCE
        row = _row(name, topic.config.get(name), setting.type, source)
        # What the value replaces, first what is in force.
        synonym = {"name": name, "value": setting.default, "source": DEFAULT_SOURCE}
        mine = {"name": name, "value": topic.config.get(name), "source": TOPIC_SOURCE}
        row["synonyms"] = [mine, synonym] if is_set else [synonym]
        row["read_only"] = False
        rows.append(row)
    return rows


def broker_rows(broker: Broker) -> list[Row]:
    """Return what clients ask a node for; none of it can be changed."""
    options = broker.options
    values: list[tuple[str, Any, int]] = [
        ("auto.create.topics.enable", options.auto_create_topics, BOOLEAN),
        ("default.replication.factor", 1, INT),
        ("delete.topic.enable", True, BOOLEAN),
        ("group.min.session.timeout.ms", options.min_session_timeout_ms, INT),
        ("log.cleanup.policy", "delete", STRING),
        ("message.max.bytes", SETTINGS["max.message.bytes"].default, INT),
        ("min.insync.replicas", 1, INT),
        ("node.id", options.node_id, INT),
        ("num.partitions", options.default_partitions, INT),
        ("offsets.topic.replication.factor", 1, INT),
        ("transaction.state.log.replication.factor", 1, INT),
    ]
    rows = []
    for name, value, kind in values:
        text = str(value).lower() if kind == BOOLEAN else str(value)
        rows.append({**_row(name, text, kind, STATIC_SOURCE), "read_only": True})
    return rows


def _row(name: str, value: str, kind: int, source: int) -> Row:
    return {
        "name": name,
        "value": value,
        "config_source": source,
        "is_default": source == DEFAULT_SOURCE,
        "is_sensitive": False,
        "synonyms": [],
        "config_type": kind,
        "documentation": None,
    }


def find_topic(broker: Broker, kind: int, name: str) -> tuple[Topic | None, Outcome]:
    """Return the topic whose settings are to be changed, or why there is none."""
    if kind == BROKER:
        return None, (INVALID_CONFIG, "the settings of this broker are given when it starts")
    if kind != TOPIC:
        return None, (INVALID_REQUEST, f"resources of type {kind} have no settings here")
    topic = broker.topics.get(name)
    if topic is None:
        return None, (UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
    return topic, (NONE, None)


def put(broker: Broker, topic: Topic, overrides: dict[str, str], validate_only: bool) -> Outcome:
    """Give a topic these settings instead of those it has; raises OSError, and nothing changed."""
    if validate_only:
        return NONE, None
    before = topic.config.overrides
    topic.config.update(overrides)
    try:
        broker.topics.save()
    except OSError:
        topic.config.update(before)
        raise
    return NONE, None


def refused(exc: InvalidConfig) -> Outcome:
    """Return how a setting that cannot be is answered."""
    return INVALID_CONFIG, str(exc)
