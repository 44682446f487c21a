"""Opens the links to brokers, over TCP; the one thing that tests swap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl

from faustc._native.framer import Framer
from faustc.client.link import FramesCallback, Link, LostCallback, SocketLink, TransportLink
from faustc.exceptions import ConnectionLost, KafkaTimeout


class Dialer:
    """Connects to a host and port; never speaks Kafka.

    ssl_context asks for TLS, which `link` starts on the socket. The
    host name is looked up at every call, without blocking the loop, and each
    of its addresses is tried in turn: a broker that comes back under another
    address is found (KIP-302).
    """

    #: Whether group membership may dial from a thread of its own. Links that live in
    #: memory, on one loop, say no; then it runs on the loop of its user.
    across_threads = True

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, receive_buffer_bytes: int = 0
    ) -> None:
        self.ssl_context = ssl_context
        self._receive_buffer_bytes = receive_buffer_bytes

    async def link(
        self,
        host: str,
        port: int,
        timeout_s: float,
        framer: Framer,
        on_frames: FramesCallback,
        on_lost: LostCallback,
    ) -> Link:
        """Return a link to a host and port, over TLS if there is a context for it.

        Raises what `open` and `TransportLink.start` do.
        """
        sock = await self.open(host, port, timeout_s)
        loop = asyncio.get_running_loop()
        if self.ssl_context is None:
            try:
                return SocketLink(sock, loop, framer, on_frames, on_lost)
            except NotImplementedError:
                pass  # a loop without add_reader, such as Windows' proactor
            except BaseException:
                sock.close()
                raise
        return await TransportLink.start(
            sock,
            loop,
            framer,
            on_frames,
            on_lost,
            ssl_context=self.ssl_context,
            server=(host, port),
        )

    async def open(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Return a connected non-blocking socket, which the caller then owns.

        Raises ConnectionLost naming every address tried and why it failed, or
        KafkaTimeout when timeout_s (seconds, for all of them) is over.
        """
        if not host or not 0 < port < 65536:  # or the system would dial something of its own
            raise ConnectionLost(f"no connection to {host}:{port}: that is no address")
        failures: list[str] = []
        try:
            async with asyncio.timeout(timeout_s):
                for family, kind, proto, _, address in await self._look_up(host, port):
                    try:
                        return await self._connect(family, kind, proto, address)
                    except OSError as exc:
                        why = os.strerror(exc.errno) if exc.errno else str(exc)
                        failures.append(f"{address[0]}: {why}")
        except TimeoutError as exc:
            tried = f" ({'; '.join(failures)})" if failures else ""
            raise KafkaTimeout(
                f"no connection to {host}:{port} within {timeout_s:g} s{tried}"
            ) from exc
        raise ConnectionLost(f"no connection to {host}:{port} ({'; '.join(failures)})")

    async def _look_up(
        self, host: str, port: int
    ) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:  # the latter for a name that IDNA cannot encode
            why = getattr(exc, "strerror", None) or exc
            raise ConnectionLost(
                f"no connection to {host}:{port}: the name is not known ({why})"
            ) from exc
        return [(int(f), int(k), p, name, address) for f, k, p, name, address in found]

    async def _connect(
        self, family: int, kind: int, proto: int, address: tuple[object, ...]
    ) -> socket.socket:
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._receive_buffer_bytes:
                # best effort: the system's own limit may be lower
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock
