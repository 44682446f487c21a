"""A proxy between workers and brokers that cuts, delays, truncates, corrupts and blocks.

It knows Kafka's frames: four bytes of length, then in a request api key, version and correlation
id, in an answer the correlation id. What it corrupts is what a client is able to notice: bytes
under a batch's checksum, lengths, correlation ids. Nobody could notice a changed error code or
offset; against that there is TLS.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

__all__ = ["Proxy", "batch_within"]

MAX_FRAME = 128 << 20
FETCH = 1
LENGTH = struct.Struct(">i")
#: How often a frame is harmed while a fault lasts that comes frame by frame.
SHARE = 0.3


def batch_within(frame: bytes | bytearray) -> tuple[int, int] | None:
    """Return where in a frame the checksum of a record batch covers, None without a batch."""
    at = frame.find(2, 16)
    while at >= 0:
        # Magic is byte 16: before it base offset, length, leader epoch; after it the checksum.
        begin = at - 16
        (length,) = LENGTH.unpack_from(frame, begin + 8)
        end = begin + 12 + length
        if begin > 0 and length >= 49 and end <= len(frame) and frame[at + 5] == 0:
            return at + 5, end
        at = frame.find(2, at + 1)
    return None


class _Route:
    """What is wrong between workers and one broker, and the connections there."""

    def __init__(self, chosen: random.Random) -> None:
        self.chosen = chosen
        self.port = 0  # of the broker
        self.links: set[_Link] = set()
        self.delay = False
        self.truncate = False
        self.corrupt = False
        self.open = {"up": asyncio.Event(), "down": asyncio.Event()}
        for gate in self.open.values():
            gate.set()


class _Link:
    """One connection of a worker, and the one that it was given for it."""

    def __init__(self, route: _Route, worker: Any, broker: Any) -> None:
        self.route = route
        self._worker, self._broker = worker, broker
        self._asked: dict[int, int] = {}  # correlation id -> api key

    async def run(self) -> None:
        self.route.links.add(self)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump("up", self._worker[0], self._broker[1]))
                both.create_task(self._pump("down", self._broker[0], self._worker[1]))
        except* (OSError, asyncio.IncompleteReadError, _Done):
            pass
        finally:
            self.route.links.discard(self)
            self.cut()

    def cut(self) -> None:
        """End both connections at once."""
        for _, writer in (self._worker, self._broker):
            writer.transport.abort()

    async def _pump(
        self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        route, chosen = self.route, self.route.chosen
        while True:
            head = await source.readexactly(4)
            (length,) = LENGTH.unpack(head)
            if not 0 <= length <= MAX_FRAME:
                raise _Done
            frame = bytearray(await source.readexactly(length))
            api = self._note(way, frame)
            await route.open[way].wait()
            if route.delay:
                await asyncio.sleep(chosen.uniform(0.02, 0.8))
            if route.truncate and chosen.random() < SHARE:
                sink.write(head + bytes(frame[: length // 2]))
                await sink.drain()
                raise _Done
            if route.corrupt and chosen.random() < SHARE:
                head = self._spoil(way, api, head, frame)
            sink.write(head)
            sink.write(bytes(frame))
            await sink.drain()

    def _note(self, way: str, frame: bytearray) -> int:
        """Return the api key that a frame is about; -1 if nobody knows."""
        if way == "down":
            return self._asked.pop(LENGTH.unpack_from(frame)[0], -1) if len(frame) >= 4 else -1
        if len(frame) < 8:
            return -1
        api, _, correlation = struct.unpack_from(">hhi", frame)
        self._asked[correlation] = api
        return int(api)

    def _spoil(self, way: str, api: int, head: bytes, frame: bytearray) -> bytes:
        """Damage a frame so that it can be noticed; return its head."""
        chosen = self.route.chosen
        covered = batch_within(frame) if way == "down" and api == FETCH else None
        if covered is not None:
            frame[chosen.randrange(*covered)] ^= 1 << chosen.randrange(8)
            return head
        if way == "down" and chosen.random() < 0.5:
            frame[chosen.randrange(4)] ^= 1 << chosen.randrange(8)  # the correlation id
            return head
        return LENGTH.pack(chosen.choice([-1, -(2**31), 2**31 - 1, 2**30]))


class _Done(Exception):
    """This connection is over."""


class Proxy:
    """Listens at a port for each broker; what is wrong is said by `harm`. Has a thread."""

    def __init__(self, nodes: Sequence[int], seed: int) -> None:
        self.ports: dict[int, int] = {}
        self._nodes = nodes
        self._seed = seed
        self._routes: dict[int, _Route] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def lead_to(self, ports: Mapping[int, int]) -> None:
        """Say where the brokers are."""
        for node, port in ports.items():
            self._routes[node].port = port

    def harm(self, kind: str, node: int, for_s: float) -> None:
        """Begin something of plan.WIRE at what leads to a broker; it lasts so long."""
        task = getattr(self, f"_{kind}")(self._routes[node], for_s)
        self._loop.call_soon_threadsafe(self._spawn, task)

    # -- on the thread -----------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        for node in self._nodes:
            route = self._routes[node] = _Route(random.Random(f"proxy {self._seed} {node}"))
            server = await asyncio.start_server(self._taker(route), "127.0.0.1", 0)
            self._servers.append(server)
            self.ports[node] = server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for route in self._routes.values():
            for link in list(route.links):
                link.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _taker(self, route: _Route) -> Callable[..., None]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(self._serve(route, reader, writer))

        return take

    async def _serve(
        self, route: _Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            broker = await asyncio.open_connection("127.0.0.1", route.port)
        except OSError:
            writer.transport.abort()
            return
        await _Link(route, (reader, writer), broker).run()

    # -- what may be wrong ---------------------------------------------------------------

    async def _cut(self, route: _Route, for_s: float) -> None:
        """Cut all connections, and again each second."""
        give_up = self._loop.time() + for_s
        while self._loop.time() < give_up:
            for link in list(route.links):
                link.cut()
            await asyncio.sleep(1.0)

    async def _delay(self, route: _Route, for_s: float) -> None:
        """Let every frame take its time."""
        route.delay = True
        await asyncio.sleep(for_s)
        route.delay = False

    async def _truncate(self, route: _Route, for_s: float) -> None:
        """End connections in the middle of a frame."""
        route.truncate = True
        await asyncio.sleep(for_s)
        route.truncate = False

    async def _corrupt(self, route: _Route, for_s: float) -> None:
        """Damage frames."""
        route.corrupt = True
        await asyncio.sleep(for_s)
        route.corrupt = False

    async def _block(self, route: _Route, for_s: float) -> None:
        """Let nothing pass in one direction; then all at once, or never."""
        way = route.chosen.choice(["up", "down"])
        links = list(route.links)
        route.open[way].clear()
        await asyncio.sleep(for_s)
        if route.chosen.random() < 0.5:
            for link in links:
                link.cut()
        route.open[way].set()
