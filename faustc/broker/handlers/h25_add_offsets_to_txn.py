"""AddOffsetsToTxn (25), versions 0 to 4, complete."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.transactions import Claim, code_before
from faustc.broker.wire import Answer, Api, Call

API = Api("AddOffsetsToTxn", 25, 0, 4)


async def handle(broker: Broker, call: Call) -> Answer:
    """Make a group's offsets part of a transaction."""
    request = call.request
    claim = Claim(request.transactional_id, request.producer_id, request.producer_epoch)
    error = broker.coordinators.transactions.add_group(claim, request.group_id)
    return wire.answer(call, error_code=code_before(error, is_old=call.version < 2))
