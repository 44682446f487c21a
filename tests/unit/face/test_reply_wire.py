"""Requests and replies as bytes: those that faust-streaming 0.12.1 writes, read and written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import faustc
from faustc.reqrep import (
    Envelopes,
    ModelReqRepRequest,
    ModelReqRepResponse,
    ReqRepError,
    ReqRepRequest,
    ReqRepResponse,
)
from faustc.testing import MemoryBroker

# Written by faust-streaming 0.12.1, faust.agents.models.
REQUEST = (
    b'{"value":4,"reply_to":"answers","correlation_id":"c1","__faust":{"ns":"@ReqRepRequest"}}'
)
MODEL_REQUEST = (
    b'{"value":{"a":1,"b":2,"__faust":{"ns":"calc.Pair"}},"reply_to":"answers",'
    b'"correlation_id":"c1","__faust":{"ns":"faust.agents.models.ModelReqRepRequest"}}'
)
RESPONSE = b'{"key":"k","value":[1],"correlation_id":"c1","__faust":{"ns":"@ReqRepResponse"}}'
BYTES_KEY = (
    b'{"key":"b\'k\'","value":null,"correlation_id":"c1","__faust":{"ns":"@ReqRepResponse"}}'
)
MODEL_RESPONSE = (
    b'{"key":null,"value":{"a":1,"b":2,"__faust":{"ns":"calc.Pair"}},'
    b'"correlation_id":"c1","__faust":{"ns":"faust.agents.models.ModelReqRepResponse"}}'
)


class Pair(faustc.Record, namespace="calc.Pair"):
    a: int
    b: int


class Options(faustc.Record, namespace="calc.Options"):
    verbose: bool = False


def make_app(**options: Any) -> faustc.App:
    return faustc.App("calc", broker="kafka://nowhere", **options)


def raw(broker: MemoryBroker, topic: str) -> list[bytes | None]:
    return [message.value for message in broker.messages(topic)]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (ReqRepRequest(value=4, reply_to="answers", correlation_id="c1"), REQUEST),
        (
            ModelReqRepRequest(value=Pair(a=1, b=2), reply_to="answers", correlation_id="c1"),
            MODEL_REQUEST,
        ),
        (ReqRepResponse(key="k", value=[1], correlation_id="c1"), RESPONSE),
        (
            ModelReqRepResponse(key=None, value=Pair(a=1, b=2), correlation_id="c1"),
            MODEL_RESPONSE,
        ),
    ],
)
def test_models_are_written_as_faust_writes_them(model: Any, data: bytes) -> None:
    assert model.dumps() == data


@pytest.mark.parametrize("data", [REQUEST, MODEL_REQUEST])
def test_a_stream_that_is_no_agents_gets_the_envelope(data: bytes) -> None:
    request = make_app().serializers.loads_value(None, data)
    assert isinstance(request, ReqRepRequest)
    assert (request.reply_to, request.correlation_id) == ("answers", "c1")


def test_an_error_is_a_kind_of_response() -> None:
    error = ReqRepError(key=None, value={"type": "ValueError"}, correlation_id="c1")
    read = ReqRepResponse.loads(error.dumps())
    assert type(read) is ReqRepError
    assert type(ReqRepResponse.loads(RESPONSE)) is ReqRepResponse


@pytest.mark.parametrize(("key", "response"), [("k", RESPONSE), (b"k", BYTES_KEY)])
async def test_a_worker_answers_a_client_of_fausts_in_its_own_bytes(
    key: Any, response: bytes
) -> None:
    app = make_app()

    @app.agent(key_type=type(key))
    async def listed(values: Any) -> AsyncIterator[Any]:
        async for value in values:
            yield [value] if value else None

    headers = [("Faust-Ag-ReplyTo", b"answers"), ("Faust-Ag-CorrelationId", b"c1")]
    async with app.test_context() as t:
        await app.topic("answers", partitions=1).declare()
        value = 1 if response is RESPONSE else 0
        await t.send(listed, key=key, value=value, headers=headers)
        await t.settled()
        assert raw(t.broker, "answers") == [response]


@pytest.mark.parametrize("expected", [True, False])
@pytest.mark.parametrize("value_type", [None, Pair])
async def test_an_agent_opens_envelopes_whether_it_expects_them_or_not(
    expected: bool, value_type: Any
) -> None:
    app = make_app()

    @app.agent(value_type=value_type, use_reply_headers=not expected)
    async def swap(pairs: Any) -> AsyncIterator[Pair]:
        async for pair in pairs:
            yield Pair(a=pair.b, b=pair.a)

    async with app.test_context() as t:
        await app.topic("answers", partitions=1).declare()
        await t.send(swap, value=Pair(a=5, b=5))
        await t.send(swap, value=MODEL_REQUEST.replace(b'"a":1,"b":2', b'"a":2,"b":1'))
        await t.send(swap, value=Pair(a=5, b=5))
        await t.settled()
        assert raw(t.broker, "answers") == [MODEL_RESPONSE]


@pytest.mark.parametrize(("value_type", "value"), [(int, 4), (str, "4"), (Any, 4)])
async def test_an_envelope_may_be_around_anything(value_type: Any, value: Any) -> None:
    app = make_app()
    got: list[Any] = []

    @app.agent(value_type=value_type, use_reply_headers=False)
    async def keep(values: Any) -> AsyncIterator[Any]:
        async for one in values:
            got.append(one)
            yield one

    async with app.test_context():
        assert await keep.ask(value) == value
    assert got == [value]


async def test_a_model_that_anything_fits_needs_to_expect_envelopes() -> None:
    app = make_app()

    @app.agent(value_type=Options, use_reply_headers=False)
    async def keep(options: Any) -> AsyncIterator[Any]:
        async for one in options:
            yield one.verbose

    async with app.test_context():
        assert await keep.ask(Options(verbose=True)) is True


async def test_an_envelope_around_what_does_not_fit_does_not_decode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()

    @app.agent(value_type=Pair)
    async def swap(pairs: Any) -> AsyncIterator[Any]:
        async for pair in pairs:
            yield pair

    async with app.test_context() as t:
        await t.send(swap, value=REQUEST)
        await t.settled()
        assert app.monitor.decode_errors_total == 1
    assert "Pair is made of a mapping, not int" in caplog.text


async def test_envelopes_are_asked_with_and_carry_errors_and_in_memory_too() -> None:
    app = make_app()

    @app.agent(name="divide", use_reply_headers=False)
    async def divide(values: Any) -> AsyncIterator[Any]:
        async for value in values:
            yield 1 / value

    @app.agent(app.channel(), use_reply_headers=False)
    async def negate(values: Any) -> AsyncIterator[Any]:
        async for value in values:
            yield -value

    async with app.test_context() as t:
        assert await divide.ask(2, correlation_id="c1") == 0.5
        with pytest.raises(faustc.exceptions.RequestFailed, match="division by zero"):
            await divide.ask(0)
        request, _ = sorted(raw(t.broker, "calc-divide"), key=lambda value: b'"c1"' not in value)
        wanted = REQUEST.replace(b"4", b"2").replace(b"answers", app.conf.reply_to.encode())
        assert request == wanted
        assert await negate.ask(3) == -3


@pytest.mark.parametrize("value", [b"{", b"4", b"{}", None, REQUEST.replace(b"reply_to", b"to"), 3])
def test_what_is_no_envelope_is_none(value: Any) -> None:
    assert Envelopes(expected=True).request_in(value, ()) is None
