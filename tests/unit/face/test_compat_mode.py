"""What applications import from mode, as it is here."""

from __future__ import annotations

import asyncio
import sys
import types
from datetime import timedelta
from typing import Any

import pytest

import faustc
import faustc.compat.mode as mode
from faustc.compat.mode.utils.aiter import aenumerate, aiter, alist, arange, aslice, chunks
from faustc.compat.mode.utils.collections import LRUCache
from faustc.compat.mode.utils.futures import done_future
from faustc.compat.mode.utils.objects import cached_property, qualname
from faustc.compat.mode.utils.queues import FlowControlEvent, FlowControlQueue, ThrowableQueue
from faustc.compat.mode.utils.times import humanize_seconds, rate, rate_limit, want_seconds
from faustc.exceptions import ImproperlyConfigured
from faustc.service import Service
from faustc.signals import Signal, SyncSignal
from faustc.testing import virtual_time


def test_services_and_supervisors_are_ours() -> None:
    assert mode.Service is mode.ServiceT is Service
    assert isinstance(faustc.App("a"), mode.ServiceT)
    assert mode.OneForOneSupervisor.__module__ == "faustc.supervisors"


def test_seconds_and_rates() -> None:
    assert want_seconds(timedelta(minutes=1)) == 60.0
    assert want_seconds(2.5) == 2.5
    assert want_seconds("30/m") == rate("30/m") == 0.5
    assert rate(None) == 0.0
    with pytest.raises(ImproperlyConfigured, match="100/fortnight"):
        rate("100/fortnight")
    assert humanize_seconds(3600) == "1 hour"
    assert humanize_seconds(0.2) == "now"


async def test_a_rate_limit_spreads_what_passes() -> None:
    with virtual_time():
        loop = asyncio.get_running_loop()
        begin = loop.time()
        limit = rate_limit(2, 1.0)
        for _ in range(6):
            async with limit:
                pass
        assert loop.time() - begin == pytest.approx(2.0, abs=0.01)


async def test_async_iterators() -> None:
    assert await alist(aiter([1, 2])) == [1, 2]
    assert await alist(aenumerate(arange(5, 7), 1)) == [(1, 5), (2, 6)]
    assert await alist(aslice(arange(10), 2, 8, 3)) == [2, 5]
    assert await alist(chunks(arange(5), 2)) == [[0, 1], [2, 3], [4]]
    with pytest.raises(TypeError, match="int object"):
        aiter(3)  # type: ignore[arg-type]


def test_a_cached_property_is_computed_once_and_may_be_set() -> None:
    class Box:
        made = 0

        @cached_property
        def value(self) -> int:
            self.made += 1
            return self.made

        @value.setter
        def value(self, given: int) -> int:
            return given * 10

    box = Box()
    assert (box.value, box.value) == (1, 1)
    box.value = 4
    assert box.value == 40
    del box.value
    assert box.value == 2
    assert qualname(Box).endswith("Box")


async def test_a_suspended_queue_takes_nothing_in() -> None:
    flow = FlowControlEvent()
    queue: FlowControlQueue[int] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    with virtual_time():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.put(1), 1.0)
        flow.resume()
        await queue.put(2)
        assert await queue.get() == 2


async def test_an_exception_overtakes_what_is_queued() -> None:
    queue: ThrowableQueue[int] = ThrowableQueue()
    await queue.put(1)
    await queue.throw(KeyError("thrown"))
    with pytest.raises(KeyError, match="thrown"):
        await queue.get()
    assert await queue.get() == 1
    reader = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    await queue.throw(KeyError("awake"))
    with pytest.raises(KeyError, match="awake"):
        await asyncio.wait_for(reader, 30)


async def test_signals_call_who_connected_for_the_sender() -> None:
    heard: list[Any] = []

    class Owner:
        changed = Signal()
        noted = SyncSignal()

    @Owner.changed.connect
    async def everything(sender: Any, value: int, **_: Any) -> None:
        heard.append(("all", value))

    def mine(sender: Any, value: int, **_: Any) -> None:
        heard.append((sender, value))

    Owner.changed.connect(mine, sender="me")
    await Owner.changed.send("you", 1)
    await Owner.changed.send("me", 2)
    Owner.changed.disconnect(mine, sender="me")
    await Owner.changed.send("me", 3)
    assert heard == [("all", 1), ("all", 2), ("me", 2), ("all", 3)]
    Owner.noted.connect(mine)
    Owner.noted.send("me", 4)
    assert heard[-1] == ("me", 4)


async def test_a_proxy_hands_on_to_the_service_it_stands_for() -> None:
    class Actual(Service):
        pass

    class Proxy(mode.ServiceProxy):
        @cached_property
        def _service(self) -> Service:
            return Actual()

    proxy = Proxy()
    await proxy.start()
    assert proxy.started
    assert proxy._service.started
    await proxy.stop()
    assert proxy.state == "stopped"


def test_a_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: LRUCache[str, int] = LRUCache(limit=2)
    cache["a"], cache["b"] = 1, 2
    assert cache["a"] == 1
    cache["c"] = 3
    assert set(cache) == {"a", "c"}


async def test_a_done_future_is_done() -> None:
    assert await done_future(3) == 3


def test_the_loop_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from faustc.compat.mode import loop

    installed = []
    fake = types.ModuleType("uvloop")
    vars(fake)["install"] = lambda: installed.append("uvloop")
    monkeypatch.setitem(sys.modules, "uvloop", fake)
    loop.use("aio")
    assert installed == []
    loop.use("uvloop")
    assert installed == ["uvloop"]
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as if it were not installed
    with pytest.raises(ImproperlyConfigured, match="not installed"):
        loop.use("uvloop")
    with pytest.raises(ImproperlyConfigured, match="eventlet"):
        loop.use("eventlet")
