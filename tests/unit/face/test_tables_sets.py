"""Tables of sets: each member is a record, which compaction keeps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured, OutsideStream
from faustc.streams import Stream
from faustc.tables import SetGlobalTable, SetTable
from faustc.testing.memory import MemoryBroker

DAY = 86_400.0
START = 19_000 * DAY


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as broker:
        yield broker


class People:
    """An app with a table of sets, whose agent does what a test says in the midst of an event."""

    def __init__(self, kind: str = "SetTable", window: Any = None, **options: Any) -> None:
        self.app = faustc.App("t", broker="kafka://memory", topic_partitions=2)
        self.table = getattr(self.app, kind)("people", **options)
        self.wrapper = self.table if window is None else self.table.using_window(window)
        self.work: Any = None
        self.found: Any = None
        self.topic = self.app.topic("todo", key_type=str, value_type=int)

        @self.app.agent(self.topic)
        async def do(todo: Stream[int]) -> None:
            async for _ in todo:
                self.found = self.work(self.wrapper)

    async def __call__(self, work: Any, key: str = "k", timestamp: float | None = None) -> Any:
        self.work, self.found = work, None
        await self.test.send(self.topic, key=key, value=1, timestamp=timestamp)
        await self.test.settled()
        return self.found


def content(table: Any) -> dict[Any, set[Any]]:
    return {key: set(members) for key, members in table.items()}


async def test_members_come_and_go(broker: MemoryBroker) -> None:
    def work(t: Any) -> Any:
        t["a"].add("x")
        t["a"].update(["y", "z"], {"w"})
        t["a"].discard("y")
        t["b"].add("x")
        t["b"].remove("x")
        with pytest.raises(KeyError):
            t["b"].remove("x")
        t["c"] |= {"p", "q"}
        t["c"] -= {"q"}
        t["d"].update("abc")
        t["d"] &= {"a", "b"}
        t["d"] ^= {"b", "e"}
        t["e"].update("xy")
        t["e"].clear()
        return "a" in t, "b" in t, len(t), len(t["a"]), "x" in t["a"], bool(t["b"])

    people = People(value_type=str)
    expected = {"a": {"x", "z", "w"}, "c": {"p"}, "d": {"a", "e"}}
    async with people.app.test_context(broker=broker) as people.test:
        assert await people(work) == (True, False, 3, 3, True, False)
        assert content(people.table) == expected
        keys = {m.key for m in broker.messages("t-people-changelog") if m.value is not None}
        assert b'[3,"a","x"]' in keys
    people = People(value_type=str)
    async with people.app.test_context(broker=broker) as people.test:
        await people.test.settled()
        assert content(people.table) == expected


async def test_what_a_set_can_besides() -> None:
    def work(t: Any) -> Any:
        one = t["a"]
        one.update([1, 2, 3])
        assert one.union({9}) == {1, 2, 3, 9}
        assert one.intersection({1, 9}) == {1}
        assert one.difference({1}) == {2, 3}
        assert one.symmetric_difference({1, 9}) == {2, 3, 9}
        assert one.issubset({1, 2, 3, 4})
        assert one.issuperset({1})
        assert one == {1, 2, 3}
        assert one | {4} == {1, 2, 3, 4}
        assert one.copy() == one.data == {1, 2, 3}
        one.intersection_update({1, 2})
        one.difference_update({2})
        one.symmetric_difference_update({1, 5})
        assert repr(one) == "<ChangeloggedSet: {5}>"
        assert one.pop() == 5
        with pytest.raises(KeyError):
            one.pop()
        t["b"] = [1, 2]
        assert t.pop("b") == {1, 2}
        assert t.pop("b", None) is None
        assert t.setdefault("c", [7]) == {7}
        del t["c"]
        with pytest.raises(KeyError):
            del t["c"]
        t["d"].add(1)
        t.clear()
        return len(t), bool(t)

    people = People()
    async with people.app.test_context() as people.test:
        assert await people(work) == (0, False)


async def test_members_of_other_types_come_back(broker: MemoryBroker) -> None:
    def work(t: Any) -> Any:
        t[7].add(("a", 1))
        t[7].add(("b", 2))

    for _ in range(2):
        people = People(key_type=int)
        async with people.app.test_context(broker=broker) as people.test:
            await people(work)
            assert content(people.table) == {7: {("a", 1), ("b", 2)}}


async def test_outside_of_a_stream_sets_are_read_only() -> None:
    people = People()
    async with people.app.test_context() as people.test:
        await people(lambda t: t["a"].add(1))
        assert people.table["a"] == {1}
        assert people.table["nothing"] == set()
        with pytest.raises(OutsideStream):
            people.table["a"].add(2)
        with pytest.raises(OutsideStream):
            people.table.clear()


async def test_a_crash_takes_back_what_was_not_committed(broker: MemoryBroker) -> None:
    people = People()
    async with people.app.test_context(broker=broker) as people.test:
        await people(lambda t: t["a"].add(1))
        people.table.shards[next(iter(people.table.shards))].abort()
        for shard in people.table.shards.values():
            shard.abort()
        assert people.table["a"] == {1}


def faust_record(operation: int, key: str, value: Any) -> tuple[bytes, bytes]:
    return json.dumps([operation, key]).encode(), json.dumps(value).encode()


async def test_the_changelog_of_a_set_table_of_faust_is_read_and_written_anew(
    broker: MemoryBroker,
) -> None:
    people = People(partitions=2)
    async with people.app.test_context(broker=broker) as people.test:
        await people.test.settled()
    async with people.app.test_context(broker=broker) as people.test:
        changelog = people.table.changelog_topic
        for record in (
            faust_record(1, "a", "x"),
            faust_record(1, "a", "y"),
            faust_record(2, "a", "x"),
            faust_record(15, "a", [["p", "q"], []]),
            faust_record(15, "a", [[], ["q"]]),
            faust_record(1, "b", ["t", 1]),
        ):
            await people.app.producer.send_and_wait(
                changelog.get_topic_name(), record[1], key=record[0], partition=0
            )
    expected = {"a": {"y", "p"}, "b": {("t", 1)}}
    for _ in range(2):
        people = People(partitions=2)
        async with people.app.test_context(broker=broker) as people.test:
            await people.test.settled()
            assert content(people.table) == expected
            await people.app.commit()
    rows = {m.key for m in broker.messages("t-people-changelog") if m.key.startswith(b"[3,")}
    assert rows == {b'[3,"a","y"]', b'[3,"a","p"]', b'[3,"b",["t",1]]'}


async def test_windowed_sets_close_with_their_members() -> None:
    closed: list[Any] = []
    people = People(
        window=faustc.TumblingWindow(10, expires=20),
        on_window_close=lambda key, value: closed.append((key, value)),
    )
    async with people.app.test_context() as people.test:
        await people(lambda t: t["a"].add("x"), timestamp=START + 1)
        await people(lambda t: t["a"].add("y"), timestamp=START + 2)
        await people(lambda t: t["a"].discard("x"), timestamp=START + 2)
        assert await people(lambda t: set(t["a"].current()), timestamp=START + 3) == {"y"}
        await people(lambda t: t["a"].add("z"), timestamp=START + 100)
        await people.test.advance(31)
        assert closed == [(("a", (START, START + 9.9)), {"y"})]
        assert [set(one) for one in people.table.values()] == [{"z"}]


async def test_a_manager_changes_sets_by_messages(broker: MemoryBroker) -> None:
    people = People(value_type=str, start_manager=True)
    manager = people.table.manager
    assert people.table.manager_topic_name == "people-setmanager"
    async with people.app.test_context(broker=broker) as people.test:
        for name, argument in (
            ("add", "x"),
            ("update", ["y", "z"]),
            ("discard", "y"),
            ("symmetric_difference_update", ["z", "w"]),
            ("intersection_update", ["x", "w", "v"]),
        ):
            await getattr(manager, name)("a", argument)
        await manager.add("b", "x")
        await manager.clear("b")
        await manager.update("c", ["p", "q"])
        await manager.difference_update("c", ["q"])
        await people.test.settled()
        assert content(people.table) == {"a": {"x", "w"}, "c": {"p"}}


async def test_without_a_manager_it_says_so() -> None:
    people = People()
    with pytest.raises(ImproperlyConfigured, match="start_manager=True"):
        await people.table.manager.add("a", "x")
    other = faustc.App("u").SetTable("u", manager_topic_suffix="-edits")
    assert other.manager_topic_name == "u-edits"
    named = faustc.App("v").SetTable("v", manager_topic_name="mine")
    assert named.manager_topic_name == "mine"


def test_the_names_of_faust() -> None:
    app = faustc.App("t")
    assert isinstance(app.Set("one"), SetTable)
    assert isinstance(app.SetGlobalTable("two"), SetGlobalTable)
    assert app.tables["two"].is_global
    with pytest.raises(ImproperlyConfigured, match="always has a set"):
        app.SetTable("three", default=set)


async def test_every_worker_has_all_sets_of_a_global_table(broker: MemoryBroker) -> None:
    one, two = People("SetGlobalTable"), People("SetGlobalTable")
    async with (
        one.app.test_context(broker=broker) as one.test,
        two.app.test_context(broker=broker) as two.test,
    ):
        await one.test.settled()
        one.table["a"].add("x")  # a key decides for itself, so it may be written anywhere
        two.table["b"].add("y")
        await one.app.commit()
        await two.app.commit()
        await one.test.advance(5)
        for people in (one, two):
            assert content(people.table) == {"a": {"x"}, "b": {"y"}}
