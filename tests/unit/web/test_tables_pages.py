"""`/table`: tables over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faustc
from faustc.streams import Stream
from tests.unit.web.conftest import Ask


async def test_tables_have_pages(served: Callable[..., faustc.App], ask: Ask) -> None:
    app = served(topic_partitions=2)
    counts = app.Table("counts", default=int, key_type=str, help="How often.")
    numbers = app.Table("numbers", key_type=int)
    people = app.SetTable("people")

    @app.agent(app.topic("words", key_type=str, value_type=str))
    async def count(words: Stream[str]) -> None:
        async for word in words:
            counts[word] += 1
            numbers[7] = word
            people[word].update(["y", "x"])

    async with app.test_context() as test:
        for _ in range(3):
            await test.send("words", key="a", value="a")
        await test.settled()

        async def get(path: str) -> tuple[int, Any]:
            response = await ask(app, "GET", path)
            return response.status, await response.json()

        status, listed = await get("/table/")
        assert status == 200
        assert {"name": "counts", "help": "How often."} in listed
        assert len(listed) == 3
        assert await get("/table/counts/") == (200, {"name": "counts", "help": "How often."})
        assert await get("/table/counts/a/") == (200, 3)
        assert await get("/table/people/a/") == (200, ["x", "y"])
        assert await get("/table/numbers/7/") == (200, "a")
        assert (await get("/table/counts/b/"))[0] == 404
        assert (await get("/table/cuonts/"))[0] == 404
        assert (await get("/table/cuonts/a/"))[0] == 404


async def test_the_pages_can_be_switched_off(served: Callable[..., faustc.App], ask: Ask) -> None:
    app = served(web_tables_enabled=False)
    async with app.test_context():
        assert (await ask(app, "GET", "/table/")).status == 404
