"""A partition on its own, its clock, and batches to put into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faustc._native.batch import Message, decode
from faustc._native.builder import BatchBuilder
from faustc.broker.log import Log
from faustc.broker.partition import Partition
from faustc.broker.segment import Segment
from faustc.broker.storage import OpenFiles
from faustc.broker.topic_config import TopicConfig
from faustc.types import TopicPartition

NOW_MS = 1_700_000_000_000
Pair = tuple[bytes | None, bytes | None]


class Clock:
    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> int:
        return self.ms


class Rig:
    """A partition that can be closed and opened again, as over a restart."""

    def __init__(self, folder: Path | None = None, **config: str) -> None:
        self.folder = folder
        self.clock = Clock()
        self.config = TopicConfig({k.replace("_", "."): v for k, v in config.items()})
        self.closed: list[Segment] = []
        self.partition = self._open()

    def _open(self) -> Partition:
        log = Log(self.folder, OpenFiles(), self.config, on_close=self.closed.append)
        partition = Partition(TopicPartition("t", 0), log, self.config, self.clock)
        partition.open()
        return partition

    def reopen(self) -> Partition:
        """As after kill -9: nothing is said to the old one, its descriptors just go."""
        self.partition.log.close()
        self.closed.clear()
        self.partition = self._open()
        return self.partition

    def seal(self) -> None:
        """Do what the flusher does with closed segments."""
        for segment in self.closed:
            if self.folder is not None:
                segment.seal(segment.storage.path)  # type: ignore[attr-defined]
            segment.is_sealed = True
        self.closed.clear()

    def put(self, *pairs: Pair, **options: object) -> int:
        return self.partition.append(
            batch(pairs, timestamp_ms=self.clock.ms, **options)  # type: ignore[arg-type]
        ).base_offset

    def messages(self) -> list[Message]:
        """Everything that a consumer would read from the start on."""
        return read_all(self.partition)

    def values(self) -> list[bytes | None]:
        return [m.value for m in self.messages()]


def batch(
    pairs: Sequence[Pair],
    *,
    timestamp_ms: int = NOW_MS,
    codec: str | None = None,
    producer: tuple[int, int, int] = (-1, -1, -1),
    transactional: bool = False,
) -> bytes:
    builder = BatchBuilder(
        codec,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
        transactional=transactional,
    )
    for key, value in pairs:
        builder.append(key, value, timestamp_ms)
    return builder.seal()


def read_all(partition: Partition, *, committed: bool = False) -> list[Message]:
    """Read by spans as Fetch does, without markers; positions go on behind each batch."""
    found: list[Message] = []
    offset = partition.log_start
    while True:
        span = partition.span(offset, 4096, committed=committed, whole=True)
        if span is None:
            return found
        for each in decode(span.read(), allow_partial=True):
            if not each.is_control:
                found += each.messages(offset)
            offset = each.last_offset + 1
