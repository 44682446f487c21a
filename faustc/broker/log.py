"""The log of one partition: segments in order, of which the last one grows.

It knows batches and offsets, and nothing of producers, requests or waiting.
Everything here is a plain call on the loop's thread: an append is one write(2).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from faustc._native.batch import Message, decode
from faustc.broker.batches import Head
from faustc.broker.segment import (
    LOG_SUFFIX,
    SUM_SUFFIX,
    Place,
    Segment,
    open_segment,
    read_sum,
)
from faustc.broker.storage import FileStorage, MemoryStorage, OpenFiles

_START = "log-start"


class LogConfig(Protocol):
    """What a log wants to know of its topic; sizes in bytes, times in ms, -1 for no limit."""

    segment_bytes: int
    segment_ms: int
    retention_bytes: int
    retention_ms: int


class Span(NamedTuple):
    """Bytes to be read: whole batches, and perhaps the beginning of one more."""

    segment: Segment
    at: int
    size: int

    def read(self) -> bytes:
        """Read them."""
        return self.segment.storage.read(self.at, self.size)


class Log:
    """Batches by offset, from `start` up to `end`, which the next one gets.

    folder None keeps it in memory. on_write(path) hears of every file that has
    bytes the disk may not have yet; on_close(segment) of a segment that nothing
    will be appended to any more.
    """

    def __init__(
        self,
        folder: Path | None,
        files: OpenFiles,
        config: LogConfig,
        *,
        on_write: Callable[[Path], None] | None = None,
        on_close: Callable[[Segment], None] | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.files = files
        self._on_write = on_write
        self._on_close = on_close
        self.start = 0
        self.segments: list[Segment] = [self._new_segment(0)]

    @property
    def end(self) -> int:
        """The offset that the next batch gets."""
        return self.segments[-1].next_offset

    @property
    def size(self) -> int:
        """The bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def active(self) -> Segment:
        """The segment that grows."""
        return self.segments[-1]

    def _path(self, base_offset: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{base_offset:020d}{LOG_SUFFIX}"

    def _new_segment(self, base_offset: int) -> Segment:
        if self.folder is None:
            return Segment(base_offset, MemoryStorage())
        return Segment(base_offset, FileStorage(self._path(base_offset), self.files))

    # -- opening

    def open(self) -> Iterator[tuple[Segment, Place]]:
        """Find what the folder holds and yield each batch once, oldest first.

        Must be exhausted before anything else is called. Raises OSError.
        """
        if self.folder is None or not self.folder.is_dir():
            return
        for leftover in [*self.folder.glob("*.tmp"), *self.folder.glob("*.cleaned")]:
            leftover.unlink()
        paths = sorted(self.folder.glob(f"*{LOG_SUFFIX}"))
        if not paths:
            return
        self.segments = [open_segment(path, self.files) for path in paths]
        for path, segment in zip(paths, self.segments, strict=True):
            stored = read_sum(path)
            closed = stored is not None and stored[0] == segment.size
            closed = closed and segment is not self.active
            for place in segment.recover(trust=closed):
                yield segment, place
            segment.is_sealed = closed
            if segment is self.active:
                path.with_suffix(SUM_SUFFIX).unlink(missing_ok=True)
            elif not closed and self._on_close is not None:
                self._on_close(segment)
        self.start = max(self.segments[0].base_offset, self._read_start())
        if self.start > self.end:  # the bytes behind it never reached the disk
            self._restart(self.start)

    def _read_start(self) -> int:
        assert self.folder is not None
        try:
            return int((self.folder / _START).read_text())
        except (OSError, ValueError):
            return 0

    # -- writing

    def append(self, head: Head, batch: bytes, now_ms: int) -> None:
        """Add a batch that begins at `end`; the kernel has it when this returns.

        Raises OSError, and is as before.
        """
        active = self.segments[-1]
        if active.size and (
            active.size + len(batch) > self.config.segment_bytes
            or now_ms - active.begun_ms > self.config.segment_ms
        ):
            self.roll()
            active = self.segments[-1]
        active.append(head, batch, now_ms)
        if self._on_write is not None and isinstance(active.storage, FileStorage):
            self._on_write(active.storage.path)

    def roll(self) -> None:
        """Close the active segment and begin another; nothing to do if it is empty."""
        active = self.segments[-1]
        if not active.size:
            return
        fresh = self._new_segment(active.next_offset)
        fresh.storage.create()
        self.segments.append(fresh)
        if self._on_close is not None:
            self._on_close(active)

    # -- reading

    def span(self, offset: int, max_bytes: int, end: int, *, whole: bool = True) -> Span | None:
        """Return where the batches from offset on are, up to max_bytes, all before `end`.

        The first batch is whole, however large, unless whole is False, which asks for
        nothing then; the last one may be cut, as Kafka cuts it. None when there is
        nothing. Of one segment only: who wants more asks again.
        """
        if offset >= end:
            return None
        index = max(0, bisect_right(self.segments, offset, key=lambda s: s.base_offset) - 1)
        for segment in self.segments[index:]:
            place = segment.locate(offset)
            if place is None:
                continue
            if place.head.base_offset >= end:
                return None
            limit = segment.size
            if end < segment.next_offset:
                last = segment.locate(end)
                # An end inside of a batch is no end that a stable offset can be.
                limit = last.at if last is not None else limit
            if not whole and place.head.size > max_bytes:
                return None
            size = min(limit - place.at, max(max_bytes, place.head.size))
            return Span(segment, place.at, size)
        return None

    def find_time(self, timestamp_ms: int) -> Message | None:
        """Return the first message of this time or later, None if all are older."""
        for segment in self.segments:
            for place in segment.locate_time(timestamp_ms):
                for message in _messages(segment, place, self.start):
                    if message.timestamp >= timestamp_ms:
                        return message
        return None

    def newest(self) -> Message | None:
        """Return the first message of the highest timestamp, None if there is none."""
        best: tuple[Segment, Place] | None = None
        for segment in self.segments:
            if best is not None and segment.newest_ms <= best[1].head.max_timestamp:
                continue
            for place in segment.locate_time(segment.newest_ms):
                if place.head.last_offset >= self.start and place.head.record_count:
                    best = segment, place
                    break
        if best is None:
            return None
        return max(_messages(*best, self.start), key=lambda m: (m.timestamp, -m.offset))

    # -- dropping

    def delete_before(self, offset: int) -> None:
        """Make `offset` the start of the log; drop the segments wholly before it."""
        if offset <= self.start:
            return
        if offset == self.end:
            self.roll()
        self._write_start(offset)
        self.start = offset
        self._drop(lambda segment: segment.next_offset <= offset)

    def retain(self, now_ms: int) -> None:
        """Drop the oldest segments: those too old, and those beyond the size that is kept."""
        if self.config.retention_ms >= 0:
            horizon = now_ms - self.config.retention_ms
            if self.active.size and self.active.newest_ms < horizon:
                self.roll()
            self._drop(lambda segment: segment.newest_ms < horizon)
        if self.config.retention_bytes >= 0:
            size = self.size
            for segment in self.segments[:-1]:
                size -= segment.size
                if size < self.config.retention_bytes:
                    break
                self._drop(lambda each, gone=segment: each is gone)  # type: ignore[misc]
        self.start = max(self.start, self.segments[0].base_offset)

    def _drop(self, is_gone: Callable[[Segment], bool]) -> None:
        """Drop segments from the oldest on, never the active one."""
        while len(self.segments) > 1 and is_gone(self.segments[0]):
            self.remove(self.segments[0])

    def remove(self, segment: Segment) -> None:
        """Remove one closed segment with its files."""
        self.segments.remove(segment)
        segment.storage.delete()
        if isinstance(segment.storage, FileStorage):
            segment.storage.path.with_suffix(SUM_SUFFIX).unlink(missing_ok=True)

    def replace(self, old: Segment, new: Segment) -> None:
        """Put a segment in another's place; the new one's file has the name already."""
        self.segments[self.segments.index(old)] = new

    def _restart(self, offset: int) -> None:
        """Begin an empty log at an offset."""
        fresh = self._new_segment(offset)
        fresh.storage.create()
        self.segments.append(fresh)
        self._drop(lambda segment: segment is not fresh)

    def _write_start(self, offset: int) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f"{_START}.tmp"
        fresh.write_text(str(offset))
        os.replace(fresh, self.folder / _START)

    def close(self) -> None:
        """Give back the descriptors."""
        for segment in self.segments:
            segment.storage.close()


def _messages(segment: Segment, place: Place, start: int) -> list[Message]:
    batch = decode(segment.batch(place), check_crc=False)[0]
    return [] if batch.is_control else batch.messages(start)
