"""Programs that start an app themselves, in a loop that runs already, without a worker."""

from __future__ import annotations

from typing import Any

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


def test_a_main_of_ones_own_starts_the_app_and_another_thread_sends(
    program: MakeProgram, new_name: Any
) -> None:
    app = program(AGENT.replace("{topic}", new_name("orders")))
    app.write(PLAIN.format(module=app.module), "plain")
    plain = app.script("plain")
    plain.wait_for("took 1")
    plain.wait_for("took 2")
    plain.wait_for("stopped")
    app.assert_no_errors()


def test_a_loop_that_runs_cell_by_cell_keeps_the_app(program: MakeProgram, new_name: Any) -> None:
    app = program(AGENT.replace("{topic}", new_name("orders")))
    app.write(NOTEBOOK.format(module=app.module), "notebook")
    notebook = app.script("notebook")
    notebook.wait_for("took 1")
    notebook.wait_for("took 2")
    notebook.wait_for("stopped")
    app.assert_no_errors()
