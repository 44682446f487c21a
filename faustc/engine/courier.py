"""Sending to topics that others create, and may have deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from faustc.engine.counters import Counters
from faustc.exceptions import BrokerError

__all__ = ["Courier"]

# Who made a topic and has just told us has made it; this is for brokers to tell each other.
PATIENCE_S = 5.0
# One that is not there is not waited for again by everyone who sends to it.
ABSENT_S = 30.0


class Courier:
    """Sends to topics that are not ours to create; what for one that is gone is refused soon."""

    def __init__(self, start_producer: Callable[[], Awaitable[Any]], counters: Counters) -> None:
        self._start_producer = start_producer
        self._counters = counters
        self._known: set[str] = set()
        self._absent: dict[str, tuple[BrokerError, float]] = {}  # why, and until when

    async def send(self, topic: str, value: bytes) -> Any:
        """Send a message, as a producer does; raises BrokerError if the topic is not there."""
        producer = await self._start_producer()
        if topic not in self._known:
            await self._look_for(topic, producer)
        self._counters.messages_sent_by_topic[topic] += 1
        return await producer.send(topic, value)

    async def _look_for(self, topic: str, producer: Any) -> None:
        loop = asyncio.get_running_loop()
        if topic in self._absent:
            error, until = self._absent[topic]
            if loop.time() < until:
                raise BrokerError(error.code, error.name, error.detail)
        look = getattr(producer, "partitions_for", None)  # not every driver can tell
        if look is not None:
            try:
                await look(topic, PATIENCE_S)
            except BrokerError as exc:
                self._absent[topic] = exc, loop.time() + ABSENT_S
                raise
        self._absent.pop(topic, None)
        self._known.add(topic)
