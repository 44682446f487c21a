"""One Kafka cluster, spoken to over our own sockets: knows Kafka, not Faust.

The public names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faustc._native.batch import Batch, Message
    from faustc._native.delivery import Delivery
    from faustc.client.admin import Admin, NewTopic
    from faustc.client.consumer import Consumer
    from faustc.client.delivery import Deliveries
    from faustc.client.producer import Producer
    from faustc.client.security import SecurityOptions
    from faustc.client.subscription import RebalanceListener

__all__ = [
    "Admin",
    "Batch",
    "Consumer",
    "Deliveries",
    "Delivery",
    "Message",
    "NewTopic",
    "Producer",
    "RebalanceListener",
    "SecurityOptions",
]

_PLACES = {
    "Admin": "faustc.client.admin",
    "Batch": "faustc._native.batch",
    "Consumer": "faustc.client.consumer",
    "Deliveries": "faustc.client.delivery",
    "Delivery": "faustc._native.delivery",
    "Message": "faustc._native.batch",
    "NewTopic": "faustc.client.admin",
    "Producer": "faustc.client.producer",
    "RebalanceListener": "faustc.client.subscription",
    "SecurityOptions": "faustc.client.security",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'faustc.client' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(place), name)
    return value
