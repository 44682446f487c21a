"""Calling agents from other processes: clients, workers that come and go, and the command line."""

from __future__ import annotations

import json
import signal
import time

from tests.process import Process
from tests.programs.conftest import MakeProgram, Program

BANK = """
class Transfer(faust.Record):
    account: str
    amount: float

transfers = app.topic(app.conf.id + "-transfers", key_type=str, value_type=Transfer)

@app.agent(transfers, name="transfer")
async def transfer(stream):
    async for one in stream:
        if one.amount < 0:
            raise ValueError("below zero")
        await asyncio.sleep(float(os.environ.get("WORK_S", "0")))
        yield Transfer(one.account, one.amount * 2)

@app.agent(app.topic(app.conf.id + "-words"), name="shout", use_reply_headers=False)
async def shout(words):
    async for word in words:
        yield word.upper()

@app.command()
async def double(self):
    reply = await transfer.ask(Transfer("cli", 21), key="cli")
    self.say(json.dumps(reply.amount))
"""
CLIENT = """
import asyncio, json, sys
from {module} import Transfer, app, shout, transfer
from faustc.exceptions import NoReply, RequestFailed

def say(**what):
    print(json.dumps(what), flush=True)

async def main():
    await app.start_client()
    say(ready=True)
    try:
{body}
    finally:
        await app.stop()

asyncio.run(main())
"""
EVERYTHING = """
        say(ask=(await transfer.ask(Transfer("a", 1), key="a")).amount)
        say(shout=await shout.ask("hello"))
        replies = await transfer.kvjoin((str(n), Transfer(str(n), n)) for n in range(200))
        say(join=[reply.amount for reply in replies])
        say(map=sorted([word async for word in shout.map(["a", "b", "c"])]))
        try:
            await transfer.ask(Transfer("a", -1), key="a")
        except RequestFailed as exc:
            say(failed=str(exc))
"""


def client(program: Program, body: str) -> Process:
    """Start a process that calls the program's agents."""
    program.write(CLIENT.format(module=program.module, body=body), "client")
    return program.script("client")


def said(process: Process) -> dict[str, object]:
    """Return what a client said, the last of each name."""
    found: dict[str, object] = {}
    for line in process.output().splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def test_a_client_process_calls_the_agents_of_a_worker_process(program: MakeProgram) -> None:
    bank = program(BANK)
    worker = bank.ready_worker()
    caller = client(bank, EVERYTHING)
    assert caller.wait() == 0, caller.output()
    assert said(caller) == {
        "ready": True,
        "ask": 2,
        "shout": "HELLO",
        "join": [n * 2 for n in range(200)],
        "map": ["A", "B", "C"],
        "failed": "agent transfer raised ValueError: below zero",
    }
    assert worker.terminate() == 0
    assert "Traceback" not in caller.output()


def test_a_command_of_the_apps_own_asks_a_worker(program: MakeProgram) -> None:
    bank = program(BANK)
    bank.ready_worker()
    assert json.loads(bank.command("double")) == 42
    bank.assert_no_errors()


def test_replies_come_though_a_worker_is_killed_and_another_stopped(program: MakeProgram) -> None:
    bank = program(BANK)
    first, second = (bank.ready_worker(environment={"WORK_S": "0.01"}) for _ in range(2))
    caller = client(
        bank,
        """
        replies = transfer.kvmap((str(n), Transfer(str(n), n)) for n in range(600))
        amounts = []
        async for reply in replies:
            amounts.append(reply.amount)
            say(count=len(amounts))
        say(amounts=sorted(amounts))
""",
    )
    caller.wait_until(lambda: said(caller).get("count", 0) >= 50, "50 replies")
    first.kill()
    bank.worker(environment={"WORK_S": "0.01"})
    caller.wait_until(lambda: said(caller).get("count", 0) >= 250, "250 replies")
    assert second.terminate() == 0, second.output()
    assert caller.wait(60) == 0, caller.output()
    assert said(caller)["amounts"] == [n * 2 for n in range(600)]


def test_a_client_asks_before_there_is_a_worker(program: MakeProgram) -> None:
    bank = program(BANK)
    caller = client(
        bank,
        """
        promise = await transfer.ask_nowait(Transfer("a", 1), key="a")
        say(asked=True)
        say(amount=(await promise).amount)
""",
    )
    caller.wait_for("asked")
    bank.worker()
    assert caller.wait(60) == 0, caller.output()
    assert said(caller)["amount"] == 2


def test_a_client_that_stops_while_it_waits_is_told_so_at_once(program: MakeProgram) -> None:
    bank = program(BANK)
    caller = client(
        bank,
        """
        promise = await transfer.ask_nowait(Transfer("a", 1), key="a")
        began = asyncio.get_running_loop().time()
        await app.stop()
        try:
            await promise
        except NoReply as exc:
            say(why=str(exc), took_s=asyncio.get_running_loop().time() - began)
""",
    )
    assert caller.wait() == 0, caller.output()
    found = said(caller)
    assert "stopped" in str(found["why"])
    assert float(str(found["took_s"])) < 10


def test_a_client_that_dies_is_of_no_concern_to_the_worker(program: MakeProgram) -> None:
    bank = program(BANK)
    worker = bank.ready_worker(environment={"WORK_S": "0.01"})
    dying = client(
        bank,
        """
        for n in range(50):
            await transfer.ask_nowait(Transfer("a", n), key=str(n))
        say(asked=True)
        await asyncio.sleep(1000)
""",
    )
    dying.wait_for("asked")
    dying.process.send_signal(signal.SIGKILL)
    caller = client(bank, EVERYTHING)
    assert caller.wait(60) == 0, caller.output()
    began = time.monotonic()
    assert worker.terminate() == 0, worker.output()
    assert time.monotonic() - began < 15
    assert "Traceback" not in caller.output()
