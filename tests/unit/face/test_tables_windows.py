"""Windowed tables: a key has a value in each window, and windows that are over close once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured, OutsideStream
from faustc.streams import Stream, current_event
from faustc.testing.memory import MemoryBroker

DAY = 86_400.0
# A moment at the start of every window here.
START = 19_000 * DAY


class Sale(faustc.Record):
    amount: int
    when: float = 0.0
    day: str = ""


def new_app(**options: Any) -> faustc.App:
    return faustc.App("t", broker="kafka://memory", **{"topic_partitions": 2, **options})


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as broker:
        yield broker


class Selling:
    """An app that adds up amounts in a windowed table, and what closed in it."""

    def __init__(self, kind: str, *args: Any, relative: Any = None, **options: Any) -> None:
        window_options = {
            name: options.pop(name) for name in ("expires", "key_index") if name in options
        }
        app_options = options.pop("app", {})
        self.app = new_app(**app_options)
        self.closed: list[Any] = []
        table = self.app.Table("sums", default=int, on_window_close=self.on_close, **options)
        self.table = getattr(table, kind)(*args, **window_options)
        if relative is not None:
            self.table = relative(self.table)
        self.topic = self.app.topic("sales", key_type=str, value_type=Sale)
        self.look: Any = None
        self.seen: Any = None

        @self.app.agent(self.topic)
        async def add(sales: Stream[Sale]) -> None:
            async for key, sale in sales.items():
                if self.look is not None:
                    self.seen = self.look(self.table[key])
                else:
                    self.table[key] += sale.amount

    async def on_close(self, key: Any, value: Any) -> None:
        self.closed.append((key, value))

    async def sell(self, at: float, amount: int = 1, key: str = "k", **more: Any) -> None:
        sale = Sale(amount=amount, **more)
        await self.test.send(self.topic, key=key, value=sale, timestamp=at)
        await self.test.settled()

    async def ask(self, look: Any, at: float, key: str = "k") -> Any:
        self.look = look
        await self.sell(at, key=key)
        self.look = None
        return self.seen

    @property
    def all(self) -> dict[Any, Any]:
        return dict(self.table.table.items())


def window(start: float, size: float) -> tuple[float, float]:
    return START + start, START + start + size - 0.1


async def test_tumbling_windows_follow_each_other(broker: MemoryBroker) -> None:
    shop = Selling("tumbling", 10)
    async with shop.app.test_context(broker=broker) as shop.test:
        for at in (0, 9, 10, 25):
            await shop.sell(START + at)
        assert shop.all == {
            ("k", window(0, 10)): 2,
            ("k", window(10, 10)): 1,
            ("k", window(20, 10)): 1,
        }
        assert await shop.ask(lambda one: one.current(), START + 3) == 2
        assert await shop.ask(lambda one: one.value(), START + 12) == 1
        assert await shop.ask(lambda one: one.delta(10), START + 14) == 2
        assert await shop.ask(lambda one: one.now(), START + 14) == 0
        keys = {m.key for m in broker.messages("t-sums-changelog")}
        assert b'["k",[%.1f,%.1f]]' % window(0, 10) in keys


async def test_hopping_windows_overlap() -> None:
    shop = Selling("hopping", 10, 5)
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 7)
        assert shop.all == {("k", window(0, 10)): 1, ("k", window(5, 10)): 1}
        assert await shop.ask(lambda one: one.current(), START + 12) == 0
        assert await shop.ask(lambda one: one.current(), START + 9) == 1


async def test_sliding_windows_are_around_each_moment() -> None:
    shop = Selling("sliding", 5, 5)
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 7)
        assert shop.all == {("k", (START + 2, START + 12)): 1}


async def test_any_window_will_do() -> None:
    shop = Selling("using_window", faustc.HoppingWindow(10, 5))
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 7)
        assert len(shop.all) == 2
    app = new_app()
    given = app.Table("other", window=faustc.TumblingWindow(10))
    assert given.table.window.size == 10
    with pytest.raises(ImproperlyConfigured, match="60 is no window"):
        app.Table("third").using_window(60)


async def test_every_operator_changes_every_window() -> None:
    app = new_app()
    table = app.Table("t", default=lambda: 12).hopping(10, 5)
    seen: list[Any] = []

    @app.agent(app.topic("go"))
    async def go(stream: Stream[Any]) -> None:
        async for _ in stream:
            table["k"] += 3
            seen.append(table["k"].current())
            table["k"] -= 1
            table["k"] *= 2
            seen.append(table["k"].current())
            table["k"] //= 3
            table["k"] %= 5
            table["k"] **= 3
            seen.append(table["k"].current())
            table["k"] <<= 2
            table["k"] >>= 1
            seen.append(table["k"].current())
            table["k"] |= 64
            table["k"] &= 96
            table["k"] ^= 1
            seen.append(table["k"].current())
            table["k"] /= 5
            seen.append(table["k"].current())
            table["k"].apply(lambda old, new: [old, new], "x")
            seen.append(table["k"].current())
            table["k"] = 7
            seen.append("k" in table)
            seen.append(list(table.table.values()))
            del table["k"]
            seen.append("k" in table)

    async with app.test_context() as test:
        await test.send("go", value=1, timestamp=START + 7)
        await test.settled()
    assert seen == [15, 28, 64, 128, 65, 13.0, [13.0, "x"], True, [7, 7], False]


async def test_a_window_set_is_no_dictionary() -> None:
    app = new_app()
    table = app.Table("t", default=int).tumbling(10)
    for name in ("keys", "items", "values"):
        with pytest.raises(NotImplementedError, match="unauthorized dict operation"):
            getattr(table["k"], name)()


async def test_windows_by_range_and_by_event() -> None:
    shop = Selling("tumbling", 10)
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 5, 3)

        def look(one: Any) -> Any:
            event = current_event()
            first = window(0, 10)
            return one[first], one[event].current(), one.current(event), one.value(event)

        assert await shop.ask(look, START + 6) == (3, 3, 3, 3)

        def write(one: Any) -> Any:
            one[window(30, 10)] = 5
            one[window(40, 10)] = 6
            del one[window(40, 10)]

        await shop.ask(write, START + 6)
        assert shop.all == {("k", window(0, 10)): 3, ("k", window(30, 10)): 5}


# -- what time is meant ------------------------------------------------------------------------


async def test_relative_to_a_field() -> None:
    shop = Selling("tumbling", 10, relative=lambda table: table.relative_to_field(Sale.when))
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 500, when=START + 3)
        assert shop.all == {("k", window(0, 10)): 1}


async def test_relative_to_a_field_that_is_text() -> None:
    shop = Selling("tumbling", 10, relative=lambda table: table.relative_to_field(Sale.day))
    async with shop.app.test_context() as shop.test:
        day = datetime.fromtimestamp(START + 3, UTC).isoformat()
        await shop.sell(START + 500, day=day)
        assert shop.all == {("k", window(0, 10)): 1}


async def test_relative_to_now() -> None:
    shop = Selling("tumbling", 10, relative=lambda table: table.relative_to_now())
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 3)
        ((_, (start, end)),) = shop.all
        assert start > START + 10 * DAY
        assert end - start == pytest.approx(9.9)
        assert shop.table["k"].value() in (0, 1)  # outside of a stream, and perhaps later


@pytest.mark.parametrize(
    "when",
    [START + 3, datetime.fromtimestamp(START + 3, UTC), lambda event: START + 3],
    ids=["seconds", "datetime", "function"],
)
async def test_relative_to_what_is_given(when: Any) -> None:
    shop = Selling("tumbling", 10, relative=lambda table: table.relative_to(when))
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 100)
        assert shop.all == {("k", window(0, 10)): 1}
        assert shop.table["k"].value() == 1
        again = shop.table.relative_to_stream()
        with pytest.raises(OutsideStream, match="operation outside of stream iteration"):
            again["k"].value()


# -- keys ----------------------------------------------------------------------------------------


async def test_keys_items_and_values_with_an_index(broker: MemoryBroker) -> None:
    shop = Selling("tumbling", 10, key_index=True)
    async with shop.app.test_context(broker=broker) as shop.test:
        await shop.sell(START + 1, 1, "a")
        await shop.sell(START + 2, 2, "b")
        await shop.sell(START + 11, 4, "a")

        def look(_: Any) -> Any:
            table = shop.table
            return (
                sorted(table.keys()),
                sorted(table.items()),
                sorted(table.items().delta(10)),
                sorted(table.values().current()),
                sorted(table.items().now()),
                len(table),
                "a" in table.keys(),  # noqa: SIM118 - not the same for a windowed table
            )

        assert await shop.ask(look, START + 12) == (
            ["a", "b"],
            [("a", 4), ("b", 0)],
            [("a", 1), ("b", 2)],
            [0, 4],
            [("a", 0), ("b", 0)],
            2,
            True,
        )
    assert {m.key for m in broker.messages("t-sums-key_index-changelog")} == {b'"a"', b'"b"'}


def test_without_an_index_there_are_no_keys() -> None:
    table = new_app().Table("t").tumbling(10)
    for ask in (lambda: list(table.keys()), lambda: len(table), lambda: list(table)):
        with pytest.raises(NotImplementedError, match="key_index=True"):
            ask()


# -- expiry --------------------------------------------------------------------------------------


async def test_a_window_closes_once_with_its_value_and_is_deleted(broker: MemoryBroker) -> None:
    shop = Selling("tumbling", 10, expires=20)
    async with shop.app.test_context(broker=broker) as shop.test:
        await shop.sell(START + 1, 3)
        await shop.sell(START + 2, 4)
        await shop.sell(START + 100, 5)
        await shop.test.advance(31)
        assert shop.closed == [(("k", window(0, 10)), 7)]
        assert list(shop.all.values()) == [5]
        await shop.test.advance(300)
        assert shop.closed == [(("k", window(0, 10)), 7), (("k", window(100, 10)), 5)]
        assert shop.all == {}
        await shop.app.commit()
        last = {m.key: m.value for m in broker.messages("t-sums-changelog")}
        assert set(last.values()) == {None}


async def test_windows_close_after_a_restart(broker: MemoryBroker) -> None:
    shop = Selling("tumbling", 10, expires=20)
    async with shop.app.test_context(broker=broker) as shop.test:
        await shop.sell(START + 1, 3)
    shop = Selling("tumbling", 10, expires=20)
    async with shop.app.test_context(broker=broker) as shop.test:
        await shop.test.advance(200)
        assert shop.closed == [(("k", window(0, 10)), 3)]
        assert shop.all == {}
    shop = Selling("tumbling", 10, expires=20)
    async with shop.app.test_context(broker=broker) as shop.test:
        await shop.test.advance(200)
        assert shop.closed == []


async def test_windows_close_where_the_partition_goes(broker: MemoryBroker) -> None:
    one = Selling("tumbling", 10, expires=20)
    two = Selling("tumbling", 10, expires=20)
    async with one.app.test_context(broker=broker) as one.test:
        for key in "abcdefgh":
            await one.sell(START + 1, 3, key)
        async with two.app.test_context(broker=broker) as two.test:
            await one.test.settled()
            await two.test.settled()
            await one.test.advance(300)
            assert sorted(key for (key, _), _ in one.closed + two.closed) == list("abcdefgh")
            assert one.closed
            assert two.closed


async def test_expires_may_be_shorter_than_the_window() -> None:
    shop = Selling("tumbling", 60, expires=5)
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 1, 1)
        await shop.sell(START + 50, 1)
        await shop.test.advance(5)
        assert shop.closed == []
        assert shop.all == {("k", window(0, 60)): 2}
        await shop.test.advance(200)
        assert shop.closed == [(("k", window(0, 60)), 2)]


async def test_a_late_event_is_dropped_and_counted() -> None:
    shop = Selling("tumbling", 10, expires=20)
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 1)
        await shop.sell(START + 100)
        await shop.sell(START + 5)
        assert shop.all[("k", window(0, 10))] == 1
        assert shop.app.monitor.tables["sums"].events_late == 1  # type: ignore[attr-defined]
        await shop.test.advance(31)
        await shop.sell(START + 6)
        assert shop.closed == [(("k", window(0, 10)), 1)]
        assert ("k", window(0, 10)) not in shop.all
        assert shop.app.monitor.tables["sums"].events_late == 2  # type: ignore[attr-defined]


async def test_a_stream_from_long_ago_is_not_late() -> None:
    shop = Selling("tumbling", 10, expires=20)
    async with shop.app.test_context() as shop.test:
        for at in range(0, 30, 3):
            await shop.sell(START + at)
        assert shop.all == {
            ("k", window(0, 10)): 4,
            ("k", window(10, 10)): 3,
            ("k", window(20, 10)): 3,
        }


async def test_an_event_from_the_future_expires_nothing() -> None:
    shop = Selling("tumbling", 10, relative=lambda table: table.relative_to_field(Sale.when))
    shop.table.table.window.expires = 20
    async with shop.app.test_context() as shop.test:
        now = datetime.now(UTC).timestamp()
        for when in (now, now + 5000 * DAY, now):
            await shop.sell(now, when=when)
        assert sorted(shop.all.values()) == [1, 2]
        assert shop.app.monitor.tables["sums"].events_late == 0  # type: ignore[attr-defined]


async def test_a_failing_on_window_close_is_called_again() -> None:
    shop = Selling("tumbling", 10, expires=20)
    failures = [RuntimeError("not now")]
    seen: list[Any] = []

    def close(key: Any, value: Any) -> None:
        seen.append(value)
        if failures:
            raise failures.pop()

    shop.table.table._on_window_close = close
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 1, 3)
        await shop.sell(START + 100, 5)
        await shop.test.advance(31)
        assert seen == [3]
        assert ("k", window(0, 10)) in shop.all
        await shop.test.advance(31)
        assert seen[:2] == [3, 3]
        assert ("k", window(0, 10)) not in shop.all


async def test_the_cleanup_interval_is_that_of_the_setting() -> None:
    shop = Selling("tumbling", 10, expires=20, app={"table_cleanup_interval": 5})
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 1, 3)
        await shop.sell(START + 100, 3)
        await shop.test.advance(6)
        assert [value for _, value in shop.closed] == [3]


async def test_the_index_forgets_keys_without_windows() -> None:
    shop = Selling("tumbling", 10, expires=20, key_index=True)
    async with shop.app.test_context() as shop.test:
        await shop.sell(START + 1, 1, "a")
        await shop.sell(START + 100, 1, "b")
        await shop.test.advance(31)
        assert "b" in shop.table.keys()  # noqa: SIM118 - not the same for a windowed table
        await shop.test.advance(400)
        assert len(shop.closed) == 2
        assert list(shop.table.keys()) == []


async def test_a_windowed_table_of_models_and_bytes_comes_back(broker: MemoryBroker) -> None:
    for run in (1, 2):
        app = new_app()
        table = app.Table("t", key_type=bytes, value_type=Sale).tumbling(10)

        @app.agent(app.topic("go", value_type=int))
        async def go(stream: Stream[int], table: Any = table) -> None:
            async for number in stream:
                table[b"k%d" % number] = Sale(amount=number)

        async with app.test_context(broker=broker) as test:
            await test.send("go", value=run, timestamp=START + 1, partition=0)
            await test.settled()
            assert dict(table.table.items()) == {
                (b"k%d" % n, window(0, 10)): Sale(amount=n) for n in range(1, run + 1)
            }
