"""Three workers: any of them answers for any key, and the others go on when one is killed."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from typing import Any

from tests.process import Process
from tests.programs.conftest import MakeProgram

KEYS = [f"k{n}" for n in range(24)]
BODY = """\
orders = app.topic("{topic}", key_type=str, value_type=int)
seen = {{}}

@app.agent(orders)
async def count(orders):
    async for key, order in orders.items():
        seen[key] = seen.get(key, 0) + order

@app.page("/count/{{key}}/")
@app.topic_route(orders, match_info="key")
async def get_count(web, request, key):
    return web.json({{"pid": os.getpid(), "count": seen.get(key, 0)}})
"""


def address_of(worker: Process) -> str:
    worker.wait_for("Web server at")
    found = re.search(r"Web server at (http://\S+)", worker.output())
    assert found is not None
    return found[1]


def ask(address: str, key: str) -> tuple[int, Any]:
    """Ask one worker for a key; return status and answer."""
    try:
        with urllib.request.urlopen(f"{address}/count/{key}/", timeout=40) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def agreed(addresses: list[str], pids: set[int]) -> dict[str, Any]:
    """Wait until all answer the same for every key, from workers that are there; return it."""
    give_up = time.monotonic() + 60
    while True:
        answers = [{key: ask(address, key) for key in KEYS} for address in addresses]
        statuses = {status for some in answers for status, _ in some.values()}
        assert statuses <= {200, 503}, answers
        if statuses == {200} and all(some == answers[0] for some in answers):
            told = {key: answer for key, (_, answer) in answers[0].items()}
            if {answer["pid"] for answer in told.values()} == pids:
                return told
        assert time.monotonic() < give_up, answers
        time.sleep(0.2)


def test_any_worker_answers_for_any_key_and_goes_on_when_one_is_killed(
    program: MakeProgram, new_name: Any
) -> None:
    app = program(BODY.format(topic=new_name("orders")))
    workers = [app.ready_worker() for _ in range(3)]
    addresses = [address_of(worker) for worker in workers]
    pids = [worker.process.pid for worker in workers]
    agreed(addresses, set(pids))

    app.write(
        f"import asyncio\n"
        f"from {app.module} import app, orders\n"
        "async def main():\n"
        f"    for key in {KEYS!r}:\n"
        "        await orders.send(key=key, value=1)\n"
        "    await app.stop()\n"
        "asyncio.run(main())\n",
        "fill",
    )
    assert app.script("fill").wait() == 0
    give_up = time.monotonic() + 60
    while sum(answer["count"] for answer in agreed(addresses, set(pids)).values()) < len(KEYS):
        assert time.monotonic() < give_up, [worker.output() for worker in workers]
    told = agreed(addresses, set(pids))
    assert {answer["count"] for answer in told.values()} == {1}

    # When: one of them is gone without a word
    workers[0].kill()
    after = agreed(addresses[1:], set(pids[1:]))
    for key, answer in told.items():
        if answer["pid"] != pids[0]:
            assert after[key] == answer, "who has a partition keeps it"
    for worker in workers[1:]:
        assert worker.terminate() == 0, worker.output()
