"""Tables of other classes, in other stores, of other schemas, at every worker, and as pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import faustc
from faustc.stores.memory import MemoryStore
from faustc.streams import Stream
from faustc.tables import GlobalTable, SetGlobalTable, SetTable, Table, TableManager
from faustc.testing.memory import MemoryBroker
from faustc.types import TopicPartition


class Account(faustc.Record):
    name: str


class Noting(MemoryStore):
    """A store that says what it was made with."""

    made: ClassVar[list[Any]] = []

    def __init__(self, tp: TopicPartition, folder: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(tp, folder, {})
        self.made.append((tp.topic, dict(options)))


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as broker:
        yield broker


def new_app(**options: Any) -> faustc.App:
    return faustc.App("t", broker="kafka://memory", **{"topic_partitions": 2, **options})


def writing(app: faustc.App, work: Any) -> faustc.App:
    """Let an agent do something for each event."""

    @app.agent(app.topic("go", key_type=str, value_type=str))
    async def go(stream: Stream[str]) -> None:
        async for key, value in stream.items():
            work(key, value)

    return app


async def run(app: faustc.App, broker: MemoryBroker, *pairs: tuple[str, str]) -> None:
    async with app.test_context(broker=broker) as test:
        for key, value in pairs:
            await test.send("go", key=key, value=value)
        await test.settled()
        await app.commit()


async def test_each_table_may_have_a_store_of_its_own_with_options(broker: MemoryBroker) -> None:
    Noting.made.clear()
    app = new_app()
    one = app.Table("one", store=f"{__name__}.Noting://", options={"size": 3})
    two = app.Table("two")
    writing(app, lambda key, value: (one.update({key: value}), two.update({key: value})))
    await run(app, broker, ("a", "1"))
    assert set(map(repr, Noting.made)) == {repr(("t-one-changelog", {"size": 3}))}
    assert {m.key for m in broker.messages("t-one-changelog")} == {b'"a"'}


async def test_the_setting_store_is_that_of_tables_which_name_none(broker: MemoryBroker) -> None:
    Noting.made.clear()
    app = new_app(store=f"{__name__}.Noting://")
    one, two = app.Table("one"), app.Table("two", store="memory://")
    writing(app, lambda key, value: (one.update({key: value}), two.update({key: value})))
    await run(app, broker, ("a", "1"))
    assert {topic for topic, _ in Noting.made} == {"t-one-changelog"}


async def test_a_schema_says_the_types(broker: MemoryBroker) -> None:
    schema = faustc.Schema(key_type=int, value_type=Account)
    for _ in range(2):
        app = new_app()
        table = app.Table("t", schema=schema)
        writing(app, lambda key, value, table=table: table.update({7: Account(value)}))
        async with app.test_context(broker=broker) as test:
            await test.send("go", key="a", value="x", partition=0)
            await test.settled()
            assert dict(table.items()) == {7: Account("x")}


async def test_what_changes_within_a_value_counts_once_it_is_assigned(
    broker: MemoryBroker,
) -> None:
    app = new_app()
    table = app.Table("t", default=list)

    def work(key: str, value: str) -> None:
        found = table[key]
        found.append(value)
        if value != "not":
            table[key] = found

    writing(app, work)
    await run(app, broker, ("a", "1"), ("a", "2"), ("b", "not"))
    last = {m.key: m.value for m in broker.messages("t-t-changelog")}
    assert last == {b'"a"': b'["1","2"]'}


def test_the_settings_name_the_classes() -> None:
    class MyTable(Table[Any, Any]):
        pass

    class MyGlobal(GlobalTable[Any, Any]):
        pass

    class MySets(SetTable[Any]):
        pass

    class MyGlobalSets(SetGlobalTable[Any]):
        pass

    class MyManager(TableManager):
        pass

    app = new_app(
        Table=MyTable,
        GlobalTable=MyGlobal,
        Set=MySets,
        SetGlobalTable=MyGlobalSets,
        TableManager=MyManager,
    )
    assert type(app.Table("a")) is MyTable
    assert type(app.GlobalTable("b")) is MyGlobal
    assert type(app.SetTable("c")) is MySets
    assert type(app.Set("d")) is MySets
    assert type(app.SetGlobalTable("e")) is MyGlobalSets
    assert type(app.tables) is MyManager
    assert list(app.tables) == ["a", "b", "c", "d", "e"]
    plain = new_app()
    assert type(plain.Table("a")) is Table
    assert type(plain.GlobalTable("b")) is GlobalTable
    assert type(plain.tables) is TableManager
    assert faustc.Set is SetTable


async def test_every_worker_has_all_of_a_global_table(broker: MemoryBroker) -> None:
    apps = [new_app(), new_app()]
    tables = [app.GlobalTable("rates", default=int) for app in apps]
    for app, table in zip(apps, tables, strict=True):
        writing(app, lambda key, value, table=table: table.update({key: int(value)}))
    async with (
        apps[0].test_context(broker=broker) as one,
        apps[1].test_context(broker=broker) as two,
    ):
        for n, key in enumerate("abcdef"):
            await one.send("go", key=key, value=str(n))
        await one.settled()
        await two.settled()
        for app in apps:
            await app.commit()
        tables[1]["outside"] = 9
        await apps[1].commit()
        await one.advance(5)
        expected = {**{key: n for n, key in enumerate("abcdef")}, "outside": 9}
        assert [dict(table.items()) for table in tables] == [expected, expected]
        del tables[0]["a"]
        await apps[0].commit()
        await one.advance(5)
        assert "a" not in tables[1]


def test_global_tables_are_global_by_their_class_or_by_an_option() -> None:
    app = new_app()
    assert app.GlobalTable("a", synchronize_all_active_partitions=True).is_global
    assert app.Table("b", is_global=True).is_global
    assert not app.Table("c").is_global
