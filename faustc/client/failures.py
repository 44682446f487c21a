"""How many messages were given up, and whether anybody knows."""

from __future__ import annotations

from collections.abc import Callable

from faustc.exceptions import DeliveryFailed, KafkaError


class Failures:
    """Messages that were given up: how many ever, and those nobody has looked at since a flush.

    Looking is awaiting a Delivery, or asking it for its result or exception.
    """

    __slots__ = ("first", "listener", "round", "total", "unseen")

    def __init__(self) -> None:
        self.total = 0
        self.unseen = 0
        self.first: KafkaError | None = None
        self.round = 0
        self.listener: Callable[[KafkaError], None] | None = None  # told of each

    def add(self, messages: int, looked_at: int, error: KafkaError) -> None:
        """Count messages given up for one reason; looked_at of them have somebody waiting."""
        self.total += messages
        if self.listener is not None:
            self.listener(error)
        if messages > looked_at:
            self.unseen += messages - looked_at
            if self.first is None:
                self.first = error

    def seen(self, round_: int) -> None:
        """Somebody looked at one message that was counted as unseen in that round."""
        if round_ == self.round and self.unseen:
            self.unseen -= 1

    def take(self) -> DeliveryFailed | None:
        """Return what to raise for the unseen ones, if there are any, and start a new round."""
        count, first = self.unseen, self.first
        self.unseen, self.first = 0, None
        self.round += 1
        if not count or first is None:
            return None
        failure = DeliveryFailed(
            f"{count} message{'s' if count > 1 else ''} not written since the last flush; "
            f"the first: {first}",
            topic=getattr(first, "topic", None),
            partition=getattr(first, "partition", None),
        )
        failure.__cause__ = first
        return failure
