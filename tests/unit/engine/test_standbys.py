"""The group says who follows whose tables, and where everybody's pages are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

import faustc
from faustc.stores.fingerprint import fingerprint
from faustc.streams import Stream
from faustc.testing.memory import MemoryBroker
from faustc.types import TopicPartition
from tests.unit.engine.test_tables import Counts, Given

TOPIC = "words"


def counting_app(table: Counts | None, **options: Any) -> faustc.App:
    app = faustc.App("t", broker="kafka://memory", topic_partitions=4, **options)
    if table is not None:
        app.__dict__["tables"] = Given({table.name: table})

    @app.agent(app.topic(TOPIC, key_type=bytes, value_type=bytes))
    async def count(words: Stream[bytes]) -> None:
        async for event in words.events():
            if table is not None:
                table.add(event.message.partition, event.value)

    return app


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as broker:
        yield broker


def standbys(app: faustc.App) -> set[int]:
    return {unit.number for unit in app.runner.engine.tables.standing_by}


def actives(app: faustc.App) -> set[int]:
    return {tp.partition for tp in app.runner.engine.assignment.partitions}


@pytest.mark.parametrize("wanted", [0, 1, 2])
async def test_as_many_others_as_are_wished_for_follow_each_table_and_take_over(
    broker: MemoryBroker, wanted: int
) -> None:
    tables = [Counts() for _ in range(3)]
    apps = [counting_app(table, num_standby_replicas=wanted) for table in tables]
    async with AsyncExitStack() as stack:
        tests = [await stack.enter_async_context(app.test_context(broker=broker)) for app in apps]

        async def still() -> None:
            for test in tests:
                await test.settled()
            await tests[-1].advance(10)
            for test in tests:
                await test.settled()

        await still()
        for n in range(80):
            await tests[0].send(TOPIC, key=b"%d" % n, value=b"%d" % n)
        await still()
        for number in range(4):
            assert sum(number in actives(app) for app in apps) == 1
            assert sum(number in standbys(app) for app in apps) == wanted
            assert not any(number in actives(app) & standbys(app) for app in apps)
        loads = [len(actives(app)) + len(standbys(app)) for app in apps]
        assert max(loads) - min(loads) <= 1
        for app, table in zip(apps, tables, strict=True):
            assert set(table.shards) == actives(app), "user code does not see a standby"

        # When: one dies, and others have what it had
        gone = actives(apps[0])
        there = {store for table in tables[1:] for store in table.stores}
        followed = {n: app for app in apps[1:] for n in standbys(app)}
        was = {n: fingerprint(tables[0].shards[n].items()) for n in gone}
        await tests.pop(0).kill()
        await tests[-1].advance(90)
        await still()
        promoted = {n: s.store for table in tables[1:] for n, s in table.shards.items()}
        assert promoted.keys() == {0, 1, 2, 3}
        for n in gone & followed.keys():
            if promoted[n] not in there:  # its standby had its share without it
                assert wanted == 1
                assert len(actives(followed[n])) == 2
        assert not wanted or any(promoted[n] in there for n in gone)
        # A standby, and who was filled anew, has what the one had that is gone.
        assert {n: fingerprint(promoted[n].items()) for n in gone} == was
        values = [v for table in tables[1:] for s in table.shards.values() for _, v in s.items()]
        assert values == [b"1"] * 80
        for number in range(4):
            assert sum(number in standbys(app) for app in apps[1:]) == min(wanted, 1)


async def test_a_worker_that_gave_a_partition_away_stays_on_as_its_standby(
    broker: MemoryBroker,
) -> None:
    one, other = Counts(), Counts()
    first = counting_app(one)
    async with first.test_context(broker=broker) as test:
        await test.send(TOPIC, key=b"a", value=b"a")
        await test.settled()
        before = {store.tp.partition: store for store in one.stores}
        second = counting_app(other)
        async with second.test_context(broker=broker) as late:
            await late.settled()
            await test.settled()
            await late.advance(1)
            assert len(actives(second)) == 2
            assert standbys(first) == actives(second)
            assert standbys(second) == actives(first)
            await late.kill()
            await test.advance(90)
            await test.settled()
        assert {n: shard.store for n, shard in one.shards.items()} == before
        assert not standbys(first)


async def test_everybody_is_told_everybodys_address(broker: MemoryBroker) -> None:
    apps = [counting_app(None, canonical_url=f"http://node{n}:80") for n in range(2)]
    async with (
        apps[0].test_context(broker=broker) as test,
        apps[1].test_context(broker=broker) as second,
    ):
        await test.settled()
        await second.settled()
        for app in apps:
            assert app.runner.engine.sharing.addresses == {
                f"http://node{n}:80": apps[n].runner.engine.assignment.partitions for n in range(2)
            }


@pytest.mark.parametrize("which", [0, 1])
async def test_a_static_member_that_comes_back_elsewhere_is_found_there(
    broker: MemoryBroker, which: int
) -> None:
    """Kafka gives it its place back without a rebalance, so nobody would hear of its address.

    One of the two leads the group, and is told by SkipAssignment that it goes on as it was.
    """

    def app_at(n: int, url: str) -> faustc.App:
        return counting_app(None, consumer_group_instance_id=f"i{n}", canonical_url=url)

    stays, goes = app_at(1 - which, "http://here"), app_at(which, "http://there")
    async with AsyncExitStack() as stack:
        first = None
        for app in sorted([stays, goes], key=lambda app: str(app.conf.consumer_group_instance_id)):
            test = await stack.enter_async_context(app.test_context(broker=broker))
            await test.settled()
            first = first or app
        assert first is not None
        assert first.is_leader()
        had = actives(goes)
        await goes.stop()  # which does not leave the group: it waits for a static member
        back = app_at(which, "http://elsewhere")
        again = await stack.enter_async_context(back.test_context(broker=broker))
        await again.settled()
        await again.advance(10)
        await again.settled()
        assert actives(back) == had
        for app in (stays, back):
            known = app.runner.engine.sharing.addresses
            assert known.keys() == {"http://here", "http://elsewhere"}
            assert known["http://elsewhere"] == {TopicPartition(TOPIC, n) for n in had}
