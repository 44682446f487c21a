"""An app and FastAPI in one process: the web server starts it, or the worker serves the web."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from typing import Any

from tests.process import Process
from tests.programs.conftest import MakeProgram

COMMON = """\
from contextlib import asynccontextmanager
from fastapi import FastAPI
from faustc.contrib.fastapi import faust_app_running, faust_lifespan, serve_asgi

seen = []
orders = app.topic("{topic}", value_type=int)

@app.agent(orders)
async def take(orders):
    async for order in orders:
        seen.append(order)

"""
ROUTES = """
@api.post("/orders/{number}")
async def send(number: int):
    metadata = await (await orders.send(value=number))
    return {"topic": metadata.topic}

@api.post("/threads/{number}")
def send_from_a_thread(number: int):  # FastAPI runs it in one
    asyncio.run(send(number))

@api.get("/seen")
async def show():
    return seen
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, path: str, method: str = "GET", timeout_s: float = 30.0) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def seen(port: int, wanted: list[int], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while (found := sorted(ask(port, "/seen"))) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_fastapi_starts_the_app_and_stops_it(program: MakeProgram, new_name: Any) -> None:
    app = program(
        COMMON.replace("{topic}", new_name("orders"))
        + "api = FastAPI(lifespan=faust_lifespan(app))\n"
        + ROUTES
    )

    def serve(port: int) -> Process:
        return app.python(
            *("-m", "uvicorn", f"{app.module}:api", "--port", str(port)), name="uvicorn"
        )

    port = free_port()
    first = serve(port)
    ask(port, "/orders/1", "POST")
    ask(port, "/threads/2", "POST")
    seen(port, [1, 2])
    first.terminate()
    assert "Application shutdown complete" in first.output()

    port = free_port()
    second = serve(port)  # what was done is committed: it does not come again
    ask(port, "/orders/3", "POST")
    seen(port, [3])
    second.terminate()
    app.assert_no_errors()


def test_a_lifespan_of_ones_own_runs_the_app_within(program: MakeProgram, new_name: Any) -> None:
    own = """
@asynccontextmanager
async def lifespan(api):
    print("before", app.state)
    async with faust_app_running(app):
        print("within", app.state)
        yield
    print("after", app.state)

api = FastAPI(lifespan=lifespan)
"""
    app = program(COMMON.replace("{topic}", new_name("orders")) + own + ROUTES)
    port = free_port()
    server = app.python("-m", "uvicorn", f"{app.module}:api", "--port", str(port), name="uvicorn")
    ask(port, "/orders/1", "POST")
    seen(port, [1])
    server.terminate()
    states = re.findall(r"^(before|within|after) (\w+)$", server.output(), re.M)
    assert dict(states) == {"before": "init", "within": "running", "after": "stopped"}


def test_a_worker_serves_fastapi_instead_of_its_own_pages(
    program: MakeProgram, new_name: Any
) -> None:
    port = free_port()
    app = program(
        COMMON.replace("{topic}", new_name("orders"))
        + f'api = FastAPI()\nserve_asgi(app, api, host="127.0.0.1", port={port})\n'
        + ROUTES
    )
    worker = app.ready_worker()
    ask(port, "/orders/1", "POST")
    ask(port, "/threads/2", "POST")
    seen(port, [1, 2])
    assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()
