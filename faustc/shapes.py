"""What a topic is called, and how it is to be created when it is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from faustc.engine.declare import TopicSpec
from faustc.exceptions import ImproperlyConfigured

__all__ = ["Shape", "checked_names"]


class Shape(NamedTuple):
    """How a topic is to be created; None leaves it to the settings, or to the broker.

    retention is in seconds, config has Kafka's settings by name.
    """

    partitions: int | None
    replicas: int | None
    retention: float | timedelta | None
    compacting: bool | None
    deleting: bool | None
    config: Mapping[str, Any]

    @property
    def given(self) -> bool:
        """Whether anything is said."""
        return any(one is not None for one in self[:5]) or bool(self.config)

    def check(self, label: str) -> None:
        """Raise ImproperlyConfigured for numbers that cannot be."""
        for what, number in (("partitions", self.partitions), ("replicas", self.replicas)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ImproperlyConfigured(f"topic {label}: {what} is 1 or more, not {number!r}")

    def spec(self, name: str, conf: Any) -> TopicSpec:
        """Return what the broker is asked for, what is not said by the settings of the app."""
        config = {key: str(value) for key, value in self.config.items()}
        if self.retention is not None:
            seconds = (
                self.retention.total_seconds()
                if isinstance(self.retention, timedelta)
                else float(self.retention)
            )
            config["retention.ms"] = str(int(seconds * 1000))
        policies = [
            policy
            for policy, wanted in (("compact", self.compacting), ("delete", self.deleting))
            if wanted
        ]
        if policies:
            config["cleanup.policy"] = ",".join(policies)
        partitions = self.partitions or conf.default_partitions
        return TopicSpec(name, partitions, self.replicas or conf.replication_factor, config)


def checked_names(
    topics: Sequence[str], pattern: str | re.Pattern[str] | None
) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """Check what a topic is called."""
    if pattern is not None:
        if topics:
            raise ImproperlyConfigured(
                f"a topic has names or a pattern, not both: {', '.join(topics)} and {pattern!r}"
            )
        try:
            return (), re.compile(pattern)
        except (re.error, TypeError) as exc:
            raise ImproperlyConfigured(
                f"pattern {pattern!r} is no regular expression: {exc}"
            ) from exc
    if isinstance(topics, str) or not topics:
        raise ImproperlyConfigured("a topic needs at least one name, or a pattern")
    for name in topics:
        if not isinstance(name, str) or not name:
            raise ImproperlyConfigured(f"a topic's name is a string, not {name!r}")
    return tuple(topics), None
