"""Tables: dictionaries within streams, whose changes are in Kafka once they are committed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import faustc
from faustc._native.message import Message
from faustc.engine.shard import Shard
from faustc.exceptions import (
    ImproperlyConfigured,
    NotReady,
    OutsideStream,
    PartitionsMismatch,
)
from faustc.sensors import Sensor
from faustc.stores.memory import MemoryStore
from faustc.streams import Stream, current_event
from faustc.tables import Table
from faustc.testing.memory import MemoryBroker
from faustc.types import TopicPartition


class Account(faustc.Record, serializer="json"):
    name: str
    balance: int = 0


def new_app(**options: Any) -> faustc.App:
    return faustc.App("t", broker="kafka://memory", **{"topic_partitions": 2, **options})


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as broker:
        yield broker


def logged(broker: MemoryBroker, table: Table[Any, Any]) -> dict[bytes, bytes | None]:
    """Return what a reader of the changelog would know."""
    return {m.key: m.value for m in broker.messages(table.changelog_topic_name)}


def counting(**options: Any) -> tuple[faustc.App, Table[str, int]]:
    app = new_app()
    counts = app.Table("counts", default=int, **options)

    @app.agent(app.topic("words", key_type=str, value_type=str))
    async def count(words: Stream[str]) -> None:
        async for word in words:
            counts[word] += 1

    return app, counts


class Doing:
    """An app whose agent does to the table what a test says, in the midst of an event."""

    def __init__(self, table: str = "Table", **options: Any) -> None:
        self.app = new_app()
        self.table = getattr(self.app, table)("things", **options)
        self.found: list[Any] = []
        self.topic = self.app.topic("todo", key_type=str, value_type=str)

        @self.app.agent(self.topic)
        async def do(todo: Stream[str]) -> None:
            async for name in todo:
                try:
                    self.found.append(getattr(self, name)(self.table))
                except Exception as exc:  # noqa: BLE001 - the test looks at it
                    self.found.append(exc)

    async def __call__(self, function: Any, key: str = "k", partition: int | None = None) -> Any:
        setattr(self, function.__name__, function)
        before = len(self.found)
        await self.test.send(self.topic, key=key, value=function.__name__, partition=partition)
        await self.test.settled()
        assert len(self.found) == before + 1
        if isinstance(self.found[-1], Exception):
            raise self.found[-1]
        return self.found[-1]


async def test_words_are_counted(broker: MemoryBroker) -> None:
    app, counts = counting()
    async with app.test_context(broker=broker) as test:
        for word in ["a", "b", "a", "c", "a"]:
            await test.send("words", key=word, value=word)
        await test.settled()
        assert dict(counts.items()) == {"a": 3, "b": 1, "c": 1}
        assert counts["a"] == 3
        assert counts["nothing"] == 0
        assert sorted(counts.values()) == [1, 1, 3]
        assert len(counts) == 3
        assert counts
        assert logged(broker, counts) == {b'"a"': b"3", b'"b"': b"1", b'"c"': b"1"}


async def test_a_restart_goes_on_where_it_was(broker: MemoryBroker) -> None:
    for run in (1, 2, 3):
        app, counts = counting()
        async with app.test_context(broker=broker) as test:
            await test.send("words", key="a", value="a")
            await test.settled()
            assert counts["a"] == run


async def test_after_a_crash_each_word_counts_once(broker: MemoryBroker) -> None:
    app, counts = counting()
    async with app.test_context(broker=broker) as test:
        await test.send("words", key="a", value="a")
        await test.settled()
        await test.send("words", key="a", value="a")
        await test.kill()
    app, counts = counting()
    async with app.test_context(broker=broker) as test:
        await test.settled()
        assert counts["a"] == 2


async def test_all_that_a_dictionary_can() -> None:
    do = Doing()

    def work(t: Any) -> Any:
        t["a"] = 1
        t.update({"b": 2}, c=3)
        assert "a" in t
        assert "z" not in t
        assert t.get("z") is None
        assert t.get("z", 5) == 5
        assert t.setdefault("d", 4) == 4
        assert t.setdefault("a", 9) == 1
        assert t.pop("b") == 2
        assert t.pop("b", "gone") == "gone"
        with pytest.raises(KeyError):
            t.pop("b")
        with pytest.raises(KeyError):
            t["b"]
        with pytest.raises(KeyError):
            del t["b"]
        del t["c"]
        assert sorted(t) == sorted(t.keys()) == ["a", "d"]
        assert ("a", 1) in t.items()
        assert 4 in t.values()
        assert t == {"a": 1, "d": 4}
        assert t.copy() == {"a": 1, "d": 4}
        assert t.popitem()[0] in ("a", "d")
        return len(t)

    def clear(t: Any) -> Any:
        t.clear()
        return len(t), bool(t)

    async with do.app.test_context() as do.test:
        assert await do(work) == 1
        assert await do(clear) == (0, False)


async def test_a_deleted_key_is_a_null_in_the_changelog_and_stays_deleted(
    broker: MemoryBroker,
) -> None:
    def put(t: Any) -> None:
        t["a"] = 1

    def delete(t: Any) -> None:
        del t["a"]

    do = Doing()
    async with do.app.test_context(broker=broker) as do.test:
        await do(put)
        await do(delete)
        assert logged(broker, do.table) == {b'"a"': None}
    do = Doing()
    async with do.app.test_context(broker=broker) as do.test:
        assert await do(lambda_len) == 0


def lambda_len(t: Any) -> int:
    return len(t)


async def test_types_of_keys_and_values_come_back(broker: MemoryBroker) -> None:
    def put(t: Any) -> None:
        t[7] = Account("x", 5)

    def get(t: Any) -> Any:
        return list(t.items())

    for work, expected in ((put, None), (get, [(7, Account("x", 5))])):
        do = Doing(key_type=int, value_type=Account)
        async with do.app.test_context(broker=broker) as do.test:
            assert await do(work) == expected
    (value,) = logged(broker, do.table).values()
    assert value is not None
    assert json.loads(value)["balance"] == 5


async def test_bytes_tuples_and_none_come_back(broker: MemoryBroker) -> None:
    def put(t: Any) -> None:
        t["a", 1] = None
        t["b", 2] = [1, {"x": 2}]

    def get(t: Any) -> Any:
        return dict(t.items())

    do = Doing()
    async with do.app.test_context(broker=broker) as do.test:
        await do(put)
    do = Doing()
    async with do.app.test_context(broker=broker) as do.test:
        assert await do(get) == {("a", 1): None, ("b", 2): [1, {"x": 2}]}


async def test_raw_bytes(broker: MemoryBroker) -> None:
    def put(t: Any) -> None:
        t[b"\xff"] = b"\x00\x01"

    do = Doing(key_type=bytes, value_type=bytes)
    async with do.app.test_context(broker=broker) as do.test:
        await do(put)
        assert logged(broker, do.table) == {b"\xff": b"\x00\x01"}
        assert dict(do.table.items()) == {b"\xff": b"\x00\x01"}


async def test_keys_that_are_equal_in_python_only_are_different_keys() -> None:
    def work(t: Any) -> Any:
        t[1], t[True], t[1.0] = "int", "bool", "float"
        return t[1], t[True], t[1.0], len(t)

    do = Doing()
    async with do.app.test_context() as do.test:
        assert await do(work) == ("int", "bool", "float", 3)


# -- where -----------------------------------------------------------------------------------


async def test_within_a_stream_the_partition_is_that_of_the_event() -> None:
    def put(t: Any) -> None:
        t["a"] = 1

    def get(t: Any) -> Any:
        return t.get("a"), "a" in t

    do = Doing()
    async with do.app.test_context() as do.test:
        await do(put, partition=1)
        assert await do(get, partition=1) == (1, True)
        assert await do(get, partition=0) == (None, False)
        assert do.table["a"] == 1  # outside of the stream wherever it is
        assert "a" in do.table


async def test_outside_of_a_stream_nothing_is_written() -> None:
    app, counts = counting()
    async with app.test_context():
        with pytest.raises(OutsideStream, match="cannot modify a table outside of stream iter"):
            counts["a"] = 1
        with pytest.raises(OutsideStream):
            del counts["a"]
        with pytest.raises(OutsideStream):
            counts.clear()
        with pytest.raises(TypeError):  # as in Faust
            counts.partition_for_key("a")


async def test_with_use_partitioner_a_key_decides_for_itself(broker: MemoryBroker) -> None:
    app, counts = counting(use_partitioner=True)
    async with app.test_context(broker=broker) as test:
        counts["x"] = 5
        assert counts.partition_for_key("x") is None
        await test.send("words", key="anything", value="x", partition=0)
        await test.send("words", key="anything", value="x", partition=1)
        await test.settled()
        await app.commit()
        assert counts["x"] == 7
        (message,) = {
            m.partition: m for m in broker.messages(counts.changelog_topic_name) if m.key == b'"x"'
        }.values()
        delivery = await test.send("words", key="x", value="x")
        assert message.partition == delivery.partition


async def test_before_the_start_a_table_is_not_ready() -> None:
    _, counts = counting()
    for read in (lambda: counts["a"], lambda: list(counts), lambda: len(counts)):
        with pytest.raises(NotReady, match="table counts: the app is not started"):
            read()
    assert not counts


async def test_a_topic_with_another_number_of_partitions_is_refused(broker: MemoryBroker) -> None:
    app = new_app()
    counts = app.Table("counts", default=int)
    errors: list[Exception] = []

    @app.agent(app.topic("two", value_type=str, partitions=2))
    async def two(words: Stream[str]) -> None:
        async for word in words:
            counts[word] += 1

    @app.agent(app.topic("three", value_type=str, partitions=3))
    async def three(words: Stream[str]) -> None:
        async for word in words:
            try:
                counts[word] += 1
            except PartitionsMismatch as exc:
                errors.append(exc)

    async with app.test_context(broker=broker) as test:
        await test.send("two", value="a")
        await test.send("three", value="a")
        await test.settled()
        assert counts["a"] == 1
        assert "has 2 partitions" in str(errors[0])
        assert "topic three has 3" in str(errors[0])


async def test_a_table_has_as_many_partitions_as_its_topic(broker: MemoryBroker) -> None:
    app = new_app(topic_partitions=8)
    counts = app.Table("counts", default=int)

    @app.agent(app.topic("five", value_type=str, partitions=5))
    async def count(words: Stream[str]) -> None:
        async for word in words:
            counts[word] += 1

    async with app.test_context(broker=broker) as test:
        await test.send("five", value="a", partition=4)
        await test.settled()
        assert counts["a"] == 1
        assert counts.partitions == 5


async def test_a_task_that_a_body_starts_writes_where_its_event_belongs() -> None:
    app = new_app()
    counts = app.Table("counts", default=int)

    @app.agent(app.topic("words", value_type=str))
    async def count(words: Stream[str]) -> None:
        async for word in words:

            async def later(word: str = word) -> None:
                counts[word] += 1

            await asyncio.create_task(later())

    async with app.test_context() as test:
        await test.send("words", value="a", partition=1)
        await test.settled()
        assert counts.shards[1].get(b'"a"') == b"1"


# -- what is remembered ----------------------------------------------------------------------


async def test_more_than_the_cache_holds_is_read_from_the_store() -> None:
    app, counts = counting(cache_bytes=4000)
    async with app.test_context() as test:
        for n in range(300):
            await test.send("words", key=f"w{n % 100}", value=f"w{n % 100}")
        await test.settled()
        assert all(counts[f"w{n}"] == 3 for n in range(100))
        assert sum(len(f.kept.hot) + len(f.kept.cold) for f in counts._all()) < 60


async def test_a_change_from_elsewhere_is_seen() -> None:
    app, counts = counting()
    async with app.test_context() as test:
        await test.send("words", key="a", value="a", partition=0)
        await test.settled()
        assert counts["a"] == 1
        shard = counts.shards[0]
        shard.store.write({b'"a"': b"41"}, 10)
        shard.edition += 1
        assert counts["a"] == 41
        await test.send("words", key="a", value="a", partition=0)
        await test.settled()
        assert counts["a"] == 42


async def test_shards_put_there_by_hand_are_found() -> None:
    app = new_app()
    table = app.Table("t", default=int)
    tp = TopicPartition("t", 0)
    table.shards[0] = shard = Shard(tp, MemoryStore(tp, None, {}))
    shard.set(b'"a"', b"3")
    assert table["a"] == 3
    assert dict(table.items()) == {"a": 3}


# -- who is told -------------------------------------------------------------------------------


async def test_sensors_and_the_monitor_are_told_of_keys() -> None:
    seen: list[Any] = []

    class Ears(Sensor):
        def on_table_get(self, table: Any, key: Any) -> None:
            seen.append(("get", key))

        def on_table_set(self, table: Any, key: Any, value: Any) -> None:
            seen.append(("set", key, value))

        def on_table_del(self, table: Any, key: Any) -> None:
            seen.append(("del", key))

    def work(t: Any) -> None:
        t["a"] = 1
        t["a"]
        del t["a"]

    do = Doing()
    do.app.sensors.add(Ears())
    async with do.app.test_context() as do.test:
        await do(work)
        assert seen == [("set", "a", 1), ("get", "a"), ("del", "a")]
        state = do.app.monitor.tables["things"]  # type: ignore[attr-defined]
        assert state.asdict() == {
            "keys_retrieved": 1,
            "keys_updated": 1,
            "keys_deleted": 1,
            "events_late": 0,
        }


async def test_a_subclass_has_its_keys_told() -> None:
    seen: list[Any] = []

    class Mine(Table[Any, Any]):
        def on_key_get(self, key: Any) -> None:
            seen.append(("get", key))

        def on_key_set(self, key: Any, value: Any) -> None:
            seen.append(("set", key, value))

        def on_key_del(self, key: Any) -> None:
            seen.append(("del", key))

        def on_clear(self) -> None:
            seen.append("clear")

    app = new_app(Table=Mine)
    things = app.Table("things")

    @app.agent(app.topic("todo"))
    async def do(todo: Stream[Any]) -> None:
        async for _ in todo:
            things["a"] = 1
            things["a"]
            things.clear()

    async with app.test_context() as test:
        await test.send("todo", value=1)
        await test.settled()
    assert seen == [("set", "a", 1), ("get", "a"), "clear", ("del", "a")]


async def test_on_recover_is_called_once_a_table_is_whole(broker: MemoryBroker) -> None:
    app, counts = counting()
    async with app.test_context(broker=broker) as test:
        await test.send("words", key="a", value="a")
        await test.settled()
    seen: list[Any] = []
    app, counts = counting(on_recover=lambda: seen.append(("given", counts["a"])))

    @counts.on_recover
    async def recovered() -> None:
        seen.append(("decorated", counts["a"]))

    async with app.test_context(broker=broker) as test:
        await test.settled()
    assert seen == [("given", 1), ("decorated", 1)]


async def test_on_changelog_event_has_each_event_of_the_changelog(broker: MemoryBroker) -> None:
    app, _counts = counting()
    async with app.test_context(broker=broker) as test:
        await test.send("words", key="a", value="a")
        await test.settled()
    seen: list[Any] = []

    async def changed(event: Any) -> None:
        seen.append((event.key, event.value))

    app, _ = counting(on_changelog_event=changed)
    async with app.test_context(broker=broker) as test:
        await test.settled()
    assert seen == [("a", 1)]


# -- definitions -------------------------------------------------------------------------------


def test_what_a_table_says_of_itself() -> None:
    app = new_app()
    table = app.Table(
        "t", default=int, key_type=str, value_type=int, help="Numbers.", store="memory://"
    )
    assert table.changelog_topic_name == "t-t-changelog"
    assert table.changelog_topic.compacting
    assert table.label == "Table: t@memory://"
    assert table.shortlabel == "Table: t"
    assert app.tables["t"] is table
    assert list(app.tables.values()) == [table]
    assert app.tables.data == {"t": table}
    assert app.tables.changelog_topics == {"t-t-changelog"}
    info = table.info()
    assert (info["name"], info["default"], info["value_type"]) == ("t", int, int)
    clone = table.clone(name="u")
    assert (clone.name, clone.default, clone.help) == ("u", int, "Numbers.")
    assert clone.changelog_topic_name == "t-u-changelog"
    assert "u" not in app.tables
    assert table == table
    assert table != clone
    assert hash(table) != hash(clone)


def test_what_cannot_be_is_refused() -> None:
    app = new_app()
    app.Table("t")
    with pytest.raises(ImproperlyConfigured, match="there is a table t already"):
        app.Table("t")
    for name in ("", "a/b", "..", "a b"):
        with pytest.raises(ImproperlyConfigured, match="a table has a name of letters"):
            app.Table(name)
    with pytest.raises(ImproperlyConfigured, match=r"no option 'defualt'.*'default'"):
        app.Table("u", defualt=int)
    with pytest.raises(ImproperlyConfigured, match="unknown store 'rocksbd'"):
        app.Table("u", store="rocksbd://")
    with pytest.raises(ImproperlyConfigured, match="recovery_buffer_size is 1 or more"):
        app.Table("u", recovery_buffer_size=0)
    assert list(app.tables) == ["t"]


def test_buffer_sizes_are_noted() -> None:
    app = new_app()
    assert app.Table("a", recovery_buffer_size=10).standby_buffer_size == 10
    assert app.Table("b", standby_buffer_size=7).standby_buffer_size == 7


async def test_tables_are_defined_before_the_app_starts() -> None:
    app, _ = counting()
    async with app.test_context():
        with pytest.raises(ImproperlyConfigured, match="too late to add table late"):
            app.Table("late")


def test_a_changelog_of_ones_own() -> None:
    app = new_app()
    named = app.Table("a", changelog_topic=app.topic("my-log"))
    assert named.changelog_topic_name == "my-log"
    tuned = app.Table("b", extra_topic_configs={"segment.ms": 1000}, partitions=3)
    spec = tuned.changelog_spec(3)
    assert spec.num_partitions == 3
    assert spec.configs == {"segment.ms": "1000", "cleanup.policy": "compact"}


async def test_a_table_drawn_for_people() -> None:
    app, counts = counting()
    async with app.test_context() as test:
        for word in ["b", "a", "b"]:
            await test.send("words", key=word, value=word)
        await test.settled()
        drawn = counts.as_ansitable(key="Word", value="Times", sort=True, title="{table.name}!")
    lines = drawn.splitlines()
    assert lines[0].strip() == "counts!"
    assert "Word" in lines[2]
    assert "Times" in lines[2]
    assert lines[4].split("│")[1].strip() == "a"
    assert lines[5].split("│")[2].strip() == "2"


async def test_tables_in_a_test_of_one_agent() -> None:
    app = new_app()
    counts = app.Table("counts", default=int)

    @app.agent(app.topic("words", value_type=str))
    async def count(words: Stream[str]) -> AsyncIterator[int]:
        async for word in words:
            counts[word] += 1
            assert current_event() is not None
            yield counts[word]

    for _ in range(2):  # each begins with empty tables
        async with count.test_context() as agent:
            await agent.put("a")
            event = await agent.put("a")
            assert agent.results[event.message.offset] == 2
        assert counts["a"] == 2


def making(tp: TopicPartition, key: bytes, value: bytes, offset: Any) -> Any:
    return Message(tp.topic, tp.partition, offset, 0, 0, key, value)


async def test_plumbing_by_its_names() -> None:
    do = Doing()

    def work(t: Any) -> Any:
        t.send_changelog(0, "a", 1)
        t.send_changelog(0, "b", 2)
        t.send_changelog(0, "b", None)
        return t.partition_for_key("a")

    async with do.app.test_context() as do.test:
        assert await do(work, partition=0) == 0
        assert dict(do.table.items()) == {"a": 1}
        tp = TopicPartition(do.table.changelog_topic_name, 0)
        await do.app.commit()
        assert do.table.persisted_offset(tp) == do.table.shards[0].store.position - 1
        assert not await do.table.need_active_standby_for(tp)
        assert await do.table.need_active_standby_for(TopicPartition(tp.topic, 7))
        message = making(tp, b'"c"', b"3", do.table.shards[0].store.position)
        do.table.apply_changelog_batch([faustc.Event(do.app, "c", 3, None, message)])
        assert dict(do.table.items()) == {"a": 1, "c": 3}
        do.table.reset_state()
        assert dict(do.table.items()) == {}


async def test_what_is_nowhere_here_is_iterated_as_nothing() -> None:
    app = faustc.App("t", broker="kafka://memory")
    table = app.Table("counts", default=int)
    with pytest.raises(NotReady, match="not started"):
        list(table)
    # An app that reads no topic has no part of it.
    async with app.test_context():
        assert (list(table), dict(table.items()), len(table)) == ([], {}, 0)
        with pytest.raises(NotReady, match="nothing of it is at this worker"):
            _ = table["a"]
