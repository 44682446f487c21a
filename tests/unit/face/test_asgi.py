"""An app within an ASGI application, without a server: the lifespan as the protocol has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.contrib.asgi import (
    FaustLifespanMiddleware,
    LoopMismatch,
    bind_to_running_loop,
    faust_app_running,
    faust_lifespan,
)
from faustc.exceptions import ImproperlyConfigured

MakeApp = Callable[..., faustc.App]


class Server:
    """The other side of an ASGI application: what it sends and hears of a lifespan."""

    def __init__(self, application: Any) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.outbox: asyncio.Queue[Any] = asyncio.Queue()
        self.serving = asyncio.ensure_future(
            application({"type": "lifespan"}, self.inbox.get, self.outbox.put)
        )

    async def tell(self, phase: str) -> Any:
        await self.inbox.put({"type": f"lifespan.{phase}"})
        return await asyncio.wait_for(self.outbox.get(), 30)


async def test_the_middleware_runs_the_app_between_startup_and_shutdown(make_app: MakeApp) -> None:
    app = make_app()
    requests = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        requests.append((scope["type"], app.started))

    wrapped = FaustLifespanMiddleware(application, app)
    server = Server(wrapped)
    assert await server.tell("startup") == {"type": "lifespan.startup.complete"}
    await wrapped({"type": "http"}, None, None)
    assert requests == [("http", True)]
    assert await server.tell("shutdown") == {"type": "lifespan.shutdown.complete"}
    await server.serving
    assert not app.started


async def test_an_app_that_cannot_start_is_told_to_the_server(mem: Any, make_app: MakeApp) -> None:
    mem.down = True
    server = Server(FaustLifespanMiddleware(None, make_app()))
    told = await server.tell("startup")
    assert told["type"] == "lifespan.startup.failed"
    assert told["message"]
    await server.serving


async def test_an_app_that_runs_already_is_left_running(make_app: MakeApp) -> None:
    app = make_app()
    await app.start()
    async with faust_app_running(app) as same:
        assert same is app
    assert app.started


async def test_an_app_on_another_loop_is_a_mismatch(make_app: MakeApp) -> None:
    app = make_app()
    await app.start()
    assert bind_to_running_loop(app) is asyncio.get_running_loop()

    def elsewhere() -> None:
        async def bind() -> None:
            with pytest.raises(LoopMismatch, match="another event loop"):
                bind_to_running_loop(app)

        asyncio.run(bind())

    await asyncio.to_thread(elsewhere)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="instrument"):
        faust_lifespan(faustc.App("a"), opentelemetry=True)
