"""Topics: what they are called, how they are created, what is read of them and what is sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import faustc
from faustc.exceptions import (
    DecodeError,
    ImproperlyConfigured,
    KeyDecodeError,
    NotReady,
    ValueDecodeError,
)
from faustc.testing import MemoryBroker
from faustc.types import FutureMessage, Message, PendingMessage, RecordMetadata

App = Callable[..., faustc.App]


class Order(faustc.Record):
    account: str
    amount: float


@pytest.fixture
def make_app(tmp_path: Any) -> App:
    def make(**options: Any) -> faustc.App:
        options = {"default_partitions": 2, **options}
        return faustc.App("shop", broker="kafka://nowhere", datadir=tmp_path, **options)

    return make


# -- patterns


async def test_a_topic_that_comes_later_is_read_from_its_beginning(make_app: App) -> None:
    app = make_app(consumer_auto_offset_reset="latest", consumer_metadata_max_age_ms=1000)
    seen: list[tuple[str, str]] = []

    @app.agent(app.topic(pattern=r"orders-\w+$", value_type=str))
    async def take(stream: Any) -> None:
        async for event in stream.events():
            seen.append((event.message.topic, event.value))

    async with app.test_context() as t:
        others = app.topic("orders-", "other-orders-se", value_type=str)
        await others.declare()
        for country in ("se", "no"):
            await t.send(f"orders-{country}", value=country)
        await t.advance(5)
        await t.settled()
        assert sorted(seen) == [("orders-no", "no"), ("orders-se", "se")]
        assert t.committed("orders-se", 0) or t.committed("orders-se", 1)


async def test_names_and_patterns_are_read_side_by_side(make_app: App) -> None:
    app = make_app(consumer_metadata_max_age_ms=1000)
    seen: dict[str, list[str]] = {"named": [], "a": [], "b": []}

    def take(name: str, topic: Any) -> None:
        async def body(stream: Any) -> None:
            async for value in stream:
                seen[name].append(value)

        app.agent(topic, name=name)(body)

    take("named", app.topic("plain", value_type=str))
    take("a", app.topic(pattern="a.*", value_type=str))
    take("b", app.topic(pattern=re.compile("AB", re.IGNORECASE), value_type=str))
    async with app.test_context() as t:
        for topic in ("plain", "ax", "abx", "abx"):
            await t.send(topic, value=topic)
        await t.advance(5)
        await t.settled()
        assert seen == {"named": ["plain"], "a": seen["a"], "b": ["abx", "abx"]}
        assert sorted(seen["a"]) == ["abx", "abx", "ax"]


def test_a_topic_has_names_or_a_pattern(make_app: App) -> None:
    app = make_app()
    topic = app.topic(pattern="a.*")
    assert topic.pattern is not None
    assert (topic.pattern.pattern, topic.topics, str(topic)) == ("a.*", (), "a.*")
    with pytest.raises(ImproperlyConfigured, match="not both"):
        app.topic("a", pattern="a.*")
    with pytest.raises(ImproperlyConfigured, match="no regular expression"):
        app.topic(pattern="a(")
    with pytest.raises(ImproperlyConfigured, match="at least one name"):
        app.topic()
    with pytest.raises(ImproperlyConfigured, match="no prefix"):
        topic.derive_topic(prefix="x-")
    with pytest.raises(ImproperlyConfigured, match="read only"):
        topic.get_topic_name()


async def test_nothing_is_sent_to_a_pattern(make_app: App) -> None:
    app = make_app()
    async with app.test_context():
        with pytest.raises(ImproperlyConfigured, match="name the topic"):
            await app.topic(pattern="a.*").send(value=1)


# -- creating


async def test_a_topic_is_created_as_it_is_described(make_app: App) -> None:
    app = make_app()
    topic = app.topic(
        "orders",
        partitions=3,
        replicas=1,
        retention=60.5,
        compacting=True,
        deleting=True,
        config={"max.message.bytes": 1000},
    )
    async with app.test_context() as t:
        await topic.declare()
        await topic.maybe_declare()
        assert len(t.broker.partitions("orders")) == 3
        [spec] = topic.specs()
        assert (spec.num_partitions, spec.replication_factor) == (3, 1)
        assert spec.configs == {
            "max.message.bytes": "1000",
            "retention.ms": "60500",
            "cleanup.policy": "compact,delete",
        }


async def test_partitions_hold_for_whoever_sends_by_name(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", partitions=5)
    async with app.test_context() as t:
        await (await app.send("orders", value=1))
        await (await app.send("others", value=1))
        assert len(t.broker.partitions("orders")) == 5
        assert len(t.broker.partitions("others")) == 2
    assert topic.partitions == 5


async def test_nothing_is_created_where_that_is_not_allowed(
    make_app: App, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(topic_allow_declare=False)
    async with app.test_context() as t:
        await app.topic("orders").declare()
        assert t.broker.partitions("orders") == []
    assert "topic_allow_declare is off): orders" in caplog.text


@pytest.mark.parametrize("wrong", [{"partitions": 0}, {"partitions": 1.5}, {"replicas": -1}])
def test_numbers_that_cannot_be_are_refused(make_app: App, wrong: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="is 1 or more"):
        make_app().topic("orders", **wrong)


# -- copies


def test_a_derived_topic_keeps_what_is_not_changed(make_app: App) -> None:
    app = make_app()
    topic = app.topic(
        "a", "b", value_type=Order, key_type=str, partitions=3, retention=5, replicas=1,
        compacting=True, config={"x": 1}, acks=False, internal=True, maxsize=7,
        allow_empty=True, key_serializer="raw",
    )  # fmt: skip
    derived = topic.derive(prefix="x-", suffix="-y", partitions=4)
    assert derived.topics == ("x-a-y", "x-b-y")
    assert (derived.partitions, derived.has_prefix, topic.has_prefix) == (4, True, False)
    for name in (
        "value_type", "key_type", "retention", "replicas", "compacting", "config", "acks",
        "internal", "maxsize", "allow_empty", "key_serializer",
    ):  # fmt: skip
        assert getattr(derived, name) == getattr(topic, name), name
    other = topic.derive_topic(topics=["c"], value_type=int, schema=faustc.Schema(key_type=bytes))
    assert (other.topics, other.key_type, other.value_type) == (("c",), bytes, int)
    with pytest.raises(TypeError, match="partitons"):
        topic.derive(partitons=3)


async def test_a_clone_reads_what_is_put_into_its_queue(make_app: App) -> None:

    app = make_app()
    topic = app.topic("orders", value_type=int)
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=10)
    clone = topic.clone_using_queue(queue)
    assert (clone.is_iterator, clone.topics, clone.queue) == (True, ("orders",), queue)
    async with app.test_context():
        event = app.create_event(b"k", 3, {}, None)
        await clone.put(event)
        queue.put_nowait(4)
        seen = []
        async for value in clone.stream():
            seen.append(value)
            if len(seen) == 2:
                break
        assert seen == [3, 4]
        with pytest.raises(NotReady, match="to send to Kafka"):
            await topic.put(event)
        with pytest.raises(NotReady, match="iterate over it"):
            await topic.get()


# -- sending


async def test_a_message_is_prepared_and_then_published(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", key_type=str, value_type=Order)
    async with app.test_context() as t:
        order = Order("a", 1.0)
        fut = topic.as_future_message("k", order, headers={"h": "text"}, partition=1, timestamp=5.0)
        assert isinstance(fut, FutureMessage)
        assert isinstance(fut.message, PendingMessage)
        assert (fut.message.key, fut.message.value) == (b'"k"', order.dumps())
        assert fut.message.channel is topic
        assert not fut.done()
        assert await topic.publish_message(fut, wait=True) is fut
        assert fut.done()
        metadata = await fut
        assert isinstance(metadata, RecordMetadata)
        assert fut.result() == metadata
        assert (metadata.topic, metadata.partition, metadata.offset) == ("orders", 1, 0)
        [message] = t.received(topic)
        assert message.headers == {"h": b"text"}
        assert (message.key, message.value, message.timestamp) == ("k", order, 5.0)


async def test_send_soon_needs_no_await_and_keeps_its_promise(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int)
    told: list[Any] = []

    async def tell(fut: FutureMessage) -> None:
        told.append((fut.message.value, fut.result().offset))

    async with app.test_context() as t:
        futures = [
            topic.send_soon(
                key="k", value=n, partition=0, timestamp=7.0, headers={"n": b"1"}, callback=tell
            )
            for n in range(3)
        ]
        assert [(await fut).offset for fut in futures] == [0, 1, 2]
        assert [m.value for m in t.received(topic)] == [0, 1, 2]
        assert t.received(topic)[0].headers == {"n": b"1"}
        await t.settled()
        assert told == [(b"0", 0), (b"1", 1), (b"2", 2)]


async def test_eager_partitioning_says_where_a_message_will_go(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", partitions=20)
    async with app.test_context():
        with pytest.raises(NotReady, match="knows no partitions"):
            topic.send_soon(key="a", value=1, eager_partitioning=True)
        await (await topic.send(value=0))
        for key in "abcdef":
            fut = topic.send_soon(key=key, value=1, eager_partitioning=True)
            told = fut.message.partition
            assert told is not None
            assert (await fut).partition == told


async def test_a_callback_is_told_of_what_was_sent(make_app: App) -> None:
    app = make_app()
    told: list[Any] = []
    async with app.test_context() as t:
        await app.topic("a").send(key=b"k", value=1, callback=told.append)
        await app.send("b", value=2, callback=lambda fut: 1 / 0)
        await t.settled()
        await t.advance(1)
        [fut] = told
        assert (fut.message.key, fut.result().topic, fut.exception()) == (b"k", "a", None)


async def test_hooks_of_a_subclass_are_asked_for_every_message(make_app: App) -> None:
    class Loud(faustc.Topic):
        def prepare_value(self, value: Any, *args: Any, **options: Any) -> Any:
            raw, headers = super().prepare_value(value, *args, **options)
            return raw.upper(), headers

        def prepare_headers(self, headers: Any) -> Any:
            return {**super().prepare_headers(headers), "by": b"loud"}

    app = make_app(Topic=Loud)
    topic = app.topic("orders", value_type=str)
    async with app.test_context() as t:
        await topic.send(value="a")
        await (await topic.send(value="b", headers={"x": b"1"}))
        assert t.values(topic) == ["A", "B"]
        assert t.received(topic)[1].headers == {"x": b"1", "by": b"loud"}


# -- reading


async def test_hooks_are_told_of_what_does_not_decode(make_app: App) -> None:
    seen: list[Any] = []

    class Careful(faustc.Topic):
        async def on_key_decode_error(self, exc: Any, message: Any) -> None:
            seen.append(("key", type(exc), message.offset))

        async def on_value_decode_error(self, exc: Any, message: Any) -> None:
            seen.append(("value", type(exc), message.offset))
            await super().on_value_decode_error(exc, message)

        async def on_decode_error(self, exc: Any, message: Any) -> None:
            seen.append(("any", exc.topic, exc.offset))

    app = make_app(Topic=Careful)
    topic = app.topic("orders", key_type=int, value_type=int, partitions=1)
    values: list[Any] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for key, value in stream.items():
            values.append((key, value))

    async with app.test_context() as t:
        raw = app.topic("orders", key_serializer="raw", value_serializer="raw")
        await t.send(raw, b"1", b"x")
        await t.send(raw, b"x", b"2")
        await t.send(raw, b"3", b"4")
        await t.settled()
        assert t.committed(topic) == 3
    assert values == [(3, 4)]
    assert seen == [
        ("value", ValueDecodeError, 0),
        ("any", "orders", 0),
        ("key", KeyDecodeError, 1),
    ]
    assert app.monitor.decode_errors_total == 2


async def test_decode_makes_an_event_of_a_message(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=Order)
    async with app.test_context() as t:
        await t.send(topic, "k", Order("a", 1.0), headers={"h": b"1"})
        await t.send(app.topic("orders", value_serializer="raw"), "k", b"{")
        good, bad = t.broker.messages("orders")
        assert isinstance(good, Message)
        event = await topic.decode(good)
        assert (event.key, event.value, event.headers) == ("k", Order("a", 1.0), {"h": b"1"})
        assert event.message is good
        assert await topic.decode(bad) is None
        with pytest.raises(DecodeError, match=r"orders/\d offset"):
            await topic.decode(bad, propagate=True)
        clone = topic.clone(is_iterator=True)
        await clone.deliver(bad)
        assert clone.empty()
        await clone.deliver(good)
        assert not clone.empty()
        assert (await clone.get(timeout=1)).value == Order("a", 1.0)


async def test_what_is_thrown_is_raised_where_the_topic_is_read(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int)
    seen: list[Any] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        try:
            async for value in stream:
                seen.append(value)
        except LookupError as exc:
            seen.append(exc)

    async with app.test_context() as t:
        await t.send(topic, value=1)
        await t.settled()
        error = LookupError("x")
        await topic.throw(error)
        await t.send(topic, value=2)
        await t.settled()
        assert seen == [1, error, 2]


async def test_an_empty_value_is_none_where_that_is_allowed(make_app: App) -> None:
    app = make_app()
    values: dict[str, list[Any]] = {"strict": [], "empty": []}

    async def take(name: str, stream: Any) -> None:
        async for value in stream:
            values[name].append(value)

    for name, topic in (
        ("strict", app.topic("orders", value_type=Order)),
        ("empty", app.topic("orders", value_type=Order, allow_empty=True)),
    ):
        app.agent(topic, name=name)(partial(take, name))
    async with app.test_context() as t:
        await t.send("orders", "k", None)
        await t.settled()
    assert values == {"strict": [], "empty": [None]}


async def test_without_acks_nothing_is_committed(make_app: App) -> None:
    app = make_app()
    seen: list[Any] = []

    @app.agent(app.topic("orders", acks=False, partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    async with MemoryBroker() as broker:
        for _ in range(2):
            async with app.test_context(broker=broker) as t:
                if not seen:
                    await t.send("orders", value=1)
                await t.settled()
                await t.advance(10)
                assert t.committed("orders") is None
    assert seen == [1, 1]


# -- schemas


async def test_a_schema_is_asked_for_every_message(make_app: App) -> None:
    """The example of Faust's guide: types and serializers by headers."""
    from faustc.types import merge_headers

    types = {b"order": Order, b"int": int}

    class Autodetect(faustc.Schema):
        def loads_value(
            self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None
        ) -> Any:
            loads = loads or app.serializers.loads_value
            headers = dict(message.headers)
            if "type" not in headers:
                return super().loads_value(app, message, loads=loads, serializer=serializer)
            return loads(types[headers["type"]], message.value, serializer=serializer)

        def on_dumps_value_prepare_headers(self, value: Any, headers: Any) -> Any:
            if isinstance(value, Order):
                return merge_headers(headers, {"type": "order"})
            return headers

    app = make_app()
    topic = app.topic("orders", schema=Autodetect(key_type=str), partitions=1)
    seen: list[Any] = []
    batches: list[Any] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            seen.append((event.key, event.value))

    @app.agent(topic)
    async def collect(stream: Any) -> None:
        async for some in stream.take(4, within=1):
            batches.append(some)

    async with app.test_context() as t:
        await topic.send(key="a", value=Order("x", 1.0), headers=[("n", b"1")])
        await topic.send(key="b", value={"plain": 1})
        await topic.send(key="c", value=5, headers={"type": b"int"})
        await topic.send(key="d", value=5, headers={"type": b"unheard of"})
        await t.settled()
        assert t.broker.messages("orders")[0].headers == (("n", b"1"), ("type", b"order"))
    assert seen == [("a", Order("x", 1.0)), ("b", {"plain": 1}), ("c", 5)]
    assert batches == [[Order("x", 1.0), {"plain": 1}, 5]]
    assert app.monitor.decode_errors_total == 2  # once for each agent: KeyError is one, too


