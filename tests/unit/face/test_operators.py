"""Operators: what makes another stream of a stream, on a broker in memory."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured
from faustc.reqrep import CORRELATION_ID, REPLY_TO

AnyStream = faustc.Stream[Any]


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


# -- what is forwarded -----------------------------------------------------------------


async def test_group_by_function_in_a_topic_of_its_own() -> None:
    app = make_app()
    seen: list[Any] = []

    async def first_letter(name: str) -> str:
        await asyncio.sleep(0)
        return name[0]

    @app.agent(value_type=str, name="letters")  # its own topic: shop-letters
    async def letters(stream: AnyStream) -> None:
        async for key, name in stream.group_by(first_letter, name="letter").items():
            seen.append((key, name))

    with pytest.raises(ImproperlyConfigured, match="needs a name="):
        app.stream("x").group_by(first_letter)
    async with app.test_context() as t:
        for name in ("ann", "bob", "axl"):
            await t.send(letters, value=name)
        await t.settled()
        assert len(t.received("shop-letters-letter-repartition")) == 3
    assert sorted(seen) == [("a", "ann"), ("a", "axl"), ("b", "bob")]


async def test_group_by_takes_a_topic_or_a_number_of_partitions() -> None:
    app = make_app()
    accounts = app.topic("accounts", key_type=str, value_type=Order, partitions=5)
    seen: list[Any] = []

    @app.agent(app.topic("a", value_type=Order, partitions=1), name="one")
    async def one(stream: AnyStream) -> None:
        async for order in stream.group_by(Order.account, topic=accounts):
            seen.append(order.amount)

    @app.agent(app.topic("b", value_type=Order, partitions=1), name="two")
    async def two(stream: AnyStream) -> None:
        async for order in stream.group_by(Order.account, partitions=7):
            seen.append(order.amount)

    async with app.test_context() as t:
        await t.send("a", value=Order("x", 1))
        await t.send("b", value=Order("x", 2))
        await t.settled()
        assert [message.key for message in t.received(accounts)] == ["x"]
        assert len(t.broker.partitions("accounts")) == 5
        assert len(t.broker.partitions("shop-two-b-Order.account-repartition")) == 7
    assert sorted(seen) == [1, 2]


async def test_group_by_outside_of_agents() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=Order, partitions=2)
    seen: list[Any] = []

    @app.task
    async def read() -> None:
        async for event in app.stream(orders).group_by(Order.account).events():
            seen.append((event.key, event.message.topic))

    async with app.test_context() as t:
        await t.settled()
        await t.send(orders, value=Order("a", 1))
        await t.settled()
    assert seen == [("a", "shop-orders-Order.account-repartition")]


async def test_group_by_without_partitions_gives_events_another_key() -> None:
    app = make_app()
    channel = app.channel(value_type=Order)
    await channel.send(key="old", value=Order("new", 1))
    async for key, order in channel.stream().group_by(Order.account).items():
        assert (key, order) == ("new", Order("new", 1))
        break


async def test_actors_share_what_is_grouped() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=Order, partitions=1)
    seen: list[Any] = []

    @app.agent(orders, name="sort", concurrency=3)
    async def sort(stream: AnyStream) -> None:
        async for order in stream.group_by(Order.account):
            await asyncio.sleep(0.1)
            seen.append((stream.concurrency_index, order.amount))

    async with app.test_context() as t:
        for number in range(9):
            await t.send(orders, value=Order("a", number))
        await t.settled()
        # Forwarded once each, in order, by one of them.
        assert t.values("shop-sort-orders-Order.account-repartition") == [
            Order("a", number) for number in range(9)
        ]
    assert sorted(amount for _, amount in seen) == list(range(9))
    assert {index for index, _ in seen} == {0, 1, 2}


async def test_what_a_key_function_raises_is_the_agents_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()
    orders = app.topic("orders", value_type=Order, partitions=1)
    seen: list[int] = []
    errors: list[BaseException] = []

    def key(order: Order) -> str:
        if order.amount == 2:
            raise LookupError("no such account")
        return order.account

    @app.agent(orders, name="sort", on_error=lambda agent, exc: errors.append(exc))
    async def sort(stream: AnyStream) -> None:
        async for order in stream.group_by(key, name="account"):
            seen.append(order.amount)

    async with app.test_context() as t:
        for number in range(5):
            await t.send(orders, value=Order("a", number))
        await t.settled()
        assert t.committed(orders) == 5
    assert sorted(seen) == [0, 1, 3, 4]
    assert [str(exc) for exc in errors] == ["no such account"]
    assert "on orders/0 offset 2" in caplog.text


async def test_an_offset_waits_for_what_its_event_was_forwarded_as() -> None:
    app = make_app(commit_interval=0.1)
    orders = app.topic("orders", value_type=Order, partitions=1)

    @app.agent(orders, name="sort")
    async def sort(stream: AnyStream) -> None:
        async for _ in stream.group_by(Order.account):
            pass

    async with app.test_context() as t:
        await t.send(orders, value=Order("a", 1))
        await t.settled()
        await t.send(orders, value=Order("a", 2))
        t.control("Produce", delay_s=20)
        await t.advance(10)
        assert t.committed(orders) == 1  # the copy is under way still
        await t.settled()
        assert t.committed(orders) == 2


async def test_filters_run_before_forwarding_and_mappings_after() -> None:
    app = make_app()
    seen: list[Any] = []

    @app.agent(app.topic("orders", value_type=Order, partitions=1))
    async def work(stream: AnyStream) -> None:
        odd = stream.filter(lambda order: order.amount % 2)
        odd.add_processor(lambda order: order.amount * 10)
        async for amount in odd.filter(lambda amount: amount > 10).through("halfway"):
            seen.append(amount)

    async with app.test_context() as t:
        for number in range(6):
            await t.send("orders", value=Order("a", number))
        await t.settled()
        assert t.values("halfway") == [Order("a", n) for n in (1, 3, 5)]
    assert seen == [30, 50]


async def test_echo_repeats_values_with_their_keys_and_headers() -> None:
    app = make_app()
    copies = app.topic("copies", key_type=str, value_type=Order)
    memory = app.channel()
    feed = memory.open_feed()
    request = {REPLY_TO: b"nobody", CORRELATION_ID: b"1"}  # one reply will do

    @app.agent(app.topic("orders", key_type=str, value_type=Order, partitions=1))
    async def work(stream: AnyStream) -> None:
        async for _ in stream.echo(copies, "more", memory):
            pass

    async with app.test_context() as t:
        await t.send("orders", "k", Order("a", 1), headers={"trace": b"1", **request})
        await t.settled()
        for topic in (copies, "more"):
            [copy] = t.received(topic)
            assert copy.key in ("k", b"k")
            assert copy.headers == {"trace": b"1"}
        assert t.values(copies) == [Order("a", 1)]
    message = next(feed)
    assert (message.key, message.value) == ("k", Order("a", 1))


# -- iterating -------------------------------------------------------------------------


async def test_tasks_of_a_body_keep_its_event() -> None:
    app = make_app()
    seen: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def note(value: int, nested: bool = True) -> None:
        for pause in (0, 0.1, 5):
            await asyncio.sleep(pause)
            event = faustc.current_event()
            assert event is not None
            seen.append((value, event.value))
        if nested:
            await asyncio.create_task(note(value, nested=False))

    @app.agent(app.topic("orders", value_type=int, partitions=1))
    async def work(stream: AnyStream) -> None:
        async for value in stream:
            tasks.append(asyncio.create_task(note(value)))
            if value == 2:
                await asyncio.sleep(1)
                assert faustc.current_event().value == 2  # type: ignore[union-attr]

    async with app.test_context() as t:
        for number in range(5):
            await t.send("orders", value=number)
        await t.settled()
        await asyncio.gather(*tasks)
    assert len(seen) == 30
    assert all(value == current for value, current in seen)


async def test_noack_makes_another_stream_and_leaves_the_first_as_it_was() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=int, partitions=1)
    stream = app.stream(orders)
    by_hand = stream.noack()
    assert by_hand is not stream
    assert (stream.enable_acks, by_hand.enable_acks) == (True, False)
    async with app.test_context() as t:
        await t.send(orders, value=1)
        await t.send(orders, value=2)
        async for event in by_hand.events():
            if event.value == 1:
                assert await by_hand.ack(event)
                assert not await by_hand.ack(event)
            else:
                break
        await app.commit()
        assert t.committed(orders) == 1


async def test_noack_means_it_when_the_agent_fails() -> None:
    app = make_app(commit_interval=0.1)
    orders = app.topic("orders", value_type=int, partitions=1)

    @app.agent(orders)
    async def work(stream: AnyStream) -> None:
        async for event in stream.noack().events():
            if event.value == 1:
                raise RuntimeError("not done")
            event.ack()

    async with app.test_context() as t:
        for number in range(3):
            await t.send(orders, value=number)
        await t.advance(10)
        assert t.committed(orders) == 1


async def test_throw_raises_in_the_iteration_before_what_waits() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=int, partitions=1)
    seen: list[Any] = []
    streams: list[AnyStream] = []

    @app.agent(orders)
    async def work(stream: AnyStream) -> None:
        streams.append(stream)
        try:
            async for value in stream:
                seen.append(value)
                if value == 0:
                    await asyncio.sleep(1)
                    await stream.throw(KeyError("thrown"))
        except KeyError as exc:
            seen.append(exc.args)

    async with app.test_context() as t:
        for number in range(3):
            await t.send(orders, value=number)
        await t.settled()
        assert t.committed(orders) == 3
    assert seen == [0, ("thrown",), 1, 2]


async def test_throw_reaches_the_stream_that_is_iterated() -> None:
    app = make_app()
    for source in (app.channel(), [1, 2]):
        stream = app.stream(source)
        await stream.noack().throw(KeyError("early"))
        with pytest.raises(KeyError, match="early"):
            async for _ in stream.get_active_stream():
                pass


async def test_take_with_timestamp_puts_the_time_into_values() -> None:
    app = make_app()

    class Stamped(faustc.Record):
        name: str
        at: float = 0.0

    lists: list[Any] = []

    for topic, value_type in (("dicts", None), ("models", Stamped)):

        @app.agent(app.topic(topic, value_type=value_type, partitions=1), name=topic)
        async def work(stream: AnyStream) -> None:
            async for values in stream.take_with_timestamp(2, 5, "at"):
                lists.append(values)

    async with app.test_context() as t:
        for number in range(2):
            at = 1_600_000_000.25 + number
            await t.send("dicts", value={"name": "x"}, timestamp=at)
            await t.send("models", value=Stamped("x"), timestamp=at)
        await t.settled()
    stamps = [1_600_000_000.25, 1_600_000_001.25]
    assert [{"name": "x", "at": at} for at in stamps] in lists
    assert [Stamped("x", at) for at in stamps] in lists


async def test_take_events_and_noack_take_give_events() -> None:
    app = make_app(commit_interval=0.1)
    taken: list[Any] = []
    by_hand: list[Any] = []

    @app.agent(app.topic("a", key_type=str, value_type=int, partitions=1))
    async def one(stream: AnyStream) -> None:
        async for events in stream.take_events(2, within=1):
            taken.extend((event.key, event.value) for event in events)
            assert faustc.current_event() is events[-1]

    @app.agent(app.topic("b", key_type=str, value_type=int, partitions=1))
    async def two(stream: AnyStream) -> None:
        async for events in stream.noack_take(3, within=1):
            by_hand.extend(events)
            events[0].ack()

    async with app.test_context() as t:
        for number in range(3):
            await t.send("a", f"{number}", number)
            await t.send("b", f"{number}", number)
        await t.advance(5)
        assert (t.committed("a"), t.committed("b")) == (3, 1)
        for event in by_hand[1:]:
            assert event.ack()
        await t.settled()
        assert t.committed("b") == 3
    assert taken == [("0", 0), ("1", 1), ("2", 2)]


def test_take_checks_its_arguments_at_once() -> None:
    stream = make_app().stream("orders")
    for wrong in (lambda: stream.take(0), lambda: stream.take(5, within="soon")):
        with pytest.raises(ImproperlyConfigured):
            wrong()


# -- how streams are made ----------------------------------------------------------------


async def test_hooks_of_a_subclass_from_the_settings() -> None:
    told: list[Any] = []

    class Loud(faustc.Stream[Any]):
        async def on_start(self) -> None:
            await super().on_start()
            told.append("start")

        async def on_stop(self) -> None:
            told.append("stop")

        async def on_merge(self, value: Any = None) -> Any:
            return value * 10

    app = make_app(Stream=Loud)
    stream = app.stream([1, 2, 3], on_start=lambda: told.append("given"))
    assert isinstance(stream, Loud)
    assert isinstance(stream.noack(), Loud)
    stream = app.stream([1, 2, 3], on_start=lambda: told.append("given"))
    assert [value async for value in stream] == [10, 20, 30]
    assert told == ["given", "start", "stop"]
    assert stream.events_total == 3


async def test_stopping_a_stream_ends_it_and_those_made_from_it() -> None:
    app = make_app()
    stopped: list[Any] = []

    class Told(faustc.Stream[Any]):
        async def on_stop(self) -> None:
            stopped.append(self.label)

    app = make_app(Stream=Told)
    orders = app.topic("orders", value_type=int, partitions=1)
    async with app.test_context() as t:
        stream = app.stream(orders)
        through = stream.through("halfway")
        reading = asyncio.ensure_future(_values(through))
        await t.send(orders, value=1)
        await t.settled()
        await stream.stop()
        async with asyncio.timeout(30):
            assert await reading == [1]
        assert sorted(stopped) == ["halfway", "orders"]


async def _values(stream: Any) -> list[Any]:
    return [value async for value in stream]


def test_clone_info_and_structure() -> None:
    app = make_app()
    topic = app.topic("orders", value_type=Order)
    stream = app.stream(topic, processors=[str], prefix="p", concurrency_index=2)
    assert stream.info()["channel"] is topic
    assert stream.info()["prefix"] == "p"
    twin = stream.clone(enable_acks=False)
    assert (twin.channel, twin.concurrency_index, twin.enable_acks) == (topic, 2, False)
    assert copy.copy(stream).info() == stream.info()
    by_hand = stream.noack()
    grouped = by_hand.group_by(Order.account)
    assert stream.get_active_stream() is grouped
    assert grouped.get_root_stream() is stream
    assert not grouped.enable_acks
    a, b = app.stream("a"), app.stream("b")
    both = a & b
    assert both.combined == [a, b]
    assert a.get_active_stream() is both


async def test_parts_of_a_combined_stream_come_and_go() -> None:
    app = make_app()
    a, b = app.stream(app.channel()), app.stream(app.channel())
    both = a & b
    assert b.get_active_stream() is both
    with pytest.raises(ImproperlyConfigured, match="part of another stream"):
        app.stream("c").combine(b)
    await b.remove_from_stream(both)
    assert b.get_active_stream() is b
    b.contribute_to_stream(both)
    assert b.get_active_stream() is both


def test_derive_topic_has_the_types_of_the_stream() -> None:
    app = make_app()
    stream = app.stream(app.topic("orders", key_type=str, value_type=Order))
    topic = stream.derive_topic("large", prefix="a-", suffix="-z")
    assert (topic.topics, topic.key_type, topic.value_type) == (("a-large-z",), str, Order)
    assert stream.derive_topic("x", value_type=int).value_type is int
    with pytest.raises(ImproperlyConfigured, match="does not read a topic"):
        app.stream(app.channel()).through("x")


async def test_events_of_an_iterable_are_acknowledged() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=int, partitions=1)
    async with app.test_context() as t:
        for number in range(3):
            await t.send(orders, value=number)
        source = app.stream(orders).noack()
        seen = []
        async for value in app.stream(source.events()):
            seen.append(value)
            if value == 2:
                break
        assert seen == [0, 1, 2]
        await app.commit()
        assert t.committed(orders) == 2  # what it came back from


def test_what_a_stream_cannot_be_over() -> None:
    with pytest.raises(ImproperlyConfigured, match="over a topic, a channel or an iterable"):
        make_app().stream(3)


async def test_what_failed_on_its_way_is_tried_again_where_it_failed() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=Order, partitions=1)
    tries: list[int] = []
    seen: list[Any] = []

    def key(order: Order) -> str:
        tries.append(order.amount)
        if tries.count(1) == 1:
            raise LookupError("not yet")
        return order.account

    @app.agent(orders, name="sort", on_failure=faustc.Retry(times=3, backoff=1))
    async def sort(stream: AnyStream) -> None:
        async for event in stream.group_by(key, name="account").events():
            seen.append((event.key, event.value.amount, event.message.topic))

    async with app.test_context() as t:
        for number in range(1, 3):
            await t.send(orders, value=Order("a", number))
        await t.settled()
    topic = "shop-sort-orders-account-repartition"
    assert sorted(seen) == [("a", 1, topic), ("a", 2, topic)]
    assert tries.count(1) == 2


async def test_isolated_partitions_are_all_forwarded() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=Order, partitions=3)
    seen: list[int] = []

    @app.agent(orders, name="sort", isolated_partitions=True)
    async def sort(stream: AnyStream) -> None:
        async for order in stream.group_by(Order.account):
            seen.append(order.amount)

    async with app.test_context() as t:
        await t.settled()
        for number in range(9):
            await t.send(orders, value=Order("a", number), partition=number % 3)
        await t.settled()
    assert sorted(seen) == list(range(9))


async def test_an_agent_that_groups_is_tested_by_itself() -> None:
    app = make_app()

    @app.agent(app.topic("orders", value_type=Order))
    async def sort(stream: AnyStream) -> Any:
        async for key, order in stream.filter(bool).group_by(Order.account).items():
            yield key, order.amount

    async with sort.test_context() as agent:
        event = await agent.put(Order("a", 1), key="old")
        assert agent.results[event.message.offset] == ("a", 1)


async def test_what_does_not_decode_is_dealt_with_in_every_stream_of_an_agent() -> None:
    app = make_app()
    dead = app.topic("dead", value_type=bytes)
    seen: list[Any] = []

    @app.agent(app.topic("orders", value_type=int), on_failure=faustc.DeadLetter("dead"))
    async def work(stream: AnyStream) -> None:
        async for value in stream & app.stream(app.topic("more", value_type=int)):
            seen.append(value)

    async with app.test_context() as t:
        for topic in ("orders", "more"):
            await t.send(app.topic(topic, value_serializer="raw"), value=b"no number")
            await t.send(topic, value=1)
        await t.settled()
        assert sorted(m.headers["faustc-topic"] for m in t.received(dead)) == [b"more", b"orders"]
    assert seen == [1, 1]


async def test_a_channel_that_others_send_to_as_well_costs_no_memory() -> None:
    app = make_app()
    orders = app.topic("orders", value_type=int, partitions=1)
    memory = app.channel()
    seen: list[int] = []

    @app.agent(orders)
    async def work(stream: AnyStream) -> None:
        async for value in stream.through(memory):
            seen.append(value)

    async with app.test_context() as t:
        await t.settled()
        for number in range(20):
            await memory.send(value=-number)
            await t.send(orders, value=number)
        await t.settled()
        assert t.committed(orders) == 20
        [relay] = work._relays.values()
        assert (relay._early, relay._waiting) == (set(), {})
    assert len(seen) == 40
