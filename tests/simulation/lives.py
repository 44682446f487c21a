"""A process that is none: what it runs and whom it talks to, so that it can end as by kill -9.

A life is one run of a worker. Its tasks are those that were made in its context, and those made
by them; its connections go through `Wires`. A kill cuts the connections, then cancels the tasks:
whatever those do in their `finally` reaches nobody any more.

What is on the broker's side of a connection is not part of a life: a request that has arrived is
carried out, whoever is dead by then.
"""

from __future__ import annotations

import asyncio
import contextvars
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

from faustc._native.framer import Framer
from faustc.client.dialer import Dialer
from faustc.client.link import FramesCallback, Link, LostCallback
from faustc.exceptions import ConnectionLost
from tests.simulation.determined import Task

__all__ = ["LIFE", "Life", "Traffic", "Wires", "own_tasks"]

LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)
# So many turns of the loop a task of the dead may take until it ends.
MOURNING = 50


class Traffic:
    """A checksum over all that was sent and answered, and when: what one run has in common."""

    def __init__(self) -> None:
        self.digest = 0
        self.count = 0
        #: Told of each: a line of text. For a look at one seed.
        self.on_frame: Callable[[str, bytes | bytearray], None] | None = None

    def note(self, who: str, data: bytes | bytearray) -> None:
        self.count += 1
        now = asyncio.get_running_loop().time()
        self.digest = zlib.crc32(f"{who} {now!r}".encode(), self.digest)
        self.digest = zlib.crc32(data, self.digest)
        if self.on_frame is not None:
            self.on_frame(who, data)


class Life:
    """One run of one worker, until it ends or is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stalled = False  # its connections are alive, and nothing goes through them
        self.unreachable = False  # it has none, and gets none
        self.tasks: list[asyncio.Task[Any]] = []
        self.wires: list[_Wire] = []
        self.context = contextvars.copy_context()
        self.context.run(LIFE.set, self)

    def __repr__(self) -> str:
        return f"<Life {self.name}{' (dead)' if self.dead else ''}>"

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Begin something that belongs to it."""
        loop = asyncio.get_running_loop()
        return loop.create_task(work, name=f"{self.name}:{name}", context=self.context.copy())

    async def kill(self) -> list[str]:
        """End it as by kill -9; return the tasks that would not end."""
        self.dead = True
        self.cut()
        for _ in range(MOURNING):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                return []
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        return [task.get_name() for task in self.tasks if not task.done()]

    def living(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended."""
        self.tasks = [task for task in self.tasks if not task.done()]
        return self.tasks

    def cut(self) -> None:
        """Lose every connection."""
        wires, self.wires = self.wires, []
        for wire in wires:
            wire.cut()

    def stall(self, stalled: bool) -> None:
        """Let nothing through for a while, as when a process is stopped, or a cable is out."""
        self.stalled = stalled
        if not stalled:
            for wire in list(self.wires):
                wire.flush()


def own_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let lives know the tasks that are made in them."""

    def make(loop: Any, work: Any, context: Any = None, **options: Any) -> asyncio.Task[Any]:
        life = LIFE.get() if context is None else context.get(LIFE)
        task = Task(work, loop=loop, context=context, **options)
        if life is not None:
            life.tasks.append(task)
            if life.dead:
                task.cancel()
        return task

    loop.set_task_factory(make)


class Wires(Dialer):
    """The way from lives to a broker in memory."""

    across_threads = False

    def __init__(self, inner: Dialer, traffic: Traffic) -> None:
        super().__init__()
        self._inner = inner
        self._traffic = traffic
        self._outside = contextvars.copy_context()  # nobody's life

    async def link(
        self,
        host: str,
        port: int,
        timeout_s: float,
        framer: Framer,
        on_frames: FramesCallback,
        on_lost: LostCallback,
    ) -> Link:
        """Return a link of the life that asks; raises ConnectionLost while it gets none."""
        life = LIFE.get()
        if life is None:
            return await self._inner.link(host, port, timeout_s, framer, on_frames, on_lost)
        if life.dead:
            await asyncio.Event().wait()
        if life.unreachable:
            await asyncio.sleep(0.01)
            raise ConnectionLost(f"no connection to {host}:{port}: unreachable for {life.name}")
        wire = _Wire(life, self._traffic, self._outside, on_frames, on_lost)
        reaching = asyncio.get_running_loop().create_task(
            self._inner.link(host, port, timeout_s, framer, wire.take, wire.lost),
            context=self._outside.copy(),
        )
        wire.inner = await reaching
        life.wires.append(wire)
        return wire


class _Wire:
    """One connection of one life: the broker's side of it runs outside of that."""

    inner: Link

    def __init__(
        self,
        life: Life,
        traffic: Traffic,
        outside: contextvars.Context,
        on_frames: FramesCallback,
        on_lost: LostCallback,
    ) -> None:
        self._life = life
        self._traffic = traffic
        self._outside = outside
        self._inside = contextvars.copy_context()
        self._on_frames = on_frames
        self._on_lost = on_lost
        self._cut = False
        self._late: list[tuple[bool, Any]] = []  # (whether it goes out, what)

    def send(self, data: bytes | bytearray) -> None:
        if self._cut or self._life.dead:
            return
        if self._life.stalled or self._late:
            self._late.append((True, bytes(data)))
            return
        self._out(data)

    def _out(self, data: bytes | bytearray) -> None:
        self._traffic.note(self._life.name, data)
        self._outside.copy().run(self.inner.send, data)

    def take(self, frames: list[bytes]) -> None:
        if self._cut or self._life.dead:
            return
        if self._life.stalled or self._late:
            self._late.append((False, frames))
            return
        self._in(frames)

    def _in(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._traffic.note(f"> {self._life.name}", frame)
        self._inside.copy().run(self._on_frames, frames)

    def flush(self) -> None:
        """Let through what waited."""
        while self._late and not self._life.stalled and not self._cut:
            goes_out, what = self._late.pop(0)
            (self._out if goes_out else self._in)(what)

    def lost(self, exc: BaseException) -> None:
        if not self._cut and not self._life.dead:
            self._gone()
            self._inside.copy().run(self._on_lost, exc)

    def cut(self) -> None:
        """Lose it: the broker hears of it, and so does whoever is alive here."""
        if self._cut:
            return
        self._gone()
        self._outside.copy().run(self.inner.close)
        if not self._life.dead:
            self._inside.copy().run(self._on_lost, ConnectionLost("a fault cut the connection"))

    def close(self) -> None:
        if not self._cut:
            self._gone()
            self._outside.copy().run(self.inner.close)

    def _gone(self) -> None:
        self._cut = True
        if self in self._life.wires:
            self._life.wires.remove(self)

    async def wait_closed(self) -> None:
        await self.inner.wait_closed()
