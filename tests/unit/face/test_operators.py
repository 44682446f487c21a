"""Operators: what makes another stream of a stream, on a broker in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured


class Order(faustc.Record):
    account: str
    amount: int


def make_app(**options: Any) -> faustc.App:
    return faustc.App("shop", broker="kafka://127.0.0.1:1", **options)  # nobody listens there


async def test_group_by_field_brings_one_key_to_one_partition() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=Order, partitions=3)
    seen: list[Any] = []

    @app.agent(orders, name="sort")
    async def sort(stream: faustc.Stream[Order]) -> None:
        async for event in stream.group_by(Order.account).events():
            seen.append((event.key, event.value.amount, event.message.partition))

    async with app.test_context() as t:
        for number in range(12):
            await t.send(orders, f"x{number}", Order("ab"[number % 2], number))
        await t.settled()
        topic = "shop-sort-orders-Order.account-repartition"
        assert len(t.broker.partitions(topic)) == 3  # as many as the source has
        assert sum(t.committed(topic, p) or 0 for p in range(3)) == 12
        assert sum(t.committed(orders, p) or 0 for p in range(3)) == 12
    assert sorted(amount for _, amount, _ in seen) == list(range(12))
    assert len({partition for key, _, partition in seen if key == "a"}) == 1


async def test_through_goes_on_from_the_other_topic() -> None:
    app = make_app()
    seen: list[Any] = []

    @app.agent(app.topic("orders", key_type=str, value_type=Order))
    async def pass_on(stream: faustc.Stream[Order]) -> None:
        async for event in stream.through("copies").events():
            seen.append((event.message.topic, event.key, event.value, event.headers))

    async with app.test_context() as t:
        await t.send("orders", "k", Order("a", 1), headers={"h": b"1"})
        await t.settled()
        assert t.values("copies") == [Order("a", 1)]
    assert seen == [("copies", "k", Order("a", 1), {"h": b"1"})]


async def test_combined_streams_are_read_in_one_loop() -> None:
    app = make_app()
    a, b = (
        app.topic("a", value_type=int, partitions=1),
        app.topic("b", value_type=int, partitions=1),
    )
    seen: list[Any] = []

    @app.agent(a)
    async def both(stream: faustc.Stream[int]) -> None:
        other = app.stream(b).filter(lambda value: value > 10)
        async for event in (stream & other).events():
            assert faustc.current_event() is event
            seen.append((event.message.topic, event.value))

    async with app.test_context() as t:
        await t.send(a, value=1)
        while not seen:
            await t.advance(0.1)
        for value in (5, 20, 30):
            await t.send(b, value=value)
        await t.send(a, value=2)
        await t.settled()
        assert (t.committed(a), t.committed(b)) == (2, 3)
    assert sorted(seen) == [("a", 1), ("a", 2), ("b", 20), ("b", 30)]


async def test_a_stream_has_one_successor() -> None:
    stream = make_app().stream("orders")
    stream.through("a")
    with pytest.raises(ImproperlyConfigured, match="another stream was made from"):
        stream.group_by(Order.account)


async def test_streams_over_iterables() -> None:
    app = make_app()

    async def later() -> Any:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    assert [value async for value in app.stream([1, 2, 3])] == [1, 2, 3]
    assert [value async for value in app.stream(later())] == [0, 1, 2]
    assert [values async for values in app.stream(later()).take(2)] == [[0, 1], [2]]
