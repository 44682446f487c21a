"""Moves batches from the fetcher to the inboxes of those who read them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faustc.engine.assignment import Assignment
from faustc.engine.counters import Counters
from faustc.engine.observing import Telling
from faustc.types import TopicPartition

__all__ = ["pump"]

# How long one fetch waits while some inbox is full: that partition has to be asked for
# again as soon as there is room, though the others have nothing new.
POLL_WHILE_FULL_MS = 10
# While every inbox is full, the group is told this often that we are alive.
ALIVE_S = 1.0
# A partition that is nobody's: asking for it asks for nothing.
NOWHERE = TopicPartition("", -1)


async def pump(
    consumer: Any,
    assignment: Assignment,
    counters: Counters,
    telling: Telling,
    room: asyncio.Event,
    poll_ms: int,
    overfull: Callable[[], bool],
) -> None:
    """Move batches for ever: one await per answer, not per message.

    A partition that a reader has no room for is not asked for, so it fills
    up in the fetcher, which then stops fetching it, and no other. room is set when a
    reader has taken something, or a commit is through. While it is overfull nothing is moved:
    what the messages would change has no room before the next commit.
    """
    while True:
        room.clear()
        wanted = [] if overfull() else assignment.hungry()
        if not wanted:
            telling.of_full()
            try:
                async with asyncio.timeout(ALIVE_S):
                    await room.wait()
            except TimeoutError:
                await consumer.getbatches(NOWHERE, timeout_ms=0)
            continue
        full = len(wanted) < len(assignment.partitions)
        if full or telling.full:
            telling.of_full()
        fetched = await consumer.getbatches(
            *wanted, timeout_ms=POLL_WHILE_FULL_MS if full else poll_ms
        )
        for tp, batches in fetched.items():
            assignment.put(tp, batches)
            count = sum(map(len, batches))
            counters.messages_received_total += count
            counters.messages_received_by_topic[tp.topic] += count
            if batches:
                counters.note_read(tp, batches[-1].next_offset - 1)
            counters.bytes_received_total += sum(batch.size_bytes for batch in batches)
