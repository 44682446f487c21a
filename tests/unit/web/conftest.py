"""Apps whose web server answers on a free port of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

import faustc
from tests.unit.face.conftest import make_app, mem

__all__ = ["Ask", "ask", "make_app", "mem", "served"]

Ask = Callable[..., Awaitable[aiohttp.ClientResponse]]


@pytest.fixture
async def served(make_app: Callable[..., faustc.App]) -> Callable[..., faustc.App]:
    """Make apps that serve; they are stopped when the test ends."""

    def make(id: str = "app", **options: Any) -> faustc.App:
        app = make_app(id, **{"web_port": 0, **options})
        app.serves_web = True
        return app

    return make


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Ask an app's web server: method, path."""
    async with aiohttp.ClientSession() as session:

        async def run(app: faustc.App, method: str, path: str, **options: Any) -> Any:
            if not app.web.started:
                await app.web.start()
            response = await session.request(method, app.web.address + path, **options)
            await response.read()
            return response

        yield run
    # the app fixture stops what was started with the app; a server by itself is stopped here
