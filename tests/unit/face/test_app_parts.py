"""The parts of an app one by one: what is started, when settings are read, what it is made of."""

from __future__ import annotations

import asyncio
import re
import sys
import types
import uuid
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest

import faustc
from faustc.boot import BootStrategy, Part
from faustc.exceptions import (
    AlreadyConfiguredWarning,
    ConsumerNotStarted,
    ImproperlyConfigured,
    ProducerClosed,
)
from faustc.types import TP
from tests.memory_transport import Cluster
from tests.unit.face.conftest import until

MakeApp = Callable[..., faustc.App]


# -- what is started ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("enable_web", {Part.WEB}),
        ("enable_sensors", {Part.SENSORS}),
        ("enable_kafka_producer", {Part.PRODUCER}),
        ("enable_kafka_consumer", {Part.CONSUMER, Part.REPLIES, Part.TABLES}),
        ("enable_kafka", {Part.PRODUCER, Part.CONSUMER, Part.REPLIES, Part.TABLES}),
    ],
)
def test_a_flag_of_the_boot_strategy_leaves_parts_out(flag: str, parts: set[Part]) -> None:
    app = faustc.App("a")
    whole = set(BootStrategy(app).wanted())
    assert whole == set(Part)
    assert set(BootStrategy(app, **{flag: False}).wanted()) == whole - parts
    as_attribute = type("Mine", (BootStrategy,), {flag: False})
    assert set(as_attribute(app).wanted()) == whole - parts


async def test_a_boot_strategy_of_ones_own_starts_services_and_leaves_out_the_consumer(
    mem: Cluster, make_app: MakeApp
) -> None:
    started: list[str] = []

    class Extra(faustc.Service):
        async def on_start(self) -> None:
            started.append("extra")

    class Mine(faustc.App):
        class BootStrategy(faustc.App.BootStrategy):
            enable_kafka_consumer = False

            def server(self) -> Any:
                return [*super().server(), Extra()]

    broker = next(iter({make_app().conf.broker}))
    app = Mine("mine", broker=broker)

    @app.agent(app.topic("t", partitions=1))
    async def read(stream: Any) -> None:
        async for _ in stream:
            started.append("read")

    mem.append("t", b"1")
    async with app:
        await app.send("out", value=1)
        assert started == ["extra"]
        assert mem.values("out") == [b"1"]
        with pytest.raises(ConsumerNotStarted):
            _ = app.consumer


