"""processing_guarantee="exactly_once" in whole apps, on the broker in memory and virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import faustc as faust
from faustc.testing import MemoryBroker
from faustc.types import TopicPartition

WORDS, OUT = "words", "counted"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data folders are made in the current one."""
    monkeypatch.chdir(tmp_path)


def counting(name: str = "exact", *, store: str = "memory://", folder: Path | None = None) -> Any:
    options: dict[str, Any] = {} if folder is None else {"datadir": str(folder)}
    app: Any = faust.App(
        name,
        broker="kafka://ignored",
        store=store,
        processing_guarantee="exactly_once",
        topic_partitions=2,
        **options,
    )
    app.words = app.topic(WORDS, key_type=str, value_type=int, partitions=2)
    app.out = app.topic(OUT, key_type=str, value_type=int, partitions=2)
    app.counts = app.Table("counts", default=int, partitions=2)
    app.pause_s = 0.0
    app.seen = []

    @app.agent(app.words)
    async def count(stream: Any) -> None:
        async for event in stream.events():
            app.seen.append((event.key, event.value))
            app.counts[event.key] += 1
            await app.out.send(key=event.key, value=app.counts[event.key])
            if app.pause_s:
                await asyncio.sleep(app.pause_s)

    return app


async def feed(broker: MemoryBroker, numbers: range, keys: int = 7) -> None:
    """Send as somebody outside, who has no transactions."""
    async with broker_producer(broker) as producer:
        for n in numbers:
            await producer.send(WORDS, b"%d" % n, b'"k%d"' % (n % keys), partition=n % keys % 2)
        await producer.flush()


def broker_producer(broker: MemoryBroker) -> Any:
    from faustc.client.producer import Producer

    return Producer(bootstrap_servers="memory:9092", dialer=broker.dialer())


def counted(broker: MemoryBroker) -> dict[str, list[int]]:
    """Return the counts that were sent, by key, as who reads committed sees them."""
    found: dict[str, list[int]] = {}
    for message in broker.messages(OUT):
        found.setdefault(message.key.decode().strip('"'), []).append(int(message.value))
    return found


def check(broker: MemoryBroker, total: int, keys: int = 7) -> None:
    """Each key was counted 1, 2, 3, ... to as many as there were of it."""
    expected = Counter(f"k{n % keys}" for n in range(total))
    assert counted(broker) == {key: list(range(1, n + 1)) for key, n in expected.items()}


async def test_outputs_table_and_offsets_are_committed_together() -> None:
    app = counting()
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(100))
        await test.settled()
        check(broker, 100)
        assert dict(app.counts.items()) == Counter(f"k{n % 7}" for n in range(100))
        committed = [broker.committed("exact", TopicPartition(WORDS, p)) for p in range(2)]
        assert sum(one or 0 for one in committed) == 100


async def test_nothing_is_seen_of_an_event_before_it_is_done() -> None:
    app = counting()
    app.pause_s = 5.0
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(2), keys=1)
        await test.advance(4.0)
        assert app.seen
        assert counted(broker) == {}
        assert broker.committed("exact", TopicPartition(WORDS, 0)) is None
        await test.settled()
        check(broker, 2, keys=1)


@pytest.mark.parametrize("store", ["memory://", "rocksdb://"])
async def test_killed_in_the_middle(store: str, tmp_path: Path) -> None:
    async with MemoryBroker() as broker:
        for round_ in range(6):
            app = counting(store=store, folder=tmp_path)
            app.pause_s = 0.03
            async with app.test_context(broker=broker) as test:
                await feed(broker, range(round_ * 50, (round_ + 1) * 50))
                await test.advance(0.4 + 0.13 * round_)
                assert len(app.seen) < 50 * (round_ + 1)
                await test.kill()
        app = counting(store=store, folder=tmp_path)
        async with app.test_context(broker=broker) as test:
            await test.settled()
            check(broker, 300)
            assert dict(app.counts.items()) == Counter(f"k{n % 7}" for n in range(300))


async def test_workers_come_and_go() -> None:
    async with MemoryBroker() as broker, AsyncExitStack() as stack:
        tests, apps = [], []
        for _ in range(3):
            app = counting()
            app.pause_s = 0.01
            apps.append(app)
            tests.append(await stack.enter_async_context(app.test_context(broker=broker)))
            await feed(broker, range(len(apps) * 100 - 100, len(apps) * 100))
            await tests[0].advance(0.35)
        await tests[0].kill()
        await tests[1].advance(0.5)
        await feed(broker, range(300, 400))
        await tests[1].advance(120)
        for test in tests[1:]:
            await test.settled()
        check(broker, 400)


@pytest.mark.parametrize(
    ("api", "error"),
    [
        ("EndTxn", "COORDINATOR_NOT_AVAILABLE"),
        ("EndTxn", "INVALID_PRODUCER_EPOCH"),
        ("TxnOffsetCommit", "ILLEGAL_GENERATION"),
        ("TxnOffsetCommit", "COORDINATOR_LOAD_IN_PROGRESS"),
        ("TxnOffsetCommit", "TRANSACTION_ABORTABLE"),
        ("InitProducerId", "CONCURRENT_TRANSACTIONS"),
        ("AddOffsetsToTxn", "NOT_COORDINATOR"),
    ],
)
async def test_refusals_are_undone_or_waited_out(api: str, error: str) -> None:
    app = counting()
    app.pause_s = 0.01
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(60))
        await test.advance(0.2)
        test.control(api, error=error, times=3)
        await test.advance(1)
        await feed(broker, range(60, 100))
        await test.settled()
        check(broker, 100)
        assert dict(app.counts.items()) == Counter(f"k{n % 7}" for n in range(100))


