"""What a type checker makes of streams."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

APP = """
from typing import Any
import faustc as faust

class Order(faust.Record):
    account: str

app = faust.App("x")

class Mine(faust.Stream[Order]):
    async def on_merge(self, value: Order | None = None) -> Order | None:
        return value

@app.agent()
async def agent(stream: faust.Stream[Order]) -> None:
    async for order in stream.filter(lambda order: order.account > "a"):
        reveal_type(order)
    async for key, value in stream.items():
        reveal_type(value)
    async for event in stream.events():
        reveal_type(event)
    async for number, one in stream.noack().enumerate():
        reveal_type(one)
    async for orders in stream.take(10, within=5):
        reveal_type(orders)
    async for events in stream.noack_take(10, within=5):
        reveal_type(events)
    async for grouped in stream.group_by(Order.account):
        reveal_type(grouped)
    async for either in stream & Mine(app.topic("x")):
        reveal_type(either)
"""
REVEALED = ["Order", "Order", "Event", "Order", "list[Order]", "list[Event]", "Order", "Order"]


def test_values_have_the_type_of_the_stream(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "app.py").write_text(APP)
    cache = Path(__file__).parents[3] / ".mypy_cache"
    out, err, status = api.run(
        ["--strict", "--allow-untyped-decorators", "--cache-dir", str(cache),
         "--python-executable", sys.executable,
         str(tmp_path / "app.py")]
    )  # fmt: skip
    assert status == 0, out + err
    said = [line.split('"')[1] for line in out.splitlines() if "Revealed type" in line]
    short = [
        name.replace("app.", "").replace("builtins.", "").replace("faustc.events.", "")
        for name in said
    ]
    assert short == REVEALED