async def test_an_app_that_only_produces(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    app.producer_only = True
    ran: list[str] = []

    @app.agent(app.topic("t", partitions=1))
    async def read(stream: Any) -> None:
        async for _ in stream:
            ran.append("agent")

    mem.append("t", b"1")
    await app.start()
    await app.send("out", value="x")
    assert mem.values("out") == [b'"x"']
    assert (ran, mem.consumers) == ([], [])


async def test_an_app_that_only_calls_agents(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app()
    ran: list[str] = []

    @app.agent(app.topic("t", partitions=1))
    async def read(stream: Any) -> None:
        async for _ in stream:
            ran.append("agent")

    @app.task
    async def work() -> None:
        ran.append("task")

    mem.append("t", b"1")
    await app.start_client()
    assert app.client_only
    await read.send(value=2)
    await asyncio.sleep(0.05)
    assert mem.values("t") == [b"1", b"2"]
    assert not [name for name in ran if name == "agent"]
    await app.stop()
    assert not app.client_only


# -- when settings are read --------------------------------------------------------------


def test_settings_come_from_an_object_a_mapping_or_a_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("my_settings")
    vars(module).update(topic_partitions=5, unrelated=1)
    monkeypatch.setitem(sys.modules, "my_settings", module)
    for source, count in (
        (types.SimpleNamespace(topic_partitions=3), 3),
        ({"topic_partitions": 4}, 4),
        ("my_settings", 5),
    ):
        app = faustc.App("a", topic_partitions=2)
        app.config_from_object(source)
        assert not app.configured  # not before somebody looks
        assert app.conf.topic_partitions == count
        assert faustc.App("a", config_source=source).conf.topic_partitions == count


def test_with_force_a_source_is_read_at_once() -> None:
    app = faustc.App("a")
    app.config_from_object({"topic_partitions": 4}, force=True)
    assert app.configured
    with pytest.raises(ImproperlyConfigured, match="no setting 'topic_partition'"):
        faustc.App("a").config_from_object({"topic_partition": 4}, force=True)


def test_a_module_that_is_not_there_may_be_silent() -> None:
    app = faustc.App("a")
    app.config_from_object("no.such.module", silent=True)
    assert app.conf.topic_partitions == 8
    app = faustc.App("a")
    app.config_from_object("no.such.module")
    with pytest.raises(ImproperlyConfigured, match=r"no\.such"):
        _ = app.conf


def test_settings_that_were_looked_at_may_be_replaced_until_they_are_final() -> None:
    app = faustc.App("a")
    assert app.conf.topic_partitions == 8
    with pytest.warns(AlreadyConfiguredWarning):
        app.config_from_object({"topic_partitions": 4})
    assert app.conf.topic_partitions == 4
    app.conf = faustc.Settings("b", topic_partitions=6)
    assert (app.conf.id, app.conf.topic_partitions) == ("b", 6)
    assert (app.configured, app.finalized) == (True, False)
    app.finalize()
    assert app.finalized
    with pytest.raises(ImproperlyConfigured, match="too late"):
        app.config_from_object({"topic_partitions": 5})


def test_a_class_of_settings_of_ones_own() -> None:
    class MySettings(faustc.Settings):
        @property
        def doubled(self) -> int:
            return self.topic_partitions * 2

    class MyApp(faustc.App):
        Settings = MySettings

    app = MyApp("a", topic_partitions=3)
    assert type(app.conf) is MySettings
    assert app.conf.doubled == 6


def test_an_id_is_required_and_an_unknown_setting_named() -> None:
    with pytest.raises(TypeError, match="id"):
        faustc.App()  # type: ignore[call-arg]
    with pytest.raises(ImproperlyConfigured, match="did you mean 'broker'"):
        faustc.App("a", brokr="kafka://h")
    monitor = faustc.Monitor()
    loop = object()
    app = faustc.App("a", monitor=monitor, config_source={"topic_partitions": 3}, loop=loop)
    assert app.monitor is monitor
    assert app.conf.topic_partitions == 3
    assert app.loop is loop


# -- spans and queues --------------------------------------------------------------------


class Tracer:
    """What an application gives: it notes which spans were opened and closed."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    @contextmanager
    def trace(self, name: str, **context: Any) -> Any:
        self.spans.append((name, context))
        yield
        self.spans.append(f"end of {name}")


async def test_what_an_app_does_is_traced() -> None:
    app = faustc.App("a")
    tracer = Tracer()
    with app.trace("without a tracer"):
        pass

    def plain(x: int) -> int:
        return x + 1

    async def awaited(x: int) -> int:
        return x + 2

    app.tracer = tracer
    with app.trace("a span", user=3):
        assert tracer.spans == [("a span", {"user": 3})]
    with app.trace("not this one", trace_enabled=False):
        pass
    assert app.traced(plain, name="plain")(1) == 2
    assert await app.traced(awaited, name="awaited", colour="red")(1) == 3
    names = [span if isinstance(span, str) else span[0] for span in tracer.spans]
    assert names == [
        *("a span", "end of a span", "plain", "end of plain", "awaited", "end of awaited")
    ]
    assert tracer.spans[-2][1]["colour"] == "red"


async def test_a_task_is_a_span_unless_it_shall_not_be(make_app: MakeApp) -> None:
    app = make_app()
    app.tracer = tracer = Tracer()
    done: list[str] = []

    @app.task
    async def seen() -> None:
        done.append("seen")

    @app.task(traced=False)
    async def unseen() -> None:
        done.append("unseen")

    @app.timer(0.01, traced=False, name="ticker")
    async def tick() -> None:
        done.append("tick")

    await app.start()
    await until(lambda: {"seen", "unseen", "tick"} <= set(done))
    names = [span if isinstance(span, str) else span[0] for span in tracer.spans]
    assert len(names) == 2
    assert names[0].endswith("seen")
    assert "unseen" not in "".join(names).replace("end of ", "")


async def test_a_queue_waits_while_the_flow_is_off() -> None:
    app = faustc.App("a", stream_buffer_maxsize=2)
    queue, cleared = app.FlowControlQueue(), app.FlowControlQueue(clear_on_resume=True)
    assert queue.maxsize == 2
    assert app.FlowControlQueue(maxsize=7).maxsize == 7
    await queue.put(1)
    await cleared.put(1)
    app.flow_control.suspend()
    taking = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0.02)
    assert not taking.done()
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    app.flow_control.resume()
    assert await asyncio.wait_for(taking, 30) == 1
    assert cleared.empty()


# -- running -----------------------------------------------------------------------------


async def test_an_app_starts_once_stops_and_starts_again(make_app: MakeApp) -> None:
    app = make_app()
    seen: list[str] = []

    class Hooked(type(app)):  # type: ignore[misc]
        async def on_first_start(self) -> None:
            seen.append("first start")

        async def on_start(self) -> None:
            seen.append("start")

        async def on_started(self) -> None:
            seen.append("started")

        async def on_stop(self) -> None:
            seen.append("stop")

        async def on_shutdown(self) -> None:
            seen.append("shutdown")

        async def on_restart(self) -> None:
            seen.append("restart")

    app.__class__ = Hooked
    assert (app.state, app.should_stop) == ("init", False)
    assert await app.maybe_start()
    assert not await app.maybe_start()
    assert (app.state, app.started) == ("running", True)
    await app.restart()
    assert app.state == "running"
    await app.stop()
    assert app.should_stop
    assert seen.count("first start") == 1
    assert seen[:3] == ["first start", "start", "started"]
    assert seen.count("start") == seen.count("stop") == seen.count("shutdown") == 2
    assert "restart" in seen
    assert app.label == "App app"
    assert app.shortlabel == "app"
    assert app.log is not None
    assert app.logger is not None


async def test_hooks_of_rebalances_are_called_in_order(make_app: MakeApp) -> None:
    app = make_app()
    seen: list[str] = []

    class Hooked(type(app)):  # type: ignore[misc]
        def on_rebalance_start(self) -> None:
            seen.append("start")

        def on_rebalance_return(self) -> None:
            seen.append("return")

        def on_rebalance_end(self) -> None:
            seen.append("end")

    app.__class__ = Hooked

    @app.agent(app.topic("t", partitions=1))
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    await until(lambda: "end" in seen)
    assert seen[-2:] == ["return", "end"]
    consumer = app.consumer
    await app.runner.engine.on_partitions_revoked({TP("t", 0)})
    assert app.rebalancing
    assert seen[-1] == "start"
    await app.runner.engine.on_partitions_assigned({TP("t", 0)})
    assert not app.rebalancing
    assert seen[-3:] == ["start", "return", "end"]
    assert app.rebalancing_count == 1
    assert (app.unassigned, app.in_recovery, app.in_transaction) == (False, False, False)
    assert app.consumer_generation_id == int(getattr(consumer, "generation", -1))
    assert not app.in_worker


async def test_what_an_app_has_of_kafka_is_there_while_it_runs(make_app: MakeApp) -> None:
    app = make_app()
    with pytest.raises(ProducerClosed):
        _ = app.producer
    with pytest.raises(ConsumerNotStarted):
        _ = app.consumer

    @app.agent(app.topic("t", partitions=1))
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    assert app.producer is await app.maybe_start_producer()
    assert "t" in app.consumer.subscription() if hasattr(app.consumer, "subscription") else True
    assert app.transport is app.producer_transport
    assert read.channel in set(app.topics)
    assert app.agents[read.name] is read
    assert app.monitor is not None
    assert app.sensors is not None
    assert app.serializers is app.serializers
    assert app.flow_control.is_active()
    assert isinstance(app.fixups, list)


async def test_commit_takes_topics_and_partitions(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app(commit_interval=600)
    seen: list[Any] = []
    for topic in ("a", "b"):

        @app.agent(app.topic(topic, partitions=1), name=f"read {topic}")
        async def read(stream: Any) -> None:
            async for value in stream:
                seen.append(value)

        mem.append(topic, b"1")
    await app.start()
    await until(lambda: len(seen) == 2)
    await asyncio.sleep(0.02)
    assert await app.commit({"a"})
    assert (mem.position("app", "a"), mem.position("app", "b")) == (1, 0)
    assert await app.commit({TP("b", 0)})
    assert mem.position("app", "b") == 1


async def test_an_event_made_by_hand_is_of_the_apps_class() -> None:
    class Mine(faustc.Event):
        pass

    app = faustc.App("a", Event=Mine)
    message = faustc.types.Message("t", 0, 5)
    event = app.create_event("k", "v", {"h": b"1"}, message)
    assert type(event) is Mine
    assert (event.key, event.value, event.message, event.app) == ("k", "v", message, app)


def test_versions_and_ids() -> None:
    assert faustc.version_info == faustc.VERSION
    assert isinstance(faustc.version_info, faustc.version_info_t)
    assert ".".join(map(str, faustc.version_info[:3])) == faustc.__version__.partition("+")[0]
    made = faustc.uuid()
    assert uuid.UUID(made)
    assert made != faustc.uuid()


def test_a_service_may_be_an_instance_or_a_class_and_nothing_else() -> None:
    app = faustc.App("a")

    class Mine(faustc.Service):
        pass

    assert app.service(Mine) is Mine
    one = Mine()
    assert app.service(one) is one
    with pytest.raises(ImproperlyConfigured, match="no Service"):
        app.service(object())


async def test_a_service_given_as_instance_runs_with_the_app(make_app: MakeApp) -> None:
    app = make_app()
    app.service(service := faustc.Service())
    await app.start()
    assert service.started
    await app.stop()
    assert not service.started


def test_discover_leaves_out_what_it_is_told_to(tmp_path: Any, monkeypatch: Any) -> None:
    package = tmp_path / "scanned_pkg"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__", "agents", "test_agents", "skipped", "deep/__init__", "deep/more"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    app = faustc.App("a", origin="scanned_pkg:app", autodiscover=True)
    app.discover(ignore=[re.compile(r"\.test_").search, ".skipped", ".deep"])
    names = {name for name in sys.modules if name.startswith("scanned_pkg")}
    assert names == {"scanned_pkg", "scanned_pkg.agents"}
    app.discover("scanned_pkg.deep", categories=["faust.agent"], ignore=[".skipped"])
    assert "scanned_pkg.deep.more" in sys.modules
    with pytest.raises(ImproperlyConfigured, match=r"did you mean 'faust\.agent'"):
        app.discover(categories=["faust.agents"])


def test_an_app_whose_package_is_unknown_cannot_discover_it() -> None:
    with pytest.raises(ImproperlyConfigured, match="set origin"):
        faustc.App("a", autodiscover=True).discover()


def test_a_generator_of_packages_may_be_discovered(tmp_path: Any, monkeypatch: Any) -> None:
    for name in ("gen_one", "gen_two"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def packages() -> Any:
        yield "gen_one"
        yield "gen_two"

    faustc.App("a", autodiscover=packages).discover()
    assert {"gen_one", "gen_two"} <= sys.modules.keys()


def test_no_warning_is_given_for_what_the_guide_has() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert faustc.App("a", commit_interval=1, client_id="b").conf.client_id == "b"


async def test_a_service_may_have_an_app_belong_to_it(make_app: MakeApp) -> None:
    app = make_app()

    class Around(faustc.Service):
        def on_init_dependencies(self) -> Any:
            return [app]

    around = Around()
    await around.start()
    assert app.started
    await app.send("out", value=1)
    await around.stop()
    assert not app.started
