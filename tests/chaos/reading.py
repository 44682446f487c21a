"""What is in Kafka, read by librdkafka."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tests.chaos.checker import Input, Output

__all__ = ["Cluster", "output_of"]

QUIET = {"log_level": 2, "reconnect.backoff.max.ms": 1_000}


def output_of(message: Any) -> Output:
    """Read a record of the output topic."""
    told = json.loads(message.value())
    partition, offset = told["from"]
    return Output(
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        told["key"],
        told["n"],
        told["count"],
        (partition, offset),
        told.get("worker", ""),
    )


class Cluster:
    """Questions to a cluster. Each is asked again until a deadline: brokers come and go."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._readers: dict[tuple[str, str], confluent_kafka.Consumer] = {}
        self._lock = threading.Lock()
        self.admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})

    def create_topic(self, name: str, partitions: int, replicas: int, **config: str) -> None:
        topic = NewTopic(name, partitions, replicas, config=config)
        self.admin.create_topics([topic])[name].result(30)

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic; none if there is no such topic."""
        found = self.admin.list_topics(topic, timeout=10).topics.get(topic)
        return [] if found is None or found.error is not None else sorted(found.partitions)

    def in_sync(self) -> bool:
        """Say whether every replica of every partition is in sync."""
        try:
            topics = self.admin.list_topics(timeout=5).topics.values()
        except KafkaException:
            return False
        parts = [part for topic in topics for part in topic.partitions.values()]
        return all(len(part.isrs) == len(part.replicas) and part.leader >= 0 for part in parts)

    def ends(
        self, topic: str, partitions: list[int], *, committed: bool, timeout_s: float = 5.0
    ) -> dict[int, int]:
        """Return the high watermarks, or with committed the last stable offsets."""
        # Not AdminClient.list_offsets: librdkafka 2.16 was seen to crash beside a broker's end.
        asked = self._reader("read_committed" if committed else "read_uncommitted", "nobody")
        found = {}
        for number in partitions:
            tp = confluent_kafka.TopicPartition(topic, number)
            found[number] = asked.get_watermark_offsets(tp, timeout=timeout_s)[1]
        return found

    def committed(
        self, group: str, topic: str, partitions: list[int], *, timeout_s: float = 5.0
    ) -> dict[int, int]:
        """Return what a group has committed of a topic."""
        wanted = [confluent_kafka.TopicPartition(topic, number) for number in partitions]
        found = self._reader("read_uncommitted", group).committed(wanted, timeout=timeout_s)
        return {tp.partition: tp.offset for tp in found if tp.offset >= 0}

    def _reader(self, isolation: str, group: str) -> confluent_kafka.Consumer:
        """Return a consumer that never joins its group."""
        name = isolation, group
        with self._lock:
            if name not in self._readers:
                self._readers[name] = confluent_kafka.Consumer(
                    {
                        "bootstrap.servers": self.bootstrap,
                        "group.id": group,
                        "enable.auto.commit": False,
                        "isolation.level": isolation,
                        **QUIET,
                    }
                )
            return self._readers[name]

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def stable_ends(self, topic: str, timeout_s: float = 90.0) -> dict[int, int]:
        """Return where a topic ends once nothing of it is held back; raise TimeoutError."""
        give_up = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(KafkaException):
                partitions = self.partitions(topic)
                ends = self.ends(topic, partitions, committed=False)
                if partitions and self.ends(topic, partitions, committed=True) == ends:
                    return ends
            if time.monotonic() > give_up:
                raise TimeoutError(f"{topic} is held back for {timeout_s} s")
            time.sleep(0.2)

    def read(self, topic: str, timeout_s: float = 120.0) -> Iterator[Any]:
        """Read a topic from its beginning to where it ends now, read_committed."""
        ends = self.stable_ends(topic, timeout_s)
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"reader of {topic}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                **QUIET,
            }
        )
        waiting = {number for number, end in ends.items() if end}
        give_up = time.monotonic() + timeout_s
        try:
            consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in ends])
            while waiting:
                for message in consumer.consume(5000, 0.5):
                    error = message.error()
                    if error is None:
                        yield message
                    elif (
                        error.code() == confluent_kafka.KafkaError._PARTITION_EOF
                        and message.offset() >= ends[message.partition()]
                    ):
                        waiting.discard(message.partition())
                if time.monotonic() > give_up:
                    raise TimeoutError(f"{topic} {sorted(waiting)} was not read in {timeout_s} s")
        finally:
            consumer.close()

    def inputs(self, topic: str) -> list[Input]:
        """Return all records of the input topic."""
        found = []
        for message in self.read(topic):
            told = json.loads(message.value())
            found.append(Input(message.partition(), message.offset(), told["key"], told["n"]))
        return found

    def outputs(self, topic: str) -> list[Output]:
        """Return all records of the output topic that a read_committed reader sees."""
        return [output_of(message) for message in self.read(topic)]

    def replay(self, topic: str) -> Mapping[str, int]:
        """Return what a changelog says, by key."""
        table: dict[str, int] = {}
        for message in self.read(topic):
            key = json.loads(message.key())
            if message.value() is None:
                table.pop(key, None)
            else:
                table[key] = json.loads(message.value())
        return table
