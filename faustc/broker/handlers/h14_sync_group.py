"""SyncGroup (14), versions 0 to 5, complete."""

from __future__ import annotations

from functools import partial

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.groups_requests import member_of, parked
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import INCONSISTENT_GROUP_PROTOCOL

API = Api("SyncGroup", 14, 0, 5)


async def handle(broker: Broker, call: Call) -> Answer:
    """Wait until the leader has assigned; the coordinator bounds the wait."""
    request = call.request
    if call.version >= 5 and None in (request.protocol_type, request.protocol_name):
        return wire.answer(call, error_code=INCONSISTENT_GROUP_PROTOCOL)
    ask = partial(
        broker.coordinators.groups.sync,
        member_of(request),
        {row.member_id: bytes(row.assignment) for row in request.assignments},
        protocol_type=request.protocol_type,
        protocol=request.protocol_name,
    )
    told = await parked(broker.loop, ask)
    return wire.answer(
        call,
        error_code=told.error,
        protocol_type=told.protocol_type,
        protocol_name=told.protocol,
        assignment=told.assignment,
    )
