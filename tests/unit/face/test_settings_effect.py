"""Every setting does what it says: seen in what the client is told, and in what an app does."""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.engine.stuck import CommitWatch
from faustc.exceptions import ImproperlyConfigured
from faustc.settings import Settings
from faustc.types import TP
from faustc.wiring import engine_options
from tests.memory_transport import Cluster
from tests.unit.face.conftest import until

MakeApp = Callable[..., faustc.App]


def first(key: Any, all_partitions: Any, available: Any) -> Any:
    return all_partitions[0]


# setting, value, who is told (c: consumer, p: producer, a: admin, e: the engine), what
TOLD = [
    ("broker_check_crcs", False, "c", "check_crcs", False),
    ("broker_client_id", "me", "c", "client_id", "me"),
    ("broker_client_id", "me", "p", "client_id", "me"),
    ("broker_client_id", "me", "a", "client_id", "me"),
    ("broker_commit_every", 7, "e", "commit_every", 7),
    ("broker_commit_interval", 1.5, "e", "commit_interval_s", 1.5),
    ("broker_commit_livelock_soft_timeout", 9, "e", "livelock_after_s", 9.0),
    ("broker_outage_timeout", 9, "e", "outage_s", 9.0),
    ("broker_heartbeat_interval", 2, "c", "heartbeat_interval_ms", 2000),
    ("broker_max_poll_interval", 20, "c", "max_poll_interval_ms", 20_000),
    ("broker_rebalance_timeout", 30, "c", "rebalance_timeout_ms", 30_000),
    ("broker_request_timeout", 70, "c", "request_timeout_ms", 70_000),
    ("broker_session_timeout", 50, "c", "session_timeout_ms", 50_000),
    ("consumer_max_fetch_size", 1000, "c", "max_partition_fetch_bytes", 1000),
    ("consumer_max_decompressed_size", 1000, "c", "max_decompressed_bytes", 1000),
    ("consumer_auto_offset_reset", "latest", "c", "auto_offset_reset", "latest"),
    ("consumer_group_instance_id", "i", "c", "group_instance_id", "i"),
    ("consumer_metadata_max_age_ms", 99, "c", "metadata_max_age_ms", 99),
    (
        *("consumer_connections_max_idle_ms", 98, "c"),
        *("client_options", {"connections_max_idle_ms": 98}),
    ),
    ("producer_acks", 1, "p", "acks", 1),
    ("producer_compression_type", "lz4", "p", "compression_type", "lz4"),
    ("producer_linger", 0.5, "p", "linger_ms", 500.0),
    ("producer_linger_ms", 50, "p", "linger_ms", 50.0),
    ("producer_max_batch_size", 1000, "p", "max_batch_size", 1000),
    ("producer_max_request_size", 2000, "p", "max_request_size", 2000),
    ("producer_partitioner", first, "p", "partitioner", first),
    ("producer_request_timeout", 30, "p", "delivery_timeout_ms", 30_000),
    ("producer_metadata_max_age_ms", 97, "p", "metadata_max_age_ms", 97),
    ("producer_connections_max_idle_ms", 96, "p", "connections_max_idle_ms", 96),
    ("stream_processing_timeout", 33, "e", "stuck_after_s", 33.0),
    ("stream_recovery_delay", 4, "e", "recovery_delay_s", 4.0),
    ("stream_wait_empty", False, "e", "drain_timeout_s", 0.0),
    ("topic_allow_declare", False, "e", "allow_declare", False),
]


@pytest.mark.parametrize(
    ("name", "value", "whose", "keyword", "told"), TOLD, ids=[f"{row[0]}-{row[2]}" for row in TOLD]
)
def test_the_client_is_told(name: str, value: Any, whose: str, keyword: str, told: Any) -> None:
    plain, changed = faustc.App("a"), faustc.App("a", **{name: value})

    def asked(app: faustc.App) -> Any:
        options = engine_options(app.conf)
        if whose == "e":
            return getattr(options, keyword)
        return {"c": options.consumer, "p": options.producer, "a": options.admin}[whose].get(
            keyword
        )

    assert asked(changed) == told
    assert asked(plain) != told


