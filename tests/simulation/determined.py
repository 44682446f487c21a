"""Everything that would differ from run to run, made to follow from one seed.

That includes the order of sets: of text by PYTHONHASHSEED (`__main__` sets it), and of objects by
numbers instead of addresses, for those of our classes that are kept in sets.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import faustc.broker.fetch_sessions
import faustc.client.accumulator
import faustc.client.partitioner
import faustc.client.producer
import faustc.clock
import faustc.engine.inbox
import faustc.engine.shard
import faustc.iteration
import faustc.undecodable
from faustc.client.connection import BrokerConnection
from faustc.client.cursors import Cursor
from faustc.engine.inbox import Reader
from faustc.testing.virtualtime import VirtualTime

__all__ = ["Task", "run"]

BEGIN_S = 1000.0  # the loop's clock
WALL_S = 1_700_000_000.0  # the time of day that goes with a loop's clock of 0
MAX_JUMPED_S = 3600.0


class Task(asyncio.Task[Any]):
    """A task that has a number for its hash."""

    numbers = itertools.count()

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(self.numbers)
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


class Future(asyncio.Future[Any]):
    """The same for a future."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(Task.numbers)
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


def run(seed: int, main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own, on virtual time that begins at BEGIN_S."""
    gc.collect()
    gc.disable()  # what a collection sets going would come at another moment each time
    loop = asyncio.SelectorEventLoop()
    Task.numbers = itertools.count()
    loop.create_future = lambda: Future(loop=loop)  # type: ignore[method-assign]
    try:
        asyncio.set_event_loop(loop)
        loop.time = lambda: BEGIN_S  # type: ignore[method-assign]
        clock = VirtualTime(loop, max_jumped_s=MAX_JUMPED_S)
        clock.install()
        with _seeded(seed, clock):
            return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        gc.enable()


@contextmanager
def _seeded(seed: int, clock: VirtualTime) -> Iterator[None]:
    state = random.getstate()
    random.seed(f"{seed} jitter")
    ids, sessions, turns = (random.Random(f"{seed} {what}") for what in ("ids", "fetch", "turns"))
    reading = BEGIN_S

    def monotonic() -> float:
        """Tell how long a body took: sometimes so long that others have their turn."""
        nonlocal reading
        reading += turns.choice((0.0, 0.0005, 0.006))
        return reading

    def wall() -> float:
        return WALL_S + clock.now

    still = SimpleNamespace(monotonic=lambda: 0.0, time=lambda: WALL_S)
    virtual = SimpleNamespace(monotonic=lambda: clock.now, time=wall)
    counting = SimpleNamespace(monotonic=monotonic)
    dice = SimpleNamespace(Random=lambda: random.Random(random.random()))
    tokens = SimpleNamespace(randbelow=sessions.randrange)
    numbers: dict[int, tuple[int, Any]] = {}  # with the object, or another might get its address

    def numbered(one: Any) -> int:
        return numbers.setdefault(id(one), (len(numbers), one))[0]

    with ExitStack() as stack:
        for kind in (BrokerConnection, Cursor, Reader):
            stack.enter_context(mock.patch.object(kind, "__hash__", numbered))
        for module, name, instead in (
            (faustc.clock, "time", still),
            (faustc.iteration, "time", counting),
            (faustc.engine.inbox, "time", virtual),
            (faustc.engine.shard, "time", virtual),
            (faustc.undecodable, "time", virtual),
            (faustc.client.partitioner, "random", dice),
            (faustc.client.producer, "time", lambda: WALL_S + monotonic()),
            (faustc.client.accumulator, "time", lambda: WALL_S + monotonic()),
            (faustc.broker.fetch_sessions, "secrets", tokens),
            (uuid, "uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4)),
        ):
            stack.enter_context(mock.patch.object(module, name, instead))
        try:
            yield
        finally:
            random.setstate(state)
