"""What goes on beside the requests: bringing writes to the disk, and dropping what is old."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from faustc.broker.segment import Segment, check_sum
from faustc.broker.storage import FileStorage

logger = logging.getLogger(__name__)


class Flusher:
    """Brings files to the disk a while after they were written, on a thread.

    also() is called on that thread with every round, for what others have to sync.
    """

    def __init__(self, interval_s: float, also: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._also = also
        self._dirty: set[Path] = set()
        self._closed: list[Segment] = []
        self._timer: asyncio.TimerHandle | None = None
        self._round: asyncio.Task[None] | None = None

    def mark(self, path: Path) -> None:
        """Remember that a file has bytes which the disk may lack."""
        self._dirty.add(path)
        self._arm()

    def mark_closed(self, segment: Segment) -> None:
        """Remember that a segment is complete: once on the disk it gets its checksum."""
        self._closed.append(segment)
        self._arm()

    def nudge(self) -> None:
        """Have a round soon, for the sake of `also`."""
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._round is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._interval_s, self._begin)

    def _begin(self) -> asyncio.Task[None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._round is None:
            self._round = asyncio.get_running_loop().create_task(self._run())
        return self._round

    async def _run(self) -> None:
        dirty, self._dirty = self._dirty, set()
        closed, self._closed = self._closed, []
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._sync, dirty, closed)
            for segment in closed:
                segment.is_sealed = True
        except OSError as exc:
            logger.error("Cannot bring the log to the disk, will retry: %s", exc)
            self._dirty |= dirty
            self._closed += closed
        finally:
            self._round = None
            if self._dirty or self._closed:
                self._arm()

    def _sync(self, dirty: set[Path], closed: list[Segment]) -> None:
        for path in dirty:
            _sync_file(path)
        for segment in closed:
            if isinstance(segment.storage, FileStorage) and segment.storage.path.exists():
                _sync_file(segment.storage.path)
                segment.seal(segment.storage.path)
        self._also()

    async def flush(self) -> None:
        """Return when the disk has all that was written before the call."""
        if self._round is not None:  # it may have begun before what we want on the disk
            await self._round
        await self._begin()

    async def close(self) -> None:
        """Bring everything to the disk; nothing may be marked any more."""
        await self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _sync_file(path: Path) -> None:
    """Bring one file to the disk, by a descriptor of its own: the log may close its at any time."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # its topic was deleted, or its retention is over
        return
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def check_segments(paths: list[Path]) -> None:
    """Compare closed segments with their checksums, and tell of those that changed."""
    for path in paths:
        try:
            if not check_sum(path):
                logger.error("%s is not what was written: its checksum differs", path)
        except OSError as exc:
            logger.error("Cannot check %s: %s", path, exc)