def test_the_client_takes_all_that_it_is_told() -> None:
    from faustc.client.admin import Admin
    from faustc.client.consumer import Consumer
    from faustc.client.producer import Producer

    options = engine_options(
        faustc.App("a", producer_max_batch_size=9, producer_max_request_size=99).conf
    )
    Consumer(**options.consumer)
    Producer(**options.producer)
    Admin(**options.admin)


def test_tls_is_asked_for_by_a_context() -> None:
    context = ssl.create_default_context()
    for options in (
        engine_options(faustc.App("a", ssl_context=context).conf),
        engine_options(faustc.App("a", broker_credentials=context).conf),
    ):
        for told in (options.consumer, options.producer, options.admin):
            assert told["ssl_context"] is context
    assert "ssl_context" not in engine_options(faustc.App("a").conf).consumer


async def test_consumers_and_producers_may_have_brokers_of_their_own(make_app: MakeApp) -> None:
    from tests.memory_transport import cluster

    here = "tests.memory_transport.MemoryTransport://"
    app = make_app(
        broker_consumer=f"{here}reads", broker_producer=f"{here}writes", topic_partitions=1
    )
    seen: list[Any] = []

    @app.agent(app.topic("in", value_type=int), sink=[app.topic("out")])
    async def double(stream: Any) -> Any:
        async for value in stream:
            seen.append(value)
            yield value * 2

    cluster("reads").append("in", b"21")
    await app.start()
    await until(lambda: cluster("writes").values("out") == [b"42"])
    assert seen == [21]
    assert cluster("reads").topics() == {"in"}
    assert app.transport.cluster is cluster("reads")
    assert app.producer_transport.cluster is cluster("writes")


async def test_broker_max_poll_records_bounds_what_waits(mem: Cluster, make_app: MakeApp) -> None:
    app = make_app(broker_max_poll_records=10)
    hold = asyncio.Event()

    @app.agent(app.topic("t", partitions=1))
    async def slow(stream: Any) -> None:
        async for _ in stream:
            await hold.wait()

    for _ in range(500):
        mem.append("t", b"1")
    await app.start()
    await until(lambda: mem.consumers[0].positions.get(TP("t", 0), 0) >= 10)
    await asyncio.sleep(0.2)
    assert mem.consumers[0].positions[TP("t", 0)] <= 40
    hold.set()
    await until(lambda: mem.position("app", "t") == 500)


def test_commits_that_make_no_progress_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    watch = CommitWatch(60.0)
    a, b = TP("t", 0), TP("t", 1)
    with caplog.at_level(logging.WARNING):
        watch.look({a: 5}, {a: 3, b: 0}, 0.0)
        watch.look({a: 6}, {a: 3, b: 0}, 50.0)  # it got on
        watch.look({a: 6}, {a: 4, b: 0}, 100.0)
        assert caplog.text == ""
        watch.look({a: 6}, {a: 5, b: 0}, 111.0)
        watch.look({a: 6}, {a: 5, b: 0}, 120.0)
    assert len(caplog.records) == 1  # nothing of b, which has nothing to do
    assert "t/0: committed up to 6 for 61 s, though it is 5 messages behind" in caplog.text


async def test_topic_disable_leader_leaves_nobody_to_lead(make_app: MakeApp) -> None:
    for disabled in (False, True):
        app = make_app(f"app{disabled}", topic_disable_leader=disabled)

        @app.agent(app.topic("t", partitions=1))
        async def read(stream: Any) -> None:
            async for _ in stream:
                pass

        await app.start()
        app.consumer.is_leader = True
        assert app.is_leader() is not disabled


