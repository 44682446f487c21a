"""All brokers are away: waited out up to a setting, then the worker ends, and says so."""

from __future__ import annotations

from typing import Any

import pytest

import faustc as faust
from faustc.exceptions import NoBrokersAvailable
from faustc.testing import MemoryBroker


def reading(**options: Any) -> tuple[Any, list[int]]:
    app: Any = faust.App("away", broker="kafka://ignored", **options)
    topic = app.topic("numbers", value_type=int)
    seen: list[int] = []

    @app.agent(topic)
    async def note(stream: Any) -> None:
        async for number in stream:
            seen.append(number)

    app.numbers = topic
    return app, seen


async def test_a_short_outage_is_waited_out() -> None:
    app, seen = reading(broker_outage_timeout=600)
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await test.send(app.numbers, value=1)
        await test.settled()
        broker.is_open = False
        await broker.pipes.close()
        await test.advance(300)
        broker.is_open = True
        await test.send(app.numbers, value=2)
        await test.settled()
        assert seen == [1, 2]


async def test_a_long_one_ends_the_worker() -> None:
    app, _ = reading(broker_outage_timeout=120)
    async with MemoryBroker() as broker:
        with pytest.raises(RuntimeError, match="no broker was reached") as told:  # noqa: PT012
            async with app.test_context(broker=broker) as test:
                await test.send(app.numbers, value=1)
                await test.settled()
                broker.is_open = False
                await broker.pipes.close()
                await test.advance(400)
                broker.is_open = True
        assert isinstance(told.value.__cause__, NoBrokersAvailable)
