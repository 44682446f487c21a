"""ApiVersions (18), versions 0 to 4.

Any other version is answered in version 0 with UNSUPPORTED_VERSION (KIP-511), and the
header of the answer never has tags. Produce is said to begin with version 0 though it
does not: librdkafka takes less for a broker that cannot compress, as Apache Kafka 4 says.
"""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import PRODUCE, Answer, Api, Call
from faustc.client.codes import NONE, UNSUPPORTED_VERSION

API = Api("ApiVersions", 18, 0, 4)


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer what is served, and which features the cluster has."""
    version = broker.options.transaction_version
    return wire.answer(
        call,
        error_code=NONE,
        api_keys=[_row(key, api) for key, api in sorted(call.session.served.items())],
        throttle_time_ms=0,
        supported_features=[{"name": "transaction.version", "min_version": 0, "max_version": 2}],
        finalized_features_epoch=1,
        finalized_features=[
            {
                "name": "transaction.version",
                "max_version_level": version,
                "min_version_level": version,
            }
        ]
        if version
        else [],
    )


def refuse(call: Call) -> Answer:
    """Answer a version that is not served; the call is said to be of version 0."""
    return wire.answer(call, error_code=UNSUPPORTED_VERSION, api_keys=[_row(API.key, API)])


def _row(key: int, api: Api) -> dict[str, Any]:
    lowest = 0 if key == PRODUCE else api.min
    return {"api_key": key, "min_version": lowest, "max_version": api.max}
