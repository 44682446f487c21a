"""Who is told what happens: what the engine knows of an app's sensors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, Protocol

from faustc.engine.observed import ObservedProducer, Pending
from faustc.types import TopicPartition

__all__ = ["Sensors", "Telling", "Unobserved"]


class Sensors(Protocol):
    """Told of what happens once a batch, a request or a rebalance."""

    def on_topic_buffer_full(self, tp: TopicPartition) -> None: ...
    def on_commit_initiated(self, consumer: Any) -> Any: ...
    def on_commit_completed(self, consumer: Any, state: Any) -> None: ...
    def on_assignment_start(self, assignor: Any) -> Any: ...
    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None: ...
    def on_assignment_completed(self, assignor: Any, state: Any) -> None: ...
    def on_rebalance_start(self) -> Any: ...
    def on_rebalance_return(self, *, state: Any) -> None: ...
    def on_rebalance_end(self, *, state: Any) -> None: ...


class Unobserved:
    """Stands for sensors where there are none."""

    def on_topic_buffer_full(self, tp: TopicPartition) -> None: ...

    def on_commit_initiated(self, consumer: Any) -> Any: ...

    def on_commit_completed(self, consumer: Any, state: Any) -> None: ...

    def on_assignment_start(self, assignor: Any) -> Any: ...

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None: ...

    def on_assignment_completed(self, assignor: Any, state: Any) -> None: ...

    def on_rebalance_start(self) -> Any: ...

    def on_rebalance_return(self, *, state: Any) -> None: ...

    def on_rebalance_end(self, *, state: Any) -> None: ...


class Partitions(Protocol):
    """What is to be known of an assignment."""

    @property
    def topics(self) -> Collection[str]: ...
    def full(self) -> Collection[TopicPartition]: ...
    def readers_of(self, topic: str) -> Collection[Any]: ...

    new_ledger: Callable[[TopicPartition], Any] | None


class Telling:
    """Tells sensors of rebalances and of readers that have no room."""

    def __init__(self, sensors: Sensors, assignment: Partitions) -> None:
        self.sensors = sensors
        self.full: frozenset[TopicPartition] = frozenset()
        self._assignment = assignment
        self._rebalance: tuple[Any] | None = None  # what the sensors said at its start

    def of_messages(self) -> None:
        """Have ledgers tell of every message from now on, if some sensor wants that."""
        sensors: Any = self.sensors
        wanted = getattr(sensors, "wants_messages", False)
        self._assignment.new_ledger = (
            Pending(sensors, self._assignment.readers_of).ledger if wanted else None
        )

    def producer(self, producer: Any) -> Any:
        """Return the producer to use: one that tells of every send, if some sensor wants that."""
        sensors: Any = self.sensors
        wanted = getattr(sensors, "wants_sends", False)
        return ObservedProducer(producer, sensors) if wanted else producer

    def of_full(self) -> None:
        """Tell of partitions whose readers have no room, and had some when last looked at."""
        topics = self._assignment.topics
        full = frozenset(tp for tp in self._assignment.full() if tp.topic in topics)
        for tp in full - self.full:
            self.sensors.on_topic_buffer_full(tp)
        self.full = full

    def of_rebalance(self) -> None:
        """Tell that a rebalance began, unless one is under way."""
        if self._rebalance is None:
            self._rebalance = (self.sensors.on_rebalance_start(),)

    @asynccontextmanager
    async def of_assignment(self, consumer: Any) -> AsyncIterator[None]:
        """Tell of partitions that came, what is done with them in between, and how that ended."""
        self.of_rebalance()
        assert self._rebalance is not None
        (rebalance,), self._rebalance = self._rebalance, None
        self.sensors.on_rebalance_return(state=rebalance)
        opening = self.sensors.on_assignment_start(consumer)
        try:
            yield
        except BaseException as exc:
            self.sensors.on_assignment_error(consumer, opening, exc)
            raise
        self.sensors.on_assignment_completed(consumer, opening)
        self.sensors.on_rebalance_end(state=rebalance)
