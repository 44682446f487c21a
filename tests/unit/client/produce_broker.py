"""Partition logs behind a WireServer that check producers as a Kafka broker does.

Requests are decoded with kafka-python and the sequence rules written anew from
Kafka's ProducerAppendInfo and ProducerStateEntry, so that they can disagree with ours.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.reference.kafka_python import DefaultRecordBatch, ProduceRequest
from tests.unit.client.wire_server import Answer, Request, WireServer

TOPIC = "t"
TOPIC_ID = uuid.uuid5(uuid.NAMESPACE_DNS, TOPIC)

OUT_OF_ORDER, DUPLICATE, OLD_EPOCH = 45, 46, 47


class Written(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass
class _Known:
    """What a log remembers of one producer: its epoch and last five batches."""

    epoch: int
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))


class PartitionLog:
    """The messages of one partition, in the order they were taken."""

    def __init__(self) -> None:
        self.messages: list[Written] = []
        self.producers: dict[int, _Known] = {}
        self.max_batch_bytes = 1 << 30

    def append(self, data: bytes) -> tuple[int, int]:
        """Take one batch; return (error code, base offset)."""
        if len(data) > self.max_batch_bytes:
            return 10, -1
        batch = DefaultRecordBatch(data)
        assert batch.validate_crc()
        records = list(batch)
        pid, epoch, first = batch.producer_id, batch.producer_epoch, batch.base_sequence
        last = (first + len(records) - 1) & 0x7FFFFFFF
        base = len(self.messages)
        if pid >= 0:
            known = self.producers.get(pid)
            if known is not None and epoch < known.epoch:
                return OLD_EPOCH, -1
            if known is not None and epoch == known.epoch:
                for begin, end, offset in known.batches:
                    if (begin, end) == (first, last):
                        return 0, offset
                expected = (known.batches[-1][1] + 1) & 0x7FFFFFFF
                if first != expected:
                    return OUT_OF_ORDER, -1
            elif known is not None and first != 0:
                return OUT_OF_ORDER, -1
            if known is None or epoch > known.epoch:
                known = self.producers[pid] = _Known(epoch)
            known.batches.append((first, last, base))
        self.messages += [Written(r.key, r.value, tuple(r.headers)) for r in records]
        return 0, base

    def forget(self) -> None:
        """Lose what is known of producers, as after an unclean failover."""
        self.producers.clear()


# What a test may do to one produced batch, by partition: return an error code to
# refuse it with, the negative of one to append it and say that error nevertheless,
# None to let it be appended.
Refusal = Callable[[int], int | None]


class ProduceBroker:
    """Answers Metadata, InitProducerId and Produce for one topic."""

    def __init__(self, server: WireServer, partitions: int = 1) -> None:
        self.server = server
        self.logs = [PartitionLog() for _ in range(partitions)]
        self.refuse: Refusal = lambda partition: None
        # what happens to the answer of a request: None to send it, or what to do instead
        self.fate: Callable[[], Answer | str] = lambda: "answer"
        self.requests: list[list[int]] = []
        self.producer_ids = 0
        server.topics = [self.topic()]
        server.answers["InitProducerId"] = self._init
        server.answers["Produce"] = self._produce

    def topic(self) -> dict[str, Any]:
        return {
            "name": TOPIC,
            "topic_id": TOPIC_ID,
            "error_code": 0,
            "is_internal": False,
            "partitions": [
                {
                    "error_code": 0,
                    "partition_index": number,
                    "leader_id": self.server.node_id,
                    "leader_epoch": 0,
                    "replica_nodes": [self.server.node_id],
                    "isr_nodes": [self.server.node_id],
                    "offline_replicas": [],
                }
                for number in range(len(self.logs))
            ],
        }

    def _init(self, request: Request) -> Answer:
        self.producer_ids += 1
        return {"error_code": 0, "producer_id": 1000 + self.producer_ids, "producer_epoch": 0}

    def _produce(self, request: Request) -> Answer:
        fate = self.fate()
        if fate == "lose request":
            return ConnectionError
        answers = []
        touched = []
        for partition, data in _batches(request):
            touched.append(partition)
            said = self.refuse(partition)
            code, base = said or 0, -1
            if said is None or said < 0:
                code, base = self.logs[partition].append(data)
                if said is not None:
                    code, base = -said, -1
            answers.append(
                {
                    "index": partition,
                    "error_code": code,
                    "base_offset": base,
                    "log_append_time_ms": -1,
                    "log_start_offset": 0,
                }
            )
        self.requests.append(touched)
        if _acks(request) == 0:
            return None
        if fate == "lose answer":
            return ConnectionError
        if fate == "stay silent":
            return None
        return {
            "responses": [{"name": TOPIC, "topic_id": TOPIC_ID, "partition_responses": answers}],
            "throttle_time_ms": 0,
        }


def _decoded(request: Request) -> Any:
    flexible = ProduceRequest.flexible_version_q(request.version)
    start = 10 + len(request.client_id.encode()) + (1 if flexible else 0)
    return ProduceRequest.decode(request.frame[start:], version=request.version)


def _acks(request: Request) -> int:
    return int(_decoded(request).acks)


def _batches(request: Request) -> Iterator[tuple[int, bytes]]:
    for topic in _decoded(request).topic_data:
        if request.version >= 13:
            assert topic.topic_id == TOPIC_ID
        else:
            assert topic.name == TOPIC
        for each in topic.partition_data:
            yield each.index, bytes(each.records)
