"""AlterConfigs (33), versions 0 to 2, for topics: what is not named goes back to its default."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.config_rows import Outcome, find_topic, put, refused
from faustc.broker.topic_config import InvalidConfig, check
from faustc.broker.topics import Topic
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import KAFKA_STORAGE_ERROR

API = Api("AlterConfigs", 33, 0, 2)


async def handle(broker: Broker, call: Call) -> Answer:
    """Replace the settings of each topic."""
    rows = []
    for resource in call.request.resources:
        topic, outcome = find_topic(broker, resource.resource_type, resource.resource_name)
        if topic is not None:
            outcome = _outcome(broker, call, topic, resource.configs)
        rows.append(
            {
                "error_code": outcome[0],
                "error_message": outcome[1],
                "resource_type": resource.resource_type,
                "resource_name": resource.resource_name,
            }
        )
    return wire.answer(call, responses=rows)


def _outcome(broker: Broker, call: Call, topic: Topic, configs: Any) -> Outcome:
    try:
        overrides = {each.name: check(each.name, each.value) for each in configs}
        return put(broker, topic, overrides, call.request.validate_only)
    except InvalidConfig as exc:
        return refused(exc)
    except OSError as exc:
        return KAFKA_STORAGE_ERROR, str(exc)
