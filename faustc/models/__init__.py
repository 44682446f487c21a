"""Models: classes whose annotations describe the data in messages."""

from .fields import FieldDescriptor, field_for_type
from .record import ModelOptions, Record
from .registry import maybe_model, registry

__all__ = [
    "FieldDescriptor",
    "ModelOptions",
    "Record",
    "field_for_type",
    "maybe_model",
    "registry",
]
