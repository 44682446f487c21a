"""Every task has an owner that learns of its end."""

from __future__ import annotations

import asyncio
import logging

import pytest

from faustc.engine.nursery import Nursery, owners


async def test_the_first_crash_is_reported_once() -> None:
    crashes: list[BaseException] = []
    nursery = Nursery("n", crashes.append)

    async def fail(after_s: float, error: Exception) -> None:
        await asyncio.sleep(after_s)
        raise error

    nursery.spawn(fail(0, ValueError("first")), "a")
    nursery.spawn(fail(0.01, ValueError("second")), "b")
    await asyncio.sleep(0.03)
    await nursery.close()
    assert [str(error) for error in crashes] == ["first"]
    assert nursery.crash is crashes[0]
    assert len(nursery) == 0


async def test_a_vital_task_that_returns_is_a_crash() -> None:
    crashes: list[BaseException] = []
    nursery = Nursery("n", crashes.append)

    async def leave() -> None:
        pass

    nursery.spawn(leave(), "ordinary")
    await asyncio.sleep(0.01)
    assert crashes == []
    nursery.spawn(leave(), "pump", vital=True)
    await asyncio.sleep(0.01)
    assert "n:pump returned" in str(crashes[0])
    await nursery.close()


async def test_close_cancels_and_waits() -> None:
    nursery = Nursery("n", lambda error: pytest.fail(repr(error)))
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    nursery.spawn(work(), "w", vital=True)
    await asyncio.sleep(0)
    await nursery.close()
    assert ended == [True]


async def test_close_names_a_task_that_will_not_end(caplog: pytest.LogCaptureFixture) -> None:
    nursery = Nursery("n", lambda error: None)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    nursery.spawn(stubborn(), "stubborn")
    await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR):
        await nursery.close(timeout_s=0.02)
    assert "n:stubborn did not end within 0.0 s" in caplog.text
    release.set()
    await asyncio.sleep(0.01)


async def test_tasks_know_their_owner_however_deep() -> None:
    owner = object()
    nursery = Nursery("n", lambda error: None, owner=owner)
    seen: list[tuple[object, ...]] = []

    async def inner() -> None:
        seen.append(owners.get())

    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner())

    await nursery.spawn(outer(), "outer")
    await nursery.close()
    assert seen == [(owner,)]
    assert owners.get() == ()


async def test_a_closed_nursery_starts_nothing() -> None:
    nursery = Nursery("n", lambda error: None)
    await nursery.close()
    with pytest.raises(RuntimeError, match="n is closed"):
        nursery.spawn(asyncio.sleep(0), "late")
