"""Sends that wait for the event they were made for: `stream_publish_on_commit`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from faustc.exceptions import DeliveryFailed, FaustError
from faustc.types import FutureMessage, TopicPartition

__all__ = ["Attachments"]

Send = Callable[[FutureMessage], Awaitable[Any]]


class Attachments:
    """Messages by the partition and offset of their event, in the order they were sent.

    They go out when the position that is about to be committed is past their event, so
    of an event that was not finished nothing is ever seen. They are forgotten with their
    partition: the next owner's run of the event makes them again.
    """

    def __init__(self) -> None:
        self._held: dict[TopicPartition, list[tuple[int, FutureMessage, Send]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def put(self, tp: TopicPartition, offset: int, promise: FutureMessage, send: Send) -> None:
        """Keep a message until its event is done."""
        self._held.setdefault(tp, []).append((offset, promise, send))

    async def publish(self, positions: Mapping[TopicPartition, int]) -> None:
        """Send what belongs to events below these positions; raises DeliveryFailed."""
        for tp, position in positions.items():
            held = self._held.get(tp, [])
            self._held[tp] = [entry for entry in held if entry[0] >= position]
            for offset, promise, send in held:
                if offset >= position:
                    continue
                try:
                    await send(promise)
                except (FaustError, TypeError, ValueError) as exc:
                    promise.set_exception(exc)
                    raise DeliveryFailed(f"a message was not sent: {exc}") from exc

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop what belongs to partitions that are no longer ours; who awaits it is told."""
        for tp in partitions:
            for _, promise, _ in self._held.pop(tp, ()):
                promise.set_exception(
                    DeliveryFailed(
                        f"{tp.topic}/{tp.partition} went to another worker before its event was "
                        "done, which makes the message again"
                    )
                )