@pytest.mark.parametrize("name", ["ConsumerScheduler", "PartitionAssignor", "LeaderAssignor"])
def test_what_cannot_be_another_is_refused_when_it_is_given(name: str) -> None:
    default = Settings.SETTINGS[name].default
    assert faustc.App("a", **{name: default}).conf.id == "a"
    with pytest.raises(ImproperlyConfigured, match=f"{name} cannot be another"):
        faustc.App("a", **{name: "myproj.mine:Mine"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker_api_version", "2.0"),
        ("consumer_api_version", "2.0"),
        ("producer_api_version", "2.0"),
        ("cython_optimizations", True),
        ("producer_threaded", True),
        ("recovery_consistency_check", False),
        ("store_check_exists", False),
        ("table_key_index_size", 10),
        ("stream_ack_cancelled_tasks", False),
        ("stream_ack_exceptions", False),
    ],
)
async def test_what_changes_nothing_is_told_of_at_the_start(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, name: str, value: Any
) -> None:
    app = make_app(**{name: value})
    assert getattr(app.conf, name) == value
    with caplog.at_level(logging.WARNING):
        await app.start()
    assert f"Setting {name} changes nothing here: " in caplog.text


async def test_topics_are_created_as_the_settings_say(make_app: MakeApp) -> None:
    app = make_app(topic_partitions=3, topic_replication_factor=2)
    (spec,) = app.topic("t").specs()
    assert (spec.num_partitions, spec.replication_factor) == (3, 2)


async def test_the_serializers_of_the_settings_are_those_of_topics(
    make_app: MakeApp, mem: Cluster
) -> None:
    app = make_app(key_serializer="json|binary", value_serializer="json|zlib")
    await app.start()
    await app.send("t", key="k", value="v")
    (message,) = [message for tp in mem.partitions("t") for message in mem.logs[tp]]
    assert (message.key, zlib.decompress(message.value or b"")) == (b"Imsi", b'"v"')


async def test_folders_are_where_the_settings_say(make_app: MakeApp, tmp_path: Any) -> None:
    app = make_app("shop", version=2, datadir=tmp_path / "{id}-{conf.version}", tabledir="state")
    assert app.conf.datadir == tmp_path / "shop-2"
    assert app.conf.tabledir == tmp_path / "shop-2" / "v2" / "state"
    assert (app.conf.id, app.conf.name) == ("shop-v2", "shop")
    assert make_app("b", version=3, id_format="{id}_{self.version}").conf.id == "b_3"


async def test_debug_warns_of_itself(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(debug=True)
    assert app.conf.web_stats_enabled
    with caplog.at_level(logging.WARNING):
        await app.start()
    assert "debug" in caplog.text.lower()


def test_exactly_once_has_a_transaction_ten_times_a_second(make_app: MakeApp) -> None:
    assert make_app().conf.processing_guarantee is faustc.types.ProcessingGuarantee.AT_LEAST_ONCE
    once, slow = (
        engine_options(faustc.App(name, processing_guarantee="exactly_once", **options).conf)
        for name, options in (("b", {}), ("c", {"commit_interval": 1.5}))
    )
    assert once.exactly_once
    assert once.consumer["isolation_level"] == "read_committed"
    assert (once.commit_interval_s, slow.commit_interval_s) == (0.1, 1.5)


class MyAgent(faustc.Agent):
    pass


class MyEvent(faustc.Event):
    pass


class MyStream(faustc.Stream[Any]):
    pass


class MyTopic(faustc.Topic):
    pass


class MyMonitor(faustc.Monitor):
    pass


class MyRegistry(faustc.serializers.Registry):
    pass


async def test_classes_may_be_of_ones_own(make_app: MakeApp, mem: Cluster) -> None:
    app = make_app(
        Agent=MyAgent,
        Event=f"{__name__}.MyEvent",
        Stream=MyStream,
        Topic=MyTopic,
        Monitor=MyMonitor,
        Serializers=MyRegistry,
    )
    seen: list[Any] = []

    @app.agent(app.topic("t", partitions=1))
    async def read(stream: Any) -> None:
        async for event in stream.events():
            seen.append((type(stream), type(event), type(faustc.current_event())))

    mem.append("t", b"1")
    await app.start()
    await until(lambda: seen)
    assert seen == [(MyStream, MyEvent, MyEvent)]
    assert type(read) is MyAgent
    assert type(read.channel) is MyTopic
    assert type(app.monitor) is MyMonitor
    assert type(app.serializers) is MyRegistry
