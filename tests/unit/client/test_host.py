"""Calls from one loop into another: results, errors, cancellation, death of either side."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from faustc.client.host import LoopThread, call_across
from faustc.exceptions import KafkaTimeout, NotReady


@pytest.fixture
async def host():
    thread = LoopThread("test-host")
    thread.start()
    yield thread
    await thread.close()


async def test_a_call_runs_on_the_other_thread_and_its_result_comes_back(host):
    async def where(word: str, *, times: int) -> tuple[str, str]:
        await asyncio.sleep(0)
        return threading.current_thread().name, word * times

    assert await host.run(where, "ab", times=2) == ("test-host", "abab")


async def test_an_error_over_there_is_raised_here(host):
    async def fails() -> None:
        raise ValueError("over there")

    with pytest.raises(ValueError, match="over there"):
        await host.run(fails)


async def test_cancelling_the_call_cancels_the_coroutine_over_there(host):
    begun, ended = threading.Event(), threading.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    call = asyncio.create_task(host.run(waits))
    await asyncio.to_thread(begun.wait, 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(ended.wait, 5)


async def test_a_call_cancelled_before_it_began_never_begins(host):
    entered = threading.Event()
    began = threading.Event()

    async def body() -> None:
        began.set()

    gate = threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(5)

    host.call_soon(hold)
    await asyncio.to_thread(entered.wait, 5)
    call = asyncio.create_task(host.run(body))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    await host.run(asyncio.sleep, 0)
    assert not began.is_set()


async def test_the_thread_goes_on_while_our_loop_is_blocked(host):
    ticks: list[float] = []

    async def ticking() -> None:
        while len(ticks) < 10:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    call = asyncio.create_task(host.run(ticking))
    await asyncio.sleep(0)
    give_up_at = time.monotonic() + 30
    while len(ticks) < 10 and time.monotonic() < give_up_at:
        time.sleep(0.05)  # noqa: ASYNC251 - the point of the test
    assert len(ticks) == 10
    await call


async def test_a_call_back_into_our_loop_waits_until_it_is_free(host):
    home = asyncio.get_running_loop()

    async def here() -> str:
        return threading.current_thread().name

    async def over_there() -> str:
        return await call_across(home, here)

    assert await host.run(over_there) == threading.current_thread().name


async def test_closing_ends_calls_under_way_and_refuses_new_ones():
    host = LoopThread("short-lived")
    host.start()
    call = asyncio.create_task(host.run(asyncio.sleep, 60))
    await asyncio.sleep(0.05)
    await host.close()
    with pytest.raises(NotReady):
        await call
    with pytest.raises(NotReady):
        await host.run(asyncio.sleep, 0)
    host.call_soon(print)  # dropped, not raised
    await host.close()


async def test_a_call_into_a_closed_loop_says_so():
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(NotReady, match="closed"):
        await call_across(loop, asyncio.sleep, 0)


async def test_the_user_loop_may_die_while_the_thread_waits_for_it(host):
    # given: a loop of a user on another thread, asked for something that it never answers
    user = LoopThread("user")
    user.start()
    asked = threading.Event()

    async def never() -> None:
        asked.set()
        await asyncio.sleep(60)

    call = asyncio.create_task(host.run(call_across, user.loop, never))
    await asyncio.to_thread(asked.wait, 5)
    # when: it goes away
    await user.close()
    # then: the one who waits hears of it
    with pytest.raises(NotReady):
        await asyncio.wait_for(call, 30)


async def test_a_thread_that_is_stuck_is_reported_not_waited_for():
    host = LoopThread("stuck")
    host.start()
    gate = threading.Event()
    host.call_soon(gate.wait, 10)
    await asyncio.sleep(0.02)
    with pytest.raises(KafkaTimeout, match="stuck"):
        await host.close(timeout_s=0.1)
    gate.set()


async def test_a_thread_that_never_started_closes():
    await LoopThread("unused").close()


def test_a_waiter_whose_loop_is_gone_is_forgotten_quietly():
    host = LoopThread("outlives")
    host.start()
    done = threading.Event()

    async def slow() -> None:
        await asyncio.sleep(0.1)
        done.set()

    loop = asyncio.new_event_loop()
    task = loop.create_task(host.run(slow))
    loop.run_until_complete(asyncio.sleep(0.02))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    asyncio.run(host.close())
