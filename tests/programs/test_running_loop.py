"""Programs that start an app themselves, in a loop that runs already, without a worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.programs.conftest import MakeProgram

AGENT = """\
orders = app.topic("{topic}", value_type=int)
taken = asyncio.Queue()

@app.agent(orders)
async def take(orders):
    async for order in orders:
        await taken.put(order)
"""
PLAIN = """\
import asyncio, threading
from {module} import app, orders, taken

async def main():
    await app.start()
    try:
        await orders.send(value=1)
        print("took", await taken.get())
        other = threading.Thread(target=lambda: asyncio.run(from_a_thread()))
        other.start()
        print("took", await taken.get())
        await asyncio.to_thread(other.join)
    finally:
        await app.stop()
    print("stopped")

async def from_a_thread():
    await (await orders.send(value=2))

asyncio.run(main())
"""
NOTEBOOK = """\
import asyncio
from {module} import app, orders, taken

loop = asyncio.new_event_loop()

def cell(coroutine):
    return loop.run_until_complete(coroutine)

cell(app.start())
cell(orders.send(value=1))
print("took", cell(taken.get()))
cell(orders.send(value=2))
print("took", cell(taken.get()))
cell(app.stop())
loop.close()
print("stopped")
"""


@pytest.mark.parametrize(
    "text",
    [PLAIN, NOTEBOOK],
    ids=["main-and-thread", "cell-by-cell"],
)
def test_an_app_runs_in_a_loop_that_is_not_a_workers(
    program: MakeProgram, new_name: Any, text: str
) -> None:
    app = program(AGENT.replace("{topic}", new_name("orders")))
    app.write(text.format(module=app.module), "own")
    own = app.script("own")
    own.wait_for("took 1")
    own.wait_for("took 2")
    own.wait_for("stopped")
    app.assert_no_errors()
