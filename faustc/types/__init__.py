"""Plain values that every layer hands around."""

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
    "ConsumerMessage",
    "FutureMessage",
    "HeadersArg",
    "K",
    "Message",
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
