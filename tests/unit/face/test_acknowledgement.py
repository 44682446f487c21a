"""Every operator acknowledges every event once, and not before its body came back.

One table of operators, and one of what may happen to the body of the loop. What the
ledgers are told is written down; offsets are those that the broker in memory has.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.engine import inbox
from faustc.engine.ledger import Ledger
from faustc.exceptions import Skip
from faustc.testing import MemoryBroker

EVENTS = 6
OTHERS = 100  # the amounts in the other topic begin here


class Order(faustc.Record):
    account: str
    amount: int


class Book(Ledger):
    """A ledger that remembers what it was told."""

    __slots__ = ("answers", "handed_out")
    all: list[Book]

    def __init__(self) -> None:
        super().__init__()
        self.handed_out: set[int] = set()
        self.answers: list[tuple[int, bool]] = []
        Book.all.append(self)

    def hand_out(self, offsets: Any, next_offset: int) -> None:
        self.handed_out.update(offsets)
        super().hand_out(offsets, next_offset)

    def ack(self, offset: int) -> bool:
        changed = super().ack(offset)
        self.answers.append((offset, changed))
        return changed


@pytest.fixture(autouse=True)
def books(monkeypatch: pytest.MonkeyPatch) -> None:
    Book.all = []
    monkeypatch.setattr(inbox, "Ledger", Book)


def odd(order: Order) -> bool:
    return order.amount % 2 == 1


async def odd_later(order: Order) -> bool:
    await asyncio.sleep(0)
    return odd(order)


def only_odd(order: Order) -> Order:
    if not odd(order):
        raise Skip
    return order


def other(app: faustc.App) -> Any:
    return app.stream(app.topic("others", value_type=Order, partitions=2))


def processed(stream: Any) -> Any:
    stream.add_processor(only_odd)
    return stream


Made = Callable[[faustc.App, Any], Any]

# What the loop of the body is over.
OPERATORS: dict[str, Made] = {
    "values": lambda app, s: s,
    "events": lambda app, s: s.events(),
    "items": lambda app, s: s.items(),
    "enumerate": lambda app, s: s.enumerate(),
    "take": lambda app, s: s.take(2, within=1),
    "take_events": lambda app, s: s.take_events(2, within=1),
    "take_with_timestamp": lambda app, s: s.take_with_timestamp(2, 1, "at"),
    "filter": lambda app, s: s.filter(odd),
    "filter with a coroutine": lambda app, s: s.filter(odd_later),
    "filter, then take": lambda app, s: s.filter(odd).take(2, within=1),
    "processor that skips": lambda app, s: processed(s),
    "echo": lambda app, s: s.echo("copies", app.channel()),
    "through": lambda app, s: s.through("halfway"),
    "through a channel": lambda app, s: s.through(app.channel()),
    "group_by a field": lambda app, s: s.group_by(Order.account),
    "group_by a function": lambda app, s: s.group_by(lambda order: order.account, name="account"),
    "group_by, then take": lambda app, s: s.group_by(Order.account).take(2, within=1),
    "filter, echo, group_by, through": lambda app, s: (
        s.filter(odd).echo("copies").group_by(Order.account).through("halfway").events()
    ),
    "combine": lambda app, s: s & other(app),
    "combine, then take": lambda app, s: (s & other(app)).take(2, within=1),
    "combine with what is grouped": lambda app, s: s & other(app).group_by(Order.account),
    "combine, then filter": lambda app, s: (s & other(app)).filter(odd),
    "combine three": lambda app, s: s & other(app) & app.stream(app.channel()),
    "combine and outer_join": lambda app, s: (s & other(app)).outer_join(
        lambda order: order.amount, lambda order: order.amount, within=1
    ),
    "combine and outer_join, then take": lambda app, s: (
        (s & other(app))
        .outer_join(lambda order: order.amount, lambda order: order.amount, within=1)
        .take(2, within=1)
    ),
    "noack": lambda app, s: s.noack(),
    "noack, then group_by": lambda app, s: s.noack().group_by(Order.account),
    "noack_take": lambda app, s: s.noack_take(2, within=1),
}


def amounts(got: Any) -> list[int]:
    """Return which orders the body was given."""
    if isinstance(got, list):
        return [amount for one in got for amount in amounts(one)]
    if isinstance(got, tuple):  # with a key, a number, or what it was joined with
        return amounts(next(one for one in got if isinstance(one, Order)))
    return [got.value.amount if isinstance(got, faustc.Event) else got.amount]


def expected(operator: str) -> set[int]:
    """Return which orders an operator lets through."""
    numbers = set(range(EVENTS))
    if operator.startswith("combine"):
        numbers |= {OTHERS + number for number in numbers}
    dropping = "filter" in operator or "skips" in operator
    return {number for number in numbers if number % 2 or not dropping}


def by_hand(operator: str) -> bool:
    return operator.startswith("noack")


class Shop:
    """An app with one agent, whose body is told what to do at one of its turns."""

    def __init__(self, operator: str, at_turn: int | None = None, do: Any = None) -> None:
        self.app = app = faustc.App("shop", broker="kafka://127.0.0.1:1", commit_interval=0.1)
        self.orders = app.topic("orders", value_type=Order, partitions=2)
        self.others = app.topic("others", value_type=Order, partitions=2)
        self.seen: Counter[int] = Counter()
        self.turns = 0
        self.reads_others = operator.startswith("combine")
        self.reached = asyncio.Event()
        # Each run of the function knows channels of its own; these are to last.
        made: list[Any] = []
        channel = app.channel
        app.channel = lambda: made[0] if made else made.append(channel()) or made[0]  # type: ignore

        @app.agent(self.orders, name="agent")
        async def agent(stream: Any) -> None:
            async for got in OPERATORS[operator](app, stream):
                self.turns += 1
                used = stream.in_use
                event = used.current_event
                assert faustc.current_event() is event
                assert not event.acked
                for ledger, message in used._held or [(event.ledger, event.message)]:
                    if isinstance(ledger, Book):
                        done = [offset for offset, _ in ledger.answers]
                        assert message.offset not in done, "acknowledged while its body runs"
                self.seen.update(amounts(got))
                if self.turns == at_turn:
                    self.reached.set()
                    if do == "break":
                        break
                    await do()
                if by_hand(operator):
                    for one in got if isinstance(got, list) else [event]:
                        assert await used.ack(one)

    async def send(self, t: Any) -> None:
        for number in range(EVENTS):
            order = Order("ab"[number % 2], number)
            await t.send(self.orders, f"x{number}", order, partition=number % 2)
            if self.reads_others:
                await t.send(self.others, "y", Order("a", OTHERS + number), partition=number % 2)


def check() -> None:
    """What was handed out is acknowledged, once; nothing else is."""
    assert Book.all
    for book in Book.all:
        assert sorted(offset for offset, _ in book.answers) == sorted(book.handed_out)
        assert all(changed for _, changed in book.answers)


@pytest.mark.parametrize("operator", OPERATORS)
async def test_every_event_is_acknowledged_once(operator: str) -> None:
    shop = Shop(operator)
    async with shop.app.test_context() as t:
        await t.settled()
        await shop.send(t)
        await t.settled()
        check()
        assert sum(t.committed("orders", p) or 0 for p in range(2)) == EVENTS
        for topic in shop.app.topics:
            for p in t.broker.partitions(topic.get_topic_name()):
                assert (t.committed(topic, p.tp.partition) or 0) == p.log_end
    assert shop.seen == Counter(expected(operator))


async def fail() -> None:
    raise RuntimeError("in the body")


@pytest.mark.parametrize("how", ["raises", "breaks"])
@pytest.mark.parametrize("operator", OPERATORS)
async def test_a_body_that_ends_early_loses_and_repeats_nothing(operator: str, how: str) -> None:
    shop = Shop(operator, at_turn=2, do=fail if how == "raises" else "break")
    async with shop.app.test_context() as t:
        await t.settled()
        await shop.send(t)
        if not by_hand(operator):
            await t.settled()
            check()  # Faust's rule: what the body failed on is done
            assert shop.seen == Counter(expected(operator))
            return
        # By hand it is not: what failed holds back the commits until it comes again.
        await shop.reached.wait()
        await t.advance(30)
        outstanding = [b for b in Book.all if b.outstanding]
        assert outstanding
        for book in outstanding:
            assert book.position == min(book.handed_out - {o for o, _ in book.answers})


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("operator", OPERATORS)
async def test_what_was_in_hand_when_the_worker_died_comes_again(operator: str) -> None:
    async with MemoryBroker() as broker:
        shop = Shop(operator, at_turn=2, do=hang)
        async with shop.app.test_context(broker=broker) as t:
            await t.settled()
            await shop.send(t)
            async with asyncio.timeout(60):
                await shop.reached.wait()
            await t.advance(1)
            await t.kill()
            first = shop.seen
        assert all(changed for book in Book.all for _, changed in book.answers)
        Book.all.clear()
        shop = Shop(operator)
        async with shop.app.test_context(broker=broker) as t:
            await t.settled()
            check()
        # Nothing is lost, and what was in hand is among what comes again.
        assert set(first + shop.seen) == expected(operator)
        assert first & shop.seen
        assert max(shop.seen.values()) == 1
