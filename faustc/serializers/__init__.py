"""Between keys and values in Python and the bytes in Kafka.

What talks to a schema registry is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import codecs
from .registry import Registry
from .schemas import Schema

if TYPE_CHECKING:
    from .confluent import AvroSchema, JSONSchema
    from .schema_registry import SchemaRegistry

__all__ = ["AvroSchema", "JSONSchema", "Registry", "Schema", "SchemaRegistry", "codecs"]

_PLACES = {
    "AvroSchema": "faustc.serializers.confluent",
    "JSONSchema": "faustc.serializers.confluent",
    "SchemaRegistry": "faustc.serializers.schema_registry",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'faustc.serializers' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(place), name)
    return value
