"""Windows that close by the clock, since nothing more comes, wherever they are then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from faustc.client import Producer
from tests.programs.conftest import MakeProgram
from tests.programs.test_table_programs import (
    ALONE,
    HEAD,
    TYPES,
    Closings,
    Life,
    Tables,
    end_of,
    told_by,
)


class ByTheClock(Closings):
    """Events of now, each in one window of five seconds; `over` is what will close."""

    SIZE = 5
    body = f"""\
{TYPES}{ALONE}{HEAD}
async def closed(key, value):
    print("CLOSED", json.dumps([key, value]), flush=True)

sums = app.Table(
    "sums", key_type=str, value_type=int, default=int, partitions=4, on_window_close=closed
).tumbling({SIZE}.0, expires=8.0)

@app.agent(source)
async def add(stream):
    async for key, number in stream.items():
        sums[key] += number
"""

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        return ((f"w{n % 37}", 1, time.time()) for n in range(200))

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        start = int(at * 1000) / 1000 // self.SIZE * self.SIZE
        name = f'["{key}", {end_of(start, self.SIZE)}]'
        self.over[name] = self.over.get(name, 0) + value


async def test_each_window_is_closed_once_wherever_it_is_then(
    program: MakeProgram, producer: Producer
) -> None:
    """Windows that are open while workers join, leave and start again close with all in them."""
    app = program(ByTheClock.body)
    kind = ByTheClock()
    life = Life(app, producer, kind)
    (one,) = life.workers(1)
    await life.feed()
    (two,) = life.workers(2)
    await life.shared(two)
    await life.feed()
    assert one.terminate() == 0, one.output()
    await life.feed()
    (three,) = life.workers(3)
    await life.shared(three)
    await life.feed()

    async def all_closed() -> bool:
        return len(kind.closed(life)) >= len(kind.over)

    async def all_gone() -> bool:
        return not any(told_by(worker).get("sums") for worker in (two, three))

    await life.until(all_closed, one, two, three)
    assert sorted(kind.closed(life)) == sorted(kind.over.items())
    await life.until(all_gone, two, three)
    for worker in (two, three):
        assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()
