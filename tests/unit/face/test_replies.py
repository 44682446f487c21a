"""Calling agents: what is asked is answered, to who asked, or fails for a reason."""

from __future__ import annotations

from typing import Any

import pytest

import faustc
from faustc.reqrep import ReqRepResponse


async def test_ask_gets_what_the_agent_yields() -> None:
    app = faustc.App("calc", broker="kafka://nowhere")

    @app.agent()
    async def double(numbers):
        async for number in numbers:
            yield number * 2

    async with app.test_context():
        assert await double.ask(21) == 42
        assert await double.join(range(5)) == [0, 2, 4, 6, 8]
        assert sorted([v async for v in double.map([1, 2, 3])]) == [2, 4, 6]


class Add(faustc.Record, namespace="calc.Add"):
    a: int
    b: int


@pytest.mark.parametrize("value_type", [None, Add])
async def test_a_request_may_come_in_an_envelope(value_type: Any) -> None:
    app = faustc.App("calc", broker="kafka://nowhere")

    @app.agent(value_type=value_type, use_reply_headers=False)
    async def add(values):
        async for value in values:
            yield value.a + value.b

    async with app.test_context():
        assert await add.ask(Add(a=1, b=2)) == 3


async def test_test_context_keeps_replies() -> None:
    app = faustc.App("calc", broker="kafka://nowhere")

    @app.agent()
    async def double(numbers):
        async for number in numbers:
            yield number * 2

    async with double.test_context() as agent:
        await agent.put(2, reply_to="there", correlation_id="c1", key="k")
        [(topic, reply)] = agent.replies
        assert topic == "there"
        assert reply == ReqRepResponse(key="k", value=4, correlation_id="c1")
