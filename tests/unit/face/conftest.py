"""Apps on topics in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import faustc
from tests.memory_transport import CLUSTERS, Cluster, cluster

_numbers = itertools.count()


@pytest.fixture
def mem() -> Cluster:
    """A cluster in memory of this test's own."""
    return cluster(f"mem{next(_numbers)}")


@pytest.fixture
async def make_app(mem: Cluster, tmp_path: Any) -> AsyncIterator[Callable[..., faustc.App]]:
    """Make apps on that cluster; they are stopped when the test ends."""
    made: list[faustc.App] = []
    name = next(name for name, one in CLUSTERS.items() if one is mem)

    def make(id: str = "app", **options: Any) -> faustc.App:
        options = {"commit_interval": 0.2, "datadir": tmp_path / id, **options}
        app = faustc.App(id, broker=f"tests.memory_transport.MemoryTransport://{name}", **options)
        made.append(app)
        return app

    yield make
    for app in made:
        await app.stop()


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Wait until a condition holds, or fail."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)
