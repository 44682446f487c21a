"""Joins of two streams: what is paired, what is not, and when events are acknowledged."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured
from faustc.testing import MemoryBroker
from faustc.windows import SlidingWindow


class Order(faustc.Record):
    id: str
    account: str


class Payment(faustc.Record):
    order: str
    amount: int


class Shop:
    """An app that joins orders and payments, and the pairs that it saw."""

    def __init__(self, how: str = "join", *fields: Any, **options: Any) -> None:
        self.app = app = faustc.App("shop", broker="kafka://127.0.0.1:1", commit_interval=0.1)
        self.orders = app.topic("orders", key_type=str, value_type=Order, partitions=2)
        self.payments = app.topic("payments", key_type=str, value_type=Payment, partitions=2)
        self.pairs: list[tuple[str | None, int | None]] = []
        self.fail_at: int | None = None
        options = {"within": 60, **options}

        @app.agent(self.orders, name="match")
        async def match(orders: Any) -> None:
            both = orders & app.stream(self.payments)
            async for order, payment in getattr(both, how)(*fields, **options):
                if len(self.pairs) == self.fail_at:
                    self.fail_at = None
                    raise RuntimeError("on this pair")
                self.pairs.append((order and order.id, payment and payment.amount))

    async def order(self, t: Any, id: str, at: float, partition: int = 0) -> None:
        value = Order(id=id, account="a")
        await t.send(self.orders, id, value, timestamp=at, partition=partition)

    async def pay(self, t: Any, id: str, amount: int, at: float, partition: int = 0) -> None:
        value = Payment(order=id, amount=amount)
        await t.send(self.payments, id, value, timestamp=at, partition=partition)


async def seen(shop: Shop, t: Any, count: int) -> None:
    async with asyncio.timeout(100):
        while len(shop.pairs) < count:
            await t.advance(0.1)


@pytest.mark.parametrize(
    "fields",
    [(), (Order.id, Payment.order), (Payment.order, Order.id), (Payment.order,),
     (lambda order: order.id, lambda payment: payment.order)],
)  # fmt: skip
async def test_what_has_one_key_and_is_near_in_time_is_paired(fields: Any) -> None:
    shop = Shop("inner_join", *fields)
    async with shop.app.test_context() as t:
        now = t.now()
        await shop.order(t, "x", now)
        await shop.pay(t, "x", 1, now + 59)
        await shop.pay(t, "x", 2, now + 61)
        await shop.pay(t, "y", 3, now)
        await shop.order(t, "y", now)
        await shop.order(t, "y", now + 1)
        await t.settled()
    assert sorted(shop.pairs) == [("x", 1), ("y", 3), ("y", 3)]


@pytest.mark.parametrize(
    ("how", "alone"),
    [("join", []), ("left_join", [("x", None)]), ("right_join", [(None, 9)]),
     ("outer_join", [("x", None), (None, 9)])],
)  # fmt: skip
async def test_what_is_alone_is_handed_out_once_nothing_can_come_for_it(
    how: str, alone: list[Any]
) -> None:
    shop = Shop(how, Order.id, Payment.order)
    async with shop.app.test_context() as t:
        now = t.now()
        await shop.order(t, "x", now)
        await shop.order(t, "y", now)
        await shop.pay(t, "y", 1, now)
        await shop.pay(t, "z", 9, now)
        await t.advance(55)
        assert shop.pairs == [("y", 1)]
        await t.settled()
    assert shop.pairs[0] == ("y", 1)
    assert sorted(shop.pairs[1:], key=str) == sorted(alone, key=str)


async def test_a_window_may_be_lopsided() -> None:
    shop = Shop("join", within=None, window=SlidingWindow(0, timedelta(seconds=60)))
    async with shop.app.test_context() as t:
        now = t.now()
        await shop.order(t, "x", now)
        await shop.pay(t, "x", 1, now - 1)  # before the order
        await shop.pay(t, "x", 2, now + 60)
        await t.settled()
    assert shop.pairs == [("x", 2)]


async def test_an_event_is_acknowledged_once_it_is_needed_no_more() -> None:
    shop = Shop("join")
    async with shop.app.test_context() as t:
        now = t.now()
        await shop.order(t, "x", now)
        await shop.pay(t, "x", 1, now)
        await seen(shop, t, 1)
        await t.advance(55)
        assert (t.committed("orders"), t.committed("payments")) == (None, None)
        await t.advance(10)
        await t.advance(1)
        assert (t.committed("orders"), t.committed("payments")) == (1, 1)


async def test_what_was_waiting_when_the_worker_died_is_still_paired() -> None:
    async with MemoryBroker() as broker:
        shop = Shop("left_join")
        async with shop.app.test_context(broker=broker) as t:
            now = t.now()
            await shop.order(t, "x", now)
            await shop.order(t, "y", now)
            await shop.pay(t, "y", 1, now)
            await seen(shop, t, 1)
            await t.kill()
        shop = Shop("left_join")
        async with shop.app.test_context(broker=broker) as t:
            await shop.pay(t, "x", 2, now + 5)
            await t.settled()
            assert (t.committed("orders"), t.committed("payments")) == (2, 2)
        assert sorted(shop.pairs) == [("x", 2), ("y", 1)]


async def test_what_was_paired_is_not_alone_when_it_comes_again() -> None:
    async with MemoryBroker() as broker:
        shop = Shop("left_join", within=10)
        async with shop.app.test_context(broker=broker) as t:
            now = t.now()
            await shop.pay(t, "x", 1, now)
            await shop.order(t, "x", now + 8)
            await seen(shop, t, 1)
            await t.advance(now + 15 - t.now())  # the payment's window is over, the order's not
            assert (t.committed("orders"), t.committed("payments")) == (None, None)
            await t.kill()
        shop = Shop("left_join", within=10)
        async with shop.app.test_context(broker=broker) as t:
            await t.settled()
            assert (t.committed("orders"), t.committed("payments")) == (1, 1)
        assert shop.pairs == [("x", 1)]


async def test_a_failure_costs_its_pair_and_no_other() -> None:
    shop = Shop("join")
    shop.fail_at = 1
    async with shop.app.test_context() as t:
        now = t.now()
        await shop.order(t, "x", now)
        await shop.order(t, "late", now)
        for amount in range(4):
            await shop.pay(t, "x", amount, now + amount)
        await seen(shop, t, 3)
        await shop.pay(t, "late", 9, now + 30)  # waited all along
        await t.settled()
        assert (t.committed("orders"), t.committed("payments")) == (2, 5)
    assert shop.pairs == [("x", 0), ("x", 2), ("x", 3), ("late", 9)]


async def test_the_events_of_a_pair_that_failed_are_kept_as_they_came() -> None:
    app = faustc.App("shop", broker="kafka://127.0.0.1:1")
    orders = app.topic("orders", key_type=str, value_type=Order, partitions=1)
    payments = app.topic("payments", key_type=str, value_type=Payment, partitions=1)

    @app.agent(orders, on_failure=faustc.DeadLetter("dead"))
    async def match(stream: Any) -> None:
        async for _ in (stream & app.stream(payments)).join(within=1):
            raise RuntimeError("no")

    async with app.test_context() as t:
        now = t.now()
        await t.send(orders, "x", Order(id="x", account="a"), timestamp=now)
        await t.send(payments, "x", Payment(order="x", amount=1), timestamp=now)
        await t.settled()
        assert [m.headers["faustc-topic"] for m in t.received("dead")] == [b"orders", b"payments"]
        assert (t.committed(orders), t.committed(payments)) == (1, 1)


async def test_after_a_long_stop_what_waits_is_what_is_in_the_window() -> None:
    shop = Shop("join", within=10, max_events=25)
    async with MemoryBroker() as broker:
        producer = Shop().app
        producer.agents.clear()
        async with producer.test_context(broker=broker) as t:
            now = t.now() - 5000
            for topic, make in (
                ("orders", lambda n: Order(id=f"{n}", account="a")),
                ("payments", lambda n: Payment(order=f"{n}", amount=n)),
            ):
                for n in range(100):  # one a second; all orders are fetched at once
                    await t.send(topic, f"{n}", make(n), timestamp=now + n, partition=0)
        async with shop.app.test_context(broker=broker) as t:
            await t.settled()
    assert sorted(shop.pairs, key=lambda pair: pair[1] or 0) == [(f"{n}", n) for n in range(100)]


async def test_a_window_that_does_not_fit_is_said() -> None:
    shop = Shop("join", max_events=5)
    async with shop.app.test_context() as t:
        now = t.now()
        for number in range(10):
            await shop.order(t, f"{number}", now + number / 10)
            await shop.pay(t, f"{number}", number, now + number / 10)
        await t.advance(5)
        assert shop.app.agents["match"].errors_total > 0
        assert len(shop.pairs) == 5


async def test_topics_that_do_not_fit_are_said() -> None:
    shop = Shop("join")
    shop.payments.partitions = 3
    async with shop.app.test_context() as t:
        await t.advance(1)
        assert shop.app.agents["match"].errors_total > 0


async def test_iterables_are_joined_to_their_end() -> None:
    app = faustc.App("shop", broker="kafka://127.0.0.1:1")
    left, right = app.stream([1, 2, 3]), app.stream([2, 3, 4])
    pairs = (left & right).outer_join(lambda n: n, lambda n: n, within=60)
    assert sorted([pair async for pair in pairs], key=str) == [
        (1, None), (2, 2), (3, 3), (None, 4),
    ]  # fmt: skip


async def test_operators_work_on_pairs() -> None:
    app = faustc.App("shop", broker="kafka://127.0.0.1:1")
    left, right = app.stream(range(6)).filter(lambda n: n % 2), app.stream(range(6))
    joined = (left & right).join(lambda n: n, lambda n: n, within=60)
    got = [pairs async for pairs in joined.filter(lambda pair: pair.left > 1).take(2)]
    assert got == [[(3, 3), (5, 5)]]


def test_a_join_that_cannot_work_is_an_error_where_it_is_written() -> None:
    app = faustc.App("shop", broker="kafka://127.0.0.1:1")
    orders = app.topic("orders", value_type=Order)
    payments = app.topic("payments", value_type=Payment)

    def both() -> Any:
        return app.stream(orders) & app.stream(payments)

    for wrong, why in [
        (lambda: both().join(), "within=60"),
        (lambda: app.stream(orders).join(within=1), "of two streams"),
        (lambda: (both() & app.stream("more")).join(within=1), "of two streams"),
        (lambda: both().join(Order.id, within=0), "spans some time"),
        (lambda: both().join("id", "order", within=1), "fields"),
        (lambda: both().join(faustc.Record, within=1), "neither"),
        (lambda: both().join(within=1).group_by(Order.id), "send what you make"),
        (lambda: both().join(within=1) & app.stream("more"), "cannot be combined"),
        (lambda: both().filter(bool).join(within=1), "before the join, or after"),
        (lambda: app.stream(orders) & {}, None),
        (lambda: app.stream(orders).combine({}), "stream.join.table"),
        (lambda: both().join(within=1, max_events=0), "1 or more"),
    ]:  # fmt: skip
        with pytest.raises(TypeError if why is None else ImproperlyConfigured, match=why):
            wrong()


async def test_two_workers_have_what_belongs_together() -> None:
    """Wherever an order and its payment come to, they come to one worker; also when one dies."""
    async with MemoryBroker() as broker:
        shops = [Shop("outer_join", Order.id, Payment.order) for _ in range(2)]
        async with (
            shops[0].app.test_context(broker=broker) as t,
            shops[1].app.test_context(broker=broker) as other,
        ):
            await t.settled()
            await t.advance(60)
            held = [
                {
                    name: {
                        tp.partition for tp in shop.app.consumer.assignment() if tp.topic == name
                    }
                    for name in ("orders", "payments")
                }
                for shop in shops
            ]
            assert all(one["orders"] == one["payments"] for one in held)
            assert sorted(len(one["orders"]) for one in held) == [1, 1]
            now = t.now()
            for n in range(8):
                await shops[0].order(t, f"{n}", now, partition=n % 2)
                await shops[0].pay(t, f"{n}", n, now, partition=n % 2)
            while sum(len(shop.pairs) for shop in shops) < 8:
                await t.advance(0.1)
            await other.kill()
            for n in range(8):
                await shops[0].pay(t, f"{n}", 100 + n, now + 1, partition=n % 2)
            await t.settled()
        pairs = {pair for shop in shops for pair in shop.pairs}
        assert pairs == {(f"{n}", m) for n in range(8) for m in (n, 100 + n)}


async def test_a_worker_without_partitions_waits_for_some() -> None:
    async with MemoryBroker() as broker:
        shops = [Shop("join", Order.id, Payment.order) for _ in range(3)]  # and two partitions
        apps = [shop.app for shop in shops]
        async with (
            apps[0].test_context(broker=broker) as t,
            apps[1].test_context(broker=broker),
            apps[2].test_context(broker=broker),
        ):
            await t.advance(120)
            assert sorted(len(app.consumer.assignment()) for app in apps) == [0, 2, 2]
            assert [app.agents["match"].errors_total for app in apps] == [0, 0, 0]


async def test_what_waits_goes_along_when_a_worker_joins() -> None:
    async with MemoryBroker() as broker:
        # Long enough for a newcomer, which asks for its topics one after the other.
        shops = [Shop("outer_join", Order.id, Payment.order, within=300) for _ in range(2)]
        async with shops[0].app.test_context(broker=broker) as t:
            now = t.now()
            for n in range(8):
                await shops[0].order(t, f"{n}", now, partition=n % 2)
            await t.advance(5)
            async with shops[1].app.test_context(broker=broker) as other:
                await t.advance(30)
                for n in range(8):
                    await shops[0].pay(t, f"{n}", n, now + 40, partition=n % 2)
                await t.settled()
                await other.settled()
                assert sum(t.committed("orders", p) or 0 for p in range(2)) == 8
        assert all(len(shop.pairs) == 4 for shop in shops)
        assert sorted(p for shop in shops for p in shop.pairs) == [(f"{n}", n) for n in range(8)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["join", "left_join", "right_join", "outer_join"])
async def test_whenever_workers_die_every_pair_is_found(how: str, seed: int) -> None:
    """Three workers, one after the other, of which two die: what they saw is what there was."""
    rng = random.Random(seed)
    within, near = 10, 0.01  # nothing is asserted of what is at the very edge of the window
    orders: list[tuple[str, float]] = []
    payments: list[tuple[str, float]] = []
    pairs: set[tuple[str | None, int | None]] = set()
    async with MemoryBroker() as broker:
        for life in range(3):
            shop = Shop(how, within=within)
            async with shop.app.test_context(broker=broker) as t:
                for _ in range(20):
                    await t.advance(rng.choice([0.05, 0.3, 1, 4]))
                    id, at = rng.choice("abcdef"), t.now()
                    partition = "abcdef".index(id) % 2
                    if rng.random() < 0.5:
                        await shop.order(t, id, at, partition)
                        orders.append((id, at))
                    else:
                        await shop.pay(t, id, len(payments), at, partition)
                        payments.append((id, at))
                if life < 2:
                    await t.advance(rng.choice([0.01, 1, 8, 12]))
                    await t.kill()
                else:
                    await t.settled()
            pairs.update(shop.pairs)

    def paired(apart: float) -> set[tuple[str | None, int | None]]:
        return {
            (id, amount)
            for amount, (id, paid) in enumerate(payments)
            for order, at in orders
            if order == id and abs(paid - at) <= apart
        }

    found = {pair for pair in pairs if None not in pair}
    assert paired(within - near) <= found <= paired(within + near)
    alone = {amount for order, amount in pairs if order is None}
    never = set(range(len(payments))) - {amount for _, amount in paired(within + near)}
    assert never <= alone or how in ("join", "left_join")
    if how == "right_join":
        assert not alone & {amount for _, amount in paired(within - near)}
