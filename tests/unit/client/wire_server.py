"""A listening socket that speaks Kafka's protocol with kafka-python's structs.

Not a broker: it answers what the test tells it to, byte for byte where wanted.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from faustc.client import wire


class Request(NamedTuple):
    """One request as it came in; fields is None for APIs without a control-plane codec."""

    name: str
    version: int
    correlation_id: int
    client_id: str
    fields: Any
    frame: bytes = b""


# Given a request: the fields of its answer, ready bytes (a whole frame without
# its length), None to stay silent, or an exception to cut the connection.
Answer = dict[str, Any] | bytes | None | type[ConnectionError]

MODERN = {cap.key: (cap.min, cap.max) for cap in wire.CAPS.values()}


class WireServer:
    """Listens on a free loopback port; keeps all requests that came."""

    def __init__(
        self,
        versions: dict[int, tuple[int, int]] | None = None,
        *,
        node_id: int = 1,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.versions = MODERN if versions is None else versions
        self.node_id = node_id
        self.features: list[dict[str, Any]] = []
        self.topics: list[dict[str, Any]] = []
        self.brokers: list[dict[str, Any]] | None = None
        self.requests: list[Request] = []
        self.answers: dict[str, Callable[[Request], Answer]] = {}
        self.opened = 0
        self._ssl = ssl_context
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> WireServer:
        await self.listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def listen(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await until(lambda: not self._writers)

    def cut(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    def seen(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.name == name]

    def frame(self, request: Request, **fields: Any) -> bytes:
        """Return the answer's bytes: response header and body."""
        return encode_answer(request.name, request.version, request.correlation_id, **fields)

    def metadata(self, request: Request) -> dict[str, Any]:
        own = {"node_id": self.node_id, "host": "127.0.0.1", "port": self.port, "rack": None}
        return {
            "brokers": [own] if self.brokers is None else self.brokers,
            "cluster_id": "c",
            "controller_id": self.node_id,
            "topics": self.topics,
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._writers.add(writer)
        try:
            while True:
                size = struct.unpack(">i", await reader.readexactly(4))[0]
                request = parse(await reader.readexactly(size))
                self.requests.append(request)
                answer = self._answer(request)
                if answer is None:
                    continue
                if isinstance(answer, type):
                    writer.transport.abort()
                    return
                body = answer if isinstance(answer, bytes) else self.frame(request, **answer)
                writer.write(struct.pack(">i", len(body)) + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, request: Request) -> Answer:
        if request.name in self.answers:
            return self.answers[request.name](request)
        if request.name == "ApiVersions":
            return self.api_versions(request)
        if request.name == "Metadata":
            return self.metadata(request)
        return None

    def api_versions(self, request: Request) -> Answer:
        served = [
            {"api_key": key, "min_version": low, "max_version": high}
            for key, (low, high) in self.versions.items()
        ]
        if request.version > self.versions[18][1]:
            # as brokers do since Kafka 2.4: version 0, whatever was asked (KIP-511)
            return encode_answer(
                "ApiVersions", 0, request.correlation_id, error_code=35, api_keys=served
            )
        return {
            "api_keys": served,
            "finalized_features": self.features or None,
            "finalized_features_epoch": 1,
        }


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for something that has no event to wait for."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def parse(frame: bytes) -> Request:
    key, version, correlation_id = struct.unpack_from(">hhi", frame)
    size = struct.unpack_from(">h", frame, 8)[0]
    client_id = frame[10 : 10 + max(0, size)].decode()
    name = wire.api_name(key)
    fields = None
    if key > 1:
        cls = wire._message(name, "Request")
        start = 10 + max(0, size) + (1 if cls.flexible_version_q(version) else 0)
        fields = cls.decode(frame[start:], version=version)
    return Request(name, version, correlation_id, client_id, fields, frame)


def encode_answer(name: str, version: int, correlation_id: int, **fields: Any) -> bytes:
    cls = wire._message(name, "Response")
    fields = {field: value for field, value in fields.items() if value is not None}
    answer = cls(
        version=version,
        **{field: wire._plain(cls, field, value, version) for field, value in fields.items()},
    )
    answer.with_header(correlation_id)
    return bytes(answer.encode(header=True))
