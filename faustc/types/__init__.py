"""Plain values that every layer hands around."""

from importlib import import_module
from typing import Any

from .core import HeadersArg, K, NamePattern, OpenHeadersArg, V, merge_headers, prepare_headers
from .models import ModelT
from .tuples import (
    TP,
    ConsumerMessage,
    FutureMessage,
    Message,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    PendingMessage,
    RecordMetadata,
    TopicPartition,
)

__all__ = [
    "TP",
    "CodecArg",
    "ConsumerMessage",
    "FutureMessage",
    "HeadersArg",
    "K",
    "Message",
    "ModelArg",
    "ModelT",
    "NamePattern",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "OpenHeadersArg",
    "PendingMessage",
    "RecordMetadata",
    "TopicPartition",
    "V",
    "merge_headers",
    "prepare_headers",
]

# Faust's names for types, each our class itself, so `isinstance(x, StreamT)` holds. They
# live far above, and are imported when they are asked for.
_CLASSES = {
    "AgentT": "faustc.agents:Agent",
    "AppT": "faustc.app:App",
    "ChannelT": "faustc.channels:Channel",
    "CodecT": "faustc.codecs:Codec",
    "EventT": "faustc.events:Event",
    "FieldDescriptorT": "faustc.models.fields:FieldDescriptor",
    "ProcessingGuarantee": "faustc.setting_types:ProcessingGuarantee",
    "RegistryT": "faustc.serializers:Registry",
    "ResourceOptions": "faustc.web.cors:ResourceOptions",
    "SchemaT": "faustc.serializers:Schema",
    "ServiceT": "faustc.service:Service",
    "StreamT": "faustc.streams:Stream",
    "TopicT": "faustc.topics:Topic",
    "WindowT": "faustc.windows:Window",
}
#: What describes a codec: its name, or itself.
CodecArg = Any
#: What describes a model: its class.
ModelArg = Any


def __getattr__(name: str) -> Any:
    place = _CLASSES.get(name)
    if place is None:
        raise AttributeError(f"module 'faustc.types' has no attribute {name!r}")
    module, _, attribute = place.partition(":")
    found = globals()[name] = getattr(import_module(module), attribute)
    return found
