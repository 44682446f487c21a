"""Keeps the last value of each key (cleanup.policy=compact), as tables are recovered from it.

Only closed segments are cleaned, only up to the last stable offset, one by one from
the oldest on: a crash in between leaves older values fewer, never newer ones. Offsets
and the raw bytes of each message stay as they are. What goes:

- a message whose key has a later one, or that was aborted, or that has no key;
- a message without value, delete.retention.ms after its segment was written;
- a marker, when nothing of its transaction is left and the same time has passed: who
  reads on from the middle of that transaction has to see how it ended.

A producer's last batch stays, if only as a header, since its sequence must outlive a
restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from faustc._native.batch import Message, decode
from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED, compress, decompress
from faustc.broker.batches import CODEC_BITS, HEADER_BYTES, Head, head_at, rebuilt
from faustc.broker.partition import Partition
from faustc.broker.producers import Aborted
from faustc.broker.segment import SUM_SUFFIX, Place, Segment
from faustc.broker.storage import FileStorage, MemoryStorage, OpenFiles
from faustc.exceptions import KafkaError

logger = logging.getLogger(__name__)

CLEANED_SUFFIX = ".cleaned"


def wants_compaction(partition: Partition, now_ms: int) -> bool:
    """Return whether so much was written since the last time that cleaning is worth it."""
    if not partition.config.compacts:
        return False
    segments = _cleanable(partition, now_ms)
    dirty = sum(s.size for s in segments if s.base_offset >= partition.cleaned_to)
    total = sum(s.size for s in segments)
    return dirty > 0 and dirty >= total * partition.config.min_cleanable_ratio


def _cleanable(partition: Partition, now_ms: int) -> list[Segment]:
    """Return the segments from the oldest on that nobody will change any more."""
    found = []
    stable = partition.last_stable_offset
    lag_ms = partition.config.min_compaction_lag_ms
    for segment in partition.log.segments[:-1]:
        if isinstance(segment.storage, FileStorage) and not segment.is_sealed:
            break
        if segment.next_offset > stable or now_ms - segment.written_ms < lag_ms:
            break
        found.append(segment)
    return found


@dataclass
class Plan:
    """What a cleaning needs to know, taken before it leaves the loop's thread."""

    segments: list[Segment]
    aborted: list[Aborted]
    # producer id -> the last offset of its last batch, and of anything it has here
    last_batch: dict[int, int]
    last_seen: dict[int, int]
    # What was written before this has been there for delete.retention.ms.
    settled_ms: int
    latest: dict[bytes, int] = field(default_factory=dict)
    # Producers whose current transaction still has a message.
    alive: set[int] = field(default_factory=set)


async def compact_partition(partition: Partition, now_ms: int, *, threaded: bool) -> None:
    """Clean a partition's closed segments; threaded leaves the loop free meanwhile.

    Raises OSError; what was not cleaned then is as it was.
    """
    plan = _plan(partition, now_ms)
    if not plan.segments:
        return
    before = sum(segment.size for segment in plan.segments)
    try:
        if threaded:
            loop = asyncio.get_running_loop()
            fresh = await loop.run_in_executor(None, _clean_files, plan)
        else:
            fresh = _clean_memory(plan)
    except FileNotFoundError:
        return  # retention or a deletion was faster: next time there is less to clean
    except KafkaError as exc:
        logger.error("Cannot compact %s/%d: %s", *partition.tp, exc)
        partition.cleaned_to = plan.segments[-1].next_offset
        return
    for old, new in zip(plan.segments, fresh, strict=True):
        _swap(partition, old, new)
    partition.cleaned_to = plan.segments[-1].next_offset
    after = sum(segment.size for segment in fresh)
    logger.info("Compacted %s/%d from %d to %d bytes", *partition.tp, before, after)


def _plan(partition: Partition, now_ms: int) -> Plan:
    producers = list(partition.producers)
    return Plan(
        _cleanable(partition, now_ms),
        list(partition.producers.aborted),
        {pid: known.batches[-1].last_offset for pid, known in producers if known.batches},
        {pid: known.last_offset for pid, known in producers},
        now_ms - partition.config.delete_retention_ms,
    )


# --- on a thread, if there are files ---


def _clean_memory(plan: Plan) -> list[Segment]:
    _find_latest(plan, plan.segments)
    return [
        _clean(plan, segment, Segment(segment.base_offset, MemoryStorage()))
        for segment in plan.segments
    ]


def _clean_files(plan: Plan) -> list[Segment]:
    """Clean into files beside the old ones, by descriptors that the loop's thread does not use."""
    files = OpenFiles(4)
    try:
        old = [_copy(segment, files) for segment in plan.segments]
        _find_latest(plan, old)
        fresh = []
        for segment in old:
            path = _path(segment).with_suffix(CLEANED_SUFFIX)
            path.unlink(missing_ok=True)
            new = Segment(segment.base_offset, FileStorage(path, files))
            new.storage.create()
            fresh.append(_clean(plan, segment, new))
            os.fsync(files.descriptor(path))
            os.utime(path, (segment.written_ms / 1000, segment.written_ms / 1000))
        return fresh
    finally:
        files.close_all()


