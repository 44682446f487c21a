"""DeleteGroups (42), versions 0 to 2, complete."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call

API = Api("DeleteGroups", 42, 0, 2)


async def handle(broker: Broker, call: Call) -> Answer:
    """Delete groups that have no members, and what they committed."""
    results = [
        {"group_id": name, "error_code": broker.coordinators.groups.delete(name)}
        for name in call.request.groups_names
    ]
    return wire.answer(call, results=results)
