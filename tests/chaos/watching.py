"""Who watches a run: how the output comes, what is committed when, who is held back."""

from __future__ import annotations

import threading
import time

import confluent_kafka
from confluent_kafka import KafkaException

from tests.chaos.reading import QUIET, Cluster, output_of

__all__ = ["Samples", "Watcher"]


class Watcher:
    """Reads the output read_committed while it is written."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.topic = topic
        self.seen: set[tuple[int, int]] = set()  # the events that have an output
        self.count = 0
        self._partitions = partitions
        self._first: float | None = None
        self._last: dict[int, float] = {}
        self._longest: dict[int, tuple[float, float]] = {}
        self._last_any: float | None = None
        self._longest_any = (0.0, 0.0)
        self._stop = threading.Event()
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"watcher of {topic}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "topic.metadata.refresh.interval.ms": 2_000,
                **QUIET,
            }
        )
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    @property
    def silence_s(self) -> float:
        """The longest time without any output, from the first one to the last."""
        return self._longest_any[0]

    @property
    def partition_silence_s(self) -> float:
        """The longest time without an output in one of the partitions."""
        return max((longest for longest, _ in self._longest.values()), default=0.0)

    @property
    def partition_silence_until(self) -> float:
        """When that ended, since the epoch."""
        return max(self._longest.values(), default=(0.0, 0.0))[1]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        consumer = self._consumer
        consumer.assign(
            [confluent_kafka.TopicPartition(self.topic, n, 0) for n in range(self._partitions)]
        )
        try:
            while not self._stop.is_set():
                for message in consumer.consume(1000, 0.1):
                    if message.error() is None:
                        self._note(message)
        finally:
            consumer.close()

    def _note(self, message: confluent_kafka.Message) -> None:
        now, partition = time.time(), message.partition()
        self.count += 1
        self.seen.add(output_of(message).source)
        gap = now - self._last.get(partition, now)
        self._longest[partition] = max(self._longest.get(partition, (0.0, 0.0)), (gap, now))
        self._last[partition] = now
        gap = now - (self._last_any or now)
        self._longest_any = max(self._longest_any, (gap, now))
        self._last_any = now


class Samples:
    """Asks again and again what is committed, and where readers of the output are held back."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        group: str,
        source: str,
        target: str,
        partitions: int,
        pause_s: float = 0.25,
    ) -> None:
        self.committed: list[tuple[float, dict[int, int]]] = []
        self.held_s = 0.0
        self._cluster = cluster
        self._group, self._source, self._target = group, source, target
        self._partitions = list(range(partitions))
        self._pause_s = pause_s
        self._since: dict[int, tuple[int, float]] = {}  # the last stable offset, and since when
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=step.__name__, daemon=True)
            for step in (self._sample_committed, self._sample_held)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, step: object) -> None:
        assert callable(step)
        while not self._stop.wait(self._pause_s):
            try:
                step()
            except KafkaException:
                continue  # a broker is away; the next sample tells

    def _sample_committed(self) -> None:
        found = self._cluster.committed(self._group, self._source, self._partitions)
        self.committed.append((time.time(), found))

    def _sample_held(self) -> None:
        began = time.monotonic()
        # In this order: what is stable now is at most what is written after it.
        stable = self._cluster.ends(self._target, self._partitions, committed=True)
        written = self._cluster.ends(self._target, self._partitions, committed=False)
        now = time.monotonic()
        for number, offset in stable.items():
            before, since = self._since.get(number, (-1, began))
            if written[number] <= offset:
                self._since.pop(number, None)
                continue
            self._since[number] = offset, began if offset != before else since
            self.held_s = max(self.held_s, now - self._since[number][1])
