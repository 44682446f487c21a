"""Session windows: a key's sessions go on while its events are near, and close once."""

from __future__ import annotations

from typing import Any

import pytest

import faustc
from faustc import SessionWindow
from faustc.exceptions import ImproperlyConfigured
from faustc.streams import Stream
from faustc.testing.memory import MemoryBroker

# A time of day at which the clock of test_context stands is later than all of these.
START = 1_641_600_000.0


class Visits:
    """An app that counts, or lists, the clicks of each session."""

    def __init__(self, default: Any = int, **window: Any) -> None:
        self.app = faustc.App("t", broker="kafka://memory", topic_partitions=1)
        self.closed: list[Any] = []
        plain = self.app.Table("visits", default=default, on_window_close=self.on_close)
        self.table = plain.session(10, **window)
        self.topic = self.app.topic("clicks", key_type=str, value_type=int)
        self.look: Any = None
        self.seen: Any = None

        @self.app.agent(self.topic)
        async def visit(clicks: Stream[int]) -> None:
            async for key, number in clicks.items():
                if self.look is not None:
                    self.seen = self.look(self.table, key)
                elif default is list:
                    self.table[key] += [number]
                else:
                    self.table[key] += number

    async def on_close(self, key: Any, value: Any) -> None:
        self.closed.append((key, value))

    async def click(self, at: float, number: int = 1, key: str = "k") -> None:
        await self.test.send(self.topic, key=key, value=number, timestamp=START + at)
        await self.test.settled()

    async def ask(self, look: Any, at: float, key: str = "k") -> Any:
        self.look = look
        await self.click(at, key=key)
        self.look = None
        return self.seen

    def sessions(self) -> dict[Any, Any]:
        return {
            (key, (start - START, end - START)): value
            for (key, (start, end)), value in self.table.table.items()
        }


async def test_events_that_are_near_make_one_session() -> None:
    visits = Visits()
    async with visits.app.test_context() as visits.test:
        for at in (0, 10, 20.5, 30, 30):
            await visits.click(at)
        assert visits.sessions() == {("k", (0, 10)): 2, ("k", (20.5, 30)): 3}
        await visits.click(100, key="other")
        assert visits.sessions()["other", (100, 100)] == 1


async def test_an_event_between_two_sessions_makes_one_of_them() -> None:
    visits = Visits(default=list)
    async with visits.app.test_context() as visits.test:
        await visits.click(30, 3)
        await visits.click(12, 1)  # late, but nothing has expired
        assert visits.sessions() == {("k", (12, 12)): [1], ("k", (30, 30)): [3]}
        await visits.click(21, 2)
        assert visits.sessions() == {("k", (12, 30)): [1, 3, 2]}


async def test_how_values_are_merged_can_be_said() -> None:
    visits = Visits(merge=max)
    async with visits.app.test_context() as visits.test:
        await visits.click(0, 5)
        await visits.click(18, 7)
        await visits.click(9, 1)
        assert visits.sessions() == {("k", (0, 18)): 8}


async def test_a_merge_that_fails_leaves_both_sessions() -> None:
    def fail(first: Any, second: Any) -> Any:
        raise ValueError("no")

    visits = Visits(merge=fail)
    async with visits.app.test_context() as visits.test:
        await visits.click(0)
        await visits.click(18)
        await visits.test.send(visits.topic, key="k", value=1, timestamp=START + 9)
        await visits.test.settled()
        assert visits.sessions() == {("k", (0, 0)): 1, ("k", (18, 18)): 1}


async def test_what_is_read_is_the_session_of_the_moment() -> None:
    visits = Visits(key_index=True)
    async with visits.app.test_context() as visits.test:
        for at in (0, 5, 30):
            await visits.click(at)
        assert await visits.ask(lambda t, k: t[k].current(), 12) == 2
        assert await visits.ask(lambda t, k: t[k].value(), 21) == 1
        assert await visits.ask(lambda t, k: t[k].value(), 60) == 0  # in no session
        assert await visits.ask(lambda t, k: t[k].delta(25), 31) == 2
        assert await visits.ask(lambda t, k: (k in t, "other" in t), 31) == (True, False)
        assert await visits.ask(lambda t, k: list(t.items()), 6) == [("k", 2)]
        assert await visits.ask(lambda t, k: list(t.items().delta(5)), 35) == [("k", 1)]


async def test_a_key_is_deleted_from_the_session_of_the_moment() -> None:
    visits = Visits()

    def delete(table: Any, key: str) -> None:
        del table[key]

    async with visits.app.test_context() as visits.test:
        await visits.click(0)
        await visits.click(40)
        await visits.ask(delete, 38)
        assert visits.sessions() == {("k", (0, 0)): 1}
        await visits.click(45)
        assert visits.sessions() == {("k", (0, 0)): 1, ("k", (45, 45)): 1}


async def test_a_session_closes_once_when_nothing_came_for_as_long_as_it_is_kept() -> None:
    visits = Visits(expires=15, key_index=True)
    async with visits.app.test_context() as visits.test:
        for at in (0, 8, 16):
            await visits.click(at)
        await visits.click(30, key="other")
        await visits.test.advance(120)
        closed = [
            (("k", (START, START + 16)), 3),
            (("other", (START + 30, START + 30)), 1),
        ]
        assert visits.closed == closed
        # What comes for it now is late: it is counted, and changes nothing.
        await visits.click(10)
        await visits.test.advance(120)
        assert visits.closed == closed
        assert visits.app.monitor.tables["visits"].events_late == 1
        assert visits.sessions() == {}
        assert list(visits.table.key_index_table) == []


async def test_sessions_are_found_again_in_the_store_after_a_restart() -> None:
    async with MemoryBroker() as broker:
        first = Visits(expires=60)
        async with first.app.test_context(broker=broker) as first.test:
            await first.click(0)
            await first.click(9)
        second = Visits(expires=60)
        async with second.app.test_context(broker=broker) as second.test:
            await second.test.settled()
            assert second.sessions() == {("k", (0, 9)): 2}
            await second.click(15)
            assert second.sessions() == {("k", (0, 15)): 3}
            await second.test.advance(200)
            assert second.closed == [(("k", (START, START + 15)), 3)]


async def test_the_changelog_does_not_hear_of_what_a_session_was_between_commits() -> None:
    async with MemoryBroker() as broker:
        visits = Visits()
        async with visits.app.test_context(broker=broker) as visits.test:
            for at in range(50):
                await visits.test.send(visits.topic, key="k", value=1, timestamp=START + at)
            await visits.test.settled()
            facet = visits.table.table._all()[0]
            raws = [*facet.shard.dirty, *facet.shard.flying]
            assert len(raws) < 25
            # nor does anything grow with the events of one session
            assert len(facet.expiry._ends) == 1


@pytest.mark.parametrize(
    "options", [{"gap": 0}, {"gap": 10, "expires": 9}, {"gap": 10, "merge": "sum"}]
)
def test_what_makes_no_session_is_refused(options: Any) -> None:
    with pytest.raises(ImproperlyConfigured):
        SessionWindow(**options)


def test_tables_that_cannot_have_sessions_say_so() -> None:
    app = faustc.App("t", broker="kafka://memory")
    with pytest.raises(ImproperlyConfigured, match="partition of their events"):
        app.GlobalTable("a").session(10)
    with pytest.raises(ImproperlyConfigured, match="partition of their events"):
        app.Table("b", use_partitioner=True).session(10)
    with pytest.raises(ImproperlyConfigured, match="sets"):
        app.SetTable("c").using_window(SessionWindow(10))
