"""Settings that say when something happens: seen in a whole app, whose time is virtual."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import faustc
from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.testing import MemoryBroker
from faustc.types import TP
from faustc.wiring import engine_options
from tests.unit.client.wire_server import WireServer
from tests.unit.face.conftest import until

HOUR = 3600.0


@pytest.fixture
def app_of(tmp_path: Path) -> Callable[..., faustc.App]:
    def make(**options: Any) -> faustc.App:
        return faustc.App("app", datadir=tmp_path, topic_partitions=1, **options)

    return make


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


def reading(app: faustc.App, each: Callable[[Any], Any] | None = None) -> list[Any]:
    """Let an agent read topic t; return the list of what it has begun with."""
    seen: list[Any] = []

    @app.agent(app.topic("t"))
    async def read(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if each is not None:
                await each(value)

    return seen


async def test_what_is_done_is_committed_every_commit_interval(app_of: Any) -> None:
    # given
    app = app_of(commit_interval=1000.0)
    seen = reading(app)
    async with app.test_context() as t:
        # when
        await t.send("t", value=1)
        await t.advance(900)
        # then
        assert seen == [1]
        assert t.committed("t", 0) is None
        await t.advance(200)
        assert t.committed("t", 0) == 1


async def test_many_messages_are_committed_sooner(app_of: Any) -> None:
    # given
    app = app_of(commit_interval=HOUR, broker_commit_every=5)
    reading(app)
    async with app.test_context() as t:
        # when, then
        await t.send("t", value=1)
        await t.advance(60)
        assert t.committed("t", 0) is None
        for n in range(5):
            await t.send("t", value=n)
        await t.advance(60)
        assert t.committed("t", 0) in (5, 6)  # the last may still be in hand when it is due


@pytest.mark.parametrize(("reset", "expected"), [("earliest", [1, 2]), ("latest", [2])])
async def test_a_new_group_begins_where_it_is_told(
    app_of: Any, reset: str, expected: list[int]
) -> None:
    # given
    async with MemoryBroker() as broker:
        other = faustc.App("other", topic_partitions=1)
        reading(other)
        async with other.test_context(broker=broker) as t:
            await t.send("t", value=1)
            await t.settled()
        # when
        app = app_of(consumer_auto_offset_reset=reset)
        seen = reading(app)
        async with app.test_context(broker=broker) as t:
            await t.settled()
            await t.advance(5)
            await t.send("t", value=2)
            await t.settled()
        # then
        assert seen == expected


@pytest.mark.parametrize("delay_s", [0.0, 100.0])
async def test_tables_are_filled_after_the_recovery_delay(app_of: Any, delay_s: float) -> None:
    # given
    app = app_of(stream_recovery_delay=delay_s)
    table = app.Table("counts", default=int)
    times: list[float] = []
    seen: list[float] = []

    @app.on_partitions_assigned.connect
    async def note(app: Any, assigned: set[TP], **_: Any) -> None:
        times.append(asyncio.get_running_loop().time())

    @app.agent(app.topic("t"))
    async def count(stream: Any) -> None:
        async for value in stream:
            table["n"] += value
            seen.append(asyncio.get_running_loop().time())

    # when
    async with app.test_context() as t:
        await t.send("t", value=1)
        await t.settled()
    # then
    waited = seen[0] - times[0]
    assert waited >= delay_s if delay_s else waited < 100


@pytest.mark.parametrize(("waits", "committed"), [(True, 1), (False, None)])
async def test_a_stop_waits_for_what_is_in_hand_if_it_is_to(
    app_of: Any, waits: bool, committed: int | None
) -> None:
    # given
    finished: list[int] = []

    async def work(value: int) -> None:
        await asyncio.sleep(10)
        finished.append(value)

    app = app_of(stream_wait_empty=waits)
    seen = reading(app, work)
    async with MemoryBroker() as broker, app.test_context(broker=broker) as t:
        await t.send("t", value=1)
        await t.advance(5)
        # when
        await app.stop()
        # then
        assert seen == [1]
        assert finished == ([1] if waits else [])
        assert t.committed("t", 0) == committed


async def said_of_a_slow_event(app: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Return what is logged while an app has been at one event for 190 seconds."""
    reading(app, lambda value: asyncio.sleep(200))
    async with app.test_context() as t:
        with caplog.at_level(logging.WARNING):
            await t.send("t", value=1)
            await t.advance(190)
        said = caplog.text
        await t.settled()
    return said


@pytest.mark.parametrize(("timeout", "told"), [(100.0, True), (HOUR, False)])
async def test_an_event_that_takes_too_long_is_told_of(
    app_of: Any, caplog: pytest.LogCaptureFixture, timeout: float, told: bool
) -> None:
    said = await said_of_a_slow_event(app_of(stream_processing_timeout=timeout), caplog)
    assert ("t/0" in said) is told


@pytest.mark.parametrize(("timeout", "told"), [(100.0, True), (HOUR, False)])
async def test_a_partition_without_commits_is_told_of(
    app_of: Any, caplog: pytest.LogCaptureFixture, timeout: float, told: bool
) -> None:
    app = app_of(broker_commit_livelock_soft_timeout=timeout)
    assert ("behind its end" in await said_of_a_slow_event(app, caplog)) is told


@pytest.mark.parametrize("whose", ["consumer", "producer"])
async def test_connections_without_use_are_closed(
    app_of: Any, server: WireServer, whose: str
) -> None:
    # given
    app = app_of(**{f"{whose}_connections_max_idle_ms": 100})
    options = engine_options(app.conf)
    server.answers["InitProducerId"] = lambda request: {
        "throttle_time_ms": 0,
        "error_code": 0,
        "producer_id": 1,
        "producer_epoch": 0,
    }
    bootstrap = f"127.0.0.1:{server.port}"
    client: Any
    if whose == "producer":
        client = Producer(bootstrap_servers=bootstrap, **options.producer)
    else:
        client = Consumer(bootstrap_servers=bootstrap, **{**options.consumer, "group_id": None})
    await client.start()
    try:
        # when, then
        assert server.opened
        await until(lambda: server.open_connections == 0)
    finally:
        await client.stop()
