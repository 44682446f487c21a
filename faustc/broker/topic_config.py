"""The settings of a topic: Kafka's names, defaults and bounds.

All that clients set is taken, checked, stored and told again. What changes how
this broker behaves is in TopicConfig; the rest is for replicas, tiers and disks
that one node in development does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from faustc._native.compression import codec_id

STRING, BOOLEAN, INT, LONG, DOUBLE, LIST = 2, 1, 3, 5, 6, 7  # DescribeConfigs' type numbers
_INT_MAX = 0x7FFFFFFF
_LONG_MAX = 0x7FFFFFFFFFFFFFFF


class Setting(NamedTuple):
    """One setting: its type, default, and what it may be (bounds, or a set of words)."""

    type: int
    default: str
    low: float = 0
    high: float = _LONG_MAX
    words: frozenset[str] = frozenset()


class InvalidConfig(Exception):
    """A setting does not exist or cannot have this value."""


_CODEC_NAMES = {"uncompressed": "none"}
_CODECS = frozenset({"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"})

SETTINGS: dict[str, Setting] = {
    "cleanup.policy": Setting(LIST, "delete", words=frozenset({"compact", "delete"})),
    "compression.gzip.level": Setting(INT, "-1", -1, 9),
    "compression.lz4.level": Setting(INT, "9", 1, 17),
    "compression.type": Setting(STRING, "producer", words=_CODECS),
    "compression.zstd.level": Setting(INT, "3", -131072, 22),
    "delete.retention.ms": Setting(LONG, "86400000"),
    "file.delete.delay.ms": Setting(LONG, "60000"),
    "flush.messages": Setting(LONG, str(_LONG_MAX), 1),
    "flush.ms": Setting(LONG, str(_LONG_MAX)),
    "follower.replication.throttled.replicas": Setting(LIST, ""),
    "index.interval.bytes": Setting(INT, "4096", 0, _INT_MAX),
    "leader.replication.throttled.replicas": Setting(LIST, ""),
    "local.retention.bytes": Setting(LONG, "-2", -2),
    "local.retention.ms": Setting(LONG, "-2", -2),
    "max.compaction.lag.ms": Setting(LONG, str(_LONG_MAX), 1),
    "max.message.bytes": Setting(INT, "1048588", 0, _INT_MAX),
    "message.timestamp.after.max.ms": Setting(LONG, "3600000"),
    "message.timestamp.before.max.ms": Setting(LONG, str(_LONG_MAX)),
    "message.timestamp.type": Setting(
        STRING, "CreateTime", words=frozenset({"CreateTime", "LogAppendTime"})
    ),
    "min.cleanable.dirty.ratio": Setting(DOUBLE, "0.5", 0, 1),
    "min.compaction.lag.ms": Setting(LONG, "0"),
    "min.insync.replicas": Setting(INT, "1", 1, _INT_MAX),
    "preallocate": Setting(BOOLEAN, "false"),
    "remote.storage.enable": Setting(BOOLEAN, "false"),
    "retention.bytes": Setting(LONG, "-1", -1),
    "retention.ms": Setting(LONG, "604800000", -1),
    # Kafka 4 wants 1 MiB at least, older ones 14 bytes: small segments are good for tests.
    "segment.bytes": Setting(INT, "1073741824", 14, _INT_MAX),
    "segment.index.bytes": Setting(INT, "10485760", 4, _INT_MAX),
    "segment.jitter.ms": Setting(LONG, "0"),
    "segment.ms": Setting(LONG, "604800000", 1),
    "unclean.leader.election.enable": Setting(BOOLEAN, "false"),
}


def check(name: str, value: str | None) -> str:
    """Return a setting's value in its plain form; raises InvalidConfig saying why not."""
    setting = SETTINGS.get(name)
    if setting is None:
        raise InvalidConfig(f"Unknown topic config name: {name}")
    if value is None:
        raise InvalidConfig(f"Null value not supported for topic configs: {name}")
    value = value.strip()
    if setting.type == LIST:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        wrong = [part for part in parts if setting.words and part not in setting.words]
        if wrong:
            raise InvalidConfig(f"{name} knows {_list(setting.words)}, not {wrong[0]}")
        return ",".join(parts)
    if setting.type == BOOLEAN:
        if value.lower() not in ("true", "false"):
            raise InvalidConfig(f"{name} is true or false, not {value}")
        return value.lower()
    if setting.type == STRING:
        if setting.words and value not in setting.words:
            raise InvalidConfig(f"{name} is one of {_list(setting.words)}, not {value}")
        return value
    try:
        number: float = float(value) if setting.type == DOUBLE else int(value)
    except ValueError as exc:
        raise InvalidConfig(f"{name} is a number, not {value}") from exc
    high = min(setting.high, _INT_MAX) if setting.type == INT else setting.high
    if not setting.low <= number <= high:
        raise InvalidConfig(f"{name} is {setting.low} to {high}, not {value}")
    return value


def _list(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))


class TopicConfig:
    """The settings of one topic, those that were set and Kafka's defaults for the rest."""

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        self.overrides: dict[str, str] = {}
        self.update(overrides or {})

    def get(self, name: str) -> str:
        """Return a setting as text."""
        return self.overrides.get(name, SETTINGS[name].default)

    def update(self, overrides: Mapping[str, str]) -> None:
        """Replace all that was set by what is given, which was checked."""
        self.overrides = dict(overrides)
        policies = self.get("cleanup.policy").split(",")
        self.compacts = "compact" in policies
        self.deletes = "delete" in policies
        self.segment_bytes = int(self.get("segment.bytes"))
        self.segment_ms = int(self.get("segment.ms"))
        self.retention_bytes = int(self.get("retention.bytes"))
        self.retention_ms = int(self.get("retention.ms"))
        self.delete_retention_ms = int(self.get("delete.retention.ms"))
        self.min_compaction_lag_ms = int(self.get("min.compaction.lag.ms"))
        self.min_cleanable_ratio = float(self.get("min.cleanable.dirty.ratio"))
        self.max_message_bytes = int(self.get("max.message.bytes"))
        self.timestamp_after_ms = int(self.get("message.timestamp.after.max.ms"))
        self.timestamp_before_ms = int(self.get("message.timestamp.before.max.ms"))
        codec = self.get("compression.type")
        # None leaves a batch as the producer made it.
        self.codec = None if codec == "producer" else codec_id(_CODEC_NAMES.get(codec, codec))
        self.stamps = self.get("message.timestamp.type") == "LogAppendTime"
