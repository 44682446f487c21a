"""Calls that are cancelled wherever they wait: nothing is lost, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.exceptions import ConsumerNotStarted, ProducerClosed
from tests.unit.client.fetch_server import FetchServer
from tests.unit.client.fetching import T0, T1, numbered, reading
from tests.unit.client.produce_broker import TOPIC, ProduceBroker
from tests.unit.client.test_group_states import TOPIC as ORDERS
from tests.unit.client.test_group_states import Coordinator
from tests.unit.client.wire_server import WireServer, until

# More turns of the loop than any of these calls takes over loopback.
TURNS = 60


async def cancelled_after(turns: int, work: Coroutine[Any, Any, Any]) -> Any:
    """Cancel a call after so many turns of the loop; return what it returned if it was done."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


def held() -> tuple[int, int, int]:
    """Count what a call may leave behind: descriptors, threads, tasks."""
    threads = [thread for thread in threading.enumerate() if "faustc" in thread.name]
    return len(os.listdir("/proc/self/fd")), len(threads), len(asyncio.all_tasks())


async def back_to(before: tuple[int, int, int]) -> None:
    try:
        await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
    except TimeoutError:
        left = [task.get_name() + repr(task.get_coro()) for task in asyncio.all_tasks()]
        raise AssertionError(f"{before} before, now {held()}: {left}") from None


@pytest.mark.parametrize("how", ["getmany", "getone", "getbatches"])
async def test_no_message_is_lost_with_a_cancelled_call(how: str) -> None:
    async with (
        FetchServer(("t", 2)) as server,
        reading(server, T0, T1, max_poll_records=3) as consumer,
    ):
        got: dict[int, list[bytes | None]] = {0: [], 1: []}
        for turn in range(TURNS):
            server.append(T0, *numbered(2, 2 * turn))
            server.append(T1, *numbered(2, 2 * turn))
            if how == "getone":
                one = await cancelled_after(turn, consumer.getone())
                found = [one] if one is not None else []
            elif how == "getmany":
                many = await cancelled_after(turn, consumer.getmany(timeout_ms=5000))
                found = [m for messages in (many or {}).values() for m in messages]
            else:
                batches = await cancelled_after(turn, consumer.getbatches(timeout_ms=5000))
                found = [m for bs in (batches or {}).values() for b in bs for m in b.messages()]
            for message in found:
                got[message.partition].append(message.value)
        async with asyncio.timeout(20):
            while sum(map(len, got.values())) < 4 * TURNS:
                message = await consumer.getone()
                got[message.partition].append(message.value)
        assert got == {0: numbered(2 * TURNS), 1: numbered(2 * TURNS)}


@pytest.mark.parametrize("how", ["send", "send_many", "send_and_wait", "flush"])
async def test_a_cancelled_send_holds_no_memory_and_spoils_no_other(how: str) -> None:
    async with WireServer() as server:
        broker = ProduceBroker(server)
        options = {"buffer_memory": 4000, "max_batch_size": 1000}
        async with Producer(bootstrap_servers=f"127.0.0.1:{server.port}", **options) as producer:
            for turn in range(TURNS):
                kept = await producer.send(TOPIC, b"%d" % turn)
                calls: dict[str, Coroutine[Any, Any, Any]] = {
                    "send": producer.send(TOPIC, b"x" * 900),
                    "send_many": producer.send_many(TOPIC, [b"x" * 500] * 20),
                    "send_and_wait": producer.send_and_wait(TOPIC, b"x" * 900),
                    "flush": producer.flush(),
                }
                call = calls.pop(how)
                for other in calls.values():
                    other.close()
                await cancelled_after(turn, call)
                if turn % 7 == 0:
                    await kept
            await producer.flush()
            assert producer.pending_bytes == 0
            assert producer.errors == 0
        values = [m.value for m in broker.logs[0].messages if not m.value.startswith(b"x")]
        assert values == [b"%d" % turn for turn in range(TURNS)]


async def test_a_producer_whose_start_or_stop_is_cancelled_leaves_nothing() -> None:
    async with WireServer() as server:
        ProduceBroker(server)
        before = held()
        for turns in range(TURNS):
            producer = Producer(bootstrap_servers=f"127.0.0.1:{server.port}")
            await cancelled_after(turns, producer.start())
            await producer.stop()
            producer = Producer(bootstrap_servers=f"127.0.0.1:{server.port}")
            await producer.start()
            await producer.send(TOPIC, b"v")
            await cancelled_after(max(turns, 1), producer.stop())  # 0: it never ran
        await back_to(before)


@pytest.mark.parametrize("group", [None, "g"])
async def test_a_consumer_whose_start_or_stop_is_cancelled_leaves_nothing(
    group: str | None,
) -> None:
    async with Coordinator() as server:
        before = held()
        for turns in (*range(0, TURNS, 3), 200, 1000):
            consumer = Consumer(
                ORDERS, bootstrap_servers=f"127.0.0.1:{server.port}", group_id=group
            )
            await cancelled_after(turns, consumer.start())
            await consumer.stop()
            consumer = Consumer(
                ORDERS, bootstrap_servers=f"127.0.0.1:{server.port}", group_id=group
            )
            await consumer.start()
            await cancelled_after(max(turns, 1), consumer.stop())
        await back_to(before)


@pytest.mark.parametrize("group", [None, "g"])
async def test_what_is_stopped_while_it_starts_ends(group: str | None) -> None:
    async with Coordinator() as server:
        ProduceBroker(server)
        before = held()
        for turns in range(0, TURNS, 3):
            consumer = Consumer(
                ORDERS, bootstrap_servers=f"127.0.0.1:{server.port}", group_id=group
            )
            producer = Producer(bootstrap_servers=f"127.0.0.1:{server.port}")
            starting = asyncio.gather(consumer.start(), producer.start(), return_exceptions=True)
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.gather(consumer.stop(), producer.stop())
            await starting
            with pytest.raises(ConsumerNotStarted):
                await consumer.getmany()
            with pytest.raises(ProducerClosed):
                await producer.send(TOPIC, b"v")
        await back_to(before)
