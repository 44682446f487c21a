"""The cursors that have something to hand out, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from faustc._native.message import Message
from faustc.client.cursors import Cursor, FetchedBatch
from faustc.types import TopicPartition

TPs = Collection[TopicPartition]

# Without a limit of the user's, no more batches are opened once the messages take this much: a
# megabyte that was well compressed can be a hundred once it is messages.
PLENTY_BYTES = 4 * 1024 * 1024


class Ready:
    """A queue of cursors: the one that was served longest ago is first.

    Naming no partitions means all of them. Whoever takes gets what waits,
    up to a limit; a failed partition raises its error when it is its turn,
    but what others have is never thrown away for it.
    """

    def __init__(self) -> None:
        self._cursors: dict[TopicPartition, Cursor] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    def note(self, cursor: Cursor) -> None:
        """Queue a cursor, or drop it, as it has something to hand out or not."""
        if not cursor.ready:
            self._cursors.pop(cursor.tp, None)
        elif cursor.tp not in self._cursors:
            self._cursors[cursor.tp] = cursor

    def take(self, tps: TPs, limit: int | None) -> dict[TopicPartition, list[Message]]:
        """Return the messages that wait: at most limit in all, or about PLENTY_BYTES of them."""
        out: dict[TopicPartition, list[Message]] = {}
        left = PLENTY_BYTES if limit is None else limit
        for cursor in self._turns(tps):
            if limit is None:
                messages, size = cursor.take_opened(left)
            else:
                messages = cursor.take_messages(left)
                size = len(messages)
            self.served(cursor)
            if messages:
                out[cursor.tp] = messages
                left -= size
                if left <= 0:
                    break
            elif cursor.error is not None:
                if not out:
                    raise cursor.error
                break
        return out

    def take_batches(
        self, tps: TPs, max_bytes: int | None
    ) -> dict[TopicPartition, list[FetchedBatch]]:
        """Return whole batches, at least one, then up to max_bytes in all (as on the wire)."""
        out: dict[TopicPartition, list[FetchedBatch]] = {}
        left = max_bytes
        for cursor in self._turns(tps):
            batches = cursor.take_batches(left)
            self.served(cursor)
            if batches:
                out[cursor.tp] = batches
                if left is not None:
                    left -= sum(batch.size_bytes for batch in batches)
                    if left <= 0:
                        break
            elif cursor.error is not None:
                if not out:
                    raise cursor.error
                break
        return out

    def take_one(self, tps: TPs) -> tuple[Cursor, Message] | None:
        """Return one message and its cursor; a partition is served for a batch at a time."""
        for cursor in self._turns(tps):
            message = cursor.take_one()
            if not cursor.in_batch:
                self.served(cursor)
            if message is not None:
                return cursor, message
            if cursor.error is not None:
                raise cursor.error
        return None

    def _turns(self, tps: TPs) -> list[Cursor]:
        if not tps:
            return list(self._cursors.values())
        wanted = tps if len(tps) < 4 else frozenset(tps)
        return [cursor for tp, cursor in self._cursors.items() if tp in wanted]

    def served(self, cursor: Cursor) -> None:
        """Send a cursor to the end of the queue, or away if nothing is left."""
        self._cursors.pop(cursor.tp, None)
        self.note(cursor)

    async def wait(self, timeout_s: float) -> None:
        """Wait until something may have changed, at most timeout_s."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(timeout_s, _settle, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)

    def wake(self) -> None:
        """End every `wait`."""
        for waiter in self._waiters:
            _settle(waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
