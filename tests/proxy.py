"""A proxy between Kafka clients and brokers, which can spoil what it carries, frame by frame.

A cluster whose listener is `proxied` advertises ports that nobody listens on; `Proxies` puts
one proxy on each:

    cluster = KafkaCluster(3, listeners={"PROXY": "PLAINTEXT"}, proxied={"PROXY"})
    async with Proxies(cluster, "PROXY") as proxies:
        client of proxies.bootstrap ...
        proxies.cut()

All of it runs on one event loop. What becomes of each frame is up to a `Fault`; the one that
is in force can be changed at any time. Who connects meanwhile comes under it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.kafka_cluster import KafkaCluster

MAX_FRAME_BYTES = 1 << 28
UNKNOWN = -1


class Cut(Exception):
    """Raised by a fault: this connection ends here; with reset by RST, not FIN."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__(f"cut by the proxy (reset: {reset})")
        self.reset = reset


@dataclass(slots=True)
class Frame:
    """A request or an answer, with the four bytes of its length."""

    data: bytes
    correlation_id: int
    api_key: int = UNKNOWN
    version: int = UNKNOWN
    client_id: str = ""


@dataclass(eq=False, slots=True)
class Wire:
    """One client's connection, and ours to the broker for it.

    deaf: nothing of the client reaches the broker any more; mute: nothing of the broker
    reaches the client. Either stays so, with the sockets open, whatever fault is in force.
    """

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    asked: dict[int, Frame] = field(default_factory=dict)  # requests without their answer
    client_id: str = ""
    deaf: bool = False
    mute: bool = False
    closed: bool = False

    async def to_broker(self, data: bytes) -> None:
        if self.deaf:
            return
        self.broker.write(data)
        await self.broker.drain()

    async def to_client(self, data: bytes) -> None:
        if self.mute:
            return
        self.client.write(data)
        await self.client.drain()

    def cut(self, *, reset: bool = False) -> None:
        """Close both sides at once."""
        self.closed = True
        for side in (self.client, self.broker):
            if reset:
                with contextlib.suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    sock = side.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                side.transport.abort()
            else:
                side.close()  # what was written still goes out


class Fault:
    """What becomes of each frame: this one hands on everything.

    A direction's frames come one at a time, in order; whoever waits here holds up that
    direction of that connection. Raise `Cut` to end the connection.
    """

    async def request(self, wire: Wire, frame: Frame) -> None:
        await wire.to_broker(frame.data)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        await wire.to_client(frame.data)


class Proxy:
    """Listens for one broker; `wires` are the connections that are open."""

    def __init__(self, port: int, target_port: int, fault: Fault | None = None) -> None:
        self.port = port
        self.target_port = target_port
        self.fault = fault or Fault()
        self.wires: set[Wire] = set()
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, or listen again after `refuse`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """Cut every connection, and refuse new ones until `start`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self, *, reset: bool = False) -> int:
        """Cut every connection; return how many there were."""
        count = len(self.wires)
        for wire in list(self.wires):
            wire.cut(reset=reset)
        return count

    async def close(self) -> None:
        """Refuse for good, and wait until nothing of it runs."""
        self.refuse()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            pass  # by close, or by the end of the loop; Python 3.11 logs it as an error
        finally:
            writer.close()
            self._serving.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            from_broker, broker = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            return
        wire = Wire(writer, broker)
        self.wires.add(wire)
        ways = [
            asyncio.create_task(self._requests(wire, reader)),
            asyncio.create_task(self._answers(wire, from_broker)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            wire.cut(reset=any(task.result() for task in done))
        finally:
            self.wires.discard(wire)
            wire.cut()
            for task in ways:
                task.cancel()
            await asyncio.wait(ways)

    async def _requests(self, wire: Wire, reader: asyncio.StreamReader) -> bool:
        """Carry requests until one side is gone; say whether to end with a reset."""
        try:
            async for data in _frames(reader):
                frame = _read_request(data)
                wire.client_id = frame.client_id
                wire.asked[frame.correlation_id] = frame
                await self.fault.request(wire, frame)
        except Cut as cut:
            return cut.reset
        except (OSError, asyncio.IncompleteReadError):
            pass
        return False

    async def _answers(self, wire: Wire, reader: asyncio.StreamReader) -> bool:
        try:
            async for data in _frames(reader):
                (correlation_id,) = struct.unpack_from(">i", data, 4)
                asked = wire.asked.pop(correlation_id, None)
                frame = Frame(data, correlation_id)
                if asked is not None:
                    frame.api_key, frame.version = asked.api_key, asked.version
                    frame.client_id = asked.client_id
                await self.fault.answer(wire, frame)
        except Cut as cut:
            return cut.reset
        except (OSError, asyncio.IncompleteReadError):
            pass
        return False


class Proxies:
    """One proxy for each node of a cluster; `fault` is that of all of them."""

    def __init__(self, cluster: KafkaCluster, listener: str, fault: Fault | None = None) -> None:
        self.each = {
            node_id: Proxy(node.advertised_ports[listener], node.listener_ports[listener], fault)
            for node_id, node in cluster.nodes.items()
        }

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.each.values())

    @property
    def wires(self) -> list[Wire]:
        return [wire for proxy in self.each.values() for wire in proxy.wires]

    def __iter__(self) -> Iterator[Proxy]:
        return iter(self.each.values())

    def use(self, fault: Fault | None) -> None:
        """Put a fault in force, None for none."""
        for proxy in self:
            proxy.fault = fault or Fault()

    def cut(self, *, reset: bool = False) -> int:
        """Cut every connection; return how many there were."""
        return sum(proxy.cut(reset=reset) for proxy in self)

    async def __aenter__(self) -> Self:
        try:
            for proxy in self:
                await proxy.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        for proxy in self:
            await proxy.close()


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        head = await reader.readexactly(4)
        (size,) = struct.unpack(">i", head)
        if not 0 <= size <= MAX_FRAME_BYTES:
            raise ConnectionError(f"a frame of {size} bytes")
        yield head + await reader.readexactly(size)


def _read_request(data: bytes) -> Frame:
    api_key, version, correlation_id, size = struct.unpack_from(">hhih", data, 4)
    client_id = data[14 : 14 + size].decode() if size > 0 else ""
    return Frame(data, correlation_id, api_key, version, client_id)
