"""What goes wrong on the way between workers and brokers, on a thread of its own.

What is corrupted is what a client is able to notice: bytes under a batch's checksum, lengths,
correlation ids. Nobody could notice a changed error code or offset; against that there is TLS.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from tests.kafka_cluster import KafkaCluster
from tests.proxy import Cut, Fault, Frame, Proxies, Proxy, Wire

__all__ = ["Trouble", "batch_within"]

FETCH = 1
LENGTH = struct.Struct(">i")
#: How often a frame is harmed while a fault lasts that comes frame by frame.
SHARE = 0.3


def batch_within(frame: bytes | bytearray) -> tuple[int, int] | None:
    """Return what the checksum of the first record batch in a frame covers, None without one."""
    at = frame.find(2, 17)
    while at >= 0:
        # Magic is byte 16: before it base offset, length, leader epoch; after it the checksum.
        begin = at - 16
        (length,) = LENGTH.unpack_from(frame, begin + 8)
        end = begin + 12 + length
        if length >= 49 and end <= len(frame) and frame[at + 5] == 0:
            return at + 5, end
        at = frame.find(2, at + 1)
    return None


class Harm(Fault):
    """What is wrong with the way to one broker just now; nothing, to begin with."""

    def __init__(self, chosen: random.Random) -> None:
        self.chosen = chosen
        self.delay = False
        self.truncate = False
        self.corrupt = False
        self.open = {"request": asyncio.Event(), "answer": asyncio.Event()}
        for gate in self.open.values():
            gate.set()

    async def request(self, wire: Wire, frame: Frame) -> None:
        data = await self._harmed("request", frame)
        await wire.to_broker(data)
        self._end_after(frame, data)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        data = await self._harmed("answer", frame)
        await wire.to_client(data)
        self._end_after(frame, data)

    async def _harmed(self, way: str, frame: Frame) -> bytes:
        """Wait as long as it takes; return what is to be handed on."""
        await self.open[way].wait()
        if self.delay:
            await asyncio.sleep(self.chosen.uniform(0.02, 0.8))
        if self.truncate and self.chosen.random() < SHARE:
            return frame.data[: len(frame.data) // 2]
        if self.corrupt and self.chosen.random() < SHARE:
            return self._spoiled(way, frame)
        return frame.data

    def _spoiled(self, way: str, frame: Frame) -> bytes:
        chosen, data = self.chosen, bytearray(frame.data)
        covered = None
        if way == "answer" and frame.api_key == FETCH:
            covered = batch_within(data)
        if covered is not None:
            data[chosen.randrange(*covered)] ^= 1 << chosen.randrange(8)
        elif way == "answer" and chosen.random() < 0.5:
            data[chosen.randrange(4, 8)] ^= 1 << chosen.randrange(8)  # the correlation id
        else:
            data[:4] = LENGTH.pack(chosen.choice([-1, -(2**31), 2**31 - 1, 2**30]))
        return bytes(data)

    def _end_after(self, frame: Frame, data: bytes) -> None:
        if len(data) < len(frame.data):
            raise Cut


class Trouble:
    """The proxies of a cluster's listener, and what they do; `harm` says what is wrong.

    Each kind is a method that ends when it is over.
    """

    def __init__(self, cluster: KafkaCluster, listener: str, seed: int) -> None:
        self._cluster, self._listener, self._seed = cluster, listener, seed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._proxies: Proxies

    @property
    def bootstrap(self) -> str:
        return self._proxies.bootstrap

    def __enter__(self) -> Trouble:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def harm(self, kind: str, node: int, for_s: float) -> None:
        """Begin something of plan.WIRE at what leads to a broker; it lasts so long."""
        proxy = self._proxies.each[node]
        self._loop.call_soon_threadsafe(self._spawn, getattr(self, f"_{kind}")(proxy, for_s))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    # -- on the thread -----------------------------------------------------------------

    async def _start(self) -> None:
        self._proxies = Proxies(self._cluster, self._listener)
        for node, proxy in self._proxies.each.items():
            proxy.fault = Harm(random.Random(f"proxy {self._seed} {node}"))
            await proxy.start()

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._proxies.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cut(self, proxy: Proxy, for_s: float) -> None:
        """Cut all connections, and again each second."""
        give_up = self._loop.time() + for_s
        while self._loop.time() < give_up:
            proxy.cut(reset=_harm(proxy).chosen.random() < 0.5)
            await asyncio.sleep(1.0)

    async def _delay(self, proxy: Proxy, for_s: float) -> None:
        """Let every frame take its time."""
        _harm(proxy).delay = True
        await asyncio.sleep(for_s)
        _harm(proxy).delay = False

    async def _truncate(self, proxy: Proxy, for_s: float) -> None:
        """End connections in the middle of a frame."""
        _harm(proxy).truncate = True
        await asyncio.sleep(for_s)
        _harm(proxy).truncate = False

    async def _corrupt(self, proxy: Proxy, for_s: float) -> None:
        """Damage frames."""
        _harm(proxy).corrupt = True
        await asyncio.sleep(for_s)
        _harm(proxy).corrupt = False

    async def _block(self, proxy: Proxy, for_s: float) -> None:
        """Let nothing pass in one direction; then all at once, or never."""
        harm = _harm(proxy)
        way = harm.chosen.choice(["request", "answer"])
        before = list(proxy.wires)
        harm.open[way].clear()
        await asyncio.sleep(for_s)
        if harm.chosen.random() < 0.5:
            for wire in before:
                wire.cut(reset=True)
        harm.open[way].set()


def _harm(proxy: Proxy) -> Harm:
    assert isinstance(proxy.fault, Harm)
    return proxy.fault
