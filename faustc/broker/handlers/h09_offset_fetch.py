"""OffsetFetch (9), versions 1 to 9. Left out: topic ids (10), and members of KIP-848 groups."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.offsets_store import Committed
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import NONE, UNSTABLE_OFFSET_COMMIT
from faustc.types import TopicPartition

API = Api("OffsetFetch", 9, 1, 9)

_NOTHING = Committed(-1)


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer what one group committed, or (from version 8 on) several."""
    request = call.request
    if call.version < 8:
        topics = _topics(broker, request.group_id, request.topics, request.require_stable)
        return wire.answer(call, error_code=NONE, topics=topics)
    groups = [
        {
            "group_id": group.group_id,
            "error_code": NONE,
            "topics": _topics(broker, group.group_id, group.topics, request.require_stable),
        }
        for group in request.groups
    ]
    return wire.answer(call, groups=groups)


def _topics(broker: Broker, group_id: str, asked: Any, stable: bool) -> list[dict[str, Any]]:
    offsets = broker.coordinators.offsets
    wanted: dict[str, list[int]] = {}
    if asked is None:
        for tp in offsets.of_group(group_id):
            wanted.setdefault(tp.topic, []).append(tp.partition)
    else:
        for topic in asked:
            wanted.setdefault(topic.name, []).extend(topic.partition_indexes)
    answer = []
    for name, numbers in wanted.items():
        rows = []
        for number in numbers:
            tp = TopicPartition(name, number)
            # What an open transaction is about to commit must not be read past:
            # whoever takes over would produce a second time what it then commits.
            unstable = stable and offsets.is_held(group_id, tp)
            found = _NOTHING if unstable else offsets.get(group_id, tp) or _NOTHING
            rows.append(
                {
                    "partition_index": number,
                    "committed_offset": found.offset,
                    "committed_leader_epoch": found.leader_epoch,
                    "metadata": found.metadata,
                    "error_code": UNSTABLE_OFFSET_COMMIT if unstable else NONE,
                }
            )
        answer.append({"name": name, "partitions": rows})
    return answer
