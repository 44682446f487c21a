"""Forwarding what one stream brings to a channel that another stream reads.

A `Relay` is a task of its own, so that forwarding goes on while the body of the
other stream is at work. What fails there (a key that cannot be found, a processor)
is raised where the other stream waits for its next event, with the event that it
failed on in hand: to the body, and to whoever runs it, it is a failure like any other.
The next time that stream is iterated, forwarding goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

from faustc.channels import Channel, Feed
from faustc.engine.inbox import Fault
from faustc.exceptions import NotReady
from faustc.operators import forward, maybe_await
from faustc.shelves import Spawn, current_shelf
from faustc.topics import Topic

__all__ = ["Relay"]


class Relay:
    """Iterates over a stream and sends each message on, with a new key if there is a way to one.

    An event is acknowledged when the next one is begun, and by then it is in the
    producer's buffer. A checkpoint flushes that before it commits, so no offset is
    committed whose message is not where it goes to. Through a channel in memory it is
    acknowledged together with what it became.
    """

    def __init__(
        self, source: Any, channel: Channel, key_of: Callable[[Any], Any] | None, what: str
    ) -> None:
        self._source = source
        self._channel = channel
        self._key_of = key_of
        self._what = what
        self._reader: Any = None
        self._tasks: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # by what they read from
        self._lock = asyncio.Lock()
        # Through memory: what is done here when the other stream is done with it, by
        # offset; and the offsets that it was done with before we knew.
        self._waiting: dict[int, list[tuple[Any, Any]]] = {}
        self._early: set[int] = set()
        self._sending = 0

    async def open(self) -> Any:
        """Return the reader of the channel, messages being sent on to it from now on."""
        shelf = current_shelf.get()
        if shelf is None:
            return await self._forwarding(self._source, _spawner(self._source.app))
        # Whoever came first, in this agent: its actors, and those of before it failed.
        what = self._what, self._source.label, self._channel.label
        relay = shelf.relays.setdefault(what, self)
        return await relay._forwarding(self._source, shelf.spawn)

    async def _forwarding(self, source: Any, spawn: Spawn) -> Any:
        async with self._lock:
            origin = await source.opened()
            if self._reader is None or self._reader.closed:
                await self._fit()
                self._reader = await source.app.runner.open_reader(self._channel)
                if isinstance(self._reader, Feed):
                    self._reader.on_ack = self._done
            # Actors that have a reader in common need one task for all of them.
            task = self._tasks.get(origin)
            if task is None or task.done():
                source._relayed, source.enable_acks = True, True
                work = self._run(source, origin)
                self._tasks[origin] = spawn(work, f"{self._what} {self._channel.label}")
        return self._reader

    async def _fit(self) -> None:
        """Let a topic that does not say how many partitions it has have those of the source."""
        channel, source = self._channel, self._source.channel
        if not (isinstance(channel, Topic) and isinstance(source, Topic) and channel.internal):
            return
        if channel.partitions is None and source.topics:
            count = self._source.app.runner.partition_count
            counts = [await count(topic) for topic in source.topics]
            channel.partitions = max(counts) or None

    async def _run(self, source: Any, origin: Any) -> None:
        channel, key_of = self._channel, self._key_of
        try:
            async with aclosing(source.__aiter__()) as values:
                async for value in values:
                    new_key = {} if key_of is None else {"key": await maybe_await(key_of(value))}
                    if isinstance(channel, Topic):
                        await forward(source, channel, value, **new_key)
                    else:
                        await self._through_memory(source, value, new_key)
        except Exception as exc:  # noqa: BLE001 - raised where the forwarded ones are read
            in_hand = source.let_go()
            self._reader.throw(
                exc, Fault(in_hand[0][0], in_hand[0][1], origin) if in_hand else None
            )

    async def _through_memory(self, source: Any, value: Any, new_key: dict[str, Any]) -> None:
        self._sending += 1
        try:
            sent = await forward(source, self._channel, value, **new_key)
        finally:
            self._sending -= 1
        offset = sent.result().offset
        self._waiting[offset] = source.let_go()
        if offset in self._early:
            self._done(offset)
        if not self._sending:
            self._early.clear()  # the others were sent by somebody else

    def _done(self, offset: int) -> None:
        """Acknowledge what went through memory: nobody else has it, and a crash would lose it."""
        if offset not in self._waiting:
            if self._sending:
                self._early.add(offset)
            return
        for ledger, message in self._waiting.pop(offset):
            ledger.ack(message.offset)

    def end(self) -> None:
        """Let nobody read any more of what was forwarded."""
        if self._reader is not None:
            self._reader.close()

    def close(self) -> None:
        """Forward no more, and read no more."""
        for task in self._tasks.values():
            task.cancel()
        if self._reader is not None:
            self._source.app.runner.close_reader(self._channel, self._reader)


def _spawner(app: Any) -> Spawn:
    if not app.started:
        raise NotReady(f"app {app.conf.id} has to be started before messages are forwarded")
    return lambda work, name: app.add_future(work, name=name)
