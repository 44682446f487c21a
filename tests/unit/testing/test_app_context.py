"""app.test_context(): a whole application on a broker in memory, in virtual time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured, NotReady
from faustc.testing import MemoryBroker, virtual_time


class Order(faustc.Record):
    account: str
    amount: int


def make_app(id: str = "shop", **options: Any) -> faustc.App:
    return faustc.App(id, broker="kafka://127.0.0.1:1", **options)  # nobody listens there


class Shop:
    """An app with two agents in a row, and what they saw."""

    def __init__(self, **options: Any) -> None:
        self.app = app = make_app(**options)
        self.seen: list[Order] = []
        self.orders = app.topic("orders", value_type=Order)
        self.large = app.topic("large", key_type=str, value_type=Order)
        self.totals = app.topic("totals", partitions=3)

        @app.agent(self.orders)
        async def find_large(stream: Any) -> None:
            async for order in stream:
                self.seen.append(order)
                if order.amount > 10:
                    await self.large.send(key=order.account, value=order)

        @app.agent(self.large)
        async def add_up(stream: Any) -> None:
            total = 0
            async for order in stream:
                total += order.amount
                await self.totals.send(value=total)


async def test_messages_go_through_all_agents_and_are_committed() -> None:
    shop = Shop()
    async with shop.app.test_context() as t:
        for amount in (5, 20, 300):
            await t.send("orders", "a", Order(account="a", amount=amount), partition=0)
        await t.settled()
        assert t.values(shop.large) == [Order(account="a", amount=20), Order("a", 300)]
        assert [m.key for m in t.received("large")] == ["a", "a"]
        assert t.values("totals") == [20, 320]
        assert t.committed("orders", 0) == 3
        assert len(t.broker.partitions("totals")) == 3  # as the app describes it


async def test_headers_time_and_place_are_received() -> None:
    shop = Shop()
    async with shop.app.test_context() as t:
        sent = await t.send(
            shop.orders, "k", Order("a", 1), partition=2, timestamp=1000.5, headers={"h": b"x"}
        )
        [message] = t.received("orders")
        assert (message.partition, message.offset) == (2, sent.offset)
        assert (message.timestamp, message.headers) == (1000.5, {"h": b"x"})


async def test_agents_are_sent_to_by_name_too() -> None:
    app = make_app()

    @app.agent()
    async def double(stream: Any) -> Any:
        async for value in stream:
            await results.send(value=value * 2)

    results = app.topic("results")
    async with app.test_context() as t:
        await t.send(double, value=4)
        await t.settled()
        assert t.values(results) == [8]
        assert t.values(double) == [4]


async def test_a_day_of_timers_passes_quickly_and_stamps_messages() -> None:
    app, began = make_app(), time.monotonic()
    ticks = app.topic("ticks")

    @app.timer(3600)
    async def tick() -> None:
        await ticks.send(value="tick")

    async with app.test_context() as t:
        start = t.now()
        await t.advance(6 * 3600 + 1)
        await t.settled()
        received = t.received(ticks)
    assert len(received) == 6
    hours = [round((message.timestamp - start) / 3600, 2) for message in received]
    assert hours == [1, 2, 3, 4, 5, 6]
    assert time.monotonic() - began < 30


async def test_settled_waits_for_agents_that_take_their_time_and_for_channels() -> None:
    app = make_app()
    done: list[int] = []
    channel = app.channel()

    @app.agent(app.topic("in"))
    async def first(stream: Any) -> None:
        async for value in stream:
            await asyncio.sleep(20)
            await channel.send(value=value)

    @app.agent(channel)
    async def second(stream: Any) -> None:
        async for value in stream:
            await asyncio.sleep(30)
            done.append(value)

    async with app.test_context() as t:
        await t.send("in", value=1)
        await t.settled()
        assert done == [1]


async def test_settled_names_what_does_not_end() -> None:
    app = make_app()
    gate = asyncio.Event()

    @app.agent(app.topic("in"), name="slow")
    async def slow(stream: Any) -> None:
        async for _ in stream:
            await gate.wait()

    async with app.test_context() as t:
        await t.send("in", value=1, partition=5)
        with pytest.raises(TimeoutError, match=r"after 10 s: slow has 1 events of in/5 in hand"):
            await t.settled(timeout_s=10)
        gate.set()
        await t.settled()


async def test_a_list_that_is_being_collected_is_not_settled_until_it_is_over() -> None:
    app = make_app()
    taken: list[list[int]] = []

    @app.agent(app.topic("in", partitions=1))
    async def collect(stream: Any) -> None:
        async for values in stream.take(100, within=30):
            taken.append(values)

    async with app.test_context() as t:
        for value in range(3):
            await t.send("in", value=value)
        await t.settled()
        assert taken == [[0, 1, 2]]


async def test_one_app_in_many_contexts_starts_afresh_in_each() -> None:
    shop = Shop()
    for number in range(5):
        async with shop.app.test_context() as t:
            assert t.received("orders") == []
            await t.send("orders", value=Order("a", 11 + number))
            await t.settled()
            assert t.values("totals") == [11 + number]
            assert len(t.broker.partitions("totals")) == 3
    assert len(asyncio.all_tasks()) == 1
    assert len(shop.seen) == 5


def test_each_context_may_have_its_own_loop() -> None:
    shop = Shop()

    async def run() -> list[Any]:
        async with shop.app.test_context() as t:
            await t.send("orders", value=Order("a", 50))
            await t.settled()
            return t.values("totals")

    assert [asyncio.run(run()) for _ in range(3)] == [[50]] * 3


async def test_a_restart_goes_on_where_it_was() -> None:
    async with MemoryBroker() as broker:
        for number in range(3):
            shop = Shop()
            async with shop.app.test_context(broker=broker) as t:
                await t.send("orders", value=Order("a", number))
                await t.settled()
            assert shop.seen == [Order("a", number)]  # none again


async def test_two_workers_share_the_partitions() -> None:
    async with MemoryBroker() as broker:
        one, two = Shop(), Shop()
        with virtual_time():
            async with one.app.test_context(broker=broker) as t:
                async with two.app.test_context(broker=broker) as u:
                    await t.advance(10)  # until the partitions are shared out
                    for partition in range(8):
                        await t.send("orders", value=Order("a", 1), partition=partition)
                    await t.settled()
                    await u.settled()
                    assert len(one.seen) == len(two.seen) == 4
                await t.advance(10)
                for partition in range(8):
                    await t.send("orders", value=Order("b", 2), partition=partition)
                await t.settled()
                assert len(one.seen) == 12


async def test_in_real_time_only_advance_is_missing() -> None:
    shop = Shop()
    async with shop.app.test_context(virtual_time=False) as t:
        await t.send("orders", value=Order("a", 50))
        await t.settled()
        assert t.values("totals") == [50]
        with pytest.raises(ImproperlyConfigured, match="virtual time"):
            await t.advance(1)


async def test_a_crash_of_the_app_is_raised() -> None:
    app = make_app()

    @app.task
    async def fails() -> None:
        await asyncio.sleep(5)
        raise LookupError("no such thing")

    async def test(*, settle: bool) -> None:
        async with app.test_context() as t:
            await t.advance(6)
            if settle:
                await t.settled()

    for settle in (False, True):
        with pytest.raises(RuntimeError, match="shop has crashed: LookupError"):
            await test(settle=settle)


async def test_an_exception_that_reaches_the_event_loop_fails_the_test() -> None:
    app = make_app()

    def broken() -> None:
        raise OSError("in a callback")

    async def test() -> None:
        async with app.test_context() as t:
            asyncio.get_running_loop().call_later(3, broken)
            await t.advance(5)

    with pytest.raises(AssertionError, match=r"reached the event loop.*in a callback"):
        await test()


async def test_an_app_in_use_is_refused() -> None:
    app = make_app()
    async with app.test_context() as t:
        with pytest.raises(NotReady, match="in use"):
            async with app.test_context():
                pass
        with pytest.raises(NotReady, match="once"):
            await t.__aenter__()
    context = app.test_context()
    with pytest.raises(NotReady, match="has not begun"):
        context.received("x")


async def test_the_transport_of_the_app_comes_back() -> None:
    app = make_app()
    before = app.transport
    async with app.test_context():
        assert app.transport is not before
    assert app.transport is before


async def test_credentials_of_production_do_not_matter() -> None:
    app = make_app(
        broker_credentials=faustc.SASLCredentials(username="u", password="p", ssl_context=None)
        if hasattr(faustc, "SASLCredentials")
        else None
    )
    results: list[Any] = []

    @app.agent(app.topic("in"))
    async def take(stream: Any) -> None:
        async for value in stream:
            results.append(value)

    async with app.test_context() as t:
        await t.send("in", value=1)
        await t.settled()
    assert results == [1]


async def test_latest_starts_at_what_is_sent_in_the_context() -> None:
    app = make_app(consumer_auto_offset_reset="latest")
    seen: list[Any] = []

    @app.agent(app.topic("in"))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    async with app.test_context() as t:
        await t.send("in", value=1)
        await t.settled()
    assert seen == [1]
