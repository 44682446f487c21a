"""Between keys and values in Python and the bytes in Kafka."""

from . import codecs
from .confluent import AvroSchema, JSONSchema
from .registry import Registry
from .schema_registry import SchemaRegistry
from .schemas import Schema

__all__ = ["AvroSchema", "JSONSchema", "Registry", "Schema", "SchemaRegistry", "codecs"]
