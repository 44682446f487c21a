"""IncrementalAlterConfigs (44), versions 0 to 1, for topics (KIP-339)."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.config_rows import Outcome, find_topic, put, refused
from faustc.broker.topic_config import LIST, SETTINGS, InvalidConfig, check
from faustc.broker.topics import Topic
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import KAFKA_STORAGE_ERROR

API = Api("IncrementalAlterConfigs", 44, 0, 1)

SET, DELETE, APPEND, SUBTRACT = range(4)


async def handle(broker: Broker, call: Call) -> Answer:
    """Change single settings of each topic: all that are named, or none."""
    rows = []
    for resource in call.request.resources:
        topic, outcome = find_topic(broker, resource.resource_type, resource.resource_name)
        if topic is not None:
            outcome = _outcome(broker, topic, resource.configs, call.request.validate_only)
        rows.append(
            {
                "error_code": outcome[0],
                "error_message": outcome[1],
                "resource_type": resource.resource_type,
                "resource_name": resource.resource_name,
            }
        )
    return wire.answer(call, responses=rows)


def _outcome(broker: Broker, topic: Topic, configs: Any, validate_only: bool) -> Outcome:
    overrides = dict(topic.config.overrides)
    try:
        for each in configs:
            _change(topic, overrides, each.name, each.config_operation, each.value)
        return put(broker, topic, overrides, validate_only)
    except InvalidConfig as exc:
        return refused(exc)
    except OSError as exc:
        return KAFKA_STORAGE_ERROR, str(exc)


def _change(
    topic: Topic, overrides: dict[str, str], name: str, operation: int, value: str | None
) -> None:
    if operation == SET:
        overrides[name] = check(name, value)
        return
    if name not in SETTINGS:
        raise InvalidConfig(f"Unknown topic config name: {name}")
    if operation == DELETE:
        overrides.pop(name, None)
        return
    if operation not in (APPEND, SUBTRACT) or SETTINGS[name].type != LIST:
        raise InvalidConfig(f"Config value {operation} is not allowed for config key: {name}")
    given = [part for part in check(name, value).split(",") if part]
    now = [part for part in overrides.get(name, topic.config.get(name)).split(",") if part]
    if operation == APPEND:
        now += [part for part in given if part not in now]
    else:
        now = [part for part in now if part not in given]
    overrides[name] = ",".join(now)
