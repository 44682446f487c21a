"""AddPartitionsToTxn (24), versions 0 to 3. Left out: 4 and up, which brokers send each other."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.transactions import Claim, code_before
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC_OR_PARTITION
from faustc.types import TopicPartition

API = Api("AddPartitionsToTxn", 24, 0, 3)


async def handle(broker: Broker, call: Call) -> Answer:
    """Make partitions part of a transaction: all of them, or none."""
    request = call.request
    topics = [
        (topic.name, [TopicPartition(topic.name, number) for number in topic.partitions])
        for topic in request.v3_and_below_topics
    ]
    wanted = [tp for _, partitions in topics for tp in partitions]
    unknown = {tp for tp in wanted if broker.partition(*tp) is None}
    if unknown:
        error = OPERATION_NOT_ATTEMPTED
    else:
        claim = Claim(
            request.v3_and_below_transactional_id,
            request.v3_and_below_producer_id,
            request.v3_and_below_producer_epoch,
        )
        told = broker.coordinators.transactions.add_partitions(claim, wanted)
        error = code_before(told, is_old=call.version < 2)
    results = [
        {
            "name": name,
            "results_by_partition": [
                {
                    "partition_index": tp.partition,
                    "partition_error_code": UNKNOWN_TOPIC_OR_PARTITION if tp in unknown else error,
                }
                for tp in partitions
            ],
        }
        for name, partitions in topics
    ]
    return wire.answer(call, results_by_topic_v3_and_below=results)
