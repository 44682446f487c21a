"""Models: classes whose annotations describe the data in messages."""

from .base import Model
from .fields import FieldDescriptor, StringField, field_for_type
from .options import ModelOptions
from .record import Record
from .registry import maybe_model, registry

__all__ = [
    "FieldDescriptor",
    "Model",
    "ModelOptions",
    "Record",
    "StringField",
    "field_for_type",
    "maybe_model",
    "registry",
]
