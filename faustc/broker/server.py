"""Listens on loopback, and on nothing else, and runs a broker in the foreground."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker, Options
from faustc.broker.session import Session
from faustc.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

# How long a stop waits for connections to end.
_STOP_S = 5.0


def check_loopback(host: str) -> None:
    """Raise ImproperlyConfigured unless the host is this machine and no other can reach it."""
    if host == "localhost":
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise ImproperlyConfigured(
        f"the embedded broker listens on loopback only, not on {host}: it knows no users, "
        "no encryption and no second copy"
    )


class Server:
    """A broker behind a socket. `start` it before use, `close` it in the same loop."""

    def __init__(self, broker: Broker, host: str = "127.0.0.1", port: int = 0) -> None:
        check_loopback(host)
        self.broker = broker
        self._host = host
        self._port = port
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients, host:port."""
        host = f"[{self.broker.host}]" if ":" in self.broker.host else self.broker.host
        return f"{host}:{self.broker.port}"

    async def start(self) -> None:
        """Open the broker and listen; port 0 takes a free one. Raises OSError."""
        wire.load(api.name for api in Session.served.values())
        await self.broker.start()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Session(self.broker, self._sessions), self._host, self._port, backlog=512
            )
        except BaseException:
            await self.broker.close()
            raise
        self.broker.host, self.broker.port = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Stop listening, drop every connection, and close the broker."""
        if self._server is not None:
            self._server.close()
            ends = [asyncio.ensure_future(session.wait_closed()) for session in self._sessions]
            if ends:
                await asyncio.wait(ends, timeout=_STOP_S)
            self._server = None
        await self.broker.close()


async def serve(options: Options, host: str, port: int, on_ready: Callable[[Server], Any]) -> None:
    """Serve until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = Server(Broker(options), host, port)
    await server.start()
    try:
        on_ready(server)
        await stop.wait()
    finally:
        await server.close()


def run(
    host: str = "127.0.0.1",
    port: int = 0,
    data: Path | None = None,
    *,
    on_ready: Callable[[Server], Any] | None = None,
    **options: Any,
) -> None:
    """Run a broker until SIGINT or SIGTERM; `options` are those of Options.

    Raises OSError, and ImproperlyConfigured for a host that is not loopback or a data
    folder that another broker uses.
    """
    asyncio.run(serve(Options(data=data, **options), host, port, on_ready or _say))


def _say(server: Server) -> None:
    data = server.broker.options.data
    where = f"data in {data}" if data is not None else "in memory"
    print(f"faustc broker at {server.bootstrap}, {where}", flush=True)
