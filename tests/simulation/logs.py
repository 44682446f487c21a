"""What is in the logs of one topic, read as they grow: each message, and whether it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from faustc._native.batch import decode
from faustc.broker.broker import Broker
from faustc.types import TopicPartition

__all__ = ["Logs", "Written"]

COMMIT = 1
READ_BYTES = 1 << 20


@dataclass
class Written:
    """One message, and by which producer; committed unless its transaction is open, or aborted."""

    tp: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]
    producer: tuple[int, int]
    committed: bool
    aborted: bool = False


class Logs:
    """The logs of a topic, as far as they were read. Independent of how workers read them."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker = broker
        self.topic = topic
        self.messages: dict[TopicPartition, list[Written]] = {}
        self._at: dict[TopicPartition, int] = {}
        self._open: dict[tuple[TopicPartition, int], list[Written]] = {}

    def __iter__(self) -> Iterator[Written]:
        for messages in self.messages.values():
            yield from messages

    def read(self) -> list[Written]:
        """Read what is new; return messages that became visible to who reads only committed."""
        found: list[Written] = []
        topic = self._broker.topics.get(self.topic)
        for partition in [] if topic is None else topic.partitions:
            tp = partition.tp
            at = self._at.get(tp, partition.log_start)
            while (
                at < partition.log_end
                and (span := partition.span(at, READ_BYTES, committed=False, whole=True))
                is not None
            ):
                for batch in decode(span.read(), topic=tp.topic, partition=tp.partition,
                                    allow_partial=True):  # fmt: skip
                    found += self._take(tp, batch, at)
                    at = batch.last_offset + 1
            self._at[tp] = at
        return found

    def _take(self, tp: TopicPartition, batch: object, at: int) -> list[Written]:
        if batch.is_control:  # type: ignore[attr-defined]
            held = self._open.pop((tp, batch.producer_id), [])  # type: ignore[attr-defined]
            commits = batch.control_type == COMMIT  # type: ignore[attr-defined]
            for message in held:
                message.committed, message.aborted = commits, not commits
            return held if commits else []
        plain = not batch.is_transactional  # type: ignore[attr-defined]
        producer = (batch.producer_id, batch.producer_epoch)  # type: ignore[attr-defined]
        new = [
            Written(tp, m.offset, m.key, m.value, dict(m.headers), producer, plain)
            for m in batch.messages(at)  # type: ignore[attr-defined]
        ]
        self.messages.setdefault(tp, []).extend(new)
        if plain:
            return new
        self._open.setdefault((tp, producer[0]), []).extend(new)
        return []
