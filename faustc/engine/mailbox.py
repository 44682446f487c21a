"""Reading a topic for this process alone: from its end, without a group, nothing committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from faustc.engine.nursery import Nursery
from faustc.exceptions import ConsumerNotStarted, KafkaTimeout

__all__ = ["Deliver", "Mailbox", "Mailboxes"]

# Waking up in vain costs little, and nothing waits for it: messages wake it up by themselves.
POLL_MS = 5000
# How often the metadata is looked at while a topic that was just made appears in it.
LOOK_AGAIN_S = 0.02

Deliver = Callable[[Sequence[Any]], None]


class Mailbox:
    """Hands every message that comes to a topic, from `start` on, to a function.

    All partitions, wherever their messages are keyed to. The function is called
    on the loop, once per batch; it must not block, and what it raises ends `run`.
    """

    def __init__(self, consumer: Any, topic: str, deliver: Deliver) -> None:
        self.topic = topic
        self._consumer = consumer
        self._deliver = deliver

    async def start(self, timeout_s: float) -> None:
        """Begin: what is sent once this has returned is delivered.

        Raises what the consumer's start does, KafkaTimeout if the topic does not appear.
        """
        consumer, loop = self._consumer, asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        consumer.subscribe(topics=[self.topic])
        await consumer.start(timeout_s)
        try:
            while not consumer.assignment():
                if loop.time() >= give_up_at:
                    raise KafkaTimeout(f"topic {self.topic} is not there after {timeout_s:g} s")
                await asyncio.sleep(LOOK_AGAIN_S)
            for tp in consumer.assignment():
                # "From the end" means the end of now, not that of the first fetch.
                await consumer.position(tp)
        except BaseException:
            await self.stop()
            raise

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            fetched = await self._consumer.getbatches(timeout_ms=POLL_MS)
            for batches in fetched.values():
                for batch in batches:
                    self._deliver(batch.messages())

    async def positions(self) -> dict[Any, int]:
        """Return how far each partition is delivered."""
        return {tp: await self._consumer.position(tp) for tp in self._consumer.assignment()}

    async def stop(self) -> None:
        """Read no more."""
        await self._consumer.stop()


class Mailboxes:
    """The mailboxes of one engine: opened while it runs, stopped with it."""

    def __init__(self, nursery: Nursery, timeout_s: float) -> None:
        self._nursery = nursery
        self._timeout_s = timeout_s
        self._open: list[Mailbox] = []
        self._stopped = False

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(self._open)

    async def open(self, mailbox: Mailbox) -> None:
        """Start one, and have it run; raises as its `start` does."""
        await mailbox.start(self._timeout_s)
        if self._stopped:
            await mailbox.stop()
            raise ConsumerNotStarted(f"{mailbox.topic} is not read: the app has stopped")
        self._open.append(mailbox)
        self._nursery.spawn(mailbox.run(), f"mailbox {mailbox.topic}", vital=True)

    async def stop(self) -> None:
        """Stop all, for good."""
        self._stopped = True
        for mailbox in self._open:
            await mailbox.stop()
