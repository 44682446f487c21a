"""InitProducerId (22), versions 0 to 5. Left out: two-phase commit (6, KIP-939)."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import INVALID_PRODUCER_EPOCH, PRODUCER_FENCED

API = Api("InitProducerId", 22, 0, 5)


async def handle(broker: Broker, call: Call) -> Answer:
    """Tell a producer its id and epoch; of transactions the coordinator decides."""
    request = call.request
    producer = broker.coordinators.transactions.init_producer(
        request.transactional_id,
        request.transaction_timeout_ms,
        request.producer_id if call.version >= 3 else -1,
        request.producer_epoch if call.version >= 3 else -1,
    )
    error = producer.error
    if error == PRODUCER_FENCED and call.version < 4:  # which does not know that one
        error = INVALID_PRODUCER_EPOCH
    return wire.answer(
        call, error_code=error, producer_id=producer.producer_id, producer_epoch=producer.epoch
    )
