"""The embedded broker behind a socket, on a thread of its own: for tests of processes."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any

from faustc.broker.broker import Broker, Options
from faustc.broker.server import Server

__all__ = ["EmbeddedBroker"]

START_S = 20.0


class EmbeddedBroker:
    """A broker on a free loopback port, from `start` to `stop`, or within a `with` block.

    options are those of faustc.broker.broker.Options; without data= it is in memory.
    bootstrap is its host:port; url is what an app's `broker` takes.
    """

    def __init__(self, **options: Any) -> None:
        self.bootstrap = ""
        self._options = Options(**options)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedded broker", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """The broker's URL."""
        return f"kafka://{self.bootstrap}"

    def start(self) -> None:
        """Return when it takes connections. Raises what keeps it from that."""
        self._thread.start()
        if not self._ready.wait(START_S):
            raise TimeoutError(f"the embedded broker was not ready within {START_S:g} s")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Return when it has ended. Raises what it failed with."""
        if self._loop is not None and self._end is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the embedded broker did not stop within {START_S:g} s")
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as exc:  # noqa: BLE001 - raised where start or stop was called
            self._failure = exc
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        server = Server(Broker(self._options))
        await server.start()
        try:
            self.bootstrap = server.bootstrap
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            self._ready.set()
            await self._end.wait()
        finally:
            await server.close()
