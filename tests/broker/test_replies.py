"""Agents are called while the broker goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faustc
from tests.broker.conftest import Embedded


def make_app(broker: Embedded, folder: Path) -> tuple[faustc.App, Any]:
    app = faustc.App(
        "calc",
        broker=f"kafka://{broker.bootstrap}",
        datadir=folder,
        broker_session_timeout=6,
        broker_heartbeat_interval=1,
    )

    @app.agent(name="double")
    async def double(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers:
            await asyncio.sleep(0.005)
            yield number * 2

    return app, double


async def test_replies_come_though_the_broker_was_away(
    embedded_private: Embedded, tmp_path: Path
) -> None:
    worker, _ = make_app(embedded_private, tmp_path / "worker")
    client, double = make_app(embedded_private, tmp_path / "client")
    async with worker, asyncio.timeout(60):
        await client.start_client()
        try:
            await double.ask(1)
            asking = asyncio.ensure_future(double.join(range(400)))
            await asyncio.sleep(0.5)
            assert not asking.done()
            await asyncio.to_thread(embedded_private.stop)
            await asyncio.sleep(1)
            assert not asking.done()
            await asyncio.to_thread(embedded_private.start)
            assert await asking == [number * 2 for number in range(400)]
            assert await double.ask(1) == 2
        finally:
            await client.stop()
