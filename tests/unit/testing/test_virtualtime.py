"""Virtual time: timers in their order, no waiting, and never a step back."""

from __future__ import annotations

import asyncio
import time

import pytest

from faustc import clock
from faustc.exceptions import ImproperlyConfigured
from faustc.testing.virtualtime import VirtualTime, clock_of, virtual_time
from faustc.timers import itertimer


async def test_an_hour_of_sleep_takes_no_time() -> None:
    began, loop = time.monotonic(), asyncio.get_running_loop()
    with virtual_time():
        before = loop.time()
        await asyncio.sleep(3600)
        assert loop.time() - before == pytest.approx(3600)
    assert time.monotonic() - began < 5


async def test_timers_fire_in_their_order_each_at_its_time() -> None:
    seen: list[tuple[str, float]] = []
    with virtual_time() as times:
        start = times.now

        async def after(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, round(times.now - start, 6)))

        await asyncio.gather(after("c", 3), after("a", 1), after("b", 1.5))
    assert seen == [("a", 1.0), ("b", 1.5), ("c", 3.0)]


async def test_what_is_ready_runs_before_time_goes_on() -> None:
    with virtual_time() as times:
        start = times.now
        for _ in range(1000):
            await asyncio.sleep(0)
        assert times.now == start


async def test_advance_passes_every_tick_on_the_way() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        async for _ in itertimer(60):
            ticks += 1

    with virtual_time() as times:
        task = asyncio.create_task(tick())
        await asyncio.sleep(0)
        await times.advance(601)
        task.cancel()
    assert ticks == 10


async def test_time_waits_for_a_thread() -> None:
    with virtual_time():
        async with asyncio.timeout(5):  # would be over at once, if time ran on meanwhile
            assert await asyncio.to_thread(lambda: time.sleep(0.05) or "done") == "done"


async def test_a_thread_may_wait_for_the_loop() -> None:
    loop = asyncio.get_running_loop()

    def work() -> str:
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02, "slept"), loop).result(5)

    with virtual_time():
        assert await asyncio.to_thread(work) == "slept"


async def test_the_clock_follows_the_loop_and_never_steps_back() -> None:
    real = time.time() * 1000
    assert clock.now_ms() == pytest.approx(real, abs=1000)
    with virtual_time():
        await asyncio.sleep(500)
        ahead = clock.monotonic()
        assert clock.now_ms() == pytest.approx(real + 500_000, abs=2000)
    assert clock.monotonic() >= ahead
    assert clock.now_ms() == pytest.approx(real + 500_000, abs=2000)
    await asyncio.sleep(0.01)  # the loop's timers still work, in real time


async def test_many_in_a_row_on_one_loop() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(1500):  # each puts nothing more on top of the last
        with virtual_time():
            pass
    assert loop.time() > 0


async def test_waiting_for_what_never_comes_is_an_error_that_names_the_task() -> None:
    loop = asyncio.new_event_loop()

    async def stuck() -> None:
        asyncio.current_task().set_name("the stuck one")  # type: ignore[union-attr]
        with virtual_time(max_jumped_s=100):
            beat = asyncio.create_task(beats(), name="heart")
            try:
                await loop.create_future()
            finally:
                beat.cancel()

    async def beats() -> None:
        async for _ in itertimer(3):
            pass

    def run() -> None:
        try:
            with pytest.raises(RuntimeError, match=r"100 s of virtual time.*heart.*the stuck one"):
                loop.run_until_complete(stuck())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    loop.run_until_complete(task)
            loop.close()

    await asyncio.to_thread(run)


async def test_it_is_found_on_its_loop_and_refused_twice() -> None:
    loop = asyncio.get_running_loop()
    assert clock_of(loop) is None
    with virtual_time() as times:
        assert clock_of(loop) is times
        with pytest.raises(ImproperlyConfigured, match="already"):
            VirtualTime(loop)
    assert clock_of(loop) is None


async def test_time_does_not_go_back() -> None:
    with virtual_time() as times, pytest.raises(ValueError, match="back"):
        await times.advance(-1)


def test_another_loop_is_refused_by_name() -> None:
    class Foreign(asyncio.AbstractEventLoop):
        pass

    with pytest.raises(ImproperlyConfigured, match="Foreign"):
        VirtualTime(Foreign())
