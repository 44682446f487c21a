"""DescribeCluster (60), versions 0 to 2. Left out: controllers as endpoints (type 2)."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import NONE, UNSUPPORTED_ENDPOINT_TYPE

API = Api("DescribeCluster", 60, 0, 2)

_BROKERS = 1


async def handle(broker: Broker, call: Call) -> Answer:
    """Tell of the one node."""
    node = broker.options.node_id
    kind = call.request.endpoint_type if call.version >= 1 else _BROKERS
    known = kind == _BROKERS
    return wire.answer(
        call,
        error_code=NONE if known else UNSUPPORTED_ENDPOINT_TYPE,
        error_message=None if known else f"no endpoints of type {kind} here",
        endpoint_type=kind,
        cluster_id=broker.cluster_id,
        controller_id=node,
        brokers=[{"broker_id": node, "host": broker.host, "port": broker.port, "rack": None}]
        if known
        else [],
    )
