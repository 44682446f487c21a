"""Creating the topics an app reads and writes, when they are missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from faustc.clock import monotonic
from faustc.exceptions import BrokerError, KafkaTimeout

__all__ = ["Declarations", "TopicSpec", "declare"]

logger = logging.getLogger(__name__)

UNKNOWN_TOPIC = 3
TOPIC_ALREADY_EXISTS = 36
# How long a topic is waited for that somebody else creates.
APPEAR_S = 30.0


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


class Declarations:
    """What one run of an app knows of topics: which it created, and which are younger than it."""

    def __init__(self, create_admin: Callable[[], Any], *, allowed: bool) -> None:
        self._create_admin = create_admin
        self._allowed = allowed
        self._admin: Any = None
        self._lock = asyncio.Lock()  # many may send to a new topic at the same time
        self._declared: set[str] = set()
        self._appeared: set[str] = set()  # did not exist when we first looked
        self._older: frozenset[str] | None = None  # there when a pattern was subscribed to

    async def declare(self, specs: Iterable[TopicSpec]) -> None:
        """Create the topics that are missing, each looked for once."""
        wanted = list(specs)
        if all(spec.name in self._declared for spec in wanted):
            return
        async with self._lock:
            new = [spec for spec in wanted if spec.name not in self._declared]
            missing = await declare(await self._running(), new, allowed=self._allowed)
            self._declared.update(spec.name for spec in new)
            self._appeared |= missing

    async def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 if the driver cannot tell.

        Asked of the cluster, not of the consumer: that knows only topics of which it has
        a partition. Raises KafkaTimeout if there is no such topic within APPEAR_S.
        """
        admin = await self._running()
        describe = getattr(admin, "describe_topics", None)
        if describe is None:  # a driver that cannot tell
            return 0
        deadline = monotonic() + APPEAR_S
        while monotonic() < deadline:
            try:
                return len((await describe([topic]))[topic].partitions)
            except BrokerError as exc:
                if exc.code != UNKNOWN_TOPIC:
                    raise
            await asyncio.sleep(0.1)
        raise KafkaTimeout(f"topic {topic} has not appeared within {APPEAR_S:g} s")

    async def look(self) -> None:
        """Note which topics there are, before those that a pattern finds later."""
        async with self._lock:
            if self._older is None:
                self._older = frozenset(await (await self._running()).list_topics())

    def is_young(self, topic: str, by_name: bool) -> bool:
        """Say whether a topic, asked for by name or by a pattern, came to be after we looked."""
        if topic in self._appeared:
            return True
        return not by_name and self._older is not None and topic not in self._older

    async def _running(self) -> Any:
        if self._admin is None:
            admin = self._create_admin()
            await admin.start()
            self._admin = admin
        return self._admin

    async def stop(self) -> None:
        """Disconnect."""
        if self._admin is not None:
            await self._admin.stop()
