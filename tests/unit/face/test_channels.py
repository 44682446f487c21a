"""Channels in memory, timers, signals."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import faustc
import faustc.types
from faustc.testing import virtual_time
from faustc.timers import itertimer, seconds
from tests.unit.face.conftest import until

MakeApp = Callable[..., faustc.App]


class Model(faustc.Record):
    x: int


async def test_the_example_of_the_guide(make_app: MakeApp) -> None:
    app = make_app("channel")
    channel = app.channel(value_type=Model)
    received: list[Any] = []

    @app.agent(channel)
    async def process(stream: Any) -> None:
        async for event in stream:
            received.append(event)

    @app.timer(0.05)
    async def populate() -> None:
        await channel.send(value=Model(303))

    await app.start()
    await until(lambda: len(received) >= 2)
    assert received[0] == Model(303)


async def test_every_stream_gets_every_message_and_actors_share(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    one: list[int] = []
    shared: list[int] = []

    @app.agent(channel)
    async def alone(stream: Any) -> None:
        async for value in stream:
            one.append(value)

    @app.agent(channel, concurrency=3)
    async def together(stream: Any) -> None:
        async for value in stream:
            shared.append(value)
            await asyncio.sleep(0)

    await app.start()
    for number in range(10):
        await channel.send(value=number)
    await until(lambda: len(one) == len(shared) == 10)
    assert one == sorted(shared) == list(range(10))


async def test_what_is_sent_before_the_start_waits(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    received: list[int] = []
    for number in range(3):
        metadata = await (await channel.send(key="k", value=number))
    assert (metadata.partition, metadata.offset) == (-1, 2)

    @app.agent(channel)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            assert event.key == "k"
            received.append(event.value)

    await app.start()
    await until(lambda: received == [0, 1, 2])


async def test_a_full_channel_makes_the_sender_wait(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel(maxsize=2)
    await channel.send(value=0)
    await channel.send(value=1)
    third = asyncio.ensure_future(channel.send(value=2))
    await asyncio.sleep(0.02)
    assert not third.done()
    assert not channel.empty()
    assert (await channel.get()).value == 0
    await asyncio.wait_for(third, 30)
    assert [(await channel.get()).value for _ in range(2)] == [1, 2]
    with pytest.raises(TimeoutError):
        await channel.get(timeout=0.01)


async def test_other_threads_send_to_a_channel(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    received: list[int] = []

    @app.agent(channel)
    async def take(stream: Any) -> None:
        async for value in stream:
            received.append(value)

    await app.start()

    async def send(base: int) -> None:
        for number in range(20):
            await channel.send(value=base + number)
        channel.send_soon(value=base + 20)

    threads = [threading.Thread(target=asyncio.run, args=(send(n * 100),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await until(lambda: len(received) == 84)
    assert sorted(received) == [n * 100 + i for n in range(4) for i in range(21)]


async def test_take_on_a_channel(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    lists: list[Any] = []

    @app.agent(channel)
    async def take(stream: Any) -> None:
        async for some in stream.take(3, within=0.05):
            lists.append(some)

    await app.start()
    for number in range(4):
        await channel.send(value=number)
    await until(lambda: lists == [[0, 1, 2], [3]])


async def test_ticks_keep_their_interval_when_the_body_takes_time() -> None:
    loop = asyncio.get_running_loop()
    times = []
    with virtual_time():
        began = loop.time()
        async for _ in itertimer(0.05):
            times.append(loop.time() - began)
            await asyncio.sleep(0.02)
            if len(times) == 6:
                break
    # Without the correction it were 0.05 and 0.07 each time, and 0.40 in the end.
    assert times == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3], abs=0.012)


@pytest.mark.parametrize("interval", [0, -1, -0.5])
def test_an_interval_is_above_zero(interval: float, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="above zero"):
        seconds(interval)
    with pytest.raises(ValueError, match="above zero"):
        faustc.App("x").timer(interval)


async def test_what_is_put_comes_out_as_it_went_in(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    event = app.create_event("k", "v", {"h": b"1"}, None)
    await channel.put(1)
    await channel.put(event)
    assert (await channel.get()).value == 1
    assert await channel.get() is event
    await channel.put(2)
    async for event in channel:
        assert event.value == 2
        break


async def test_the_queue_of_a_channel_is_a_queue(make_app: MakeApp) -> None:
    queue = make_app().channel(maxsize=2).queue
    assert (queue.empty(), queue.full(), queue.qsize(), queue.maxsize) == (True, False, 0, 2)
    queue.put_nowait(1)
    await queue.put(2)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(3)
    assert queue.full()
    assert [(await queue.get()).value, queue.get_nowait().value] == [1, 2]
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()


async def test_clones_that_iterate_each_get_every_event(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel(value_type=int)
    one, two = channel.clone(is_iterator=True), channel.clone(is_iterator=True, maxsize=7)
    plain = channel.clone()
    assert (one.is_iterator, plain.is_iterator, two.maxsize) == (True, False, 7)
    assert (plain.value_type, plain.name, channel.subscriber_count) == (int, channel.name, 2)
    await plain.send(value=1)
    assert [(await clone.get(timeout=1)).value for clone in (one, two)] == [1, 1]
    assert channel.derive(value_type=str) is channel
    del two
    assert channel.subscriber_count == 1
    await channel.send(value=2)
    async for value in one.stream():
        assert value == 2
        break


async def test_a_clone_with_a_queue_gets_its_events_from_there(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    queue: asyncio.Queue[Any] = asyncio.Queue()
    clone = channel.clone_using_queue(queue)
    await channel.send(key="k", value=1)
    queue.put_nowait(2)
    assert queue.qsize() == 2
    values = []
    async for event in clone:
        values.append((event.key, event.value))
        if len(values) == 2:
            break
    assert values == [("k", 1), (None, 2)]


async def test_what_is_thrown_is_raised_in_the_streams_of_a_channel(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    seen: list[Any] = []

    @app.agent(channel)
    async def take(stream: Any) -> None:
        try:
            async for value in stream:
                seen.append(value)
        except LookupError as exc:
            seen.append(exc)

    await app.start()
    await channel.send(value=1)
    await until(lambda: seen == [1])
    error = LookupError("x")
    await channel.throw(error)
    await channel.send(value=2)
    await until(lambda: seen == [1, error, 2])


async def test_two_steps_of_sending_to_a_channel(make_app: MakeApp) -> None:
    channel = make_app().channel()
    told: list[Any] = []

    async def tell(fut: Any) -> None:
        told.append(fut.message.value)

    fut = channel.as_future_message("k", {"a": 1}, headers={"h": "x"}, timestamp=2.0, callback=tell)
    assert (fut.message.channel, fut.message.value, fut.done()) == (channel, {"a": 1}, False)
    assert await channel.publish_message(fut) is fut
    assert (await fut).timestamp == 2000
    assert told == [{"a": 1}]
    event = await channel.get()
    assert (event.key, event.value, event.headers) == ("k", {"a": 1}, {"h": b"x"})
    assert (event.message.checksum, event.message.serialized_value_size) == (None, -1)
    await channel.declare()
    await channel.maybe_declare()


async def test_a_channel_decodes_and_delivers(make_app: MakeApp) -> None:
    app = make_app()
    channel = app.channel()
    message = faustc.types.Message
    await channel.send(key="k", value=1)
    event = await channel.get()
    assert isinstance(event.message, message)
    again = await channel.decode(event.message)
    assert (again.key, again.value) == ("k", 1)
    await channel.deliver(event.message)
    assert (await channel.get()).value == 1


async def test_a_stream_that_was_started_gets_what_is_sent_before_it_is_iterated(
    make_app: MakeApp,
) -> None:
    app = make_app()
    channel = app.channel()
    await app.start()
    async with channel.stream() as late, channel.stream() as other:
        await channel.send(value=1)
        assert await anext(aiter(late)) == 1
        assert await anext(aiter(other)) == 1


async def test_a_message_made_by_hand_is_delivered(make_app: MakeApp) -> None:
    app = make_app()
    topic = app.topic("t", value_type=Model)
    message = faustc.types.Message("t", 3, 7, 1.0, headers={"a": "b"}, value=b'{"x": 1}')
    assert (message.tp, message.offset) == (("t", 3), 7)
    assert message.headers == (("a", b"b"),)
    event = await topic.decode(message)
    assert event is not None
    assert event.value == Model(x=1)
    assert event.message is message
    with pytest.raises(TypeError, match="mood"):
        faustc.types.Message("t", 3, 7, mood="good")