def _path(segment: Segment) -> Path:
    assert isinstance(segment.storage, FileStorage)
    return segment.storage.path


def _copy(segment: Segment, files: OpenFiles) -> Segment:
    same = Segment(segment.base_offset, FileStorage(_path(segment), files))
    same.written_ms = segment.written_ms
    return same


def _find_latest(plan: Plan, segments: list[Segment]) -> None:
    """Note the offset of the last message of each key that was not aborted."""
    for segment in segments:
        for place in segment.walk():
            if place.head.is_control or _is_aborted(plan, place.head):
                continue
            for message in _messages(segment, place):
                if message.key is not None:
                    plan.latest[xxhash.xxh3_128_digest(message.key)] = message.offset


def _messages(segment: Segment, place: Place) -> list[Message]:
    return decode(segment.batch(place))[0].messages()


def _is_aborted(plan: Plan, head: Head) -> bool:
    return head.is_transactional and any(
        each.producer_id == head.producer_id
        and each.first_offset <= head.base_offset <= each.last_offset
        for each in plan.aborted
    )


def _clean(plan: Plan, old: Segment, new: Segment) -> Segment:
    """Write to the new segment what stays of the old one."""
    for place in old.walk():
        head = place.head
        kept: bytes | None
        if head.is_control:
            kept = None if _may_drop_marker(plan, old, head) else old.batch(place)
        else:
            kept = _kept(plan, old, place)
        if kept is not None:
            new.append(head_at(kept), kept, old.written_ms)
    new.written_ms = new.begun_ms = old.written_ms
    new.next_offset = max(new.next_offset, old.next_offset)
    return new


def _may_drop_marker(plan: Plan, segment: Segment, head: Head) -> bool:
    has_messages = head.producer_id in plan.alive
    plan.alive.discard(head.producer_id)
    if has_messages or plan.last_seen.get(head.producer_id) == head.last_offset:
        return False
    return segment.written_ms < plan.settled_ms


def _kept(plan: Plan, segment: Segment, place: Place) -> bytes | None:
    """Return what stays of a batch of messages, None if nothing does."""
    head = place.head
    batch = segment.batch(place)
    stays: list[int] = []
    newest_ms = -1
    if not _is_aborted(plan, head):
        for index, message in enumerate(decode(batch)[0].messages()):
            if _stays(plan, segment, message):
                stays.append(index)
                newest_ms = max(newest_ms, message.timestamp)
    if stays and head.is_transactional:
        plan.alive.add(head.producer_id)
    if stays:
        return batch if len(stays) == head.record_count else _thinned(batch, head, stays, newest_ms)
    if head.producer_id >= 0 and plan.last_batch.get(head.producer_id) == head.last_offset:
        return rebuilt(batch, head.attributes & ~CODEC_BITS, head.max_timestamp, 0, b"")
    return None


def _stays(plan: Plan, segment: Segment, message: Message) -> bool:
    if message.key is None:
        return False
    if plan.latest.get(xxhash.xxh3_128_digest(message.key)) != message.offset:
        return False
    return message.serialized_value_size >= 0 or segment.written_ms >= plan.settled_ms


def _thinned(batch: bytes, head: Head, stays: list[int], newest_ms: int) -> bytes:
    """Return the batch with some of its records. Their bytes hold offset and time as deltas."""
    codec = head.attributes & CODEC_BITS
    section: bytes | memoryview = memoryview(batch)[HEADER_BYTES:]
    data = decompress(codec, section, DEFAULT_MAX_DECOMPRESSED) if codec else bytes(section)
    wanted = set(stays)
    records = b"".join(record for i, record in enumerate(_records(data)) if i in wanted)
    packed = compress(codec, records) if codec else records
    return rebuilt(batch, head.attributes, newest_ms, len(stays), packed)


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the raw bytes of each record, its length included."""
    at = 0
    while at < len(data):
        begin, value, shift = at, 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        at += (value >> 1) ^ -(value & 1)
        yield data[begin:at]


# --- on the loop's thread again ---


def _swap(partition: Partition, old: Segment, new: Segment) -> None:
    """Put the cleaned segment in the place of the old one, unless that is gone meanwhile."""
    log = partition.log
    if isinstance(new.storage, FileStorage):
        if partition.is_deleted or old not in log.segments:
            new.storage.path.unlink(missing_ok=True)
            return
        final = _path(old)
        old.storage.close()
        # Without the sidecar first: one that does not fit would be worse than none.
        final.with_suffix(SUM_SUFFIX).unlink(missing_ok=True)
        os.replace(new.storage.path, final)
        new.storage = FileStorage(final, log.files)
        new.seal(final)
        new.is_sealed = True
    if old not in log.segments:
        return
    if new.size or old is log.segments[0]:
        log.replace(old, new)
    else:
        log.remove(old)