async def test_a_schema_for_one_message(make_app: App) -> None:
    class Hex(faustc.Schema):
        def dumps_value(self, app: Any, value: Any, *, serializer: Any = None, headers: Any) -> Any:
            return f"{value:x}".encode(), {**headers, "base": b"16"}

    app = make_app()
    topic = app.topic("numbers", partitions=1)
    async with app.test_context() as t:
        await topic.send(value=255)
        await app.send("numbers", value=255, schema=Hex())
        await (await topic.send(value=255, schema=faustc.Schema(value_serializer="json|binary")))
        messages = t.broker.messages("numbers")
        assert [m.value for m in messages] == [b"255", b"ff", b"MjU1"]
        assert messages[1].headers == (("base", b"16"),)


def test_types_beside_a_schema_go_first_and_leave_it_as_it_was(make_app: App) -> None:
    app = make_app()
    schema = faustc.Schema(key_type=str, value_type=int, value_serializer="json|gzip")
    topic = app.topic("a", schema=schema, value_type=Order)
    assert (topic.key_type, topic.value_type, topic.value_serializer) == (str, Order, "json|gzip")
    assert schema.value_type is int
    assert app.topic("b", schema=schema).schema is schema


def test_the_schema_class_of_the_settings_is_used(make_app: App) -> None:
    class Own(faustc.Schema):
        pass

    app = make_app(Schema=Own)
    topic = app.topic("a", value_type=int)
    assert isinstance(topic.schema, Own)
    assert topic.schema.value_type is int


