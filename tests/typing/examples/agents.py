"""Agents, streams and topics know what they carry."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, assert_type

import faustc as faust


class Order(faust.Record):
    account: str
    amount: float


app = faust.App("typed")
orders = app.topic("orders", value_type=Order)
names = app.topic("names", key_type=str, value_type=str)


@app.agent(orders)
async def read(stream: faust.Stream[Order]) -> None:
    async for order in stream:
        assert_type(order, Order)
        assert_type(order.amount, float)
        print(order.amonut)  # E: attr-defined
    async for event in stream.events():
        assert_type(event, faust.Event)
    async for some in stream.take(10, within=1):
        assert_type(some, list[Order])
    async for number, order in stream.enumerate():
        assert_type(number, int)
        assert_type(order, Order)


@app.agent(orders)
async def answer(stream: faust.Stream[Order]) -> AsyncIterator[float]:
    async for order in stream:
        yield order.amount


@app.agent(names, concurrency=2, order="key")
def plain(name: str) -> None:
    print(name)


@app.agent
async def bare(stream: faust.Stream[bytes]) -> None:
    async for value in stream:
        assert_type(value, bytes)


@app.agent(names)  # E: arg-type
async def joined(stream: faust.Stream[str], other: int) -> None: ...


async def send() -> None:
    await orders.send(key="a", value=Order(account="a", amount=1.0))
    await orders.send(vlaue=Order(account="a", amount=1.0))  # E: call-arg
    await read.cast(Order(account="a", amount=1.0))
    assert_type(read, faust.Agent)
    assert_type(orders, faust.Topic)


def record() -> None:
    order = Order(account="a", amount=1.0)
    assert_type(order.account, str)
    Order(acount="a")  # E: call-arg
    Order("a", "much")  # E: arg-type
    assert_type(order.derive(amount=2.0), Order)
    assert_type(Order.loads(order.dumps()), Order)


@app.task
async def once() -> None:
    await app.send("orders", value=1)


@app.timer(interval=1.0)
async def often(app: faust.App) -> None: ...


@app.timer(intervall=1.0)  # E: call-arg
async def misspelt() -> None: ...


@app.crontab("0 * * * *", tz="Europe/Oslo")
async def hourly() -> int:
    return 1


assert_type(hourly, Callable[[], Coroutine[Any, Any, int]])
