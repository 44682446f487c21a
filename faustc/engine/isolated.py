"""A reader in parts: each partition has one of its own, which knows nothing of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from faustc.engine.inbox import Fault, Inbox, Reader, SharedBatch
from faustc.engine.ledger import Ledger
from faustc.types import TopicPartition

__all__ = ["IsolatedReader"]


class IsolatedReader(Reader):
    """Gives each partition that comes a reader, and ends that when the partition goes.

    on_open is told of each new one. They are bounded by themselves, so a partition whose
    reader is slow holds up no other.
    """

    def __init__(
        self,
        name: str,
        topics: Iterable[str],
        on_open: Callable[[TopicPartition, Reader], None],
        **options: Any,
    ) -> None:
        super().__init__(name, topics, **options)
        self._options = {**options, "pattern": None}
        self._on_open = on_open
        self._parts: dict[TopicPartition, Reader] = {}

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        return frozenset(self._parts)

    @property
    def parts(self) -> dict[TopicPartition, Reader]:
        """The readers by partition, of those that are ours."""
        return dict(self._parts)

    def inbox(self, tp: TopicPartition) -> Inbox | None:
        part = self._parts.get(tp)
        return None if part is None else part.inbox(tp)

    def open(self, tp: TopicPartition) -> Inbox:
        part = Reader(f"{self.name} of {tp.topic}/{tp.partition}", [tp.topic], **self._options)
        part.on_take = self._taken
        part.on_unreadable = self.on_unreadable
        part.new_ledger = self.new_ledger
        part.on_done = self.on_done
        self._parts[tp] = part
        inbox = part.open(tp)
        if self.closed:
            part.close()
        else:
            self._on_open(tp, part)
        return inbox

    def _taken(self, count: int) -> None:
        self.taken_total += count
        if self.on_take is not None:
            self.on_take(count)

    def stop(self, tp: TopicPartition) -> None:
        part = self._parts.get(tp)
        if part is not None:
            part.stop(tp)

    def drop(self, tp: TopicPartition) -> None:
        part = self._parts.pop(tp, None)
        if part is not None:
            part.drop(tp)
            part.close()

    def put(self, tp: TopicPartition, batches: Sequence[SharedBatch]) -> None:
        self._parts[tp].put(tp, batches)

    def stopped(self, tp: TopicPartition) -> bool:
        part = self._parts.get(tp)
        return part is None or part.stopped(tp)

    def owns(self, ledger: Any) -> bool:
        return any(part.owns(ledger) for part in self._parts.values())

    def throw(self, error: BaseException, fault: Fault | None = None) -> None:
        for part in self._parts.values():
            part.throw(error, fault)

    def give_back(self, messages: Sequence[tuple[Ledger, Any]]) -> None:
        for part in self._parts.values():
            part.give_back([one for one in messages if part.owns(one[0])])

    def close(self) -> None:
        """End every part; acknowledgements are still taken."""
        super().close()
        for part in self._parts.values():
            part.close()
