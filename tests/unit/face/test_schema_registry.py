"""Avro and JSON Schema through a registry: the bytes, the look-ups, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import fastavro
import pytest

import faustc
from faustc.exceptions import (
    DecodeLater,
    ImproperlyConfigured,
    NotReady,
    SchemaRegistryError,
    ValueDecodeError,
)
from faustc.serializers import AvroSchema, JSONSchema, SchemaRegistry
from tests.schema_server import SchemaServer

App = Callable[..., faustc.App]

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "account", "type": "string"},
        {"name": "amount", "type": "double"},
    ],
}


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


class Order(faustc.Record):
    account: str
    amount: float


class Item(faustc.Record):
    name: str
    price: float | None = None


class Basket(faustc.Record, coerce=True):
    id: UUID
    when: datetime
    day: date
    items: list[Item]
    by_name: dict[str, int]
    side: Side
    best: Item | None = None
    note: str = "none"


BASKET = Basket(
    id=UUID(int=5),
    when=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    day=date(2026, 1, 2),
    items=[Item("a", 1.5), Item("b")],
    by_name={"a": 1},
    side=Side.SELL,
    best=Item("a", 1.5),
)


@pytest.fixture
def server() -> Iterator[SchemaServer]:
    with SchemaServer() as server:
        yield server


@pytest.fixture
def make_app(tmp_path: Any) -> App:
    def make(**options: Any) -> faustc.App:
        options = {"default_partitions": 1, **options}
        return faustc.App("shop", broker="kafka://nowhere", datadir=tmp_path, **options)

    return make


def collect(app: faustc.App, topic: Any) -> list[Any]:
    seen: list[Any] = []

    @app.agent(topic, name=f"collect{id(seen)}")
    async def take(stream: Any) -> None:
        async for event in stream.events():
            seen.append((event.key, event.value))

    return seen


async def test_records_travel_as_avro(make_app: App, server: SchemaServer) -> None:
    app = make_app()
    topic = app.topic("orders", schema=AvroSchema(server.url, value_type=Order, key_type=str))
    seen = collect(app, topic)
    async with app.test_context() as t:
        for n in range(3):
            await topic.send(key=f"k{n}", value=Order("a", float(n)))
        await t.settled()
        first = t.broker.messages("orders")[0]
    assert seen == [(f"k{n}", Order("a", float(n))) for n in range(3)]
    assert first.key == b'"k0"'
    assert first.value is not None
    assert first.value[:5] == b"\0\0\0\0\1"
    assert first.value[5:] == b"\x02a" + bytes(8)
    # one request to register; nothing was asked for that was known
    assert server.asked == [("POST", "/subjects/orders-value/versions")]
    assert json.loads(server.schemas[1]["schema"])["fields"] == [
        {"name": "account", "type": "string"},
        {"name": "amount", "type": "double"},
    ]


@pytest.mark.parametrize("kind", [AvroSchema, JSONSchema])
async def test_a_schema_follows_from_a_record(
    make_app: App, server: SchemaServer, kind: Any
) -> None:
    app = make_app()
    topic = app.topic("baskets", schema=kind(server.url, value_type=Basket, key_schema=Item))
    seen = collect(app, topic)
    async with app.test_context() as t:
        await topic.send(key=Item("k"), value=BASKET)
        await t.settled()
        [message] = t.broker.messages("baskets")
    assert len(seen) == 1
    assert seen[0][1] == BASKET
    assert set(server.subjects) == {"baskets-key", "baskets-value"}
    key = seen[0][0]
    assert (key["name"], key["price"]) == ("k", None)
    if kind is JSONSchema:
        assert message.value is not None
        assert json.loads(message.value[5:])["side"] == "sell"
        text = json.loads(server.schemas[server.subjects["baskets-value"][0]]["schema"])
        assert text["required"] == ["id", "when", "day", "items", "by_name", "side"]
        assert text["definitions"]["Item"]["properties"]["name"] == {"type": "string"}


async def test_what_others_wrote_is_looked_up_once_and_off_the_loop(
    make_app: App, server: SchemaServer
) -> None:
    """The first message waits for its schema, in order, and so does nothing else."""
    older = {**ORDER, "fields": ORDER["fields"][:1]}  # type: ignore[index]
    ids = [server.add("orders-value", ORDER), server.add("orders-value", older)]
    app = make_app()
    reader = {**ORDER, "fields": [ORDER["fields"][0], {**ORDER["fields"][1], "default": 7.0}]}  # type: ignore[index]
    schema = AvroSchema(server.url, value_type=Order, value_schema=reader)
    topic = app.topic("orders", schema=schema)
    seen = collect(app, topic)
    batches: list[Any] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for some in stream.take(10, within=1):
            batches.append(some)

    raw = app.topic("orders", key_type=bytes, value_type=bytes)
    async with app.test_context() as t:
        for n in range(5):
            data = fastavro_bytes(
                older if n % 2 else ORDER, {"account": f"{n}", "amount": float(n)}
            )
            await t.send(raw, None, b"\0" + ids[n % 2].to_bytes(4, "big") + data)
        await t.settled()
    expected = [Order(f"{n}", 7.0 if n % 2 else float(n)) for n in range(5)]
    assert [value for _, value in seen] == expected
    assert [value for some in batches for value in some] == expected
    assert sorted(server.asked) == [("GET", f"/schemas/ids/{number}") for number in sorted(ids)]
    assert app.monitor.decode_errors_total == 0


def fastavro_bytes(schema: Any, value: Any) -> bytes:
    from io import BytesIO

    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


async def test_messages_wait_while_the_registry_is_away(
    make_app: App, server: SchemaServer, caplog: pytest.LogCaptureFixture
) -> None:
    number = server.add("orders-value", ORDER)
    server.failing = [(503, {"message": "starting"}), (500, {}), (429, {})]
    app = make_app()
    topic = app.topic("orders", schema=AvroSchema(server.url))
    seen = collect(app, topic)
    raw = app.topic("orders", key_type=bytes, value_type=bytes)
    async with app.test_context() as t:
        value = {"account": "a", "amount": 1.0}
        data = b"\0" + number.to_bytes(4, "big") + fastavro_bytes(ORDER, value)
        await t.send(raw, None, data)
        await t.settled()
        assert t.committed("orders") == 1
    assert seen == [(None, value)]
    assert "Schema 1 is waited for" in caplog.text
    assert "503, starting" in caplog.text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0\0\0\0\x63abc", "40403|Schema not found"),
        (b"\0\0\0\0", "does not begin with a zero byte and an id"),
        (b"{}", "does not begin with"),
        (b"\0\0\0\0\1", "does not fit schema 1"),
        (b"\0\0\0\0\2{}", "of type JSON: AvroSchema reads AVRO"),
        (b"\0\0\0\0\3x", "schema 3, which is wrong"),
        (None, "is null, and Order is wanted"),
    ],
)
async def test_what_does_not_decode_is_passed_and_said(
    make_app: App, server: SchemaServer, data: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.add("a", ORDER)
    server.add("b", {"type": "object"}, "JSON")
    server.add("c", {"type": "nonsense"})
    app = make_app()
    topic = app.topic("orders", schema=AvroSchema(server.url, value_type=Order))
    seen = collect(app, topic)
    raw = app.topic("orders", key_type=bytes, value_type=bytes)
    async with app.test_context() as t:
        await t.send(raw, None, data)
        await topic.send(value=Order("a", 1.0))
        await t.settled()
        assert t.committed("orders") == 2
    assert seen == [(None, Order("a", 1.0))]
    assert any(part in caplog.text for part in why.split("|"))
    assert app.monitor.decode_errors_total == 1


async def test_a_refused_schema_is_raised_where_it_is_sent(
    make_app: App, server: SchemaServer
) -> None:
    server.incompatible.add("orders-value")
    app = make_app()
    topic = app.topic("orders", schema=AvroSchema(server.url, value_type=Order))
    async with app.test_context() as t:
        with pytest.raises(SchemaRegistryError, match="409, incompatible with version 1") as info:
            await topic.send(value=Order("a", 1.0))
        assert (info.value.status, info.value.error_code, info.value.retriable) == (409, 409, False)
        with pytest.raises(NotReady, match=r"await topic\.declare"):
            topic.send_soon(value=Order("a", 1.0))
        server.incompatible.clear()
        await topic.declare()
        await topic.send_soon(value=Order("a", 1.0))
        assert t.values(topic) == [Order("a", 1.0)]
        await (await topic.send_many([Order("b", 2.0), Order("c", 3.0)]))
        assert len(t.values(topic)) == 3


async def test_a_schema_that_has_to_be_there_already(make_app: App, server: SchemaServer) -> None:
    app = make_app()
    schema = AvroSchema(server.url, value_schema=ORDER, auto_register=False)
    named = AvroSchema(
        server.url, value_schema=ORDER, subject=lambda topic, part: f"our/{topic}.{part}"
    )
    async with app.test_context() as t:
        with pytest.raises(SchemaRegistryError, match="Subject 'orders-value' not found"):
            await app.send("orders", value={"account": "a", "amount": 1.0}, schema=schema)
        number = server.add("orders-value", json.dumps(ORDER, separators=(",", ":")))
        await app.send("orders", value={"account": "a", "amount": 1.0}, schema=schema)
        await app.send("orders", value={"account": "a", "amount": 2.0}, schema=named)
        await app.send("others", value={"account": "a", "amount": 2.0}, schema=named)
        [one, _] = t.broker.messages("orders")
        assert one.value is not None
        assert one.value[:5] == b"\0" + number.to_bytes(4, "big")
    assert set(server.subjects) == {"orders-value", "our/orders.value", "our/others.value"}


async def test_references_are_fetched(server: SchemaServer) -> None:
    server.add("item", {"type": "record", "name": "Item", "fields": [{"name": "x", "type": "int"}]})
    outer = {"type": "array", "items": "Item"}
    references = [{"name": "Item", "subject": "item", "version": 1}]
    number = server.add("items", outer, references=references)
    schema = AvroSchema(server.url)
    message = faustc.types.PendingMessage(
        None, None, b"\0" + number.to_bytes(4, "big") + b"\x04\x02\x04\0"
    )
    with pytest.raises(DecodeLater) as info:
        schema.loads_value(None, message)  # type: ignore[arg-type]
    await info.value.wait()
    assert schema.loads_value(None, message) == [{"x": 1}, {"x": 2}]  # type: ignore[arg-type]


async def test_an_agent_is_tested_with_its_schema(make_app: App, server: SchemaServer) -> None:
    app = make_app()

    @app.agent(app.topic("orders", schema=AvroSchema(server.url, value_type=Order)))
    async def double(orders: Any) -> Any:
        async for order in orders:
            yield order.amount * 2

    async with double.test_context() as agent:
        event = await agent.put(Order("a", 2.0))
        assert event.value == Order("a", 2.0)
        assert agent.results == {0: 4.0}


# -- the client by itself


async def test_a_password_is_sent_and_never_shown(server: SchemaServer) -> None:
    url = server.url.replace("http://", "http://me:s%40crt@")
    registry = SchemaRegistry(url)
    with pytest.raises(SchemaRegistryError) as info:
        await registry.schema(9)
    assert "s@crt" not in f"{info.value!r}{info.value}{registry!r}"
    assert "s%40crt" not in f"{info.value!r}{info.value}{registry!r}"
    assert server.authorizations == {"Basic bWU6c0BjcnQ="}
    with pytest.raises(SchemaRegistryError):
        await SchemaRegistry(server.url, token="t").schema(8)
    assert "Bearer t" in server.authorizations


async def test_redirects_are_not_followed(server: SchemaServer) -> None:
    server.failing = [(302, {})]
    with pytest.raises(SchemaRegistryError, match="302"):
        await SchemaRegistry(server.url, auth=("a", "b")).schema(1)


async def test_the_next_registry_is_asked_when_one_is_away(server: SchemaServer) -> None:
    server.add("a", ORDER)
    registry = SchemaRegistry(f"http://127.0.0.1:1,{server.url}/")
    assert json.loads((await registry.schema(1)).text) == ORDER
    with pytest.raises(SchemaRegistryError, match="not reached") as info:
        await SchemaRegistry("http://127.0.0.1:1").schema(1)
    assert info.value.retriable


async def test_answers_that_are_none(server: SchemaServer) -> None:
    server.failing = [(200, b"<html>"), (200, []), (200, {"schema": "{}", "references": [1]})]
    registry = SchemaRegistry(server.url)
    for number, why in ((1, "is no JSON"), (2, "no schema in the answer"), (3, "no schema")):
        with pytest.raises(SchemaRegistryError, match=why):
            await registry.schema(number)
    server.failing = [(200, {"ID": 1})]
    with pytest.raises(SchemaRegistryError, match="no id in the answer"):
        await registry.register("a", "AVRO", "{}")


async def test_a_registry_that_says_nothing_is_waited_for_no_longer_than_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        registry = SchemaRegistry(f"http://127.0.0.1:{port}", timeout_s=0.1)
        with pytest.raises(SchemaRegistryError, match="timed out"):
            await registry.schema(1)


async def test_many_who_ask_at_once_ask_once(server: SchemaServer) -> None:
    server.add("a", ORDER)
    registry = SchemaRegistry(server.url)
    await asyncio.gather(*(registry.schema(1) for _ in range(20)))
    assert server.asked == [("GET", "/schemas/ids/1")]
    for _ in range(3):
        with pytest.raises(SchemaRegistryError):
            await registry.schema(7)
    assert len(server.asked) == 2  # that there is none is remembered, too


@pytest.mark.parametrize("url", ["ftp://a", "localhost:8081", "file:///etc/passwd", "http://"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="begins with http"):
        SchemaRegistry(url)


def test_definitions_that_cannot_work() -> None:
    class Odd(faustc.Record):
        what: object

    with pytest.raises(ImproperlyConfigured, match=r"follows from Odd\.what"):
        AvroSchema("http://a", value_type=Odd)
    with pytest.raises(ImproperlyConfigured, match="no schema"):
        AvroSchema("http://a", value_schema={"type": "nonsense"})
    with pytest.raises(ImproperlyConfigured, match="value_serializer= is none"):
        AvroSchema("http://a").update(value_serializer="json")
    with pytest.raises(ImproperlyConfigured, match="auth or token"):
        SchemaRegistry("http://a:b@c", token="t")


async def test_a_schema_that_only_reads_says_so(make_app: App, server: SchemaServer) -> None:
    app = make_app()
    async with app.test_context():
        with pytest.raises(ImproperlyConfigured, match="give AvroSchema a value_schema"):
            await app.topic("a", schema=AvroSchema(server.url)).send(value=1)


def test_without_fastavro_avro_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['fastavro'] = None\n"
        "from faustc.serializers import AvroSchema, JSONSchema\n"
        "JSONSchema('http://a')\n"
        "AvroSchema('http://a')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'faustc[avro]'" in done.stderr


def test_null_where_it_is_allowed() -> None:
    schema = AvroSchema("http://a", value_type=Order, allow_empty=True)
    message = faustc.types.PendingMessage(None, None, None)
    assert schema.loads_value(None, message) is None  # type: ignore[arg-type]
    schema.allow_empty = False
    with pytest.raises(ValueDecodeError, match="is null"):
        schema.loads_value(None, message)  # type: ignore[arg-type]
