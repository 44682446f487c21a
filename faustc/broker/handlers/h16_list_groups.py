"""ListGroups (16), versions 0 to 5. Left out: every group type but the classic one."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import NONE

API = Api("ListGroups", 16, 0, 5)

_TYPE = "classic"


async def handle(broker: Broker, call: Call) -> Answer:
    """List the groups, all or those in certain states or of certain types."""
    states = {state.lower() for state in call.request.states_filter or ()}
    types = {kind.lower() for kind in call.request.types_filter or ()}
    groups = [
        {
            "group_id": group.group_id,
            "protocol_type": group.protocol_type or "",
            "group_state": group.state.value,
            "group_type": _TYPE,
        }
        for group in broker.coordinators.groups.all()
        if (not states or group.state.value.lower() in states) and (not types or _TYPE in types)
    ]
    return wire.answer(call, error_code=NONE, groups=groups)
