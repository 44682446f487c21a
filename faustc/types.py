"""Plain values that every layer hands around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "TP",
    "HeadersArg",
    "ModelT",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "RecordMetadata",
    "TopicPartition",
]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


TP = TopicPartition  # Faust's name


class RecordMetadata(NamedTuple):
    """Where a produced message landed.

    timestamp is in milliseconds; timestamp_type 0 is CreateTime, 1 LogAppendTime.
    offset is -1 when acks=0, since nobody answered.
    """

    topic: str
    partition: int
    topic_partition: TopicPartition
    offset: int
    timestamp: int
    timestamp_type: int


class OffsetAndMetadata(NamedTuple):
    """A committed offset, the next one to be read, and the committer's note."""

    offset: int
    metadata: str = ""


class OffsetAndTimestamp(NamedTuple):
    """The first offset whose timestamp (milliseconds) is at or after the one asked for."""

    offset: int
    timestamp: int


HeadersArg = Mapping[str, bytes | None] | Sequence[tuple[str, bytes | None]] | None


class ModelT:
    """What every model is, for `isinstance(value, ModelT)`; see `faustc.models`."""

    __is_model__: ClassVar[bool] = True

    _options: ClassVar[Any]
