"""A stretch of a log: batches one behind the other, and where to look for an offset.

The index is sparse and lives in memory only; it is made again from the headers
when a segment is opened. A segment that is closed for good gets a sidecar file
with its size and xxhash, written after its bytes reached the disk: with it, a
restart reads headers; without it, or with another size, every batch's CRC is
checked and what does not hold is cut off the end.
"""

from __future__ import annotations

import logging
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import xxhash

from faustc.broker.batches import HEADER_BYTES, Head, crc_fits, head_at
from faustc.broker.storage import FileStorage, OpenFiles, Storage
from faustc.exceptions import CorruptFrame

logger = logging.getLogger(__name__)

LOG_SUFFIX = ".log"
SUM_SUFFIX = ".xxh3"
# Kafka's index.interval.bytes.
_INDEX_EVERY = 4096
_WINDOW = 16 * 1024
_HASH_CHUNK = 1 << 20


class Place(NamedTuple):
    """Where a batch is in its segment, and its header."""

    at: int
    head: Head


class Segment:
    """Batches from base_offset on. Only the last segment of a log is appended to.

    written_ms is when it was last appended to, by the wall clock; newest_ms is the
    highest timestamp in it, -1 when it is empty.
    """

    def __init__(self, base_offset: int, storage: Storage) -> None:
        self.base_offset = base_offset
        self.storage = storage
        self.next_offset = base_offset
        self.newest_ms = -1
        self.begun_ms = -1
        self.written_ms = -1
        self.is_sealed = False  # closed, on the disk, and its sidecar written
        self._hash = xxhash.xxh3_64()
        # Parallel: a batch's offset, its position, the highest timestamp before it.
        self._offsets = array("q")
        self._positions = array("q")
        self._newest = array("q")
        self._indexed_to = -_INDEX_EVERY

    @property
    def size(self) -> int:
        """The bytes in it."""
        return self.storage.size

    def append(self, head: Head, batch: bytes, now_ms: int) -> None:
        """Add a batch that has its offset already; raises OSError and is as before."""
        at = self.storage.size
        self.storage.append(batch)
        self._hash.update(batch)
        self._note(at, head)
        self.written_ms = now_ms
        if self.begun_ms < 0:
            self.begun_ms = now_ms

    def _note(self, at: int, head: Head) -> None:
        if at - self._indexed_to >= _INDEX_EVERY:
            self._indexed_to = at
            self._offsets.append(head.base_offset)
            self._positions.append(at)
            self._newest.append(self.newest_ms)
        self.next_offset = head.last_offset + 1
        if head.max_timestamp > self.newest_ms:
            self.newest_ms = head.max_timestamp

    # -- reading

    def walk(self, at: int = 0) -> Iterator[Place]:
        """Yield every batch from a position on; raises CorruptFrame where there is none."""
        window, begin = b"", at
        while at + HEADER_BYTES <= self.storage.size:
            if at + HEADER_BYTES > begin + len(window):
                window, begin = self.storage.read(at, _WINDOW), at
            head = head_at(window, at - begin)
            yield Place(at, head)
            at += head.size

    def locate(self, offset: int) -> Place | None:
        """Return the first batch that ends at the offset or behind it, None if all end before."""
        if offset >= self.next_offset:
            return None
        entry = bisect_right(self._offsets, offset) - 1
        at = self._positions[entry] if entry >= 0 else 0
        for place in self.walk(at):
            if place.head.last_offset >= offset:
                return place
        return None

    def locate_time(self, timestamp_ms: int) -> Iterator[Place]:
        """Yield the batches that may hold a message of this time or later, in order."""
        if self.newest_ms < timestamp_ms:
            return
        # Entries say the highest time before them, which never falls: the last one
        # that is still below is where to begin.
        low, high = 0, len(self._newest)
        while low < high:
            middle = (low + high) // 2
            if self._newest[middle] < timestamp_ms:
                low = middle + 1
            else:
                high = middle
        at = self._positions[low - 1] if low else 0
        for place in self.walk(at):
            if place.head.max_timestamp >= timestamp_ms:
                yield place

    def batch(self, place: Place) -> bytes:
        """Return the bytes of a batch."""
        return self.storage.read(place.at, place.head.size)

    # -- opening and closing

    def recover(self, *, trust: bool) -> Iterator[Place]:
        """Build the index from what is stored and yield each batch once.

        Unless trusted, each batch's CRC is checked, and from the first that does not
        fit on everything is cut off. Must be exhausted.
        """
        at = 0
        size = self.storage.size
        try:
            for place in self.walk():
                head = place.head
                if place.at + head.size > size or head.base_offset < self.next_offset:
                    break
                if not trust:
                    batch = self.batch(place)
                    if not crc_fits(batch, head):
                        break
                    self._hash.update(batch)
                self._note(place.at, head)
                at = place.at + head.size
                yield place
        except CorruptFrame as exc:
            logger.warning("The segment of offset %d has no batch at %d: %s",
                           self.base_offset, at, exc)  # fmt: skip
        if at < size:
            logger.warning("Cut %d torn bytes off the segment of offset %d, behind offset %d",
                           size - at, self.base_offset, self.next_offset - 1)  # fmt: skip
            self.storage.truncate(at)

    def seal(self, path: Path) -> None:
        """Write the sidecar of a file whose bytes are on the disk; raises OSError."""
        fresh = path.with_suffix(".tmp")
        fresh.write_text(f"{self.size} {self._hash.hexdigest()}\n")
        os.replace(fresh, path.with_suffix(SUM_SUFFIX))


def open_segment(path: Path, files: OpenFiles) -> Segment:
    """Return the segment of a log file, not recovered yet."""
    segment = Segment(int(path.stem), FileStorage(path, files))
    segment.written_ms = segment.begun_ms = int(path.stat().st_mtime * 1000)
    return segment


def read_sum(path: Path) -> tuple[int, str] | None:
    """Return size and digest from a log file's sidecar, None if it has none that can be read."""
    try:
        size, digest = path.with_suffix(SUM_SUFFIX).read_text().split()
        return int(size), digest
    except (OSError, ValueError):
        return None


def check_sum(path: Path) -> bool:
    """Read a whole closed segment and return whether it is what its sidecar says."""
    stored = read_sum(path)
    if stored is None:
        return True
    size = 0
    found = xxhash.xxh3_64()
    with open(path, "rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            size += len(chunk)
            found.update(chunk)
    return (size, found.hexdigest()) == stored