async def test_a_channel_is_told_that_an_iteration_ended(make_app: App) -> None:
    ended: list[str] = []

    class Told(faustc.Topic):
        def on_stop_iteration(self) -> None:
            super().on_stop_iteration()
            ended.append(self.name)

    app = make_app(Topic=Told)
    topic = app.topic("orders", value_type=int)
    seen: list[int] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if value == 1:
                raise LookupError("x")

    async with app.test_context() as t:
        for n in range(3):
            await t.send(topic, "k", n)
        await t.settled()
        assert seen == [0, 1, 2]
        assert ended == ["orders"]
    assert ended == ["orders", "orders"]


def test_names_that_code_annotates_with() -> None:
    from faustc.types import core, tuples

    tp = faustc.types.TP("a", 1)
    assert (tp.topic, tp.partition, tp) == ("a", 1, ("a", 1))
    assert tuples.TP is faustc.types.TP
    metadata = RecordMetadata("a", 1, tp, 5, 1000, 0)
    fut = FutureMessage(PendingMessage(None, b"k", b"v", headers={"h": b"1"}))
    with pytest.raises(Exception, match="not sent yet"):
        fut.result()
    fut.set_result(metadata)
    assert (fut.done(), fut.result(), fut.exception()) == (True, metadata, None)
    assert tuples.ConsumerMessage is tuples.Message
    assert core.merge_headers([("a", b"1")], {"b": "2"}) == [("a", b"1"), ("b", b"2")]
    assert core.merge_headers(None, {"b": "2"}) == {"b": b"2"}
    assert core.prepare_headers({"a": "1"}) == {"a": b"1"}


