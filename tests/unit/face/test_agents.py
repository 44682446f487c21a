"""Agents: what they get, what is committed, and what happens when they fail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured
from faustc.types import TP
from tests.memory_transport import Cluster
from tests.unit.face.conftest import until

MakeApp = Callable[..., faustc.App]


async def test_agent_gets_values_in_order_and_they_are_committed(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    for number in range(25):
        await topic.send(value=number)
    await until(lambda: len(seen) == 25)
    assert seen == list(range(25))
    await until(lambda: mem.position("app", "orders") == 25)
    await app.stop()
    # given a restart, when nothing is new, then nothing comes again
    again = make_app()
    again_seen: list[int] = []

    @again.agent(again.topic("orders", value_type=int))
    async def take_again(stream: Any) -> None:
        async for value in stream:
            again_seen.append(value)

    await again.start()
    mem.append("orders", b"99")
    await until(lambda: again_seen)
    assert again_seen == [99]


async def test_missing_source_topic_is_created_and_said(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(default_partitions=3)

    @app.agent(app.topic("new-one"))
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    with caplog.at_level(logging.INFO):
        await app.start()
    assert mem.created == [("new-one", 3)]
    assert "Created missing topics: new-one (3 partitions, 1 replicas)" in caplog.text


async def test_topic_is_not_created_without_permission(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(topic_allow_declare=False)

    @app.agent(app.topic("absent"))
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    assert mem.created == []
    assert "topic_allow_declare is off): absent" in caplog.text


async def test_nothing_sent_to_a_topic_that_appears_later_is_missed(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(topic_allow_declare=False, consumer_auto_offset_reset="latest")
    seen: list[Any] = []

    @app.agent(app.topic("later"))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    # given messages that were sent before the group heard of the topic
    mem.append("later", b'"first"')
    mem.append("later", b'"second"')
    await mem.consumers[0].assign()
    await until(lambda: seen == ["first", "second"])


async def test_agent_error_names_the_event_skips_it_and_goes_on(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    topic = app.topic("orders", partitions=1)
    seen: list[Any] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            if value == 2:
                raise ValueError("two is bad")
            seen.append(value)

    await app.start()
    for number in range(5):
        await topic.send(value=number)
    await until(lambda: seen == [0, 1, 3, 4])
    assert "raised on orders/0 offset 2: ValueError('two is bad')" in caplog.text
    assert app.monitor.agent_errors_total == 1
    assert take.errors_total == 1
    await until(lambda: mem.position("app", "orders") == 5)


async def test_an_agent_that_fails_before_any_event_does_not_spin(
    make_app: MakeApp,
) -> None:
    app = make_app()
    calls = 0

    @app.agent(app.topic("orders"))
    async def broken(stream: Any) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("never works")

    await app.start()
    await asyncio.sleep(0.5)
    assert 2 <= calls <= 4
    assert app.started


async def test_an_agent_that_returns_is_said_and_started_again(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    topic = app.topic("orders", partitions=1)
    seen: list[Any] = []

    @app.agent(topic)
    async def one_each(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            break

    await app.start()
    for number in range(3):
        await topic.send(value=number)
    await until(lambda: seen == [0, 1, 2])
    assert "one_each returned" in caplog.text
    await until(lambda: mem.position("app", "orders") == 3)


async def test_nothing_is_committed_past_an_unfinished_event_under_concurrency(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=0.05)
    topic = app.topic("orders", value_type=int, partitions=1)
    hold = asyncio.Event()
    done: list[int] = []

    @app.agent(topic, concurrency=4)
    async def take(stream: Any) -> None:
        async for value in stream:
            if value == 3:
                await hold.wait()
            else:
                await asyncio.sleep(0)
            done.append(value)

    await app.start()
    for number in range(40):
        await topic.send(value=number)
    await until(lambda: len(done) == 39)
    await asyncio.sleep(0.3)
    assert mem.position("app", "orders") == 3
    hold.set()
    await until(lambda: mem.position("app", "orders") == 40)
    assert sorted(done) == list(range(40))


async def test_offset_is_committed_when_every_agent_of_the_topic_is_done(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=0.05)
    topic = app.topic("orders", partitions=1)
    hold = asyncio.Event()
    fast_seen, slow_seen = [], []

    @app.agent(topic)
    async def fast(stream: Any) -> None:
        async for value in stream:
            fast_seen.append(value)

    @app.agent(topic)
    async def slow(stream: Any) -> None:
        async for value in stream:
            if value == 1:
                await hold.wait()
            slow_seen.append(value)

    await app.start()
    for number in range(3):
        await topic.send(value=number)
    await until(lambda: len(fast_seen) == 3)
    await asyncio.sleep(0.2)
    assert mem.position("app", "orders") == 1
    hold.set()
    await until(lambda: mem.position("app", "orders") == 3)
    assert slow_seen == fast_seen == [0, 1, 2]


async def test_a_full_reader_stops_the_fetch_of_its_partition_only(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(consumer_max_fetch_size=300)
    hold = asyncio.Event()
    free: list[Any] = []

    @app.agent(app.topic("slow", partitions=1))
    async def stuck(stream: Any) -> None:
        async for _ in stream:
            await hold.wait()

    @app.agent(app.topic("fast", partitions=1))
    async def quick(stream: Any) -> None:
        async for value in stream:
            free.append(value)

    for number in range(500):
        mem.append("slow", b"1")
        mem.append("fast", str(number).encode())
    await app.start()
    await until(lambda: len(free) == 500)
    # The slow topic stopped after what fits its inbox; nothing of it was dropped.
    assert mem.consumers[0].positions[TP("slow", 0)] < 60
    hold.set()
    await until(lambda: mem.position("app", "slow") == 500)


async def test_a_busy_agent_gives_the_loop_to_others(make_app: MakeApp, mem: Cluster) -> None:
    app = make_app()
    done = asyncio.Event()
    begun = False
    turns = 0

    @app.agent(app.topic("many", partitions=1))
    async def busy(stream: Any) -> None:
        nonlocal begun
        seen = 0
        async for _ in stream:
            begun = True
            # A millisecond of this thread's own time, however fast or busy the machine is.
            until_s = time.thread_time() + 0.001
            while time.thread_time() < until_s:
                pass
            seen += 1
            if seen == 400:
                done.set()

    @app.task
    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            await asyncio.sleep(0)
            turns += begun

    for _ in range(400):
        mem.append("many", b"1")
    await app.start()
    await asyncio.wait_for(done.wait(), 60)
    # They are one batch, of 400 ms; the loop goes round every 5 ms. Without that: hardly ever.
    assert turns >= 20


async def test_yielded_values_go_to_sinks(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    results = app.topic("results")
    kept: list[Any] = []

    async def keep(value: Any) -> None:
        kept.append(value)

    @app.agent(app.topic("orders", partitions=1), sink=[keep, results])
    async def double(stream: Any) -> Any:
        async for value in stream:
            yield value * 2

    await app.start()
    await app.send("orders", value=21)
    await until(lambda: kept == [42])
    await until(lambda: mem.values("results") == [b"42"])


async def test_sinks_are_functions_topics_their_names_channels_and_agents(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app()
    kept: list[Any] = []
    channel = app.channel()

    @app.agent(channel, name="reads_channel")
    async def reads_channel(stream: Any) -> None:
        async for value in stream:
            kept.append(("channel", value))

    @app.agent(app.topic("more", value_type=int), name="other")
    async def other(stream: Any) -> None:
        async for value in stream:
            kept.append(("agent", value))

    def keep(value: Any) -> None:
        kept.append(("function", value))

    async def keep_later(value: Any) -> None:
        await asyncio.sleep(0)
        kept.append(("coroutine", value))

    sinks = [keep, keep_later, app.topic("results"), "named", channel]

    @app.agent(app.topic("orders", partitions=1), sink=sinks)
    async def double(stream: Any) -> Any:
        async for value in stream:
            yield value * 2

    double.add_sink(other)
    double.add_sink(other)  # once is enough
    await app.start()
    await app.send("orders", value=21)
    await until(lambda: len(kept) == 4)
    assert sorted(kept) == [(n, 42) for n in ("agent", "channel", "coroutine", "function")]
    await until(lambda: mem.values("results") == mem.values("named") == [b"42"])


async def test_agent_without_a_channel_has_a_topic_of_its_own(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app("myapp")
    seen: list[Any] = []

    @app.agent(name="proj.take", value_type=int)
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    await take.cast(7)
    await until(lambda: seen == [7])
    assert take.get_topic_names() == ["myapp-proj.take"]


async def test_two_agents_of_one_name_are_refused(make_app: MakeApp) -> None:
    app = make_app()

    @app.agent(app.topic("a"), name="same")
    async def one(stream: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="there is an agent same already"):

        @app.agent(app.topic("b"), name="same")
        async def two(stream: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"isolated_partitions": True, "concurrency": 2}, "one actor for each partition"),
        ({"isolated_partitions": True, "order": "key"}, "one actor for each partition"),
        ({"order": "value"}, "order is 'key' or None"),
        ({"on_failure": "ignore"}, "on_failure is 'skip', 'crash'"),
        ({"concurrency": 0}, "concurrency is 1 or more"),
        ({"concurency": 2}, "no option 'concurency'; did you mean 'concurrency'"),
    ],
)
async def test_what_cannot_be_kept_is_refused_when_defined(
    make_app: MakeApp, options: dict[str, Any], message: str
) -> None:
    app = make_app()
    with pytest.raises(ImproperlyConfigured, match=message):

        @app.agent(app.topic("a"), **options)
        async def take(stream: Any) -> None: ...
