"""Tasks and timers of the leader: one worker of several runs them, another when it is gone."""

from __future__ import annotations

from typing import Any

from tests.process import Process
from tests.programs.conftest import MakeProgram

BODY = """\
orders = app.topic("{topic}", value_type=int)

@app.agent(orders)
async def take(orders):
    async for order in orders:
        pass

@app.task(on_leader=True)
async def once():
    print(f"task of the leader {os.getpid()}")

@app.timer(0.1, on_leader=True)
async def often():
    print(f"tick of the leader {os.getpid()}")

@app.timer(0.1)
async def always():
    print(f"leads={app.is_leader()}")
"""


def says(worker: Process, text: str) -> bool:
    return text in worker.output()


def ticks(worker: Process) -> int:
    return worker.output().count("tick of the leader")


def test_one_of_two_workers_leads_and_the_other_after_it(
    program: MakeProgram, new_name: Any
) -> None:
    app = program(BODY.replace("{topic}", new_name("orders")))
    first = app.ready_worker()
    first.wait_for("task of the leader")
    second = app.ready_worker()
    second.wait_for("Assigned:")
    second.wait_for("leads=False")
    before, ticked = ticks(second), ticks(first)
    first.wait_until(lambda: ticks(first) >= ticked + 3, "the leader ticks on")
    assert ticks(second) == before  # in the same time, in which it only looked
    assert not says(second, "task of the leader")

    assert first.terminate() == 0, first.output()
    second.wait_for("task of the leader")
    second.wait_until(lambda: ticks(second) >= before + 3, "the second one ticks")
    assert second.output().count("task of the leader") == 1
    assert second.terminate() == 0, second.output()
    app.assert_no_errors()


def test_an_app_that_reads_nothing_has_a_leader_too(program: MakeProgram) -> None:
    app = program(
        "@app.task(on_leader=True)\n"
        "async def once():\n"
        "    print('task of the leader', app.is_leader())\n"
    )
    worker = app.ready_worker()
    worker.wait_for("task of the leader True")
    assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()


def test_the_other_worker_leads_after_the_leader_was_killed(
    program: MakeProgram, new_name: Any
) -> None:
    app = program(BODY.replace("{topic}", new_name("orders")))
    leader = app.ready_worker()
    leader.wait_for("task of the leader")
    other = app.ready_worker()
    other.wait_for("leads=False")
    assert not says(other, "task of the leader")

    leader.kill()  # nothing is said to the group: its session has to end first

    other.wait_for("task of the leader")
    ticked = ticks(other)
    other.wait_until(lambda: ticks(other) >= ticked + 3, "the one that is left ticks on")
    assert other.output().count("task of the leader") == 1
    assert other.terminate() == 0, other.output()
