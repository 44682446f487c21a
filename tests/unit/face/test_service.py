"""Services: life, children, tasks, crashes, and stopping from inside."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured


class Told(faustc.Service):
    """Keeps what happened to it."""

    def __init__(self, told: list[str], name: str = "it", **options: Any) -> None:
        self.told = told
        self.name = name
        super().__init__(**options)

    async def on_first_start(self) -> None:
        self.told.append(f"{self.name} first")

    async def on_start(self) -> None:
        self.told.append(f"{self.name} start")

    async def on_started(self) -> None:
        self.told.append(f"{self.name} started")

    async def on_stop(self) -> None:
        self.told.append(f"{self.name} stop")

    async def on_shutdown(self) -> None:
        self.told.append(f"{self.name} shutdown")


async def test_hooks_run_in_order_and_children_within() -> None:
    told: list[str] = []
    service = Told(told)
    service.add_dependency(Told(told, "child"))
    assert service.state == "init"
    async with service:
        assert service.state == "running"
        assert service.started
    assert service.state == "stopped"
    assert told == [
        "it first", "it start", "child first", "child start", "child started", "it started",
        "it stop", "child stop", "child shutdown", "it shutdown",
    ]  # fmt: skip


async def test_restart_begins_anew_but_not_first() -> None:
    told: list[str] = []
    service = Told(told)
    await service.start()
    assert not await service.maybe_start()
    await service.restart()
    assert told.count("it first") == 1
    assert told.count("it start") == 2
    await service.stop()
    await service.stop()
    assert told.count("it stop") == 2


async def test_tasks_and_timers_of_a_class_and_its_base() -> None:
    class Base(faustc.Service):
        def __init__(self) -> None:
            self.ticks = 0
            self.worked = asyncio.Event()
            super().__init__()

        @faustc.Service.timer(0.02, exec_first=True)
        async def tick(self) -> None:
            self.ticks += 1

    class Derived(Base):
        @faustc.Service.task
        async def work(self) -> None:
            self.worked.set()

    service = Derived()
    async with service:
        await asyncio.wait_for(service.worked.wait(), 2)
        await asyncio.sleep(0.1)
    ticks = service.ticks
    assert 3 <= ticks <= 7
    await asyncio.sleep(0.05)
    assert service.ticks == ticks


async def test_a_failing_task_stops_the_service_and_tells_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fragile(faustc.Service):
        @faustc.Service.task
        async def fail(self) -> None:
            raise ImproperlyConfigured("no such thing")

    service = Fragile()
    await service.start()
    await asyncio.wait_for(service.wait_until_stopped(), 2)
    assert service.crashed
    assert service.state == "crashed"
    assert isinstance(service.crash_reason, ImproperlyConfigured)
    record = next(r for r in caplog.records if "crashed" in r.message)
    assert record.message == "Fragile crashed: no such thing"
    assert record.exc_info is None  # ours says all; a bug would bring its traceback


async def test_a_failing_start_undoes_what_had_started() -> None:
    told: list[str] = []

    class Failing(Told):
        async def on_start(self) -> None:
            raise RuntimeError("cannot")

    parent = Told(told, "parent")
    parent.add_dependency(Told(told, "good"))
    parent.add_dependency(Failing(told, "bad"))
    with pytest.raises(RuntimeError, match="cannot"):
        await parent.start()
    assert "good stop" in told
    assert not parent.started
    assert parent.crashed


async def test_a_cancelled_start_is_no_crash() -> None:
    class Slow(faustc.Service):
        async def on_start(self) -> None:
            await asyncio.sleep(60)

    service = Slow()
    starting = asyncio.ensure_future(service.start())
    await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not service.crashed
    assert service.state == "stopped"


async def test_a_task_may_stop_its_service() -> None:
    class SelfStopping(faustc.Service):
        @faustc.Service.task
        async def work(self) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.stop())  # however deep

    service = SelfStopping()
    await service.start()
    await asyncio.wait_for(service.wait_until_stopped(), 2)
    assert service.state == "stopped"


async def test_sleep_ends_early_when_the_service_stops() -> None:
    class Sleeper(faustc.Service):
        slept = False

        @faustc.Service.task
        async def work(self) -> None:
            await self.sleep(0.01)
            self.slept = True
            await self.sleep(60)

    service = Sleeper()
    began = asyncio.get_running_loop().time()
    await service.start()
    await asyncio.sleep(0.05)
    await service.stop()
    assert service.slept
    assert asyncio.get_running_loop().time() - began < 1


async def test_futures_added_before_and_after_the_start() -> None:
    done: list[int] = []

    async def note(number: int) -> None:
        done.append(number)

    service = Told([])
    service.add_future(note(1))
    await service.start()
    service.add_future(note(2))
    await asyncio.sleep(0.01)
    assert sorted(done) == [1, 2]
    child = Told([], "late")
    await service.add_runtime_dependency(child)
    assert child.started
    await service.remove_dependency(child)
    assert not child.started
    await service.stop()


async def test_every_step_of_a_stop_has_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    class BadStop(Told):
        async def on_stop(self) -> None:
            raise ValueError("stop hook")

    service = BadStop(told)
    service.add_dependency(Told(told, "child"))
    await service.start()
    with caplog.at_level(logging.ERROR):
        await service.stop()
    assert "child stop" in told
    assert "it shutdown" in told
    assert repr(service.crash_reason) == "ValueError('stop hook')"
