"""How tests read from a fetch server: one consumer, partitions by hand, values."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from faustc.client.consumer import Consumer
from faustc.types import TopicPartition
from tests.unit.client.fetch_server import FetchServer

T0, T1, T2 = (TopicPartition("t", n) for n in range(3))


@contextlib.asynccontextmanager
async def reading(server: FetchServer, *tps: TopicPartition, **options: Any) -> AsyncIterator[Any]:
    consumer = Consumer(
        bootstrap_servers=f"127.0.0.1:{server.port}",
        **{
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": 50,
            "retry_backoff_ms": 10,
            **options,
        },
    )
    consumer.assign(tps)
    await consumer.start(5)
    try:
        yield consumer
    finally:
        await consumer.stop()
        left = [t for t in asyncio.all_tasks() if "faustc" in t.get_name()]
        assert not left, "a stopped consumer leaves no task"


async def take(consumer: Consumer, count: int, *tps: TopicPartition) -> list[bytes | None]:
    """Return the values of the next `count` messages."""
    values: list[bytes | None] = []
    async with asyncio.timeout(10):
        while len(values) < count:
            got = await consumer.getmany(*tps, timeout_ms=200, max_records=count - len(values))
            values += [m.value for messages in got.values() for m in messages]
    return values


async def nothing_more(consumer: Consumer, *tps: TopicPartition) -> None:
    assert await consumer.getmany(*tps, timeout_ms=150) == {}


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % n for n in range(start, start + count)]
