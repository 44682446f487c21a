"""The producer's memory: bounded, first come first served, nothing lost by those who leave."""

from __future__ import annotations

import asyncio

import pytest

from faustc.client.buffer import BufferMemory
from faustc.exceptions import KafkaTimeout, ProducerClosed


async def test_full_buffer_serves_who_waits_longest_first() -> None:
    memory = BufferMemory(100)
    assert memory.take(80)
    assert not memory.take(30)
    served: list[str] = []

    async def want(name: str, size: int) -> None:
        await memory.wait(size, 5)
        served.append(name)

    tasks = [asyncio.create_task(want("large", 60)), asyncio.create_task(want("small", 10))]
    await asyncio.sleep(0)
    assert not memory.take(10), "nobody overtakes, even if it would fit"
    memory.give(30)
    await asyncio.sleep(0.01)
    assert served == [], "the large one is first in line"
    memory.give(50)
    await asyncio.gather(*tasks)
    assert served == ["large", "small"]
    assert memory.free == 30


async def test_waiting_ends_with_a_timeout_that_says_how_full_it_is() -> None:
    memory = BufferMemory(100)
    memory.take(90)
    with pytest.raises(KafkaTimeout, match=r"no room for 20 bytes within 0.02 s: 90 of 100"):
        await memory.wait(20, 0.02)
    assert memory.take(10), "who left is not waited for"


async def test_cancelled_waiter_gives_way_and_keeps_nothing() -> None:
    memory = BufferMemory(10)
    memory.take(10)
    first = asyncio.create_task(memory.wait(8, 5))
    second = asyncio.create_task(memory.wait(2, 5))
    await asyncio.sleep(0)
    memory.give(5)
    first.cancel()
    await asyncio.wait([first])
    await second
    assert memory.free == 3
    third = asyncio.create_task(memory.wait(8, 5))
    await asyncio.sleep(0)
    memory.give(7)
    third.cancel()  # in the very moment it is served
    await asyncio.wait([third])
    assert memory.free == 10


async def test_abort_fails_those_who_wait() -> None:
    memory = BufferMemory(1)
    memory.take(1)
    waiting = asyncio.create_task(memory.wait(1, 5))
    await asyncio.sleep(0)
    memory.abort(ProducerClosed("over"))
    with pytest.raises(ProducerClosed, match="over"):
        await waiting
