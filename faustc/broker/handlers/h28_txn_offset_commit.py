"""TxnOffsetCommit (28), versions 0 to 5, complete; 5 adds the group by itself (KIP-890)."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.groups_requests import CommitRows, member_of
from faustc.broker.transactions import Claim
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import INVALID_GROUP_ID, NONE

API = Api("TxnOffsetCommit", 28, 0, 5)


async def handle(broker: Broker, call: Call) -> Answer:
    """Keep offsets for the end of the transaction, if member and producer are current."""
    request = call.request
    rows = CommitRows(broker, request.topics)
    error = NONE if request.group_id else INVALID_GROUP_ID
    if not error and not rows.refused:
        claim = Claim(request.transactional_id, request.producer_id, request.producer_epoch)
        coordinators = broker.coordinators
        error = coordinators.transactions.admit_write(
            claim,
            group_id=request.group_id,
            adds=call.version >= 5,
            knows_abortable=call.version >= 4,
        ) or coordinators.groups.hold(member_of(request), request.producer_id, rows.offsets)
    return wire.answer(call, topics=rows.answer(error))
