"""How agents end: cancelled, given up, stopped while they wait, failing side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import faustc
from faustc import supervisors
from faustc.failure import DeadLetter, Retry


def make_app(id: str = "ends", **options: Any) -> faustc.App:
    return faustc.App(id, broker="kafka://127.0.0.1:1", **options)


def now() -> float:
    return asyncio.get_running_loop().time()


async def send(t: Any, topic: str, *values: int, partition: int = 0) -> None:
    for value in values:
        await t.send(topic, None, value, partition=partition)


async def test_an_on_error_that_fails_is_said_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()
    done: list[int] = []

    def on_error(agent: Any, error: BaseException) -> None:
        raise LookupError("the pager is off")

    @app.agent(app.topic("numbers", value_type=int), on_error=on_error)
    async def take(stream: Any) -> None:
        async for value in stream:
            if value < 0:
                raise ValueError("below zero")
            done.append(value)

    async with app.test_context() as t:
        await send(t, "numbers", -1, 1)
        await t.settled()
        assert done == [1]
        assert app.started
    assert "the pager is off" in caplog.text
    assert "below zero" in caplog.text


@pytest.mark.parametrize("how", ["noack", "take", "filter", "combine"])
async def test_what_does_not_decode_has_its_policy_however_the_stream_is_read(how: str) -> None:
    app = make_app()
    topic = app.topic("numbers", value_type=int)
    dead = app.topic("dead", value_type=bytes)
    done: list[int] = []

    @app.agent(topic, on_failure=DeadLetter("dead"))
    async def take(stream: Any) -> None:
        if how == "noack":
            async for event in stream.noack().events():
                done.append(event.value)
                event.ack()
        elif how == "take":
            async for values in stream.take(1, within=1):
                done.extend(values)
        elif how == "filter":
            async for value in stream.filter(lambda value: True):
                done.append(value)
        else:
            async for value in stream & app.stream(app.topic("others", value_type=int)):
                done.append(value)

    async with app.test_context() as t:
        await t.send("numbers", None, b"{no", value_serializer="raw", partition=0)
        await send(t, "numbers", 1)
        await t.advance(5)
        await t.settled()
        assert done == [1]
        assert [letter.value for letter in t.received(dead)] == [b"{no"]
        assert t.committed("numbers", 0) == 2


async def test_what_does_not_decode_is_not_tried_again() -> None:
    app = make_app()

    @app.agent(app.topic("numbers", value_type=int), on_failure=Retry(5, then="crash"))
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    async def run() -> None:
        async with app.test_context() as t:
            await t.send("numbers", None, b"{no", value_serializer="raw")
            await t.advance(0.5)

    with pytest.raises(RuntimeError, match="has crashed"):
        await run()
    assert app.monitor.retries_total == 0


async def test_all_are_started_again_though_two_fail_at_the_same_time() -> None:
    app = make_app()
    done: list[int] = []

    async def slow(agent: Any, error: BaseException) -> None:
        await asyncio.sleep(5)

    @app.agent(
        app.topic("numbers", value_type=int),
        concurrency=3,
        supervisor_strategy=supervisors.OneForAllSupervisor,
        on_error=slow,
    )
    async def take(stream: Any) -> None:
        async for value in stream:
            await asyncio.sleep(1)
            if value < 0:
                raise ValueError("below zero")
            done.append(value)

    async with app.test_context() as t:
        await send(t, "numbers", -1, -2)
        await t.advance(3)
        await send(t, "numbers", *range(12))
        await t.advance(60)
        await t.settled()
        assert sorted(done) == list(range(12))
        actors = app.agents[take.name]._actors
        assert not any(actor.ended for actor in actors)
        assert len(actors) == 3


@pytest.mark.parametrize("order", [None, "key"])
@pytest.mark.parametrize("outside", [True, False])
async def test_a_cancelled_agent_finishes_its_event_and_others_of_the_topic_go_on(
    outside: bool, order: Any
) -> None:
    app = make_app(consumer_max_fetch_size=300)
    topic = app.topic("numbers", value_type=int, partitions=1)
    seen: list[int] = []
    other: list[int] = []

    @app.agent(topic, name="first", concurrency=2 if order else 1, order=order)
    async def first(stream: Any) -> None:
        async for value in stream:
            if value == 2 and not outside:
                first.cancel()
            await asyncio.sleep(1)
            seen.append(value)

    @app.agent(topic, name="second")
    async def second(stream: Any) -> None:
        async for value in stream:
            other.append(value)

    async with app.test_context() as t:
        await t.send("numbers", b"k", 1, partition=0)
        await t.send("numbers", b"k", 2, partition=0)
        await t.advance(1.5)
        if outside:
            first.cancel()
        for value in range(3, 300):
            await t.send("numbers", b"k", value, partition=0)
        await t.advance(60)
        assert seen == [1, 2]
        assert other == list(range(1, 300))
        await app.commit()
        assert t.committed("numbers", 0) == 2  # what it has not done waits for the next start
        began = now()
        await app.stop()
        assert now() - began < 5


async def test_a_stop_does_not_wait_for_a_retry_that_is_due_later() -> None:
    app, again = make_app(), make_app()
    tries: list[int] = []
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int), name="a", on_failure=Retry(3, backoff=50))
    async def take(stream: Any) -> None:
        async for value in stream:
            tries.append(value)
            if value == 2:
                raise ValueError("two")

    @again.agent(again.topic("numbers", value_type=int), name="a")
    async def take_again(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    async with app.test_context() as t:
        await send(t, "numbers", 1, 2, 3)
        await t.advance(5)
        assert tries == [1, 2]
        began = now()
        await app.stop()
        assert now() - began < 5
        assert tries == [1, 2]
        assert t.committed("numbers", 0) == 1
        async with again.test_context(broker=t.broker) as u:
            await u.settled()
            assert seen == [2, 3]


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 3, "order": "key"}, {"isolated_partitions": True}],
    ids=["order", "isolated"],
)
async def test_who_is_given_up_holds_up_nobody_else(options: dict[str, Any]) -> None:
    app = make_app(consumer_max_fetch_size=300)
    topic = app.topic("numbers", key_type=bytes, value_type=int, partitions=2)
    done: list[int] = []
    other: list[int] = []

    @app.agent(
        topic,
        name="first",
        supervisor_strategy=supervisors.ForfeitOneForOneSupervisor,
        **options,
    )
    async def first(stream: Any) -> None:
        async for value in stream:
            if value < 0:
                raise ValueError("below zero")
            done.append(value)

    @app.agent(topic, name="second")
    async def second(stream: Any) -> None:
        async for value in stream:
            other.append(value)

    async with app.test_context() as t:
        await t.send("numbers", b"k", -1, partition=0)
        await t.advance(1)
        for value in range(200):
            await t.send("numbers", b"k%d" % (value % 9), value, partition=value % 2)
        await t.advance(60)
        assert len(other) == 201
        expected = range(200) if "order" in options else range(1, 200, 2)
        assert sorted(done) == list(expected)


async def test_the_topic_of_dead_letters_is_created() -> None:
    app = make_app()

    @app.agent(
        app.topic("numbers", value_type=int), on_failure=Retry(2, then=DeadLetter("the-dead"))
    )
    async def take(stream: Any) -> None: ...

    async with app.test_context() as t:
        assert "the-dead" in t.broker.topic_names()


async def test_it_is_shown_where_an_actor_is_in_user_code() -> None:
    app = make_app()

    @app.agent(app.topic("numbers", value_type=int), name="shown")
    async def busy(stream: Any) -> None:
        async for _ in stream:
            await waiting_for_the_bank()

    @app.agent(app.topic("others", value_type=int), name="yields")
    async def yields(stream: Any) -> Any:
        async for value in stream:
            await waiting_for_the_bank()
            yield value

    async def waiting_for_the_bank() -> None:
        await asyncio.sleep(1000)

    async with app.test_context() as t:
        await send(t, "numbers", 1)
        await send(t, "others", 1)
        await t.advance(1)
        for name in ("shown", "yields"):
            [text] = app.agents.actor_tracebacks()[name]
            assert "waiting_for_the_bank" in text
        await t.advance(2000)