def test_attributes_that_say_what_a_topic_is(make_app: App) -> None:
    topic = make_app().topic(
        "a", "b", key_type=str, value_type=Order, partitions=3, internal=True, has_prefix=True
    )
    assert (topic.get_topic_name(), topic.label, str(topic), topic.name) == ("a", "a,b", "a,b", "a")
    assert (topic.key_type, topic.value_type, topic.partitions) == (str, Order, 3)
    assert (topic.schema.key_type, topic.schema.value_type) == (str, Order)
    assert (topic.pattern, topic.subscriber_count, topic.internal) == (None, 0, True)
    assert topic.has_prefix


# -- stream_publish_on_commit


async def test_what_an_event_sends_goes_out_with_its_commit(make_app: App) -> None:
    app = make_app(stream_publish_on_commit=True, commit_interval=1.0)
    orders = app.topic("orders", value_type=int, partitions=1)
    hold, told = asyncio.Event(), []

    @app.agent(orders)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            await event.send("copies", callback=told.append)
            await event.forward("copies", key="second")
            await app.send("now", value=event.value, force=True)
            if event.value == 2:
                await hold.wait()

    async with app.test_context() as t:
        await (await app.send("copies", value=0))  # outside of agents nothing is held back
        assert t.values("copies") == [0]
        await orders.send(value=1)
        await orders.send(value=2)
        await t.advance(10)
        assert t.committed(orders) == 1
        assert sorted(t.values("now")) == [1, 2]
        assert sorted(t.values("copies")) == [0, 1, 1]
        assert [fut.message.value for fut in told] == [b"1"]
        hold.set()
        await t.settled()
        assert sorted(t.values("copies")) == [0, 1, 1, 2, 2]


