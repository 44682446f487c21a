"""OffsetDelete (47), version 0, complete."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import GROUP_SUBSCRIBED_TO_TOPIC, NONE, UNKNOWN_TOPIC_OR_PARTITION
from faustc.types import TopicPartition

API = Api("OffsetDelete", 47, 0, 0)


async def handle(broker: Broker, call: Call) -> Answer:
    """Delete single offsets of a group, except of topics that its members read."""
    request = call.request
    groups = broker.coordinators.groups
    error = groups.check_delete_offsets(request.group_id)
    if error:
        return wire.answer(call, error_code=error, topics=[])
    group = groups.find(request.group_id)
    gone: list[TopicPartition] = []
    topics = []
    for topic in request.topics:
        is_read = group is not None and group.reads(topic.name)
        rows = []
        for row in topic.partitions:
            tp = TopicPartition(topic.name, row.partition_index)
            if broker.partition(*tp) is None:
                error = UNKNOWN_TOPIC_OR_PARTITION
            elif is_read:
                error = GROUP_SUBSCRIBED_TO_TOPIC
            else:
                error = NONE
                gone.append(tp)
            rows.append({"partition_index": tp.partition, "error_code": error})
        topics.append({"name": topic.name, "partitions": rows})
    broker.coordinators.offsets.delete(request.group_id, gone)
    return wire.answer(call, error_code=NONE, topics=topics)
