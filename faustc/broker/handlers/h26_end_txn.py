"""EndTxn (26), versions 0 to 5, complete; 5 is of transactions version 2 (KIP-890)."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.transactions import Claim, code_before
from faustc.broker.wire import Answer, Api, Call

API = Api("EndTxn", 26, 0, 5)


async def handle(broker: Broker, call: Call) -> Answer:
    """Commit or abort; the markers are in the logs when the answer is on its way."""
    request = call.request
    claim = Claim(request.transactional_id, request.producer_id, request.producer_epoch)
    bumps = call.version >= 5
    told = broker.coordinators.transactions.end(claim, request.committed, bumps=bumps)
    await broker.written()
    return wire.answer(
        call,
        error_code=code_before(told.error, is_old=call.version < 2),
        producer_id=told.producer_id,
        producer_epoch=told.epoch,
    )
