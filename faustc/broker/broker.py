"""The broker: its topics, its coordinators, its clock. Knows no sockets and no requests.

One node, for development and tests. Everything runs on the event loop it was started
in, but for fsync and compaction, which have a thread when there are files.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faustc.broker.compaction import compact_partition, wants_compaction
from faustc.broker.coordinators import Coordinators
from faustc.broker.fetch_sessions import FetchSessions
from faustc.broker.housekeeping import Flusher, check_segments
from faustc.broker.partition import Partition
from faustc.broker.storage import FileStorage
from faustc.broker.topics import Topics
from faustc.exceptions import ImproperlyConfigured
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

# Kafka's producer.id.expiration.ms.
PRODUCER_EXPIRY_MS = 86_400_000


@dataclass(frozen=True)
class Options:
    """How a broker is to be; the defaults are those for a laptop.

    data: the folder for everything, None keeps it in memory. flush: "interval" brings
    writes to the disk flush_interval_s after them, "every" before they are answered.
    sasl: users and passwords for SASL PLAIN, None asks nobody. housekeeping_s: how
    often old data is looked for, 0 is never.
    """

    data: Path | None = None
    node_id: int = 1
    flush: Literal["interval", "every"] = "interval"
    flush_interval_s: float = 0.05
    auto_create_topics: bool = True
    default_partitions: int = 1
    transaction_version: int = 2
    sasl: dict[str, str] | None = None
    min_session_timeout_ms: int = 1_000
    housekeeping_s: float = 5.0


class Broker:
    """All that requests are about. Made, started and closed in one event loop.

    now_ms is the wall clock, for timestamps; what waits, waits by the loop's clock.
    """

    def __init__(
        self, options: Options | None = None, *, now_ms: Callable[[], int] | None = None
    ) -> None:
        self.options = options or Options()
        self.now_ms = now_ms or _wall_clock_ms
        self.host = "127.0.0.1"
        self.port = 0
        data = self.options.data
        on_disk = data is not None
        self.flusher = Flusher(self.options.flush_interval_s, self._sync_coordinators)
        self.topics = Topics(
            data,
            self.now_ms,
            on_write=self.flusher.mark if on_disk else None,
            on_close=self.flusher.mark_closed if on_disk else None,
        )
        self.fetch_sessions = FetchSessions()
        self._lock = -1
        self._keeper: asyncio.Task[None] | None = None

    @property
    def cluster_id(self) -> str:
        """The id of this cluster of one, kept with the data."""
        return self.topics.cluster_id

    def partition(self, topic: str, index: int) -> Partition | None:
        """Return a partition, None if there is none."""
        return self.topics.partition(topic, index)

    async def start(self) -> None:
        """Open what the data folder holds. Raises OSError, ImproperlyConfigured if it is in use."""
        self.loop = asyncio.get_running_loop()
        self._take_folder()
        self.topics.open()
        self.coordinators = Coordinators(
            self.options.data,
            self.loop,
            self.now_ms,
            self._write_marker,
            sync_each=self.options.flush == "every",
            min_session_timeout_ms=self.options.min_session_timeout_ms,
            on_write=self.flusher.nudge,
        )
        self.coordinators.start()
        if self.options.housekeeping_s:
            self._keeper = self.loop.create_task(self._keep_house())

    def _take_folder(self) -> None:
        """Make sure that no other broker writes to the folder."""
        if self.options.data is None:
            return
        self.options.data.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.options.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._lock)
            self._lock = -1
            raise ImproperlyConfigured(
                f"another broker runs on the data folder {self.options.data}"
            ) from exc

    async def close(self) -> None:
        """Stop what goes on beside the requests, and close every file. Sessions go first."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if hasattr(self, "coordinators"):
            if self.options.data is not None:
                await self.flusher.close()
            self.coordinators.close()
        self.topics.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def written(self) -> None:
        """Return when an answer may be given: at once, or when the disk has the data."""
        if self.options.flush == "every" and self.options.data is not None:
            await self.flusher.flush()

    def _write_marker(self, tp: TopicPartition, producer_id: int, epoch: int, commit: bool) -> None:
        partition = self.partition(*tp)
        if partition is not None:
            partition.append_marker(producer_id, epoch, commit)

    def _sync_coordinators(self) -> None:
        self.coordinators.sync()

    # -- housekeeping

    async def _keep_house(self) -> None:
        if self.options.data is not None:
            await self.loop.run_in_executor(None, check_segments, self._sealed_paths())
        while True:
            await asyncio.sleep(self.options.housekeeping_s)
            await self.keep_house()

    def _sealed_paths(self) -> list[Path]:
        return [
            segment.storage.path
            for partition in self.topics.partitions()
            for segment in partition.log.segments[:-1]
            if isinstance(segment.storage, FileStorage)
        ]

    async def keep_house(self) -> None:
        """Drop what is too old or superseded, once; what fails is logged and tried next time."""
        now_ms = self.now_ms()
        on_disk = self.options.data is not None
        if on_disk:
            self.flusher.nudge()
        for partition in self.topics.partitions():
            try:
                partition.producers.expire(now_ms - PRODUCER_EXPIRY_MS)
                partition.retain(now_ms)
                if wants_compaction(partition, now_ms):
                    await compact_partition(partition, now_ms, threaded=on_disk)
            except OSError as exc:
                logger.error("Cannot clean %s/%d: %s", *partition.tp, exc)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
