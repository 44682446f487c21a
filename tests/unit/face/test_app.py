"""The app: lazy, shared between threads, several of them, started in any loop, stopped in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.exceptions import (
    ConsumerNotStarted,
    DeliveryFailed,
    ImproperlyConfigured,
    NoBrokersAvailable,
    ProducerClosed,
)
from faustc.types import TP
from tests.memory_transport import Cluster
from tests.unit.face.conftest import until

MakeApp = Callable[..., faustc.App]


def test_making_an_app_needs_no_loop_and_no_broker() -> None:
    app = faustc.App("quiet", broker="kafka://nowhere.invalid:1")
    topic = app.topic("t", value_type=int)

    @app.agent(topic)
    async def take(stream: Any) -> None: ...

    @app.timer(1.0)
    async def tick() -> None: ...

    assert app.state == "init"
    assert list(app.agents) == [take.name]
    assert topic in app.topics
    assert repr(app) == "<App quiet: init>"
    with pytest.raises(ProducerClosed):
        _ = app.producer
    with pytest.raises(ConsumerNotStarted):
        _ = app.consumer
    with pytest.raises(ConsumerNotStarted):
        app.is_leader()


def test_a_misspelt_setting_is_an_error_at_once() -> None:
    with pytest.raises(ImproperlyConfigured, match="did you mean 'commit_interval'"):
        faustc.App("x", comit_interval=1.0)


@pytest.mark.parametrize("name", ["LiveCheck"])
def test_what_comes_later_says_so(name: str) -> None:
    app = faustc.App("x")
    assert not hasattr(app, name)
    with pytest.raises(AttributeError, match=f"app.{name} is not there yet"):
        getattr(app, name)


async def test_lazy_attributes_are_made_once_by_eight_threads() -> None:
    app = faustc.App("threads")
    names = ["conf", "monitor", "serializers", "transport", "topics", "agents"]
    seen: list[tuple[int, ...]] = []
    barrier = threading.Barrier(8)

    def touch() -> None:
        barrier.wait()
        seen.append(tuple(id(getattr(app, name)) for name in names))
        seen.append((id(app.runner.engine),) * len(names))

    threads = [threading.Thread(target=touch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(set(seen)) == 2


async def test_eight_threads_send_and_commit_at_once(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int, partitions=4)
    seen: list[int] = []

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    errors: list[BaseException] = []
    offsets: list[tuple[int, int]] = []

    async def send(thread: int) -> None:
        for number in range(25):
            promise = await topic.send(key=str(thread), value=thread * 100 + number)
            if number % 5 == 0:
                metadata = await promise
                offsets.append((metadata.partition, metadata.offset))
                await app.commit()
        await (await topic.send_many([thread * 100 + 25, thread * 100 + 26]))
        await topic.send_soon(value=thread * 100 + 27)

    def run(thread: int) -> None:
        try:
            asyncio.run(send(thread))
        except BaseException as exc:  # noqa: BLE001 - the test shows it
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert errors == []
    await until(lambda: len(seen) == 8 * 28)
    assert sorted(seen) == sorted(t * 100 + n for t in range(8) for n in range(28))
    assert len(set(offsets)) == 8 * 5
    for thread in range(8):  # one thread's messages of one key keep their order
        mine = [v for v in seen if v // 100 == thread and v % 100 < 25]
        assert mine == sorted(mine)


async def test_a_thread_without_a_loop_may_send_soon(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    await app.start()
    called: list[Any] = []

    def run() -> None:
        for number in range(3):
            app.topic("out").send_soon(value=number, callback=called.append)

    await asyncio.to_thread(run)
    await until(lambda: mem.values("out") == [b"0", b"1", b"2"])
    await until(lambda: len(called) == 3)


async def test_an_app_that_is_not_started_sends(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    metadata = await (await app.send("out", key="k", value={"n": 1}))
    assert metadata.topic == "out"
    assert metadata.offset == 0
    assert mem.values("out") == [b'{"n":1}']


def test_the_loop_of_an_unstarted_app_may_change() -> None:
    app = faustc.App("moving", broker="tests.memory_transport.MemoryTransport://moving")

    async def send(number: int) -> int:
        return (await (await app.send("out", value=number))).offset  # type: ignore[no-any-return]

    assert [asyncio.run(send(0)), asyncio.run(send(1))] == [0, 1]


async def test_two_apps_in_one_process_are_independent(mem: Cluster, make_app: MakeApp) -> None:
    one, two = make_app("one"), make_app("two")
    seen: list[tuple[str, Any]] = []
    for app in (one, two):

        @app.agent(app.topic("orders", partitions=1), name="take")
        async def take(stream: Any, name: str = app.conf.id) -> None:
            async for value in stream:
                seen.append((name, value))

    await one.start()
    await two.start()
    await one.send("orders", value=1)
    await until(lambda: sorted(seen) == [("one", 1), ("two", 1)])
    await two.stop()
    await one.send("orders", value=2)
    await until(lambda: ("one", 2) in seen)
    assert ("two", 2) not in seen


async def test_tasks_timers_and_services_run_with_the_app(make_app: MakeApp) -> None:
    app = make_app()
    happened: list[str] = []

    @app.task
    async def once() -> None:
        happened.append("task")

    @app.task()
    async def with_app(given: faustc.App) -> None:
        assert given is app
        happened.append("task with app")

    @app.timer(0.05)
    async def tick() -> None:
        happened.append("tick")

    @app.service
    class Helper(faustc.Service):
        async def on_start(self) -> None:
            happened.append("service starts")

        @faustc.Service.task
        async def work(self) -> None:
            while not self.should_stop:
                happened.append("service works")
                await self.sleep(0.05)

        async def on_stop(self) -> None:
            happened.append("service stops")

    began = asyncio.get_running_loop().time()
    await app.start()
    await until(lambda: happened.count("tick") == 3)
    assert asyncio.get_running_loop().time() - began >= 0.15  # the first after one interval
    await app.stop()
    assert {"task", "task with app", "service starts", "service works"} <= set(happened)
    assert happened[-1] == "service stops"
    ticks = happened.count("tick")
    await asyncio.sleep(0.12)
    assert happened.count("tick") == ticks


async def test_a_failing_task_crashes_the_app(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.task
    async def fail() -> None:
        raise ValueError("no good")

    await app.start()
    await asyncio.wait_for(app.wait_until_stopped(), 5)
    assert app.crashed
    assert repr(app.crash_reason) == "ValueError('no good')"
    assert app.state == "crashed"
    assert "App app crashed: ValueError('no good')" in caplog.text


async def test_a_lost_send_is_never_committed_over(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(commit_interval=0.1)
    mem.refuse_topics.add("out")
    mem.create("out", 1)

    @app.agent(app.topic("orders", partitions=1))
    async def forward(stream: Any) -> None:
        async for value in stream:
            await app.send("out", value=value)  # nobody awaits the outcome

    await app.start()
    await app.send("orders", value=1)
    await asyncio.wait_for(app.wait_until_stopped(), 5)
    assert isinstance(app.crash_reason, DeliveryFailed)
    assert mem.position("app", "orders") == 0  # it comes again
    assert "out/0: refused" in caplog.text


async def test_a_lost_send_at_the_stop_is_a_crash_and_not_committed(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=60)
    mem.refuse_topics.add("out")
    mem.create("out", 1)
    seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def forward(stream: Any) -> None:
        async for value in stream:
            await app.send("out", value=value)
            seen.append(value)

    await app.start()
    await app.send("orders", value=1)
    await until(lambda: seen)
    await app.stop()
    assert isinstance(app.crash_reason, DeliveryFailed)
    assert mem.position("app", "orders") == 0


async def test_stop_finishes_what_is_in_hand_and_commits_it(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=60)
    begun, done = [], []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            begun.append(value)
            await asyncio.sleep(0.2)
            done.append(value)

    await app.start()
    for number in range(10):
        await app.send("orders", value=number)
    await until(lambda: begun == [0, 1])
    await app.stop()
    assert begun == done == [0, 1]
    assert mem.position("app", "orders") == 2


async def test_an_agent_may_stop_its_app(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app(commit_interval=60)
    done: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            if value == 1:
                await app.stop()
            done.append(value)

    await app.start()
    for number in range(5):
        await app.send("orders", value=number)
    await asyncio.wait_for(app.wait_until_stopped(), 5)
    assert done == [0, 1]  # it went on with the event it was at, and got no other
    assert mem.position("app", "orders") == 2
    assert not app.crashed


async def test_revoked_events_are_finished_committed_and_then_gone(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=60)
    hold = asyncio.Event()
    begun: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            begun.append(value)
            if value == 2:
                await hold.wait()

    for number in range(8):
        mem.append("orders", str(number).encode())
    await app.start()
    await until(lambda: begun == [0, 1, 2])
    revoking = asyncio.ensure_future(mem.consumers[0].revoke([TP("orders", 0)]))
    await asyncio.sleep(0.05)
    assert not revoking.done()  # it waits for the event in hand
    hold.set()
    await asyncio.wait_for(revoking, 30)
    assert mem.position("app", "orders") == 3
    await asyncio.sleep(0.05)
    assert begun == [0, 1, 2]  # I8: nothing of it reaches user code any more
    # given that it comes back, then it goes on from the committed offset
    await mem.consumers[0].assign()
    await until(lambda: begun == list(range(8)))


async def test_a_revoke_gives_up_on_a_stuck_event_at_its_deadline(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app(commit_interval=60, broker_session_timeout=0.4, broker_heartbeat_interval=0.1)
    hold = asyncio.Event()
    begun: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            begun.append(value)
            if begun == [0, 1]:
                await hold.wait()

    for number in range(3):
        mem.append("orders", str(number).encode())
    await app.start()
    await until(lambda: begun == [0, 1])
    await asyncio.wait_for(mem.consumers[0].revoke([TP("orders", 0)]), 2)
    assert mem.position("app", "orders") == 1
    # The late acknowledgement of 1 goes nowhere, so it comes again with its partition.
    hold.set()
    await mem.consumers[0].assign()
    await until(lambda: begun == [0, 1, 1, 2])


async def test_lost_partitions_are_not_committed(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app(commit_interval=60)
    seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    mem.append("orders", b"1")
    await app.start()
    await until(lambda: seen == [1])
    await mem.consumers[0].revoke([TP("orders", 0)], lost=True)
    assert mem.position("app", "orders") == 0


async def test_a_commit_of_a_lost_generation_is_not_fatal(
    mem: Cluster, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    from faustc.exceptions import CommitFailed

    app = make_app(commit_interval=0.1)
    seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    mem.commit_error = CommitFailed("generation 3 is over")
    mem.append("orders", b"1")
    await app.start()
    await until(lambda: mem.position("app", "orders") == 1)
    assert "generation 3 is over" in caplog.text
    assert app.started


async def test_a_broker_that_is_not_there_is_an_error_of_the_start(
    mem: Cluster, make_app: MakeApp
) -> None:
    app = make_app()
    mem.down = True
    with pytest.raises(NoBrokersAvailable, match="switched off"):
        await app.start()
    assert app.state == "crashed"
    mem.down = False
    await app.start()  # the same app may be started again
    assert app.started


async def test_an_app_may_be_restarted(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    seen: list[Any] = []

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    for number in range(3):
        await app.start()
        await app.send("orders", value=number)
        await until(lambda n=number: seen == list(range(n + 1)))
        await app.stop()
    assert mem.position("app", "orders") == 3


async def test_monitor_counts(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    for number in range(5):
        await app.send("orders", value=number)
    await until(lambda: mem.position("app", "orders") == 5)
    monitor = app.monitor
    assert monitor.messages_received_total == monitor.events_total == 5
    assert monitor.messages_received_by_topic == {"orders": 5}
    assert monitor.messages_sent_total == 5
    assert monitor.commits_total >= 1
    await app.runner.engine.measure_lag()
    assert monitor.lag == {TP("orders", 0): 0}


async def test_signals_tell_of_partitions(make_app: MakeApp) -> None:
    app = make_app()
    told: list[Any] = []

    @app.on_partitions_assigned.connect
    async def assigned(sender: Any, assigned: Any, **kwargs: Any) -> None:
        told.append((sender, sorted(assigned)))

    @app.agent(app.topic("orders", partitions=2))
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    await until(lambda: told)
    assert told == [(app, [TP("orders", 0), TP("orders", 1)])]


async def test_values_sent_are_serialised_by_their_type(mem: Cluster, make_app: MakeApp) -> None:
    class Order(faustc.Record):
        account: str

    app = make_app()
    await app.send("out", value=Order(account="a"))
    await app.send("out", value=b"raw stays raw")
    await app.topic("out", value_serializer="raw").send(value="text")
    await app.send("out", value=None)
    values = mem.values("out")
    assert b'"account":"a"' in values[0]
    assert values[1:] == [b"raw stays raw", b"text", None]


async def test_a_schema_may_write_headers(mem: Cluster, make_app: MakeApp) -> None:
    class Stamped(faustc.Schema):
        def on_dumps_value_prepare_headers(self, value: Any, headers: Any) -> Any:
            return {**headers, "kind": type(value).__name__.encode()}

    app = make_app()
    topic = app.topic("out", schema=Stamped(value_type=int), partitions=1)
    await topic.send(value=3, headers={"a": b"1"})
    message = mem.logs[TP("out", 0)][0]
    assert (message.value, message.headers) == (b"3", (("a", b"1"), ("kind", b"int")))


@pytest.mark.parametrize(
    ("of_the_app", "of_the_topic"),
    [({}, {"maxsize": 15}), ({"stream_buffer_maxsize": 15}, {})],
    ids=["maxsize", "stream_buffer_maxsize"],
)
async def test_a_topic_of_some_maxsize_holds_back_the_fetch(
    mem: Cluster, make_app: MakeApp, of_the_app: Any, of_the_topic: Any
) -> None:
    app = make_app(**of_the_app)
    hold = asyncio.Event()

    @app.agent(app.topic("orders", partitions=1, **of_the_topic))
    async def take(stream: Any) -> None:
        async for _ in stream:
            await hold.wait()

    for _ in range(500):
        mem.append("orders", b"1")
    await app.start()
    await until(lambda: app.monitor.messages_received_total >= 25)
    await asyncio.sleep(0.1)
    assert mem.consumers[0].positions[TP("orders", 0)] <= 40
    hold.set()
    await until(lambda: mem.position("app", "orders") == 500)


async def test_a_stream_that_nobody_holds_lets_go(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    await app.start()

    async def look_at_one() -> None:
        async for _ in app.stream(app.topic("orders", partitions=1)):
            return

    reading = asyncio.ensure_future(look_at_one())
    await until(lambda: len(app.topics) == 1)
    await app.send("orders", value=1)
    await asyncio.wait_for(reading, 30)
    gc.collect()
    await until(lambda: len(app.topics) == 0)


async def test_a_transport_that_lacks_methods_is_refused() -> None:
    app = faustc.App("x", broker="tests.memory_transport.Cluster://h")
    with pytest.raises(ImproperlyConfigured, match="is no Transport, it lacks create_consumer"):
        await app.start()
    app = faustc.App("x", broker="tests.nothing.Here://h")
    with pytest.raises(ImproperlyConfigured, match=r"tests\.nothing"):
        await app.start()


def test_discover_imports_what_autodiscover_names(tmp_path: Any, monkeypatch: Any) -> None:
    package = tmp_path / "found_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "agents.py").write_text("import found_pkg\nfound_pkg.seen = True\n")
    (package / "__main__.py").write_text("raise SystemExit('must not be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    faustc.App("x", autodiscover=["found_pkg"]).discover()
    import found_pkg  # type: ignore[import-not-found]

    assert found_pkg.seen
    with pytest.raises(ImproperlyConfigured, match="no package 'lost_pkg'"):
        faustc.App("x", autodiscover=lambda: ["lost_pkg"]).discover()


async def test_logs_name_the_app_once_per_change(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.agent(app.topic("orders", partitions=1))
    async def take(stream: Any) -> None:
        async for _ in stream:
            pass

    with caplog.at_level(logging.INFO, logger="faustc"):
        await app.start()
        for number in range(200):
            await app.send("orders", value=number)
        await until(lambda: app.monitor.events_total == 200)
        await app.stop()
    assert len(caplog.records) < 8
