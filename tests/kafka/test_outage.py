"""A broker that goes away under a running app, and comes back: waited out, nothing lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from tests.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka
NewName = Callable[[str], str]


async def until(condition: Callable[[], Any], timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.02)


async def test_a_killed_broker_is_waited_out(
    kafka_private: KafkaCluster, new_name: NewName, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = faustc.App(
        new_name("app"),
        broker=f"kafka://{kafka_private.bootstrap}",
        datadir=tmp_path,
        commit_interval=0.3,
    )
    source = app.topic(new_name("in"), value_type=int, partitions=2)
    target = app.topic(new_name("out"), value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(source)
    async def forward(stream: Any) -> None:
        async for value in stream:
            await target.send(value=value)

    @app.agent(target)
    async def keep(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    for number in range(200):
        await source.send(key=str(number), value=number)
    await until(lambda: len(seen) == 200, 20)
    # when the only broker is killed, and sends go on meanwhile
    kafka_private.kill(1)
    for number in range(200, 300):
        await source.send(key=str(number), value=number)
    await asyncio.sleep(2)
    assert app.started
    logged = len(caplog.records)
    await asyncio.to_thread(kafka_private.restart, 1)
    # then all of it arrives, and is committed
    await until(lambda: set(seen) == set(range(300)), 60)
    began = time.monotonic()
    await until(lambda: sum(app.monitor.committed.values()) >= 600, 60)
    assert time.monotonic() - began < 60
    assert logged < 60  # an outage is no flood of lines
    await app.stop()
    assert not app.crashed


async def test_an_app_stops_in_bounded_time_while_the_broker_is_away(
    kafka_private: KafkaCluster, new_name: NewName, tmp_path: Any
) -> None:
    app = faustc.App(
        new_name("app"),
        broker=f"kafka://{kafka_private.bootstrap}",
        datadir=tmp_path,
        commit_interval=0.3,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
    )
    topic = app.topic(new_name("in"), value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    await topic.send(value=1)
    await until(lambda: seen == [1], 20)
    kafka_private.kill(1)
    try:
        began = time.monotonic()
        await asyncio.wait_for(app.stop(), 60)
        assert time.monotonic() - began < 45
    finally:
        await asyncio.to_thread(kafka_private.restart, 1)
