"""Agents side by side: order by key, plain functions in threads, partitions for themselves."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import defaultdict
from functools import partial
from typing import Any

import pytest

import faustc
from faustc.agents import current_agent
from faustc.exceptions import ImproperlyConfigured
from faustc.keyed import DEPTH
from faustc.testing import MemoryBroker
from faustc.types import TP
from faustc.utils.agent_stopper import agent_stopper


def make_app(id: str = "order", **options: Any) -> faustc.App:
    return faustc.App(id, broker="kafka://127.0.0.1:1", **options)


@pytest.mark.parametrize("seed", range(8))
async def test_events_of_one_key_stay_in_order_and_commits_pass_nothing_unfinished(
    seed: int,
) -> None:
    chance = random.Random(seed)
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)
    done: dict[bytes, list[int]] = defaultdict(list)
    finished: set[int] = set()
    at_once = most = 0

    @app.agent(topic, concurrency=5, order="key")
    async def take(stream: Any) -> None:
        nonlocal at_once, most
        async for event in stream.events():
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(chance.random() * 3)
            done[event.key].append(event.value)
            finished.add(event.value)
            at_once -= 1

    count = 120
    sent: dict[bytes, list[int]] = defaultdict(list)
    async with app.test_context() as t:
        for number in range(count):
            key = b"k%d" % chance.randrange(12)
            sent[key].append(number)
            await t.send("orders", key, number, partition=0)
        for _ in range(40):
            await t.advance(2)
            await app.commit()
            committed = t.committed("orders", 0) or 0
            assert finished >= set(range(committed))
        await t.settled()
        assert done == sent
        assert t.committed("orders", 0) == count
    assert 2 <= most <= 5


async def test_a_slow_key_holds_up_no_other_of_its_partition() -> None:
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)
    done: list[tuple[bytes, int]] = []

    @app.agent(topic, concurrency=4, order="key")
    async def take(stream: Any) -> None:
        async for event in stream.events():
            if event.key == b"slow":
                await asyncio.sleep(100)
            done.append((event.key, event.value))

    async with app.test_context() as t:
        await t.send("orders", b"slow", 0, partition=0)
        for number in range(1, 30):
            await t.send("orders", b"k%d" % number, number, partition=0)
        await t.advance(10)
        assert {value for key, value in done} == set(range(1, 30))
        await app.commit()
        assert not t.committed("orders", 0)  # the slow one is the first
        await t.advance(200)
        assert len(done) == 30
        await t.settled()
        assert t.committed("orders", 0) == 30


@pytest.mark.parametrize("seed", range(6))
async def test_a_crash_in_the_middle_loses_nothing_and_keeps_the_order_of_each_key(
    seed: int,
) -> None:
    chance = random.Random(seed)
    done: dict[bytes, list[int]] = defaultdict(list)
    finished: set[int] = set()

    def worker() -> faustc.App:
        app = make_app()
        topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)

        @app.agent(topic, concurrency=4, order="key", name="take")
        async def take(stream: Any) -> None:
            async for event in stream.events():
                await asyncio.sleep(chance.random() * 3)
                done[event.key].append(event.value)
                finished.add(event.value)

        return app

    count = 120
    async with MemoryBroker() as broker:
        for life in range(4):
            app = worker()
            async with app.test_context(broker=broker) as t:
                if life == 0:
                    for number in range(count):
                        key = b"k%d" % chance.randrange(9)
                        await t.send("orders", key, number, partition=number % 2)
                if life == 3:
                    await t.settled()
                    break
                for _ in range(5):
                    await t.advance(chance.random() * 6)
                    for partition in range(2):
                        committed = t.committed("orders", partition) or 0
                        assert finished >= set(range(partition, committed * 2, 2))
                await t.kill()
    assert finished == set(range(count))
    for numbers in done.values():
        # It comes again from the commit on, which is an earlier one; within a life it rises,
        # and nothing comes for the first time before what stands in front of it.
        for partition in range(2):
            first = list(dict.fromkeys(n for n in numbers if n % 2 == partition))
            assert first == sorted(first)


async def test_what_waits_behind_a_slow_key_is_bounded() -> None:
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)

    @app.agent(topic, concurrency=4, order="key")
    async def take(stream: Any) -> None:
        async for _ in stream:
            await asyncio.sleep(1000)

    async with app.test_context() as t:
        for number in range(500):
            await t.send("orders", b"slow", number, partition=0)
        await t.advance(10)
        assert take._splitter is not None
        assert take._splitter.waiting == 4 * DEPTH
        await t.kill()


async def test_lists_of_events_are_in_the_order_of_their_keys() -> None:
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)
    done: dict[bytes, list[int]] = defaultdict(list)

    @app.agent(topic, concurrency=3, order="key")
    async def take(stream: Any) -> None:
        async for events in stream.take_events(4, within=2):
            await asyncio.sleep(events[0].value % 3)
            for event in events:
                done[event.key].append(event.value)

    async with app.test_context() as t:
        for number in range(60):
            await t.send("orders", b"k%d" % (number % 7), number, partition=0)
        await t.advance(100)
        await t.settled()
    assert done == {b"k%d" % k: list(range(k, 60, 7)) for k in range(7)}


async def test_order_by_key_goes_with_group_by_and_with_channels_in_memory() -> None:
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)
    channel = app.channel()
    grouped: list[int] = []
    done: dict[Any, list[int]] = defaultdict(list)

    @app.agent(topic, concurrency=3, order="key", name="group")
    async def group(stream: Any) -> None:
        async for value in stream.group_by(lambda value: value % 5, name="five"):
            grouped.append(value)

    @app.agent(channel, concurrency=3, order="key", name="memory")
    async def memory(stream: Any) -> None:
        async for event in stream.events():
            await asyncio.sleep(event.value % 3)
            done[str(event.key)].append(event.value)

    async with app.test_context() as t:
        for number in range(40):
            await t.send("orders", b"k%d" % (number % 7), number)
            await channel.send(key=["k", number % 4], value=number)
        await t.advance(100)
        await t.settled()
    assert sorted(grouped) == list(range(40))
    assert done == {str(["k", k]): list(range(k, 40, 4)) for k in range(4)}


async def test_a_failure_in_one_lane_disturbs_neither_order_nor_the_others() -> None:
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)
    done: dict[bytes, list[int]] = defaultdict(list)
    failed = False

    @app.agent(topic, concurrency=3, order="key", on_failure=faustc.Retry(1, backoff=1))
    async def take(stream: Any) -> None:
        nonlocal failed
        async for event in stream.events():
            await asyncio.sleep(0.1)
            if event.value == 10 and not failed:
                failed = True
                raise ValueError("once")
            done[event.key].append(event.value)

    async with app.test_context() as t:
        for number in range(30):
            await t.send("orders", b"k%d" % (number % 5), number, partition=0)
        await t.advance(60)
        await t.settled()
        assert failed
        assert done == {b"k%d" % k: list(range(k, 30, 5)) for k in range(5)}
        assert t.committed("orders", 0) == 30


async def test_a_partition_that_goes_is_given_back_from_the_last_event_begun() -> None:
    app, other = make_app(), make_app()
    seen: dict[str, list[int]] = {"first": [], "second": []}

    def read(app: faustc.App, name: str, delay_s: float) -> None:
        topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)

        @app.agent(topic, concurrency=3, order="key", name=name)
        async def take(stream: Any) -> None:
            async for value in stream:
                await asyncio.sleep(delay_s)
                seen[name].append(value)

    read(app, "first", 0.5)
    read(other, "second", 0.0)
    async with app.test_context() as t:
        for number in range(200):
            await t.send("orders", b"k%d" % (number % 7), number, partition=number % 8)
        await t.advance(2)
        async with other.test_context(broker=t.broker) as u:
            await u.advance(100)
            await t.settled()
            await u.settled()
    assert seen["second"]
    assert set(seen["first"]) | set(seen["second"]) == set(range(200))
    # What was begun was finished before it went, so nothing is done twice.
    assert len(seen["first"]) + len(seen["second"]) == 200


async def test_a_plain_function_gets_values_in_threads_and_what_it_returns_is_yielded() -> None:
    app = make_app()
    topic = app.topic("orders", key_type=bytes, key_serializer="raw", value_type=int)
    results: list[int] = []
    threads: set[int] = set()
    keys: list[bytes] = []
    loop_thread = threading.get_ident()

    def double(value: int) -> int | None:
        threads.add(threading.get_ident())
        event = faustc.current_event()
        assert event is not None
        keys.append(event.key)
        assert current_agent() is agent
        time.sleep(0.002)
        return None if value == 3 else value * 2

    agent = app.agent(topic, concurrency=4, order="key", sink=[results.append])(double)
    async with app.test_context(virtual_time=False) as t:
        for number in range(20):
            await t.send("orders", b"k%d" % (number % 5), number, partition=0)
        await t.settled()
        assert sorted(results) == [n * 2 for n in range(20) if n != 3]
        assert t.committed("orders", 0) == 20
    assert loop_thread not in threads
    assert 2 <= len(threads) <= 4
    assert sorted(keys) == sorted(b"k%d" % (n % 5) for n in range(20))


async def test_a_plain_function_that_returns_a_coroutine_is_told_how_to_wrap() -> None:
    app = make_app()
    told: list[BaseException] = []

    async def inner(stream: Any) -> None: ...

    def outer(stream: Any) -> Any:
        return inner(stream)

    app.agent(
        app.topic("orders", value_type=int), on_error=lambda agent, error: told.append(error)
    )(outer)
    async with app.test_context(virtual_time=False) as t:
        await t.send("orders", None, 1)
        await t.settled()
    assert "functools.wraps" in str(told[0])


class Adder:
    """A class whose methods and instances are agents."""

    def __init__(self) -> None:
        self.total = 0

    async def add(self, stream: Any) -> None:
        async for value in stream:
            self.total += value

    async def __call__(self, stream: Any) -> None:
        await self.add(stream)


@pytest.mark.parametrize("kind", ["method", "object", "partial"])
async def test_methods_objects_and_partials_are_agents(kind: str) -> None:
    app, adder = make_app(), Adder()
    topic = app.topic("numbers", value_type=int)
    fun: Any = {"method": adder.add, "object": adder, "partial": partial(Adder.add, adder)}[kind]
    agent = app.agent(topic)(fun)
    assert agent.name.startswith("tests.unit.face.test_agents_order.Adder")
    async with app.test_context() as t:
        for number in (1, 2, 3):
            await t.send("numbers", None, number)
        await t.settled()
    assert adder.total == 6


async def test_each_partition_has_an_actor_of_its_own_and_a_crash_disturbs_no_other() -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int, partitions=4)
    seen: dict[int, list[int]] = defaultdict(list)
    started: list[int] = []

    @app.agent(topic, isolated_partitions=True)
    async def take(stream: Any) -> None:
        [tp] = stream.active_partitions
        started.append(tp.partition)
        mine = 0  # of this actor alone
        async for event in stream.events():
            assert event.message.partition == tp.partition
            if tp.partition == 2 and event.value == 1:
                raise ValueError("only here")
            mine += 1
            seen[tp.partition].append(mine)
            if tp.partition == 3:
                await asyncio.sleep(1000)

    async with app.test_context() as t:
        for number in range(5):
            for partition in range(4):
                await t.send("orders", None, number, partition=partition)
        await t.advance(1)
        assert seen[0] == seen[1] == [1, 2, 3, 4, 5]
        assert seen[2] == [1, 1, 2, 3]
        assert seen[3] == [1]  # slow, and nobody waits for it
        assert sorted(started) == [0, 1, 2, 2, 3]
        await t.advance(10_000)
        await t.settled()
        assert [t.committed("orders", p) for p in range(4)] == [5, 5, 5, 5]


async def test_isolated_actors_end_with_their_partitions_and_come_back_with_them() -> None:
    app, other = make_app(), make_app()
    active: dict[str, set[TP]] = {"a": set(), "b": set()}

    def read(app: faustc.App, name: str) -> None:
        @app.agent(app.topic("orders", value_type=int, partitions=4), isolated_partitions=True)
        async def take(stream: Any) -> None:
            mine = set(stream.active_partitions)
            active[name] |= mine
            try:
                async for _ in stream:
                    pass
            finally:
                active[name] -= mine

    read(app, "a")
    read(other, "b")
    async with app.test_context() as t:
        await t.settled()
        assert len(active["a"]) == 4
        async with other.test_context(broker=t.broker) as u:
            await u.advance(60)
            assert len(active["a"]) == len(active["b"]) == 2
            assert not active["a"] & active["b"]
        await t.advance(60)
        assert len(active["a"]) == 4
        assert not active["b"]


async def test_a_cancelled_agent_stops_and_the_app_goes_on() -> None:
    app = make_app()
    seen: dict[str, list[int]] = {"one": [], "two": []}

    def make(name: str) -> Any:
        @app.agent(app.topic(name, value_type=int), name=name)
        async def take(stream: Any) -> None:
            async for value in stream:
                seen[name].append(value)

        return take

    one, _ = make("one"), make("two")
    async with app.test_context() as t:
        await t.send("one", None, 1)
        await t.settled()
        one.cancel()
        await t.send("one", None, 2)
        await t.send("two", None, 2)
        await t.advance(5)
        assert seen == {"one": [1], "two": [2]}
        assert app.started


async def test_where_actors_are_is_shown() -> None:
    app = make_app()

    @app.agent(app.topic("orders"), name="shown", concurrency=2)
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    async with app.test_context() as t:
        await t.settled()
        shown = app.agents.actor_tracebacks()
        assert len(shown["shown"]) == 2
        assert all("take" in text for text in shown["shown"])
        assert "== shown" in app.agents.human_tracebacks()


async def test_an_agent_is_called_by_hand() -> None:
    app = make_app()
    channel = app.channel()

    @app.agent(app.topic("numbers", value_type=int))
    async def double(stream: Any) -> Any:
        async for number in stream:
            yield number * 2

    @app.agent(app.topic("numbers", value_type=int))
    async def add_up(stream: Any) -> int:
        total = 0
        async for number in stream.take(3):
            total += sum(number)
            break
        return total

    async with app.test_context():
        ref = double(channel=channel)
        results = aiter(ref)
        for number in (1, 2, 3):
            await channel.send(value=number)
        assert [await anext(results) for _ in range(3)] == [2, 4, 6]
        assert ref.agent is double
        assert ref.stream.channel is channel
        await ref.stop()
        assert await add_up.actor_from_stream(app.stream([1, 2, 3])) == 6


async def test_an_agent_can_stop_its_app() -> None:
    app = make_app()

    @app.agent(app.topic("numbers", value_type=int))
    async def take(stream: Any) -> None:
        async for _ in stream:
            try:
                raise LookupError("no way on")
            except LookupError:
                await agent_stopper(app)

    async def run() -> None:
        async with app.test_context() as t:
            await t.send("numbers", None, 1)
            await t.settled()

    with pytest.raises(RuntimeError, match="LookupError"):
        await run()
    assert isinstance(app.crash_reason, LookupError)


async def test_an_agent_is_described_and_cloned_whole() -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int)
    policy = faustc.Retry(2)

    @app.agent(topic, concurrency=3, order="key", on_failure=policy, help="helpful")
    async def take(stream: Any) -> None: ...

    assert take.channel is take.channel_iterator is topic
    assert take.get_topic_names() == ["orders"]
    clone = take.clone(name="other", concurrency=2)
    assert (clone.name, clone.concurrency, clone.order) == ("other", 2, "key")
    assert clone.failures.policy == policy
    assert clone.info()["help"] == "helpful"
    assert app.agents[take.name] is take
    async with app.test_context() as t:
        seen = take.stream()  # shares the work of its actors
        assert seen.channel is topic
        assert seen.prefix == take.name
        assert take.reader is not None
        take.cancel()
        assert take.reader.closed
        await t.advance(1)
        assert all(actor.ended for actor in take._actors)
        assert app.started


async def test_an_agent_without_a_channel_has_a_topic_of_its_own() -> None:
    app = make_app()

    @app.agent
    async def alone(stream: Any) -> None: ...

    assert alone.channel.get_topic_name() == f"order-{alone.name}"
    assert alone.channel.internal


async def test_a_supervisor_that_is_none_is_refused() -> None:
    app = make_app()

    @app.agent(app.topic("orders"), supervisor_strategy=dict)
    async def take(stream: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"a class of faustc\.supervisors"):
        _ = take.supervisor
