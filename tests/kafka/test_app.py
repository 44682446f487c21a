"""Apps on a real Kafka, in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import faustc
from faustc.client.admin import Admin, NewTopic
from faustc.client.consumer import Consumer
from faustc.exceptions import NoBrokersAvailable
from faustc.types import TP
from tests.conftest import Kafka

pytestmark = pytest.mark.kafka
NewName = Callable[[str], str]
MakeApp = Callable[..., faustc.App]


class Order(faustc.Record):
    account: str
    amount: int


@pytest.fixture
async def make_app(kafka: Kafka, new_name: NewName, tmp_path: Any) -> AsyncIterator[MakeApp]:
    """Make apps; they are stopped when the test ends."""
    made: list[faustc.App] = []

    def make(id: str | None = None, **options: Any) -> faustc.App:
        given = {"commit_interval": 0.3, "datadir": tmp_path, "default_partitions": 2, **options}
        app = faustc.App(id or new_name("app"), broker=f"kafka://{kafka.bootstrap}", **given)
        made.append(app)
        return app

    yield make
    for app in made:
        await app.stop()


async def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


async def committed(kafka: Kafka, group: str, *tps: TP) -> list[int | None]:
    async with Consumer(bootstrap_servers=kafka.bootstrap, group_id=group) as consumer:
        return [await consumer.committed(tp) for tp in tps]


async def test_models_go_through_two_agents_and_are_committed(
    kafka: Kafka, make_app: MakeApp, new_name: NewName
) -> None:
    app = make_app()
    orders = app.topic(new_name("orders"), key_type=str, value_type=Order, partitions=1)
    totals = app.topic(new_name("totals"), value_type=int, partitions=1)
    seen: list[Any] = []

    @app.agent(orders)
    async def add(stream: Any) -> None:
        async for key, order in stream.items():
            await totals.send(key=key, value=order.amount)

    @app.agent(totals)
    async def keep(stream: Any) -> None:
        async for event in stream.events():
            seen.append((event.key, event.value))

    await app.start()
    for number in range(100):
        promise = await orders.send(key=f"k{number}", value=Order(account="a", amount=number))
    metadata = await promise
    assert (metadata.topic, metadata.partition, metadata.offset) == (orders.name, 0, 99)
    await until(lambda: len(seen) == 100)
    assert seen == [(f"k{number}", number) for number in range(100)]
    await app.stop()
    assert not app.crashed
    tps = [TP(orders.name, 0), TP(totals.name, 0)]
    assert await committed(kafka, app.conf.id, *tps) == [100, 100]


async def test_a_restart_goes_on_where_the_commit_was(make_app: MakeApp, new_name: NewName) -> None:
    id, name = new_name("app"), new_name("orders")
    seen: list[list[int]] = [[], []]
    for run in range(2):
        app = make_app(id)
        topic = app.topic(name, value_type=int, partitions=2)

        @app.agent(topic, name="take")
        async def take(stream: Any, run: int = run) -> None:
            async for value in stream:
                seen[run].append(value)

        await app.start()
        for number in range(50):
            await topic.send(key=str(number), value=run * 100 + number)
        await until(lambda run=run: len(seen[run]) == 50)
        await app.stop()
    assert sorted(seen[0]) == list(range(50))
    assert sorted(seen[1]) == list(range(100, 150))


async def test_nothing_sent_to_a_topic_that_appears_later_is_missed(
    kafka: Kafka, make_app: MakeApp, new_name: NewName
) -> None:
    # given a running worker that may not create its topic, and reads only what is new
    app = make_app(topic_allow_declare=False, consumer_auto_offset_reset="latest")
    name = new_name("later")
    seen: list[int] = []

    @app.agent(app.topic(name, value_type=int))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    await asyncio.sleep(1)
    # when somebody creates it and sends at once
    other = make_app(default_partitions=3)
    for number in range(60):
        await other.send(name, key=str(number), value=number)
    # then all of it arrives
    await until(lambda: len(seen) == 60)
    assert sorted(seen) == list(range(60))


async def test_two_workers_share_and_take_over(make_app: MakeApp, new_name: NewName) -> None:
    id, name = new_name("app"), new_name("orders")
    seen: dict[str, list[int]] = {"one": [], "two": []}
    apps = {}
    for which in seen:
        app = apps[which] = make_app(id)

        @app.agent(app.topic(name, value_type=int, partitions=4), name="take")
        async def take(stream: Any, which: str = which) -> None:
            async for value in stream:
                seen[which].append(value)

    one, two = apps.values()
    await one.start()
    await until(lambda: len(one.consumer.assignment()) == 4)
    await two.start()
    await until(lambda: len(one.consumer.assignment()) == len(two.consumer.assignment()) == 2)
    for number in range(200):
        await one.send(name, key=str(number), value=number)
    await until(lambda: len(seen["one"]) + len(seen["two"]) == 200)
    assert seen["one"]
    assert seen["two"]
    await one.stop()
    await until(lambda: len(two.consumer.assignment()) == 4)
    for number in range(200, 300):
        await two.send(name, key=str(number), value=number)
    await until(lambda: len(seen["one"]) + len(seen["two"]) >= 300)
    # A clean rebalance commits what is done first: nothing twice, nothing missing.
    assert sorted(seen["one"] + seen["two"]) == list(range(300))


async def test_eight_threads_send_and_commit_at_once(make_app: MakeApp, new_name: NewName) -> None:
    app = make_app()
    topic = app.topic(new_name("orders"), value_type=int, partitions=4)
    seen: list[int] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    errors: list[BaseException] = []

    async def send(thread: int) -> None:
        for number in range(100):
            promise = await topic.send(key=str(thread), value=thread * 1000 + number)
            if number % 25 == 0:
                assert (await promise).topic == topic.name
                await app.commit()
                assert app.conf.id
                assert app.producer is not None
        await (await topic.send_many(range(thread * 1000 + 100, thread * 1000 + 200)))

    def run(thread: int) -> None:
        try:
            asyncio.run(send(thread))
        except BaseException as exc:  # noqa: BLE001 - the test shows it
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert errors == []
    await until(lambda: len(seen) == 1600)
    assert sorted(seen) == [t * 1000 + n for t in range(8) for n in range(200)]


async def test_commits_pass_the_control_records_of_transactions(
    kafka: Kafka, make_app: MakeApp, new_name: NewName
) -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    app = make_app()
    name = new_name("orders")
    seen: list[int] = []

    @app.agent(app.topic(name, value_type=int, partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()

    def write() -> None:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": kafka.bootstrap, "transactional.id": new_name("txn")}
        )
        producer.init_transactions(20)
        for batch in range(3):
            producer.begin_transaction()
            for number in range(5):
                producer.produce(name, str(batch * 5 + number).encode())
            producer.commit_transaction(20)

    await asyncio.to_thread(write)
    await until(lambda: len(seen) == 15)
    # 15 messages and three commit markers: the lag of a finished app is zero.
    await until(lambda: app.monitor.committed.get(TP(name, 0)) == 18)
    await app.runner.engine.measure_lag()
    assert app.monitor.lag == {TP(name, 0): 0}


async def test_an_agent_that_blocks_the_loop_keeps_its_partitions(
    make_app: MakeApp, new_name: NewName
) -> None:
    """I16: blocked for longer than the session timeout, less than max_poll_interval."""
    app = make_app(broker_session_timeout=6.0, broker_heartbeat_interval=1.0)
    topic = app.topic(new_name("orders"), value_type=int, partitions=2)
    seen: list[int] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            if value == 0:
                time.sleep(8)  # noqa: ASYNC251 - just that
            seen.append(value)

    await app.start()
    await until(lambda: len(app.consumer.assignment()) == 2)
    for number in range(10):
        await topic.send(key="k", value=number)
    await until(lambda: len(seen) == 10)
    await asyncio.sleep(1)
    assert seen == list(range(10))
    assert app.monitor.rebalances_total == 1
    assert app.is_leader()


async def test_an_unreachable_broker_is_named_within_the_timeout(tmp_path: Any) -> None:
    app = faustc.App("x", broker="kafka://127.0.0.1:1", datadir=tmp_path)
    app.runner.engine.options.start_timeout_s = 2.0
    with pytest.raises(NoBrokersAvailable, match=r"127\.0\.0\.1:1"):
        await asyncio.wait_for(app.start(), 10)


async def test_existing_topics_are_left_as_they_are(
    kafka: Kafka, make_app: MakeApp, new_name: NewName
) -> None:
    name = new_name("orders")
    async with Admin(kafka.bootstrap) as admin:
        await admin.create_topics([NewTopic(name, 5)])
        app = make_app(default_partitions=2)

        @app.agent(app.topic(name))
        async def take(stream: Any) -> None:
            async for _ in stream:
                pass

        await app.start()
        await until(lambda: len(app.consumer.assignment()) == 5)
        assert len((await admin.describe_topics([name]))[name].partitions) == 5


async def test_topic_options_are_those_of_the_created_topic(
    kafka: Kafka, make_app: MakeApp, new_name: NewName
) -> None:
    app = make_app()
    topic = app.topic(new_name("t"), partitions=3, retention=3600, compacting=True, deleting=True)
    await topic.declare()
    async with Admin(kafka.bootstrap) as admin:
        assert len((await admin.describe_topics([topic.name]))[topic.name].partitions) == 3


async def test_a_blocked_agent_of_one_app_does_not_stop_the_other(
    make_app: MakeApp, new_name: NewName
) -> None:
    name = new_name("orders")
    one, two = make_app(), make_app()
    hold = asyncio.Event()
    seen: list[int] = []

    @one.agent(one.topic(name, partitions=1))
    async def stuck(stream: Any) -> None:
        async for _ in stream:
            await hold.wait()

    @two.agent(two.topic(name, value_type=int))
    async def quick(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await one.start()
    await two.start()
    for number in range(100):
        await one.send(name, value=number)
    await until(lambda: len(seen) == 100)
    hold.set()
    assert seen == list(range(100))
