"""FindCoordinator (10), versions 0 to 6. Left out: share groups (key type 2, refused by name)."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import INVALID_REQUEST, NONE

API = Api("FindCoordinator", 10, 0, 6)

GROUP, TRANSACTION = 0, 1


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer with the only node there is."""
    request = call.request
    if request.key_type in (GROUP, TRANSACTION):
        found = {
            "node_id": broker.options.node_id,
            "host": broker.host,
            "port": broker.port,
            "error_code": NONE,
            "error_message": "" if call.version >= 4 else "NONE",
        }
    else:
        found = {
            "node_id": -1,
            "host": "",
            "port": -1,
            "error_code": INVALID_REQUEST,
            "error_message": f"no coordinators of type {request.key_type} here",
        }
    if call.version < 4:
        return wire.answer(call, **found)
    return wire.answer(call, coordinators=[{"key": k, **found} for k in request.coordinator_keys])
