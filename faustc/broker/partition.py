"""One partition: what may be appended to it, who waits for it, which offsets are stable.

The only replica and always the leader, so that what is appended is at once what
readers may see: the end of the log is the high watermark, the leader epoch is 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from faustc._native.batch import Batch, decode
from faustc.broker import batches
from faustc.broker.batches import HEADER_BYTES, Head, head_at
from faustc.broker.log import Log, Span
from faustc.broker.producers import Producers, Refused
from faustc.broker.segment import Place, Segment
from faustc.broker.topic_config import TopicConfig
from faustc.client.codes import (
    CORRUPT_MESSAGE,
    INVALID_RECORD,
    INVALID_TIMESTAMP,
    MESSAGE_TOO_LARGE,
    UNSUPPORTED_FOR_MESSAGE_FORMAT,
)
from faustc.exceptions import CorruptFrame, UnsupportedCodec
from faustc.types import TopicPartition

LEADER_EPOCH = 0
# Compressed records are opened once, to be sure that readers can; more than this no client takes.
_MAX_OPENED_BYTES = 128 * 1024 * 1024


class Appended(NamedTuple):
    """Where a batch went; append_ms is -1 unless the broker stamped it."""

    base_offset: int
    append_ms: int


class Partition:
    """Appends and reads of one partition. `open` before anything else."""

    leader_epoch = LEADER_EPOCH

    def __init__(
        self, tp: TopicPartition, log: Log, config: TopicConfig, now_ms: Callable[[], int]
    ) -> None:
        self.tp = tp
        self.log = log
        self.config = config
        self.producers = Producers()
        self._now_ms = now_ms
        self._watchers: set[asyncio.Future[None]] = set()
        # A compaction of this partition that is under way, or how far the last one got.
        self.cleaned_to = 0
        self.is_deleted = False

    def open(self) -> None:
        """Read the log's headers: offsets, producers, transactions. Raises OSError."""
        now_ms = self._now_ms()
        for segment, place in self.log.open():
            if place.head.producer_id >= 0:
                self._replay(segment, place, now_ms)
        self.producers.forget_before(self.log.start)

    def _replay(self, segment: Segment, place: Place, now_ms: int) -> None:
        head = place.head
        if not head.is_control:
            self.producers.note(head, now_ms)
            return
        committed = batches.is_commit(segment.batch(place))
        self.producers.note_marker(
            head.producer_id, head.producer_epoch, committed, head.base_offset, now_ms
        )

    # -- offsets

    @property
    def log_start(self) -> int:
        """The first offset that can be read."""
        return self.log.start

    @property
    def log_end(self) -> int:
        """The offset of the next message; also the high watermark."""
        return self.log.end

    @property
    def last_stable_offset(self) -> int:
        """The offset before which every transaction has ended."""
        first = self.producers.first_open()
        return self.log.end if first < 0 else min(first, self.log.end)

    @property
    def open_transactions(self) -> Mapping[int, int]:
        """Producer ids with a transaction open here, and the offset where it began."""
        return self.producers.open_transactions

    # -- appending

    def append(self, records: bytes | None) -> Appended:
        """Append what a Produce request holds for this partition: one batch.

        A batch that the producer sent before is answered with its old offset. Raises
        Refused with Kafka's code, or OSError.
        """
        head = self._checked(records)
        assert records is not None
        now_ms = self._now_ms()
        if head.producer_id >= 0:
            before = self.producers.check(head)
            if before is not None:
                stamp_ms = before.timestamp_ms if self.config.stamps else -1
                return Appended(before.base_offset, stamp_ms)
        codec = self.config.codec
        if codec is not None and head.attributes & batches.CODEC_BITS != codec:
            records = batches.repacked(records, head, codec)
        stamp_ms = -1
        if self.config.stamps:
            stamp_ms = now_ms
            records = batches.stamped(records, now_ms)
        self._append(records, now_ms)
        return Appended(self.log.end - head.last_offset_delta - 1, stamp_ms)

    def append_marker(self, producer_id: int, epoch: int, committed: bool) -> int:
        """Append the end of a producer's transaction and return its offset.

        Without an open transaction the marker is written all the same, and fences
        lower epochs. Raises OSError.
        """
        now_ms = self._now_ms()
        offset = self.log.end
        self._append(batches.marker(producer_id, epoch, committed, now_ms), now_ms)
        return offset

    def _append(self, records: bytes, now_ms: int) -> None:
        batch = batches.placed(records, self.log.end, LEADER_EPOCH)
        head = head_at(batch)
        self.log.append(head, batch, now_ms)
        if head.is_control:
            self.producers.note_marker(
                head.producer_id,
                head.producer_epoch,
                batches.is_commit(batch),
                head.base_offset,
                now_ms,
            )
        elif head.producer_id >= 0:
            self.producers.note(head, now_ms)
        self.wake()

    def _checked(self, records: bytes | None) -> Head:
        """Return the header of a batch that may be stored; raises Refused."""
        if not records:
            raise Refused(INVALID_RECORD, "a produce request without records")
        if len(records) > self.config.max_message_bytes:
            raise Refused(
                MESSAGE_TOO_LARGE,
                f"{len(records)} bytes, max.message.bytes is {self.config.max_message_bytes}",
            )
        if len(records) > 16 and records[16] in (0, 1):
            raise Refused(UNSUPPORTED_FOR_MESSAGE_FORMAT, f"message format {records[16]}")
        try:
            found = decode(records, max_decompressed=_MAX_OPENED_BYTES)
        except CorruptFrame as exc:
            raise Refused(CORRUPT_MESSAGE, str(exc)) from exc
        if len(found) != 1 or len(records) < HEADER_BYTES:
            raise Refused(INVALID_RECORD, f"{len(found)} batches, one is taken at a time")
        head = head_at(records)
        if head.is_control:
            raise Refused(INVALID_RECORD, "control batches are the broker's to write")
        if head.record_count != head.last_offset_delta + 1 or not head.record_count:
            raise Refused(INVALID_RECORD, f"{head.record_count} records for other offsets")
        if head.producer_id >= 0 and (head.base_sequence < 0 or head.producer_epoch < 0):
            raise Refused(INVALID_RECORD, "a producer id without epoch or sequence")
        if head.is_transactional and head.producer_id < 0:
            raise Refused(INVALID_RECORD, "a transactional batch without producer id")
        self._check_records(found[0])
        self._check_times(head)
        return head

    def _check_records(self, batch: Batch) -> None:
        """Open the records: what readers cannot read must not be in a log."""
        try:
            messages = batch.messages()
        except (CorruptFrame, UnsupportedCodec) as exc:
            raise Refused(CORRUPT_MESSAGE, str(exc)) from exc
        if self.config.compacts and any(m.serialized_key_size < 0 for m in messages):
            raise Refused(INVALID_RECORD, "a compacted topic wants a key on every message")

    def _check_times(self, head: Head) -> None:
        if head.attributes & batches.LOG_APPEND_BIT:
            raise Refused(INVALID_TIMESTAMP, "log-append time is the broker's to set")
        if self.config.stamps:
            return
        age_ms = self._now_ms() - head.max_timestamp
        if age_ms < -self.config.timestamp_after_ms:
            limit_ms = self.config.timestamp_after_ms
            raise Refused(INVALID_TIMESTAMP, f"{-age_ms} ms in the future, at most {limit_ms}")
        if head.max_timestamp >= 0 and age_ms > self.config.timestamp_before_ms:
            limit_ms = self.config.timestamp_before_ms
            raise Refused(INVALID_TIMESTAMP, f"{age_ms} ms old, at most {limit_ms}")

    # -- reading

    def span(self, offset: int, max_bytes: int, *, committed: bool, whole: bool) -> Span | None:
        """Return where the batches from offset on are, None when there are none yet.

        committed: none behind the last stable offset. whole: as Log.span has it.
        """
        end = self.last_stable_offset if committed else self.log.end
        return self.log.span(offset, max_bytes, end, whole=whole)

    # -- waiting

    def watch(self, watcher: asyncio.Future[None]) -> None:
        """Resolve the future when something is appended, or the partition goes."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: asyncio.Future[None]) -> None:
        """Forget the future."""
        self._watchers.discard(watcher)

    def wake(self) -> None:
        """Resolve what waits for this partition."""
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    # -- dropping

    def delete_before(self, offset: int) -> None:
        """Drop what lies before an offset; raises OSError."""
        self.log.delete_before(offset)
        self.producers.forget_before(self.log.start)

    def retain(self, now_ms: int) -> None:
        """Drop what is too old or too much, if the topic's policy says so."""
        if self.config.deletes:
            self.log.retain(now_ms)
            self.producers.forget_before(self.log.start)

    def close(self) -> None:
        """Wake who waits, and close the files."""
        self.is_deleted = True
        self.wake()
        self.log.close()
