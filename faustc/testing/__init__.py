"""A kit to test applications with: agents by themselves, whole apps, virtual time, faults.

Names are imported when they are first used: the pytest plugin imports this package
in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faustc.testing.agent import AgentTestWrapper
    from faustc.testing.embedded import EmbeddedBroker
    from faustc.testing.faults import Faults
    from faustc.testing.harness import AppTest, Received
    from faustc.testing.memory import MemoryBroker
    from faustc.testing.strict import StrictLoop
    from faustc.testing.virtualtime import VirtualTime, virtual_time

__all__ = [
    "AgentTestWrapper",
    "AppTest",
    "EmbeddedBroker",
    "Faults",
    "MemoryBroker",
    "Received",
    "StrictLoop",
    "VirtualTime",
    "virtual_time",
]

_PLACES = {
    "AgentTestWrapper": "faustc.testing.agent",
    "AppTest": "faustc.testing.harness",
    "EmbeddedBroker": "faustc.testing.embedded",
    "Faults": "faustc.testing.faults",
    "MemoryBroker": "faustc.testing.memory",
    "Received": "faustc.testing.harness",
    "StrictLoop": "faustc.testing.strict",
    "VirtualTime": "faustc.testing.virtualtime",
    "virtual_time": "faustc.testing.virtualtime",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(place), name)
    return value