@pytest.mark.parametrize("api", ["EndTxn", "Produce", "TxnOffsetCommit", "JoinGroup", "Heartbeat"])
async def test_lost_answers(api: str) -> None:
    app = counting()
    app.pause_s = 0.01
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(60))
        await test.advance(0.2)
        test.control(api, cut_after_bytes=3, times=3)
        await test.advance(1)
        await feed(broker, range(60, 100))
        await test.settled()
        check(broker, 100)


async def test_somebody_else_goes_by_our_transactional_id() -> None:
    app = counting()
    app.pause_s = 0.01
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(100))
        await test.advance(0.45)
        from faustc.client.producer import Producer

        name = app.runner.engine.options.transactional_id
        async with Producer(
            bootstrap_servers="memory:9092", dialer=broker.dialer(), transactional_id=name
        ):
            await test.settled()
        check(broker, 100)
        assert dict(app.counts.items()) == Counter(f"k{n % 7}" for n in range(100))


async def test_lists_are_whole() -> None:
    app: Any = faust.App("lists", broker="kafka://ignored", processing_guarantee="exactly_once")
    topic = app.topic(WORDS, key_type=str, value_type=int, partitions=2)
    out = app.topic(OUT, key_type=str, value_type=int, partitions=2)

    @app.agent(topic)
    async def sum_up(stream: Any) -> None:
        async for some in stream.take_events(10, within=1.0):
            for event in some:
                await out.send(key=event.key, value=event.value)

    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(55))
        await test.advance(0.5)
        # Five wait for more: they are not done, and hold nobody up.
        assert sum(map(len, counted(broker).values())) == 50
        await test.settled()
        assert sorted(n for some in counted(broker).values() for n in some) == list(range(55))


async def test_what_a_dead_worker_left_open_is_aborted_by_the_leader(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with MemoryBroker() as broker, AsyncExitStack() as stack:
        apps = [counting() for _ in range(2)]
        tests = [await stack.enter_async_context(app.test_context(broker=broker)) for app in apps]
        await tests[0].advance(30)
        # One of them dies without a word, in the middle of a transaction.
        dead = apps[1]
        dead.pause_s = 1000.0
        await feed(broker, range(40))
        await tests[0].advance(1)
        assert dead.seen
        await tests[1].kill()
        await tests[0].advance(60)
        await tests[0].settled()
        check(broker, 40)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_agents_of_one_topic_that_are_not_as_far(concurrency: int) -> None:
    """What the fast one, or the other actors, did beyond the offset is not done again."""

    def make() -> Any:
        app: Any = faust.App("two", broker="kafka://ignored", processing_guarantee="exactly_once")
        app.words = app.topic(WORDS, key_type=str, value_type=int, partitions=2)
        out = app.topic(OUT, key_type=str, value_type=int, partitions=2)

        @app.agent(app.words, concurrency=concurrency)
        async def fast(stream: Any) -> None:
            async for event in stream.events():
                await out.send(key=f"fast-{event.value}", value=1)

        @app.agent(app.words, concurrency=concurrency)
        async def slow(stream: Any) -> None:
            async for event in stream.events():
                await asyncio.sleep(0.9 if event.value % 10 == 0 else 0.05)
                await out.send(key=f"slow-{event.value}", value=1)

        return app

    async with MemoryBroker() as broker:
        for round_ in range(5):
            app = make()
            async with app.test_context(broker=broker) as test:
                await feed(broker, range(round_ * 30, round_ * 30 + 30))
                await test.advance(1.3 + round_ * 0.4)
                await test.kill()
        app = make()
        async with app.test_context(broker=broker) as test:
            await test.settled()
        assert counted(broker) == {
            f"{which}-{n}": [1] for n in range(150) for which in ("fast", "slow")
        }


async def test_a_commit_that_an_event_asks_for_does_not_wait_for_itself() -> None:
    app = counting()
    answers: list[Any] = []

    @app.agent(app.out)
    async def note(stream: Any) -> None:
        async for _ in stream:
            answers.append(await app.commit(WORDS))

    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        began = test.now()
        await feed(broker, range(10))
        await test.settled()
        assert answers == [False] * 10
        assert test.now() - began < 20
        check(broker, 10)


async def test_an_undo_that_is_cut_off_is_done_again() -> None:
    """Brokers go away in the middle of it, for longer than a commit waits."""
    app = counting()
    app.pause_s = 0.01
    async with MemoryBroker() as broker, app.test_context(broker=broker) as test:
        await feed(broker, range(60))
        await test.advance(0.3)
        test.control("TxnOffsetCommit", error="TRANSACTION_ABORTABLE", times=1)
        test.control("OffsetFetch", delay_s=70.0, times=3)
        await test.advance(1)
        await feed(broker, range(60, 100))
        await test.settled()
        check(broker, 100)
        assert dict(app.counts.items()) == Counter(f"k{n % 7}" for n in range(100))
