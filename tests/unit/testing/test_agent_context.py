"""agent.test_context(): one agent, fed by hand, with neither broker nor app running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock, patch

import pytest

import faustc
from faustc.exceptions import DecodeError, ImproperlyConfigured, Skip
from faustc.testing import AgentTestWrapper, virtual_time


class Order(faustc.Record, serializer="json"):
    account: str
    amount: int


@pytest.fixture
def app() -> faustc.App:
    return faustc.App("under-test", broker="kafka://127.0.0.1:1")  # nobody listens there


async def test_what_an_agent_yields_is_found_by_the_offset_of_its_event(app: faustc.App) -> None:
    @app.agent()
    async def shout(stream: Any) -> Any:
        async for value in stream:
            yield value.upper()

    async with shout.test_context() as agent:
        first = await agent.put("hey")
        second = await agent.put("you", key="k", partition=3, timestamp=12.5, headers={"h": b"1"})
        assert agent.results == {first.message.offset: "HEY", second.message.offset: "YOU"}
        assert (agent.sent_offset, agent.processed_offset) == (2, 2)
    assert (second.key, second.value, second.headers) == ("k", "you", {"h": b"1"})
    assert (second.message.partition, second.message.timestamp) == (3, 12_500)
    assert second.message.topic == shout.channel.get_topic_name()


async def test_values_go_through_the_types_of_the_topic(app: faustc.App) -> None:
    seen: list[Order] = []

    @app.agent(app.topic("orders", value_type=Order))
    async def take(orders: Any) -> None:
        async for order in orders:
            seen.append(order)

    async with take.test_context() as agent:
        given = Order(account="a", amount=5)
        event = await agent.put(given)
        with pytest.raises(DecodeError):
            await agent.put({"account": "b"})
    assert seen == [given] == [event.value]
    assert seen[0] is not given
    assert b'"amount"' in event.message.value  # bytes, as on the wire


async def test_an_agent_that_yields_nothing(app: faustc.App) -> None:
    counts: dict[str, int] = {}

    @app.agent()
    async def count(stream: Any) -> None:
        async for word in stream:
            await asyncio.sleep(0)
            counts[word] = counts.get(word, 0) + 1

    async with count.test_context() as agent:
        await agent.put("a")
        await agent.put("a")
        assert counts == {"a": 2}
        assert agent.results == {}


async def test_an_agent_that_drops_events_does_not_keep_put_waiting(app: faustc.App) -> None:
    @app.agent()
    async def large(stream: Any) -> Any:
        def keep(value: int) -> int:
            if value < 10:
                raise Skip
            return value

        stream.add_processor(keep)
        async for value in stream:
            yield value

    async with large.test_context() as agent:
        await agent.put(3)
        event = await agent.put(30)
        assert agent.results == {event.message.offset: 30}
        assert agent.processed_offset == 2


async def test_what_the_agent_raises_is_raised_by_put_and_it_goes_on(app: faustc.App) -> None:
    told: list[BaseException] = []

    @app.agent()
    async def divide(stream: Any) -> Any:
        async for value in stream:
            yield 12 / value

    async with divide.test_context(on_error=lambda agent, exc: told.append(exc)) as agent:
        with pytest.raises(ZeroDivisionError):
            await agent.put(0)
        event = await agent.put(4)
        assert agent.results[event.message.offset] == 3
        assert [type(exc) for exc in told] == [ZeroDivisionError]
        assert list(agent.errors) == [0]


async def test_an_agent_that_fails_before_it_took_anything(app: faustc.App) -> None:
    @app.agent()
    async def broken(stream: Any) -> None:
        raise LookupError("no configuration")

    async with broken.test_context() as agent:
        with pytest.raises(LookupError):
            await agent.put(1)


async def test_throw_raises_where_the_agent_waits(app: faustc.App) -> None:
    caught: list[BaseException] = []

    @app.agent()
    async def careful(stream: Any) -> Any:
        try:
            async for value in stream:
                yield value
        except KeyError as exc:
            caught.append(exc)

    async with careful.test_context() as agent:
        await agent.put(1)
        await agent.throw(KeyError("gone"))
        assert [str(exc) for exc in caught] == ["'gone'"]
        assert agent.errors == {}
        await agent.throw(OSError("disk"))  # nobody catches that one
        assert [str(exc) for exc in agent.errors.values()] == ["disk"]
        event = await agent.put(2)
        assert agent.results[event.message.offset] == 2


async def test_put_without_waiting_and_lists(app: faustc.App) -> None:
    @app.agent()
    async def pairs(stream: Any) -> Any:
        async for two in stream.take(2, within=10):
            yield two

    with virtual_time():
        async with pairs.test_context() as agent:
            await agent.put("a", wait=False)
            event = await agent.put("b")
            assert agent.results[event.message.offset] == ["a", "b"]
            event = await agent.put("c")  # within is over in no time
            assert agent.results[event.message.offset] == ["c"]


async def test_an_agent_that_never_finishes_is_named(app: faustc.App) -> None:
    @app.agent(name="stuck")
    async def stuck(stream: Any) -> None:
        async for _ in stream:
            await asyncio.get_running_loop().create_future()

    async with stuck.test_context() as agent:
        agent.patience_s = 0.02
        with pytest.raises(TimeoutError, match=r"agent stuck is not done with .* offset 0"):
            await agent.put(1)


async def test_several_actors_share_the_events(app: faustc.App) -> None:
    @app.agent(concurrency=3)
    async def shared(stream: Any) -> Any:
        async for value in stream:
            await asyncio.sleep(0.001)
            yield value * 2

    async with shared.test_context() as agent:
        events = await asyncio.gather(*(agent.put(n) for n in range(9)))
        assert {agent.results[e.message.offset] for e in events} == set(range(0, 18, 2))


async def test_iterating_gives_what_is_yielded(app: faustc.App) -> None:
    @app.agent()
    async def twice(stream: Any) -> Any:
        async for value in stream:
            yield value
            yield value

    async with twice.test_context() as agent:
        await agent.put("x")
        async with contextlib.aclosing(agent.__aiter__()) as values:
            assert [await anext(values), await anext(values)] == ["x", "x"]


async def test_a_channel_given_is_the_one_that_is_read(app: faustc.App) -> None:
    channel = app.channel()

    @app.agent()
    async def echo(stream: Any) -> Any:
        async for value in stream:
            yield value

    async with echo.test_context(channel=channel) as agent:
        thing = object()
        await agent.put(thing)
        assert agent.results == {0: thing}
        with pytest.raises(ImproperlyConfigured, match="throw"):
            await agent.throw(KeyError())
    with pytest.raises(ImproperlyConfigured, match="not a topic"):
        echo.test_context(channel=app.topic("t"))


async def test_sinks_are_kept_and_the_agent_itself_is_left_alone(app: faustc.App) -> None:
    sunk: list[Any] = []

    @app.agent(sink=[sunk.append])
    async def agent_with_sink(stream: Any) -> Any:
        async for value in stream:
            yield value

    async with agent_with_sink.test_context() as agent:
        assert isinstance(agent, AgentTestWrapper)
        await agent.put(1)
    assert sunk == [1]
    assert list(app.agents.values()) == [agent_with_sink]
    assert agent_with_sink._reader is None


async def test_many_contexts_in_a_row(app: faustc.App) -> None:
    @app.agent()
    async def echo(stream: Any) -> Any:
        async for value in stream:
            yield value

    for number in range(20):
        async with echo.test_context() as agent:
            event = await agent.put(number)
            assert agent.results == {event.message.offset: number}
    assert len(asyncio.all_tasks()) == 1


async def test_put_outside_of_the_context_is_an_error(app: faustc.App) -> None:
    @app.agent()
    async def echo(stream: Any) -> Any:
        async for value in stream:
            yield value

    with pytest.raises(RuntimeError, match="async with"):
        await echo.test_context().put(1)


# The example of Faust's guide, as it is written there, but for the event_loop fixture that
# pytest-asyncio has dropped.

guide = faustc.App("example-test-agent-call")


@guide.agent()
async def foo(stream):
    async for value in stream:
        await bar.send(value)
        yield value


@guide.agent()
async def bar(stream):
    async for value in stream:
        yield value + "YOLO"


@pytest.fixture
def test_app() -> faustc.App:
    guide.finalize()
    guide.conf.store = "memory://"
    guide.flow_control.resume()
    return guide


def mock_coro(return_value: Any = None, **kwargs: Any) -> Mock:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        return return_value

    return Mock(wraps=wrapped, **kwargs)


async def test_foo(test_app: faustc.App) -> None:
    with patch(__name__ + ".bar") as mocked_bar:
        mocked_bar.send = mock_coro()
        async with foo.test_context() as agent:
            await agent.put("hey")
            mocked_bar.send.assert_called_with("hey")


async def test_bar(test_app: faustc.App) -> None:
    async with bar.test_context() as agent:
        event = await agent.put("hey")
        assert agent.results[event.message.offset] == "heyYOLO"


def test_under_plain_asyncio_run(app: faustc.App) -> None:
    @app.agent()
    async def echo(stream: Any) -> Any:
        async for value in stream:
            yield value

    async def run(check: Callable[[Any], None]) -> None:
        async with echo.test_context() as agent:
            check((await agent.put("x")).value)

    seen: list[Any] = []
    asyncio.run(run(seen.append))
    asyncio.run(run(seen.append))
    assert seen == ["x", "x"]
