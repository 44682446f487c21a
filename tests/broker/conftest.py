"""Runs each test of this folder on the embedded broker and on real Kafka."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faustc.broker.broker import Broker, Options
from faustc.broker.server import Server
from tests.broker.raw import Raw


class Embedded:
    """The embedded broker behind a socket, on a thread: tests block theirs in other clients."""

    def __init__(self, **options: Any) -> None:
        self.bootstrap = ""
        self._options = Options(**options)
        self._port = 0
        self.start()

    def start(self) -> None:
        """Serve; after the first time on the same port, as a broker that was restarted."""
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="embedded broker")
        self._thread.start()
        assert self._ready.wait(20), "the embedded broker does not start"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as exc:  # noqa: BLE001, it is raised where start() was called
            self._failure = exc
            self._ready.set()

    async def _serve(self) -> None:
        self.server = Server(Broker(self._options), port=self._port)
        await self.server.start()
        self.bootstrap = self.server.bootstrap
        self._port = self.server.broker.port
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        await self.server.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the embedded broker does not stop"

    def restart(self) -> None:
        self.stop()
        self.start()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """One embedded broker for the whole run, with files, as users have it."""
    broker = Embedded(data=tmp_path_factory.mktemp("broker"), default_partitions=1)
    yield broker
    broker.stop()


@pytest.fixture
def embedded_private(tmp_path: Path) -> Iterator[Embedded]:
    """An embedded broker that a test may restart."""
    broker = Embedded(data=tmp_path)
    yield broker
    broker.stop()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of a broker that tests share; what they make has names of its own."""
    return str(request.getfixturevalue(request.param).bootstrap)


@pytest.fixture
def connect() -> Iterator[Callable[[str], Raw]]:
    """Make connections for single requests; they are closed in the end."""
    made: list[Raw] = []

    def connect_to(bootstrap: str) -> Raw:
        made.append(Raw(bootstrap))
        return made[-1]

    yield connect_to
    for raw in made:
        raw.close()
