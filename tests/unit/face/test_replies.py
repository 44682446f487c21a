"""Calling agents: what is asked is answered, to who asked, or fails for a reason."""

from __future__ import annotations

import faustc


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
