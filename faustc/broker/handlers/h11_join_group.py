"""JoinGroup (11), versions 0 to 9, complete but for a greatest group size."""

from __future__ import annotations

from functools import partial

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.group_state import JoinRequest
from faustc.broker.groups_requests import parked
from faustc.broker.wire import Answer, Api, Call

API = Api("JoinGroup", 11, 0, 9)


async def handle(broker: Broker, call: Call) -> Answer:
    """Wait until the group's next generation is complete, at most for its rebalance timeout."""
    request = call.request
    session_ms = request.session_timeout_ms
    asked = JoinRequest(
        request.group_id,
        request.member_id,
        request.group_instance_id,
        call.client_id,
        f"/{call.session.client_host}",
        session_ms,
        session_ms if call.version == 0 else request.rebalance_timeout_ms,
        request.protocol_type,
        {protocol.name: bytes(protocol.metadata) for protocol in request.protocols},
        needs_id=call.version >= 4,
        may_skip=call.version >= 9,
    )
    told = await parked(broker.loop, partial(broker.coordinators.groups.join, asked))
    return wire.answer(
        call,
        error_code=told.error,
        generation_id=told.generation,
        protocol_type=told.protocol_type,
        protocol_name=told.protocol or (None if call.version >= 7 else ""),
        leader=told.leader,
        skip_assignment=told.skip_assignment,
        member_id=told.member_id,
        members=[
            {"member_id": member_id, "group_instance_id": instance_id, "metadata": metadata}
            for member_id, instance_id, metadata in told.members
        ],
    )
