"""Streams joined with tables: each event gets what the table has for its key."""

from __future__ import annotations

from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured
from faustc.streams import Stream


class Order(faustc.Record):
    account: str
    amount: int


def joining(how: Any, *, kind: str = "Table", window: bool = False) -> tuple[faustc.App, Any, Any]:
    """Make an app with a table of names by account, and what comes of orders joined with it."""
    app = faustc.App("t", broker="kafka://memory", topic_partitions=2)
    names = getattr(app, kind)("names", default=lambda: "by default")
    table = names.tumbling(1000) if window else names
    seen: list[Any] = []

    @app.agent(app.topic("accounts", key_type=str, value_type=str))
    async def know(accounts: Stream[str]) -> None:
        async for key, name in accounts.items():
            table[key] = name

    @app.agent(app.topic("orders", key_type=str, value_type=Order))
    async def enrich(orders: Stream[Order]) -> None:
        async for order, name in how(orders, table):
            seen.append((order.amount, name))

    return app, table, seen


async def run(app: faustc.App) -> None:
    async with app.test_context() as test:
        await test.send("accounts", key="a", value="Anna")
        await test.settled()
        for key, amount in (("a", 1), ("b", 2), ("a", 3)):
            await test.send("orders", key=key, value=Order(account=key, amount=amount))
        await test.settled()
        await app.commit()
        committed = app.monitor.committed
        assert sum(offset for tp, offset in committed.items() if tp.topic == "orders") == 3


async def test_a_join_drops_what_the_table_has_nothing_for() -> None:
    app, _, seen = joining(lambda orders, names: orders.join(names))
    await run(app)
    assert sorted(seen) == [(1, "Anna"), (3, "Anna")]


async def test_a_left_join_keeps_it_with_none() -> None:
    app, _, seen = joining(lambda orders, names: orders.left_join(names))
    await run(app)
    assert sorted(seen, key=lambda pair: pair[0]) == [(1, "Anna"), (2, None), (3, "Anna")]


async def test_a_field_or_a_function_says_the_key() -> None:
    for by in (Order.account, lambda order: order.account):
        app, _, seen = joining(lambda orders, names, by=by: orders.inner_join(names, by))
        await run(app)
        assert sorted(seen) == [(1, "Anna"), (3, "Anna")]


async def test_a_table_joins_a_stream_as_well() -> None:
    app, _, seen = joining(lambda orders, names: names.join(orders))
    await run(app)
    assert sorted(seen) == [(1, "Anna"), (3, "Anna")]


async def test_a_windowed_table_gives_the_value_of_the_events_window() -> None:
    app, _, seen = joining(lambda orders, names: orders.join(names), window=True)
    await run(app)
    assert sorted(seen) == [(1, "Anna"), (3, "Anna")]


async def test_a_global_table_has_keys_of_every_partition() -> None:
    app, _, seen = joining(lambda orders, names: orders.join(names), kind="GlobalTable")
    await run(app)
    assert sorted(seen) == [(1, "Anna"), (3, "Anna")]


def test_what_cannot_be_joined_says_so() -> None:
    app = faustc.App("t", broker="kafka://memory")
    table = app.Table("names")
    orders: Any = app.topic("orders", value_type=Order).stream()
    with pytest.raises(ImproperlyConfigured, match="a table has no events of its own"):
        orders.outer_join(table)
    with pytest.raises(ImproperlyConfigured, match="a table has no events of its own"):
        table.outer_join(orders)
    with pytest.raises(ImproperlyConfigured, match="takes one field"):
        orders.join(table, Order.account, Order.amount)
    with pytest.raises(ImproperlyConfigured, match="not 'account'"):
        orders.join(table, "account")
    with pytest.raises(ImproperlyConfigured, match=r"join\(table\)"):
        orders.combine(table)
    with pytest.raises(ImproperlyConfigured, match=r"join\(table\)"):
        _ = orders & table
    with pytest.raises(ImproperlyConfigured, match=r"join\(table\)"):
        _ = table & orders
    with pytest.raises(ImproperlyConfigured, match="joined with a stream"):
        table.join(Order.account)
