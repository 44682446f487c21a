"""Streams: events, pairs and lists; acknowledgement, decode errors, processors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.exceptions import NotReady, Skip
from faustc.types import TP
from tests.memory_transport import Cluster
from tests.unit.face.conftest import until

MakeApp = Callable[..., faustc.App]


class Order(faustc.Record):
    account: str
    amount: int


async def test_events_have_key_value_headers_and_message(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    topic = app.topic("orders", key_type=str, value_type=Order, partitions=1)
    seen: list[Any] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for event in stream.events():
            seen.append(event)
            assert faustc.current_event() is event

    await app.start()
    await topic.send(key="k", value=Order(account="a", amount=3), headers={"h": b"1"})
    await until(lambda: seen)
    event = seen[0]
    assert isinstance(event, faustc.Event)
    assert (event.key, event.value) == ("k", Order(account="a", amount=3))
    assert event.headers == {"h": b"1"}
    assert event.message.tp == TP("orders", 0)
    assert event.message.offset == 0


async def test_items_and_enumerate(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    pairs: list[Any] = []
    numbered: list[Any] = []

    @app.agent(app.topic("orders", key_type=str, partitions=1))
    async def items(stream: Any) -> None:
        async for key, value in stream.items():
            pairs.append((key, value))

    @app.agent(app.topic("orders"))
    async def enumerated(stream: Any) -> None:
        async for number, value in stream.enumerate(start=1):
            numbered.append((number, value))

    await app.start()
    for number in range(3):
        await app.send("orders", key=f"k{number}", value=number)
    await until(lambda: len(pairs) == len(numbered) == 3)
    assert pairs == [("k0", 0), ("k1", 1), ("k2", 2)]
    assert numbered == [(1, 0), (2, 1), (3, 2)]
    await until(lambda: mem.position("app", "orders") == 3)


async def test_current_event_is_made_only_when_asked_for(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    made: list[Any] = []
    seen: list[Any] = []

    class Counted(faustc.Event):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    app.conf.Event = Counted

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            if value == 1:
                assert stream.current_event is faustc.current_event()
                assert faustc.current_event().value == 1
            seen.append(value)
        assert faustc.current_event() is None

    await app.start()
    for number in range(3):
        await app.send("orders", value=number)
    await until(lambda: len(seen) == 3)
    assert len(made) == 1


async def test_take_gives_lists_by_size_and_by_time(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    lists: list[list[int]] = []
    hold = asyncio.Event()

    @app.agent(app.topic("orders", value_type=int, partitions=1))
    async def take(stream: Any) -> None:
        async for values in stream.take(4, within=0.1):
            lists.append(values)
            if len(lists) == 1:
                await hold.wait()

    await app.start()
    for number in range(6):
        await app.send("orders", value=number)
    await until(lambda: lists == [[0, 1, 2, 3]])
    await asyncio.sleep(0.3)
    assert mem.position("app", "orders") == 0  # all of a list, or nothing
    hold.set()
    await until(lambda: lists == [[0, 1, 2, 3], [4, 5]])
    await until(lambda: mem.position("app", "orders") == 6)


async def test_what_take_collected_comes_again_after_an_error(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app()
    lists: list[list[int]] = []
    failed = False

    @app.agent(app.topic("orders", value_type=int, partitions=1))
    async def take(stream: Any) -> None:
        nonlocal failed

        def fail_once(value: int) -> int:
            nonlocal failed
            if value == 2 and not failed:
                failed = True
                raise RuntimeError("in a processor")
            return value

        stream.add_processor(fail_once)
        async for values in stream.take(3, within=0.1):
            lists.append(values)

    for number in range(5):
        mem.append("orders", str(number).encode())
    await app.start()
    # The event that failed (2) is done by Faust's rule; 0 and 1 were only collected.
    await until(lambda: sorted(n for some in lists for n in some) == [0, 1, 3, 4])
    await until(lambda: mem.position("app", "orders") == 5)


async def test_processors_map_and_skip(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    seen: list[Any] = []

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value * 10

    def only_even(value: int) -> int:
        if value % 2:
            raise Skip
        return value

    @app.agent(app.topic("orders", value_type=int, partitions=1))
    async def take(stream: Any) -> None:
        stream.add_processor(only_even)
        stream.add_processor(later)
        async for value in stream:
            seen.append(value)

    await app.start()
    for number in range(5):
        await app.send("orders", value=number)
    await until(lambda: seen == [0, 20, 40])
    await until(lambda: mem.position("app", "orders") == 5)  # skipped ones are done, too


async def test_noack_leaves_the_acknowledgement_to_the_body(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=0.05)
    events: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            events.append(event)

    await app.start()
    for number in range(3):
        await app.send("orders", value=number)
    await until(lambda: len(events) == 3)
    await asyncio.sleep(0.2)
    assert mem.position("app", "orders") == 0
    assert events[1].ack()
    await asyncio.sleep(0.2)
    assert mem.position("app", "orders") == 0
    assert await events[0].ack()  # Faust's guide awaits it
    await until(lambda: mem.position("app", "orders") == 2)
    assert not events[0].ack()
    async with events[2]:
        pass
    await until(lambda: mem.position("app", "orders") == 3)


async def test_undecodable_messages_are_located_counted_and_passed(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    mem.append("orders", b"1")
    for _ in range(20):
        mem.append("orders", b"no json")
    mem.append("orders", b"2")
    with caplog.at_level(logging.ERROR):
        await app.start()
        await until(lambda: seen == [1, 2])
    assert app.monitor.decode_errors_total == 20
    assert app.monitor.decode_errors_by_topic == {"orders": 20}
    # It says where, that nobody set a serializer, and which setting it is.
    assert "orders/0 offset 1" in caplog.text
    assert "value_serializer" in caplog.text
    assert caplog.text.count("Skipped, does not decode") == 5  # not a line for each
    await until(lambda: mem.position("app", "orders") == 22)


async def test_undecodable_key_is_passed_where_keys_are_looked_at(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for key, value in stream.items():
            seen.append((key, value))

    mem.append("orders", b"1", key=b"\xff")
    mem.append("orders", b"2", key=b'"k"')
    await app.start()
    await until(lambda: seen == [("k", 2)])
    assert "key_serializer" in caplog.text


async def test_a_stream_outside_of_agents_reads_and_lets_go(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(consumer_max_fetch_size=100)
    seen: list[Any] = []
    all_seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            all_seen.append(value)

    await app.start()
    stream = app.stream(app.topic("orders"))
    reading = asyncio.ensure_future(_read_two(stream, seen))
    await until(lambda: len(app.topics) == 2)
    for number in range(30):
        await app.send("orders", value=number)
    await asyncio.wait_for(reading, 30)
    assert len(seen) == 2
    # A stream that is left holds back nobody once it is stopped.
    await stream.stop()
    await until(lambda: len(all_seen) == 30)
    await until(lambda: mem.position("app", "orders") == 30)


async def _read_two(stream: Any, seen: list[Any]) -> None:
    async for value in stream:
        seen.append(value)
        if len(seen) == 2:
            break


@pytest.mark.parametrize("taking", [False, True])
async def test_an_event_that_was_left_is_not_waited_for_and_comes_again(
    mem: Cluster, make_app: MakeApp, taking: bool
) -> None:
    app = make_app(commit_interval=60)
    await app.start()
    stream = app.stream(app.topic("orders", partitions=1))
    view = stream.take(2, within=1) if taking else stream
    for number in range(6):
        await app.send("orders", value=number)
    seen: list[Any] = []
    async for value in view:
        seen.append(value)
        if len(seen) == 2:
            break
    began = asyncio.get_running_loop().time()
    await app.stop()
    assert asyncio.get_running_loop().time() - began < 2
    assert mem.position("app", "orders") == (2 if taking else 1)  # the first was come back from


async def test_a_stream_may_be_left_and_taken_up_again(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    await app.start()
    stream = app.stream(app.topic("orders", partitions=1))
    for number in range(4):
        await app.send("orders", value=number)
    seen: list[Any] = []
    for _ in range(4):
        async for value in stream:
            seen.append(value)
            break
    assert seen == [0, 1, 2, 3]
    await asyncio.sleep(0)  # the loops that were left are closed only now
    reading = asyncio.ensure_future(anext(aiter(stream)))
    await until(lambda: mem.position("app", "orders") == 4)
    await app.send("orders", value=4)
    assert await asyncio.wait_for(reading, 30) == 4


async def test_a_stream_before_the_start_says_so(make_app: MakeApp) -> None:
    app = make_app()
    with pytest.raises(NotReady, match="has to be started"):
        async for _ in app.stream("orders"):
            pass


async def test_forward_sends_the_raw_bytes_on(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for event in stream.events():
            await event.forward("copies")
            await event.send("again", value={"was": event.value})

    await app.start()
    mem.append("orders", b' {"a": 1} ', key=b'"k"', headers={"h": b"x"})
    await until(lambda: mem.values("again"))
    copy = next(message for tp in mem.partitions("copies") for message in mem.logs[tp])
    assert (copy.key, copy.value, copy.headers) == (b'"k"', b' {"a": 1} ', (("h", b"x"),))
    assert mem.values("again") == [b'{"was":{"a":1}}']