async def test_of_an_event_that_was_not_finished_nothing_is_seen(make_app: App) -> None:
    runs: list[int] = []
    async with MemoryBroker() as broker:
        for run in range(2):
            app = make_app(stream_publish_on_commit=True, commit_interval=1.0)
            orders = app.topic("orders", value_type=int, partitions=1)

            @app.agent(orders)
            async def take(stream: Any, app: Any = app, run: int = run) -> None:
                async for value in stream:
                    await app.send("copies", value=value)
                    runs.append(run)
                    if run == 0:
                        await asyncio.Event().wait()

            async with app.test_context(broker=broker) as t:
                if run == 0:
                    await orders.send(value=1)
                    await t.advance(5)
                    await t.kill()
                else:
                    await t.settled()
                    assert t.values("copies") == [1]
    assert runs == [0, 1]


async def test_what_is_not_committed_holds_nothing_back(make_app: App) -> None:
    app = make_app(stream_publish_on_commit=True)
    channel = app.channel()

    async def copy(stream: Any) -> None:
        async for value in stream:
            await app.send("copies", value=value)

    app.agent(app.topic("orders", acks=False), name="one")(copy)
    app.agent(channel, name="two")(copy)
    async with app.test_context() as t:
        await t.send("orders", value=1)
        await channel.send(value=2)
        await t.settled()
        assert sorted(t.values("copies")) == [1, 2]


async def test_who_stops_waiting_for_a_message_does_not_stop_it(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int)
    async with app.test_context() as t:
        fut = topic.send_soon(value=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fut, 0)
        assert (await fut).topic == "orders"
        assert t.values(topic) == [1]


async def test_a_message_is_published_from_another_thread(make_app: App) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int)
    told: list[int] = []

    async def publish() -> int:
        fut = topic.as_future_message(value=1, callback=lambda fut: told.append(1))
        await topic.publish_message(fut, wait=True)
        return (await fut).offset

    async with app.test_context(virtual_time=False) as t:
        assert await asyncio.to_thread(asyncio.run, publish()) == 0
        await t.settled()
        assert t.values(topic) == [1]
        assert told == [1]


async def test_an_agent_of_a_pattern_is_tested_like_any_other(make_app: App) -> None:
    app = make_app()

    @app.agent(app.topic(pattern="orders-.*", value_type=Order))
    async def double(stream: Any) -> Any:
        async for order in stream:
            yield order.amount * 2

    async with double.test_context() as agent:
        event = await agent.put(Order("a", 2.0))
        assert (event.message.topic, agent.results) == ("orders-.*", {0: 4.0})
