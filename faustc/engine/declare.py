"""Creating the topics an app reads and writes, when they are missing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from faustc.exceptions import BrokerError

__all__ = ["TopicSpec", "declare"]

logger = logging.getLogger(__name__)

TOPIC_ALREADY_EXISTS = 36


class TopicSpec(NamedTuple):
    """A topic as it should be created; configs has Kafka's own names and string values."""

    name: str
    num_partitions: int
    replication_factor: int
    configs: Mapping[str, str]


async def declare(
    admin: Any, specs: Iterable[TopicSpec], *, allowed: bool = True
) -> frozenset[str]:
    """Create those topics that do not exist; return the names that did not.

    An existing topic stays as it is, however it differs. Without permission
    (`topic_allow_declare=False`) nothing is created, and one line says what is
    missing.
    """
    wanted = {spec.name: spec for spec in specs}
    if not wanted:
        return frozenset()
    existing = set(await admin.list_topics())
    missing = [spec for name, spec in sorted(wanted.items()) if name not in existing]
    if not missing:
        return frozenset()
    if not allowed:
        logger.warning(
            "Missing topics, waiting for them to appear (topic_allow_declare is off): %s",
            ", ".join(spec.name for spec in missing),
        )
        return frozenset(spec.name for spec in missing)
    created = []
    for spec in missing:
        try:
            await admin.create_topics([spec])
        except BrokerError as exc:
            if exc.code != TOPIC_ALREADY_EXISTS:  # another worker was quicker
                raise
        else:
            shape = f"{spec.num_partitions} partitions, {spec.replication_factor} replicas"
            created.append(f"{spec.name} ({shape})")
    if created:
        logger.info("Created missing topics: %s", ", ".join(created))
    return frozenset(spec.name for spec in missing)
