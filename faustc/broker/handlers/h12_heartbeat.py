"""Heartbeat (12), versions 0 to 4, complete."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.groups_requests import member_of
from faustc.broker.wire import Answer, Api, Call

API = Api("Heartbeat", 12, 0, 4)


async def handle(broker: Broker, call: Call) -> Answer:
    """Prolong a member's session, and tell it if it has to rejoin."""
    error = broker.coordinators.groups.heartbeat(member_of(call.request))
    return wire.answer(call, error_code=error)
