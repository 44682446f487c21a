"""The producer that keeps a ledger: what was sent, and what the brokers said to it."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka

from tests.chaos.checker import SOMEWHERE, Sent

__all__ = ["LedgerProducer", "keys_of"]

HOT_KEYS = 20
COLD_KEYS = 2000
STEP_S = 0.02


def keys_of(seed: int) -> Iterator[str]:
    """Choose keys for ever: half of the records go to a few keys, the rest to many.

    Those of which a record is rare keep what a table forgot once; the others would hide it.
    """
    chosen = random.Random(f"keys {seed}")
    while True:
        if chosen.random() < 0.5:
            yield f"hot-{chosen.randrange(HOT_KEYS)}"
        else:
            yield f"cold-{chosen.randrange(COLD_KEYS)}"


class LedgerProducer:
    """Sends numbered records at a steady rate, from a thread of its own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self.acknowledged = 0
        self.failed: list[str] = []
        self._entries: list[Sent] = []
        self._numbers: dict[str, int] = defaultdict(int)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",  # as Java: the same key, the same partition
                "linger.ms": 5,
                "message.timeout.ms": 300_000,
                "topic.metadata.refresh.interval.ms": 5_000,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 2,
            }
        )

    @property
    def sent(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[Sent]:
        """The ledger."""
        return self._entries

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def send(self, key: str) -> None:
        """Send the next record of a key."""
        self._numbers[key] += 1
        number = self._numbers[key]
        index = len(self._entries)
        self._entries.append(Sent(key, number))

        def note(error: Any, message: Any) -> None:
            if error is not None:
                self.failed.append(str(error))
                return
            self.acknowledged += 1
            offset = message.offset()
            # A batch that was sent again and had been written: where, is not told any more.
            place = SOMEWHERE if offset is None or offset < 0 else offset
            self._entries[index] = Sent(key, number, message.partition(), place)

        value = f'{{"key": "{key}", "n": {number}}}'
        while True:
            try:
                self._producer.produce(self.topic, value, key, on_delivery=note)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until all is acknowledged."""
        left = self._producer.flush(timeout_s)
        assert left == 0, f"{left} records are not acknowledged after {timeout_s} s"

    def start(
        self,
        keys: Iterator[str],
        records: int,
        rate: float,
        *,
        more: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send so many records, at so many a second; and as long as there is to be more."""
        self._thread = threading.Thread(
            target=self._run, args=(keys, records, rate, more), name="ledger", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)

    def _run(
        self, keys: Iterator[str], records: int, rate: float, more: Callable[[], bool]
    ) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * rate)
            if not more():
                due = min(due, max(records, self.sent))
                if self.sent >= records:
                    break
            for _ in range(due - self.sent):
                self.send(next(keys))
            self._producer.poll(STEP_S)
            time.sleep(STEP_S / 4)
        while self._producer.flush(0.5) and not self._stop.is_set():
            pass
