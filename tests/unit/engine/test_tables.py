"""Tables as the engine has them: filled from their changelogs, committed in order, given back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import faustc
from faustc.client import NewTopic
from faustc.engine.declare import TopicSpec
from faustc.engine.shard import Shard
from faustc.engine.tables import Unit
from faustc.stores.memory import MemoryStore
from faustc.streams import Stream
from faustc.testing.memory import MemoryBroker, MemoryTransport
from faustc.types import TopicPartition


class Counts:
    """The least that is a table: bytes by key, and what it was told."""

    def __init__(self, name: str = "counts", *, is_global: bool = False) -> None:
        self.name = name
        self.is_global = is_global
        self.partitions: int | None = None
        self.shards: dict[int, Shard] = {}
        self.told: list[str] = []
        self.stores: list[MemoryStore] = []

    def changelog_spec(self, partitions: int) -> TopicSpec:
        return TopicSpec(f"t-{self.name}-changelog", partitions, 1, {"cleanup.policy": "compact"})

    def open_store(self, tp: TopicPartition) -> MemoryStore:
        self.stores.append(MemoryStore(tp, None, {}))
        return self.stores[-1]

    def stored_position(self, tp: TopicPartition) -> None:
        return None

    def on_shard_opened(self, shard: Shard) -> None:
        self.told.append(f"opened {shard.partition}")

    def on_shard_closed(self, shard: Shard) -> None:
        self.told.append(f"closed {shard.partition}")

    async def on_recovered(self) -> None:
        self.told.append("recovered")

    def changelog_listener(self) -> None:
        return None

    def add(self, partition: int, key: bytes) -> None:
        shard = self.shards[partition]
        shard.set(key, b"%d" % (int(shard.get(key) or b"0") + 1))


class Given(dict[str, Counts]):
    """The tables of an app, where the engine is told of them and nobody else."""

    expiring = False

    async def prepare(self) -> None:
        pass

    def leave(self) -> None:
        pass


def test_what_a_shard_forgot_is_neither_sent_nor_in_its_store() -> None:
    """It was lost while a commit was under way, and is a standby now: the store is behind."""
    tp = TopicPartition("t-counts-changelog", 0)
    shard = Shard(tp, MemoryStore(tp, None, {}))
    shard.set(b"k", b"1")
    taken = shard.take_off()
    assert shard.is_sending(taken)
    shard.set(b"k", b"2")
    assert taken == {b"k": b"1"}  # what comes later is not in it
    shard.abort()
    assert not shard.is_sending(taken)
    shard.set(b"k", b"3")
    again = shard.take_off()
    shard.landed(7)
    assert not shard.is_sending(again)
    assert (shard.store.get(b"k"), shard.store.position) == (b"3", 7)


def counting_app(table: Counts) -> faustc.App:
    app = faustc.App("t", broker="kafka://memory", topic_partitions=2, commit_interval=1.0)
    app.__dict__["tables"] = Given({table.name: table})

    @app.agent(app.topic("words", key_type=bytes, value_type=bytes))
    async def count(words: Stream[bytes]) -> None:
        async for event in words.events():
            table.add(event.message.partition, event.value)

    return app


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as broker:
        yield broker


def changelog(broker: MemoryBroker) -> dict[bytes, bytes | None]:
    return {m.key: m.value for m in broker.messages("t-counts-changelog")}


async def test_a_table_is_in_its_changelog_once_the_offset_is_committed(
    broker: MemoryBroker,
) -> None:
    table = Counts()
    app = counting_app(table)
    async with app.test_context(broker=broker) as test:
        for word in (b"a", b"b", b"a", b"a"):
            await test.send("words", key=word, value=word)
        await test.settled()
        assert changelog(broker) == {b"a": b"3", b"b": b"1"}
        assert {k: v for shard in table.shards.values() for k, v in shard.store.items()} == {
            b"a": b"3",
            b"b": b"1",
        }


async def test_a_table_goes_on_where_it_was(broker: MemoryBroker) -> None:
    for run in range(1, 4):
        table = Counts()
        app = counting_app(table)
        async with app.test_context(broker=broker) as test:
            await test.send("words", key=b"a", value=b"a")
            await test.settled()
        assert changelog(broker) == {b"a": b"%d" % run}
        assert table.told[0].startswith("opened")
        assert "recovered" in table.told
        assert sorted(table.told[-2:]) == ["closed 0", "closed 1"]


async def test_what_a_killed_worker_counted_is_counted_again_and_once(
    broker: MemoryBroker,
) -> None:
    table = Counts()
    app = counting_app(table)
    async with app.test_context(broker=broker) as test:
        await test.send("words", key=b"a", value=b"a")
        await test.settled()
        await test.send("words", key=b"a", value=b"a")
        await test.kill()
    table = Counts()
    async with counting_app(table).test_context(broker=broker) as test:
        await test.settled()
        assert changelog(broker) == {b"a": b"2"}


async def test_two_workers_share_a_table_and_pass_it_on(broker: MemoryBroker) -> None:
    one, other = Counts(), Counts()
    async with counting_app(one).test_context(broker=broker) as test:
        for n in range(40):
            await test.send("words", key=b"%d" % n, value=b"%d" % n)
        await test.settled()
        async with counting_app(other).test_context(broker=broker) as second:
            await second.settled()
            assert len(one.shards) == len(other.shards) == 1
            for n in range(40):
                await test.send("words", key=b"%d" % n, value=b"%d" % n)
            await test.settled()
            await second.settled()
            held = [dict(s.items()) for t in (one, other) for s in t.shards.values()]
            assert sum(map(len, held)) == 40
            assert {v for some in held for v in some.values()} == {b"2"}
        await test.settled()
        assert sum(len(shard) for shard in one.shards.values()) == 40
    assert set(changelog(broker).values()) == {b"2"}


async def test_every_worker_has_all_of_a_global_table(broker: MemoryBroker) -> None:
    one, other = Counts(is_global=True), Counts(is_global=True)
    async with (
        counting_app(one).test_context(broker=broker) as test,
        counting_app(other).test_context(broker=broker) as second,
    ):
        await second.settled()
        for n in range(40):
            await test.send("words", key=b"%d" % n, value=b"%d" % n)
        await test.settled()
        await second.settled()
        await test.advance(2)
        for table in (one, other):
            assert sum(len(dict(shard.items())) for shard in table.shards.values()) == 40


async def test_a_standby_is_whole_before_it_is_needed(broker: MemoryBroker) -> None:
    one, other = Counts(), Counts()
    async with counting_app(one).test_context(broker=broker) as test:
        for n in range(40):
            await test.send("words", key=b"%d" % n, value=b"%d" % n)
        await test.settled()
        app = counting_app(other)
        async with app.test_context(broker=broker) as second:
            await second.settled()
            tables = app.runner.engine.tables
            ours = set(other.shards)
            away = {0, 1} - ours
            tables.stand_by([Unit(2, number) for number in away])
            await second.advance(1)
            assert tables.standing_by == {Unit(2, number) for number in away}
            for n in range(40):
                await test.send("words", key=b"%d" % n, value=b"%d" % n)
            await test.settled()
            await second.advance(1)
            assert set(other.shards) == ours  # user code does not see a standby
            shadow = next(store for store in other.stores if store.tp.partition in away)
            assert {value for _, value in shadow.items()} == {b"2"}
            # When: its owner is gone
            await test.kill()
            await second.advance(60)
            await second.settled()
            assert set(other.shards) == {0, 1}
            assert other.shards[away.pop()].store is shadow
            assert len(other.stores) == 2


async def test_a_store_ahead_of_its_changelog_is_filled_anew(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with counting_app(Counts()).test_context(broker=broker) as test:
        await test.send("words", key=b"a", value=b"a")
        await test.settled()

    class Ahead(Counts):
        def open_store(self, tp: TopicPartition) -> MemoryStore:
            store = super().open_store(tp)
            store.write({b"never": b"1"}, 1000)
            return store

    table = Ahead()
    async with counting_app(table).test_context(broker=broker) as test:
        await test.settled()
        assert {k for shard in table.shards.values() for k, _ in shard.items()} == {b"a"}
    assert "ahead of its changelog" in caplog.text


async def test_a_store_of_a_changelog_that_was_made_again_is_filled_anew(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """Its position says nothing: the new one may be longer than the old one was."""
    async with counting_app(Counts()).test_context(broker=broker) as test:
        for _ in range(3):
            await test.send("words", key=b"a", value=b"a")
        await test.settled()

    class Another(Counts):
        def open_store(self, tp: TopicPartition) -> MemoryStore:
            store = super().open_store(tp)
            store.write({b"never": b"1"}, 0)
            store.topic_id = "of the one before"
            return store

    table = Another()
    async with counting_app(table).test_context(broker=broker) as test:
        await test.settled()
        held = [pair for shard in table.shards.values() for pair in shard.items()]
        assert held == [(b"a", b"3")]
        assert len({store.topic_id for store in table.stores}) == 1
        assert table.stores[0].topic_id not in (None, "of the one before")
    assert "deleted, and created again" in caplog.text


@pytest.mark.parametrize("count", [2, 40])
async def test_a_changelog_that_is_made_again_while_it_is_followed_empties_the_table(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """Be the new one shorter than the old one was, or longer."""
    table = Counts(is_global=True)
    app = counting_app(table)
    transport = MemoryTransport(broker.dialer())
    async with app.test_context(broker=broker) as test:
        for n in range(10):
            await test.send("words", key=b"%d" % n, value=b"%d" % n)
        await test.settled()
        await test.advance(2)
        admin = transport.create_admin()
        producer = transport.create_producer()
        await admin.start()
        await producer.start()
        await admin.delete_topics(["t-counts-changelog"])
        await test.advance(5)
        await admin.create_topics([NewTopic("t-counts-changelog", 2, 1)])
        await test.advance(5)
        for number in range(2):
            await producer.send_many(
                "t-counts-changelog", [b"1"] * count, keys=[b"new"] * count, partition=number
            )
        await producer.flush()
        await test.advance(30)
        held = [pair for shard in table.shards.values() for pair in shard.items()]
        assert held == [(b"new", b"1")] * 2
        await producer.stop()
        await admin.stop()
    assert "deleted" in caplog.text


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_PORT", "0")
