"""Stream processing in Python with Faust's API, on a Kafka client of its own.

Names are imported when they are first used, so `import faustc` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from faustc.version import VERSION, __version__, version_info, version_info_t

if TYPE_CHECKING:
    from faustc.agents import Agent, current_agent
    from faustc.app import App
    from faustc.auth import (
        GSSAPICredentials,
        OAuthCredentials,
        SASLCredentials,
        SSLCredentials,
    )
    from faustc.channels import Channel
    from faustc.codecs import Codec
    from faustc.events import Event, current_event
    from faustc.failure import DeadLetter, Retry
    from faustc.models import Record
    from faustc.sensors import Monitor, Sensor
    from faustc.serializers import Schema
    from faustc.service import Service
    from faustc.settings import Settings
    from faustc.streams import Stream
    from faustc.tables.globaltable import GlobalTable
    from faustc.tables.sets import Set, SetGlobalTable, SetTable
    from faustc.tables.table import Table
    from faustc.topics import Topic
    from faustc.windows import (
        HoppingWindow,
        SessionWindow,
        SlidingWindow,
        TumblingWindow,
        Window,
    )
    from faustc.worker import Worker

__all__ = [
    "VERSION",
    "Agent",
    "App",
    "Channel",
    "Codec",
    "DeadLetter",
    "Event",
    "GSSAPICredentials",
    "GlobalTable",
    "HoppingWindow",
    "Monitor",
    "OAuthCredentials",
    "Record",
    "Retry",
    "SASLCredentials",
    "SSLCredentials",
    "Schema",
    "Sensor",
    "Service",
    "SessionWindow",
    "Set",
    "SetGlobalTable",
    "SetTable",
    "Settings",
    "SlidingWindow",
    "Stream",
    "Table",
    "Topic",
    "TumblingWindow",
    "Window",
    "Worker",
    "__version__",
    "current_agent",
    "current_event",
    "uuid",
    "version_info",
    "version_info_t",
]

# Where each public name lives; test_public_names holds this and the imports above together.
_PLACES = {
    "Agent": "faustc.agents",
    "App": "faustc.app",
    "Channel": "faustc.channels",
    "Codec": "faustc.codecs",
    "DeadLetter": "faustc.failure",
    "Event": "faustc.events",
    "GSSAPICredentials": "faustc.auth",
    "Monitor": "faustc.sensors",
    "OAuthCredentials": "faustc.auth",
    "Record": "faustc.models",
    "Retry": "faustc.failure",
    "SASLCredentials": "faustc.auth",
    "SSLCredentials": "faustc.auth",
    "Schema": "faustc.serializers",
    "Sensor": "faustc.sensors",
    "Service": "faustc.service",
    "Settings": "faustc.settings",
    "Stream": "faustc.streams",
    "GlobalTable": "faustc.tables.globaltable",
    "Set": "faustc.tables.sets",
    "SetGlobalTable": "faustc.tables.sets",
    "SetTable": "faustc.tables.sets",
    "Table": "faustc.tables.table",
    "Topic": "faustc.topics",
    "HoppingWindow": "faustc.windows",
    "SessionWindow": "faustc.windows",
    "SlidingWindow": "faustc.windows",
    "TumblingWindow": "faustc.windows",
    "Window": "faustc.windows",
    "Worker": "faustc.worker",
    "current_agent": "faustc.agents",
    "current_event": "faustc.events",
}


def uuid() -> str:
    """Return a random UUID as a string."""
    from uuid import uuid4

    return str(uuid4())


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'faustc' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(place), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
