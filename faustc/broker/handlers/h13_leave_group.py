"""LeaveGroup (13), versions 0 to 5, complete."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import NONE

API = Api("LeaveGroup", 13, 0, 5)


async def handle(broker: Broker, call: Call) -> Answer:
    """Let one member go, or (from version 3 on) several, static ones by instance id too."""
    request = call.request
    leave = broker.coordinators.groups.leave
    if call.version < 3:
        told = leave(request.group_id, [(request.member_id, None)])
        return wire.answer(call, error_code=told if isinstance(told, int) else told[0])
    who = [(member.member_id, member.group_instance_id) for member in request.members]
    told = leave(request.group_id, who)
    if isinstance(told, int):
        return wire.answer(call, error_code=told, members=[])
    members = [
        {"member_id": member_id, "group_instance_id": instance_id, "error_code": error}
        for (member_id, instance_id), error in zip(who, told, strict=True)
    ]
    return wire.answer(call, error_code=NONE, members=members)
