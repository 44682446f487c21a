"""One kind of fault, one seed: a producer writes, two consumers read, a checker looks.

The records are numbered. Whoever checks reads the topic through librdkafka, past the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka

from faustc.client.admin import Admin, NewTopic
from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.exceptions import DeliveryFailed, FaustError
from faustc.types import TopicPartition
from tests.proxy import Proxies
from tests.wire_faults.kinds import KINDS

PARTITIONS = 3
REQUEST_TIMEOUT_S = 1.5
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Nothing that a client is asked for may take longer; what does, hangs.
PATIENCE_S = 45.0
AFTERWARDS = 60  # records that are sent once the fault is over


@dataclass
class Outcome:
    """What came out of one run; `wrong` says in words what should not be."""

    kind: str
    seed: int
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    struck: int = 0
    rebalances: int = 0
    duplicated: int = 0
    missing: int = 0
    hung: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # not wrong: it was said
    took_s: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.duplicated or self.missing or self.hung or self.dead or self.wrong)

    def __str__(self) -> str:
        text = (
            f"{self.kind:21} seed {self.seed}: {self.sent} sent, {self.acknowledged} acknowledged, "
            f"{self.refused} given up, {self.struck} faults, {self.rebalances} rebalances, "
            f"{self.duplicated} duplicated, {self.missing} missing, {len(self.hung)} hung, "
            f"{len(self.dead)} dead, {self.took_s:.1f} s"
        )
        return "\n  ".join([text, *self.hung, *self.dead, *self.wrong, *self.refusals])


class Reader:
    """Reads with one consumer, and holds every record against the one before it."""

    def __init__(self, name: str, consumer: Consumer, outcome: Outcome) -> None:
        self.name = name
        self.consumer = consumer
        self.next: dict[int, int] = {}
        self.ahead: dict[int, int] = {}
        self.values: dict[int, list[int]] = {p: [] for p in range(PARTITIONS)}
        self._outcome = outcome
        self._fresh: set[int] = set()
        self._stints = 0

    async def run(self) -> None:
        async for message in self.consumer:
            partition, expected = message.partition, self.next.get(message.partition, 0)
            if message.offset < expected and partition in self._fresh:
                # Given back and had again: from the committed offset, which may lie behind.
                self.next[partition] = expected = message.offset
                del self.values[partition][expected:]
            self._fresh.discard(partition)
            if message.offset != expected:
                self._outcome.wrong.append(
                    f"{self.name}: offset {message.offset} of {partition} where {expected} was next"
                )
            self.next[partition] = message.offset + 1
            self.values[partition].append(int(message.value or b"-1"))

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._fresh |= {tp.partition for tp in assigned}
        self._stints += 1
        self._outcome.rebalances = self._stints - 1

    def has(self, ends: dict[int, int]) -> bool:
        return all(self.next.get(p, 0) >= end for p, end in ends.items())


class Run:
    """Makes and judges one run; `go` does all of it."""

    def __init__(self, kind: str, seed: int, direct: str, proxies: Proxies, strikes: int) -> None:
        self.outcome = Outcome(kind, seed)
        self._chance = random.Random(f"{kind}-{seed}")
        self._topic = f"wire-{kind}-{seed}-{time.time_ns() & 0xFFFFFF:x}"
        self._direct = direct
        self._proxies = proxies
        self._strikes = strikes
        self._sent: list[tuple[int, int, Any]] = []  # number, partition, delivery
        self._fault = KINDS[kind](self._chance, proxies, REQUEST_TIMEOUT_S)

    async def go(self) -> Outcome:
        began = time.monotonic()
        outcome = self.outcome
        async with Admin(self._direct) as admin:
            await admin.create_topics([NewTopic(self._topic, PARTITIONS, 1, {})])
            self._proxies.use(None)
            try:
                await self._play()
            except FaustError as exc:
                outcome.dead.append(f"raised {exc!r}")
            finally:
                self._proxies.use(None)
            await self._check()
            await admin.delete_topics([self._topic])
        outcome.took_s = time.monotonic() - began
        return outcome

    async def _play(self) -> None:
        common: dict[str, Any] = {
            "bootstrap_servers": self._proxies.bootstrap,
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        }
        producer = Producer(
            client_id="producer",
            compression_type=self._chance.choice(CODECS),
            max_batch_size=self._chance.choice((2_000, 16_000)),
            linger_ms=self._chance.choice((0, 5)),
            **common,
        )
        reading: dict[str, Any] = {
            **common,
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": 200,
            "isolation_level": self._chance.choice(("read_committed", "read_uncommitted")),
        }
        alone = Consumer(self._topic, client_id="alone", **reading)
        member = Consumer(
            client_id="member",
            group_id=self._topic,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=300,
            auto_commit_interval_ms=300,
            **reading,
        )
        readers = [Reader("alone", alone, self.outcome), Reader("member", member, self.outcome)]
        member.subscribe([self._topic], listener=readers[1])
        parts: list[Any] = [producer, alone, member]
        tasks: list[asyncio.Task[None]] = []
        try:
            for part in parts:
                await self._within(f"start of {part!r}", part.start())
            tasks += [asyncio.create_task(r.run(), name=r.name) for r in readers]
            await self._send(producer, PARTITIONS * 10)
            await self._until_read(readers, tasks)
            await self._spoil(producer)
            await self._within("the sends after the fault", self._send(producer, AFTERWARDS))
            await self._within("flush", flush(producer))
            await self._until_read(readers, tasks)
        finally:
            for part in parts:
                await self._within(f"stop of {part!r}", stop(part))
            for task in tasks:
                task.cancel()
            for task in tasks:
                await asyncio.wait([task])
                if not task.cancelled() and task.exception() is not None:
                    self.outcome.dead.append(f"reader {task.get_name()}: {task.exception()!r}")
        self._readers = readers

    async def _spoil(self, producer: Producer) -> None:
        """Send on, while the fault strikes a few times."""
        self._proxies.use(self._fault)
        enough = asyncio.Event()
        sending = asyncio.create_task(self._send_until(producer, enough))
        try:
            for _ in range(self._strikes):
                before = self._fault.struck
                await asyncio.sleep(self._chance.uniform(0.05, 0.4))
                await self._fault.arm()
                await self._within(
                    f"waiting for a frame to strike ({producer!r})", self._struck(before)
                )
                if sending.done() or self.outcome.hung:
                    break
                await asyncio.sleep(self._fault.lasts_s)
        finally:
            enough.set()
            self._proxies.use(None)
        self.outcome.struck = self._fault.struck
        await self._within("sends during the fault", sending)

    async def _struck(self, before: int) -> None:
        while self._fault.struck == before:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)

    async def _send_until(self, producer: Producer, enough: asyncio.Event) -> None:
        while not enough.is_set():
            await self._send(producer, self._chance.randrange(1, 40))
            await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def _send(self, producer: Producer, count: int) -> None:
        for _ in range(count):
            number = len(self._sent)
            partition = self._chance.randrange(PARTITIONS)
            value = b"%d" % number
            delivery = await producer.send(self._topic, value, partition=partition)
            self._sent.append((number, partition, delivery))

    async def _until_read(self, readers: list[Reader], tasks: list[asyncio.Task[None]]) -> None:
        """Wait until every reader has all that is in the topic, or has died."""
        ends = await asyncio.to_thread(ends_of, self._direct, self._topic)

        async def read() -> None:
            pairs = list(zip(readers, tasks, strict=True))
            while not all(r.has(ends) or t.done() for r, t in pairs):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        missing = lambda: [(r.name, r.next) for r in readers if not r.has(ends)]  # noqa: E731
        await self._within(lambda: f"reading to {ends}: {missing()}", read())

    async def _within(self, what: Any, work: Awaitable[Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work
        except TimeoutError as exc:
            if isinstance(exc, FaustError):
                raise
            self.outcome.hung.append(what() if callable(what) else what)
        except FaustError as exc:
            self.outcome.dead.append(f"{what() if callable(what) else what}: {exc!r}")

    async def _check(self) -> None:
        outcome = self.outcome
        log = await asyncio.to_thread(read_all, self._direct, self._topic)
        outcome.sent = len(self._sent)
        where = {number: p for p, numbers in log.items() for number in numbers}
        outcome.duplicated = sum(map(len, log.values())) - len(where)
        for partition, numbers in log.items():
            if numbers != sorted(set(numbers)):
                outcome.wrong.append(f"partition {partition} is not in order")
        for number, partition, delivery in self._sent:
            if not delivery.done():
                outcome.hung.append(f"no answer for record {number}")
                continue
            error = delivery.exception()
            if error is not None:
                outcome.refused += 1
                if outcome.refused < 4:
                    outcome.refusals.append(f"record {number}: {error!r} {error.__cause__!r}")
                continue
            outcome.acknowledged += 1
            if where.get(number) != partition:
                outcome.missing += 1
        for reader in self._readers:
            for partition, numbers in log.items():
                if reader.values[partition] != numbers:
                    outcome.wrong.append(
                        f"{reader.name} read {len(reader.values[partition])} of partition "
                        f"{partition}, which has {len(numbers)}"
                    )


async def flush(producer: Producer) -> None:
    with contextlib.suppress(DeliveryFailed):  # told for each record, too
        await producer.flush(PATIENCE_S * 2)


async def stop(part: Producer | Consumer) -> None:
    with contextlib.suppress(DeliveryFailed):
        await part.stop()


def ends_of(bootstrap: str, topic: str) -> dict[int, int]:
    """Return the high watermarks, waiting for the leaders of a topic that is new."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    ends: dict[int, int] = {}
    give_up = time.monotonic() + 20
    try:
        while len(ends) < PARTITIONS:
            tp = confluent_kafka.TopicPartition(topic, len(ends))
            try:
                ends[len(ends)] = consumer.get_watermark_offsets(tp, 10)[1]
            except confluent_kafka.KafkaException:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)
    finally:
        consumer.close()
    return ends


def read_all(bootstrap: str, topic: str) -> dict[int, list[int]]:
    """Read the numbers in a topic to its end, by librdkafka."""
    ends = ends_of(bootstrap, topic)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "checker"})
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in ends])
    log: dict[int, list[int]] = {p: [] for p in ends}
    deadline = time.monotonic() + 60
    try:
        while any(len(log[p]) < end for p, end in ends.items()):
            assert time.monotonic() < deadline, (log, ends)
            for message in consumer.consume(1000, 0.2):
                assert message.error() is None, message.error()
                log[message.partition()].append(int(message.value()))
    finally:
        consumer.close()
    return log
