"""What services wait with, what they hold while they run, and what they show of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

import faustc
from faustc.exceptions import NotReady
from faustc.testing import virtual_time


async def slowly(value: Any, seconds: float = 5.0) -> Any:
    await asyncio.sleep(seconds)
    return value


async def failing() -> None:
    await asyncio.sleep(1)
    raise LookupError("no")


async def test_wait_gives_the_result_or_says_that_the_service_stops() -> None:
    with virtual_time():
        async with faustc.Service() as service:
            assert await service.wait(slowly(1)) == (1, False)
            with pytest.raises(LookupError):
                await service.wait(failing())
            with pytest.raises(TimeoutError):
                await service.wait(slowly(1), timeout=timedelta(seconds=2))
            asyncio.get_running_loop().call_later(2, service.set_shutdown)
            assert await service.wait(slowly(1)) == (None, True)


async def test_wait_many_waits_for_all_and_wait_first_for_one() -> None:
    with virtual_time():
        async with faustc.Service() as service:
            both = await service.wait_many([slowly("a", 1), slowly("b", 2)])
            assert (both.results, both.stopped) == (["a", "b"], False)
            quick, slow = slowly("quick", 1), slowly("slow", 99)
            first = await service.wait_first(quick, slow)
            assert (first.done, first.results) == ([quick], ["quick"])
            assert (await service.wait(slowly("a", 1), slowly("b", 2))).results == ["a", "b"]


async def test_wait_for_stopped_says_whether_it_is() -> None:
    with virtual_time():
        async with faustc.Service() as service:
            assert await service.wait_for_stopped(slowly(1)) is False
            asyncio.get_running_loop().call_later(2, service.set_shutdown)
            assert await service.wait_for_stopped(asyncio.Event().wait()) is True


async def test_what_is_not_done_is_cancelled_and_leaves_no_task() -> None:
    with virtual_time():
        before = asyncio.all_tasks()
        async with faustc.Service() as service:
            await service.wait_first(slowly(1, 1), slowly(2, 99))
        assert asyncio.all_tasks() == before


async def test_contexts_are_left_when_the_service_has_stopped() -> None:
    events: list[str] = []

    @contextmanager
    def plain() -> Iterator[str]:
        yield "plain"
        events.append("plain left")

    @asynccontextmanager
    async def later() -> AsyncIterator[str]:
        yield "later"
        events.append("later left")

    class Holding(faustc.Service):
        def __post_init__(self) -> None:
            events.append("made")

        async def on_start(self) -> None:
            events.append(self.add_context(plain()))
            events.append(await self.add_async_context(later()))

        async def on_async_enter(self) -> None:
            events.append("entered")

        async def on_async_exit(self, *exc: Any) -> None:
            events.append("exits")

        async def on_stop(self) -> None:
            events.append("stops")

    async with Holding():
        pass
    assert events == [
        "made", "plain", "later", "entered", "exits", "stops", "later left", "plain left",
    ]  # fmt: skip


async def test_services_are_joined() -> None:
    with virtual_time():
        first = faustc.Service.from_awaitable(slowly(1, 3), name="first")
        second = faustc.Service.from_awaitable(slowly(2, 5))
        assert first.label == "first"
        async with faustc.Service() as owner:
            begun = asyncio.get_running_loop().time()
            await owner.join_services([first, second])
            assert asyncio.get_running_loop().time() - begun == pytest.approx(5)
        assert first.state == second.state == "stopped"


async def test_a_service_shows_what_it_is_doing() -> None:
    class Busy(faustc.Service):
        @faustc.Service.transitions_to("busy")
        async def work(self) -> str:
            return self.state

        @faustc.Service.task
        async def waiting(self) -> None:
            await self.sleep(1000)

    async with Busy() as service:
        assert await service.work() == "busy"
        assert service.state == "running"
        await asyncio.sleep(0)
        assert "in waiting" in service.human_tracebacks()
        assert any("waiting" in name for name in service.tracebacks())


async def test_a_service_that_crashed_starts_anew_after_a_reset() -> None:
    service = faustc.Service()
    await service.start()
    with pytest.raises(NotReady, match="stop it before"):
        service.service_reset()
    await service.crash(LookupError("no"))
    await service.wait_until_stopped()
    assert service.state == "crashed"
    service.service_reset()
    assert (service.state, service.crashed) == ("init", False)
    async with service:
        assert service.state == "running"
