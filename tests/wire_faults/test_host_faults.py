"""What goes wrong on our side of the wire: no descriptors left, no names, a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from faustc.client.admin import Admin, NewTopic
from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from tests.conftest import run_cluster
from tests.kafka_cluster import KafkaCluster
from tests.proxy import Proxies

pytestmark = [pytest.mark.kafka, pytest.mark.long]
NewName = Callable[[str], str]
FAULT_S = 2.0
WITHIN_S = 40


@pytest.fixture(scope="module")
def proxied() -> Iterator[KafkaCluster]:
    yield from run_cluster(listeners={"PROXY": "PLAINTEXT"}, proxied=["PROXY"])


class Pair:
    """A producer, a consumer in a group, and what came through."""

    def __init__(self, topic: str, bootstrap: str) -> None:
        common: dict[str, Any] = {"bootstrap_servers": bootstrap, "request_timeout_ms": 3000}
        self.topic = topic
        self.sent = 0
        self.seen: list[int] = []
        self.producer = Producer(**common)
        self.consumer = Consumer(
            topic,
            group_id=topic,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=300,
            session_timeout_ms=20_000,
            **common,
        )

    async def read(self) -> None:
        async for message in self.consumer:
            self.seen.append(int(message.value or b"-1"))

    async def send(self, count: int) -> list[Any]:
        deliveries = []
        for _ in range(count):
            deliveries.append(await self.producer.send(self.topic, b"%d" % self.sent))
            self.sent += 1
        return deliveries

    async def all_there(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.seen) < self.sent:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.02)
        assert self.seen == list(range(self.sent))


@contextlib.asynccontextmanager
async def pair(cluster: KafkaCluster, proxies: Proxies, topic: str) -> AsyncIterator[Pair]:
    async with Admin(cluster.bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, {})])
    made = Pair(topic, proxies.bootstrap)
    async with made.producer, made.consumer:
        reading = asyncio.create_task(made.read())
        try:
            await made.send(20)
            await made.all_there()
            yield made
        finally:
            reading.cancel()
            await asyncio.wait([reading])


@contextlib.asynccontextmanager
async def no_descriptors_left() -> AsyncIterator[None]:
    """Take every descriptor that there is, and each that somebody gives back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = [int(name) for name in os.listdir("/proc/self/fd")]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_now) + 4, hard))
    taken: list[int] = []

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))

    async def go_on_taking() -> None:
        while True:
            take()
            await asyncio.sleep(0.002)

    taking = asyncio.create_task(go_on_taking())
    try:
        yield
    finally:
        taking.cancel()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)


async def test_no_descriptors_left_is_waited_out(
    proxied: KafkaCluster, new_name: NewName, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the clients can connect then, nor can the proxy accept."""
    async with Proxies(proxied, "PROXY") as proxies, pair(proxied, proxies, new_name("fds")) as p:
        async with no_descriptors_left():
            proxies.cut()
            await asyncio.sleep(0.01)
            deliveries = await p.send(50)
            await asyncio.sleep(FAULT_S)
            logged = len(caplog.records)
        async with asyncio.timeout(WITHIN_S):
            for delivery in deliveries:
                await delivery
        await p.send(20)
        await p.all_there()
    assert "Too many open files" in caplog.text
    assert logged < 60  # no flood of lines


async def test_names_that_are_not_known_are_waited_out(
    proxied: KafkaCluster, new_name: NewName, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with Proxies(proxied, "PROXY") as proxies, pair(proxied, proxies, new_name("dns")) as p:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.BaseEventLoop, "getaddrinfo", unknown)
            proxies.cut()
            deliveries = await p.send(50)
            await asyncio.sleep(FAULT_S)
            assert not any(delivery.done() for delivery in deliveries)
        async with asyncio.timeout(WITHIN_S):
            for delivery in deliveries:
                await delivery
        await p.send(20)
        await p.all_there()


async def test_names_that_nobody_answers_for_hold_up_no_stop(
    proxied: KafkaCluster, new_name: NewName, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(3600)

    async with Proxies(proxied, "PROXY") as proxies, pair(proxied, proxies, new_name("dns")) as p:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.BaseEventLoop, "getaddrinfo", silent)
            proxies.cut()
            await asyncio.sleep(0.5)
            async with asyncio.timeout(WITHIN_S):
                await p.consumer.stop()
                await p.producer.stop(1.0)


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, -1e9], ids=["back", "forth", "to 1990"])
async def test_a_wall_clock_that_jumps_changes_nothing(
    proxied: KafkaCluster, new_name: NewName, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    real = time.time
    async with Proxies(proxied, "PROXY") as proxies, pair(proxied, proxies, new_name("clock")) as p:
        with monkeypatch.context() as patch:
            for module in ("producer", "accumulator"):
                patch.setattr(f"faustc.client.{module}.time", lambda: real() + jump_s)
            patch.setattr(time, "time", lambda: real() + jump_s)
            await p.send(50)
            proxies.cut()
            await p.send(50)
            await p.all_there()
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            await p.send(20_000)
            counting.cancel()
            assert turns > 2  # sending lets others have their turn all the same
            await p.all_there()


async def test_records_of_1_mb_pass_while_connections_are_cut(
    proxied: KafkaCluster, new_name: NewName
) -> None:
    topic = new_name("large")
    async with Admin(proxied.bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, {"max.message.bytes": "2000000"})])
    async with Proxies(proxied, "PROXY") as proxies:
        common: dict[str, Any] = {"bootstrap_servers": proxies.bootstrap}
        producer = Producer(max_request_size=1_500_000, request_timeout_ms=3000, **common)
        consumer = Consumer(topic, auto_offset_reset="earliest", **common)
        async with producer, consumer:
            values = [bytes([n]) * 1_048_576 for n in range(30)]
            deliveries = []
            for number, value in enumerate(values):
                deliveries.append(await producer.send(topic, value))
                if number % 10 == 5:
                    await asyncio.sleep(0.05)
                    proxies.cut()
            got = []
            async with asyncio.timeout(60):
                for delivery in deliveries:
                    await delivery
                for number in range(len(values)):
                    got.append((await consumer.getone()).value)
                    if number == 10:
                        proxies.cut()
            assert got == values
