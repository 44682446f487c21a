"""SaslHandshake (17), version 1, PLAIN only. Left out: version 0, with tokens outside of frames."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import ILLEGAL_SASL_STATE, NONE, UNSUPPORTED_SASL_MECHANISM

API = Api("SaslHandshake", 17, 1, 1)

MECHANISMS = ["PLAIN"]


async def handle(broker: Broker, call: Call) -> Answer:
    """Agree on PLAIN, if this broker has users at all and nobody is logged in here."""
    state = call.session.state
    if broker.options.sasl is None or "user" in state:
        return wire.answer(call, error_code=ILLEGAL_SASL_STATE, mechanisms=[])
    if call.request.mechanism not in MECHANISMS:
        return wire.answer(call, error_code=UNSUPPORTED_SASL_MECHANISM, mechanisms=MECHANISMS)
    state["mechanism"] = call.request.mechanism
    return wire.answer(call, error_code=NONE, mechanisms=MECHANISMS)
