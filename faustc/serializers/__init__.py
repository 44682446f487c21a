"""Between keys and values in Python and the bytes in Kafka."""

from . import codecs
from .registry import Registry
from .schemas import Schema

__all__ = ["Registry", "Schema", "codecs"]
