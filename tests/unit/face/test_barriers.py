"""Promises and barriers by themselves."""

from __future__ import annotations

import asyncio

import pytest

from faustc.exceptions import NoReply
from faustc.replies import BarrierState, ReplyPromise, ReplyTuple


async def test_a_promise_takes_the_reply_to_its_request_once() -> None:
    promise = ReplyPromise("replies", "c1")
    promise.fulfill("c2", "of another")
    assert not promise.done()
    promise.fulfill("c1", "first")
    promise.fulfill("c1", "second")
    promise.fail("c1", NoReply("too late"))
    assert await promise == "first"
    assert (promise.reply_to, promise.correlation_id) == ("replies", "c1")


async def test_a_promise_needs_a_correlation_id() -> None:
    with pytest.raises(ValueError, match="correlation_id"):
        ReplyPromise("replies")


async def test_a_barrier_is_done_when_all_that_was_added_is() -> None:
    barrier = BarrierState("replies")
    promises = [ReplyPromise("replies", f"c{n}") for n in range(3)]
    for promise in promises:
        barrier.add(promise)
    assert (barrier.size, barrier.total, barrier.pending) == (3, 0, set(promises))
    barrier.fulfill("c1", 1)
    assert barrier.get_nowait() == ReplyTuple("c1", 1)
    with pytest.raises(asyncio.QueueEmpty):
        barrier.get_nowait()
    barrier.finalize()
    assert (barrier.total, barrier.fulfilled, barrier.done()) == (3, 1, False)
    barrier.fulfill("c1", "again")
    barrier.fulfill("of another", 4)
    barrier.fulfill("c0", 0)
    barrier.fulfill("c2", 2)
    assert await barrier is True
    assert [one async for one in barrier.iterate()] == [("c0", 0), ("c2", 2)]
    with pytest.raises(RuntimeError, match="final"):
        barrier.add(ReplyPromise("replies", "late"))


async def test_a_barrier_that_has_all_before_it_is_final_is_done_then() -> None:
    barrier = BarrierState("replies")
    barrier.add(ReplyPromise("replies", "c1"))
    barrier.fulfill("c1", 1)
    assert not barrier.done()
    barrier.finalize()
    assert barrier.done()
    assert [one async for one in barrier.iterate()] == [("c1", 1)]


async def test_replies_are_iterated_over_as_they_come() -> None:
    barrier = BarrierState("replies")
    for n in range(5000):  # more than there is room for in Faust's queue
        barrier.add(ReplyPromise("replies", f"c{n}"))
    barrier.finalize()
    seen: list[int] = []

    async def iterate() -> None:
        async for _, value in barrier.iterate():
            seen.append(value)

    task = asyncio.ensure_future(iterate())
    for n in range(5000):
        barrier.fulfill(f"c{n}", n)
        if n == 2:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert seen == [0, 1, 2]
    await task
    assert seen == list(range(5000))


async def test_one_failure_is_raised_after_the_replies_that_came_before() -> None:
    barrier = BarrierState("replies")
    for n in range(3):
        barrier.add(ReplyPromise("replies", f"c{n}"))
    barrier.fulfill("c2", 2)
    barrier.fail("c1", NoReply("gone"))
    barrier.fulfill("c0", 0)
    replies = barrier.iterate()
    assert await anext(replies) == ("c2", 2)
    with pytest.raises(NoReply, match="gone"):
        await anext(replies)
