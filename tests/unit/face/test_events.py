"""Events: what they hold, acknowledging them, and sending them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import faustc

App = Callable[..., faustc.App]


class Order(faustc.Record):
    account: str
    amount: float


@pytest.fixture
def app(tmp_path: Any) -> faustc.App:
    return faustc.App("shop", broker="kafka://nowhere", datadir=tmp_path, default_partitions=1)


async def test_the_fields_of_an_event(app: faustc.App) -> None:
    orders = app.topic("orders", key_type=str, value_type=Order)
    seen: list[Any] = []

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            assert not event.acked
            seen.append(event)

    async with app.test_context() as t:
        order = Order("a", 5.0)
        await t.send(orders, "k", order, headers={"h": b"1"}, timestamp=12.5)
        await t.send(orders, None, order)
        await t.settled()
    event, bare = seen
    assert (event.app, event.key, event.value) == (app, "k", order)
    assert event.headers == {"h": b"1"}
    message = event.message
    assert (message.topic, message.partition, message.offset) == ("orders", 0, 0)
    assert message.tp == event.tp == ("orders", 0)
    assert (message.timestamp, message.timestamp_type) == (12500, 0)
    assert (message.key, message.value) == (b'"k"', order.dumps())
    assert message.headers == (("h", b"1"),)
    assert message.checksum is None
    assert (message.serialized_key_size, message.serialized_value_size) == (3, len(order.dumps()))
    assert (bare.message.serialized_key_size, bare.key, bare.headers) == (-1, None, {})


async def test_ack_may_be_awaited_or_not(app: faustc.App) -> None:
    orders = app.topic("orders", value_type=int)
    said: list[Any] = []

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            if event.value == 1:
                said.extend([bool(event.ack()), bool(event.ack())])
            elif event.value == 2:
                said.extend([await event.ack(), await event.ack()])
            assert event.acked == (event.value < 3)

    async with app.test_context() as t:
        for number in (1, 2, 3):
            await t.send(orders, value=number)
        await t.advance(5)
        assert t.committed(orders) == 2
    assert said == [True, False, True, False]


async def test_leaving_a_with_block_acknowledges_even_by_an_exception(app: faustc.App) -> None:
    orders = app.topic("orders", value_type=int)

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            if event.value == 3:
                continue
            try:
                async with event as same:
                    assert same is event
                    assert 1 / (event.value - 1)
            except ZeroDivisionError:
                pass

    async with app.test_context() as t:
        for number in (1, 2, 3):
            await t.send(orders, value=number)
        await t.advance(5)
        assert t.committed(orders) == 2


async def test_forward_leaves_every_byte_as_it_was(app: faustc.App) -> None:
    class Never(faustc.Schema):
        def dumps_value(self, *args: Any, **options: Any) -> Any:
            raise AssertionError("serialised again")

        dumps_key = dumps_value

    orders = app.topic("orders", key_type=bytes, value_type=Order)
    copies = app.topic("copies", schema=Never())
    raw = b'{ "account": "a",\t"amount": 1 }'
    headers = [("h", b"1"), ("h", b"2"), ("null", None)]

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            await event.forward(copies)

    async with app.test_context() as t:
        source = app.topic("orders", value_serializer="raw", key_serializer="raw")
        await t.send(source, b"\xff", raw, headers=headers)
        await source.send(key=None, value=raw)
        await t.settled()
        one, two = t.broker.messages("copies")
        assert (one.key, one.value, list(one.headers)) == (b"\xff", raw, headers)
        assert (two.key, two.value, two.headers) == (None, raw, ())


async def test_forward_serializes_what_is_given(app: faustc.App) -> None:
    orders = app.topic("orders", value_type=Order)

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            await event.forward("others", key="new", headers=None)
            await event.forward("changed", value={"x": event.value.amount}, partition=0)

    async with app.test_context() as t:
        order = Order("a", 1.0)
        await t.send(orders, "k", order, headers={"h": b"1"})
        await t.settled()
        [other], [changed] = t.broker.messages("others"), t.broker.messages("changed")
        assert (other.key, other.value, other.headers) == (b'"new"', order.dumps(), ())
        assert (changed.key, changed.value) == (b'"k"', b'{"x":1.0}')
        assert changed.headers == (("h", b"1"),)


async def test_send_serializes_again(app: faustc.App) -> None:
    orders = app.topic("orders", value_type=Order)
    told: list[Any] = []

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            event.value.amount = 2.0
            await event.send("copies", callback=told.append)
            await event.send(
                "others", key=b"raw", value=7, headers={"n": b"1"}, timestamp=3.0, partition=0,
                value_serializer="json|binary", force=True,
            )  # fmt: skip

    async with app.test_context() as t:
        await t.send(orders, "k", Order("a", 1.0), headers=[("h", b"1"), ("h", b"2")])
        await t.settled()
        [copy], [other] = t.broker.messages("copies"), t.broker.messages("others")
        assert (copy.key, copy.value) == (b'"k"', Order("a", 2.0).dumps())
        assert copy.headers == (("h", b"1"), ("h", b"2"))
        assert (other.key, other.value, other.timestamp) == (b"raw", b"Nw==", 3000)
        assert other.headers == (("n", b"1"),)
        assert [fut.result().topic for fut in told] == ["copies"]


async def test_an_event_out_of_memory_is_serialized_when_it_goes_to_kafka(app: faustc.App) -> None:
    channel = app.channel()

    @app.agent(channel)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            await event.forward("copies")
            await event.forward(second)

    second = app.channel()
    async with app.test_context() as t:
        await channel.send(key="k", value={"x": 1}, headers={"h": b"1"})
        await t.settled()
        [copy] = t.broker.messages("copies")
        assert (copy.key, copy.value, copy.headers) == (b'"k"', b'{"x":1}', (("h", b"1"),))
        event = await second.get()
        assert (event.key, event.value, event.headers) == ("k", {"x": 1}, {"h": b"1"})
