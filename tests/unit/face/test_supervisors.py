"""Each supervisor does what it says when an actor fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import faustc
from faustc import supervisors
from faustc.testing import MemoryBroker


class Group:
    """An agent with three actors that each say when they start, and fail at a value below zero."""

    def __init__(self, strategy: Any, **settings: Any) -> None:
        self.app = faustc.App("group", broker="kafka://127.0.0.1:1", **settings)
        self.started: list[int] = []
        self.done: list[int] = []
        options = {} if strategy is None else {"supervisor_strategy": strategy}

        @self.app.agent(
            self.app.topic("numbers", value_type=int, partitions=1),
            name="group",
            concurrency=3,
            **options,
        )
        async def group(stream: Any) -> None:
            self.started.append(stream.concurrency_index)
            async for value in stream:
                if value < 0:
                    raise ValueError(f"{value} is below zero")
                await asyncio.sleep(value)
                self.done.append(value)

        self.agent = group


async def send(t: Any, *values: int) -> None:
    for value in values:
        await t.send("numbers", None, value, partition=0)


@pytest.mark.parametrize("strategy", [None, supervisors.OneForOneSupervisor])
async def test_one_for_one_starts_the_one_again(strategy: Any) -> None:
    group = Group(strategy)
    async with group.app.test_context() as t:
        await send(t, 1, -1, 2)
        await t.advance(10)
        await t.settled()
        assert len(group.started) == 4
        assert sorted(group.done) == [1, 2]
        assert t.committed("numbers", 0) == 3


async def test_one_for_all_starts_all_again_and_what_they_had_comes_again() -> None:
    group = Group(supervisors.OneForAllSupervisor)
    async with group.app.test_context() as t:
        await send(t, 50, 60)
        await t.advance(10)
        await send(t, -1)
        await t.advance(10)
        assert sorted(group.started) == [0, 0, 1, 1, 2, 2]
        assert group.done == []
        await t.advance(100)
        await t.settled()
        assert sorted(group.done) == [50, 60]
        assert t.committed("numbers", 0) == 3


async def test_forfeit_one_gives_up_the_one_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = Group(supervisors.ForfeitOneForOneSupervisor)
    async with group.app.test_context() as t:
        await send(t, -1, -2)
        await t.advance(5)
        await send(t, 1, 2, 3)
        await t.advance(20)
        await t.settled()
        assert group.started == [0, 1, 2]
        assert group.done == [1, 2, 3]  # one after the other: one actor is left
        assert t.committed("numbers", 0) == 5
        assert "the one that failed is given up" in caplog.text
        assert "no actor is left" not in caplog.text
        await send(t, -3, 4)
        await t.advance(20)
        assert "no actor is left, and its events wait" in caplog.text
        assert group.done == [1, 2, 3]


async def test_forfeit_all_gives_up_the_group(caplog: pytest.LogCaptureFixture) -> None:
    group = Group(supervisors.ForfeitOneForAllSupervisor)
    async with group.app.test_context() as t:
        await send(t, -1)
        await t.advance(5)
        await send(t, 1, 2)
        await t.advance(20)
        assert group.done == []
        assert group.app.started
        assert "no actor is left" in caplog.text


async def test_crashing_ends_the_app_and_the_event_comes_again() -> None:
    group, again = Group("mode.CrashingSupervisor"), Group(None)

    async def until_it_crashes(broker: MemoryBroker) -> None:
        async with group.app.test_context(broker=broker) as t:
            await send(t, -1)
            await t.settled()

    async with MemoryBroker() as broker:
        with pytest.raises(RuntimeError, match="group has crashed"):
            await until_it_crashes(broker)
        async with again.app.test_context(broker=broker) as t:
            await t.settled()
            assert again.agent.errors_total == 1


async def test_the_setting_names_the_default() -> None:
    group = Group(None, agent_supervisor="mode.CrashingSupervisor")
    assert isinstance(group.agent.supervisor, supervisors.CrashingSupervisor)
    assert isinstance(Group(None).agent.supervisor, supervisors.OneForOneSupervisor)


async def test_one_that_fails_all_the_time_is_slowed_down() -> None:
    class Slow(supervisors.OneForOneSupervisor):
        max_restarts = 2
        over = 10.0

    group = Group(Slow)
    async with group.app.test_context() as t:
        await send(t, *range(-9, 0))
        await t.advance(1)
        assert group.agent.errors_total < 9
        await t.advance(100)
        assert group.agent.errors_total == 9


async def test_a_subclass_decides_by_what_failed() -> None:
    class Picky(supervisors.SupervisorStrategy):
        def decide(self, error: BaseException) -> supervisors.Verdict:
            return supervisors.Verdict.FORFEIT_ALL if "-2" in str(error) else self.verdict

    group = Group(Picky)
    async with group.app.test_context() as t:
        await send(t, -1, 1)
        await t.advance(5)
        assert group.done == [1]
        await send(t, -2)
        await t.advance(5)
        await send(t, 2)
        await t.advance(5)
        assert group.done == [1]


async def test_a_failing_agent_disturbs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    group = Group(supervisors.ForfeitOneForAllSupervisor)
    others: list[int] = []

    @group.app.agent(group.app.topic("numbers", value_type=int), name="other")
    async def other(stream: Any) -> None:
        async for value in stream:
            others.append(value)

    async with group.app.test_context() as t:
        await send(t, -1, 1, 2)
        await t.advance(5)
        assert others == [-1, 1, 2]
