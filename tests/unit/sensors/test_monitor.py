"""The monitor's numbers, by the names that Faust gave them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.exceptions import KafkaError
from faustc.jsonable import dumps
from faustc.sensors import TableState
from faustc.types import TopicPartition
from tests.unit.face.conftest import make_app, mem, until

__all__ = ["make_app", "mem"]
Make = Callable[..., faustc.App]


async def test_what_is_received_sent_and_done_is_counted(make_app: Make) -> None:
    app = make_app(commit_interval=0.1)
    app.runner.engine.options.watch_interval_s = 0.05
    topic = app.topic("in", value_type=int, partitions=1)
    out = app.topic("out", value_type=int, partitions=1)
    hold = asyncio.Event()

    @app.agent(topic, name="reader")
    async def read(stream: Any) -> None:
        async for value in stream:
            await out.send(value=value)
            if value == 3:
                await hold.wait()

    await app.start()
    for n in range(4):
        await topic.send(value=n)
    monitor: Any = app.monitor
    await until(lambda: monitor.events_active == 1)
    tp = TopicPartition("in", 0)
    assert monitor.messages_active == 1
    assert monitor.messages_received_total == 4
    assert monitor.messages_received_by_topic == {"in": 4}
    assert (monitor.messages_sent, monitor.messages_sent_by_topic) == (8, {"in": 4, "out": 4})
    assert monitor.events_total == 4
    assert monitor.events_by_stream == monitor.events_by_task == {"reader": 4}
    assert monitor.tp_read_offsets == {tp: 3}
    await until(lambda: monitor.tp_committed_offsets.get(tp) == 3)
    assert monitor.tp_end_offsets == {tp: 4}
    assert monitor.stream_inbound_time[tp] > 0
    hold.set()
    await until(lambda: monitor.events_active == 0 and monitor.tp_committed_offsets[tp] == 4)
    assert monitor.lag_total == 0
    await until(lambda: monitor.events_runtime_avg > 0)
    json.loads(dumps(monitor.asdict()))


def test_rates_are_per_second() -> None:
    monitor = faustc.Monitor()
    monitor.events_total, monitor.messages_received_total = 100, 50
    monitor.events_runtime.extend([0.1, 0.3, 0.2])
    monitor.sample(3, 4, since_s=2.0)
    assert (monitor.events_s, monitor.messages_s) == (50, 25)
    assert (monitor.events_active, monitor.messages_active) == (3, 7)
    assert monitor.events_runtime_avg == 0.2
    monitor.sample(0, 0, since_s=1.0)
    assert (monitor.events_s, monitor.messages_s) == (0, 0)


async def test_sends_have_a_latency_and_errors_are_counted() -> None:
    app = faustc.App("app")
    topic = app.topic("t", value_type=int, partitions=1)

    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    monitor: Any = app.monitor
    async with app.test_context() as t:
        await t.send(topic, None, 1)
        await (await topic.send(value=2))
        await t.settled()
        await asyncio.sleep(61)  # of virtual time: in tests it is looked at every 30 s
        assert len(monitor.send_latency) >= 1
        assert all(latency >= 0 for latency in monitor.send_latency)
        assert monitor.send_errors == 0
        t.control("Produce", error="MESSAGE_TOO_LARGE", times=1)
        with pytest.raises(KafkaError):
            await (await topic.send(value=3))
        await asyncio.sleep(61)  # of virtual time: in tests it is looked at every 30 s
        assert monitor.send_errors == 1


def test_histories_are_as_long_as_is_said() -> None:
    monitor = faustc.Monitor()
    lengths = (
        monitor.events_runtime.maxlen,
        monitor.commit_latency.maxlen,
        monitor.send_latency.maxlen,
        monitor.assignment_latency.maxlen,
    )
    assert lengths == (100, 30, 30, 30)
    other = faustc.Monitor(
        max_avg_history=1,
        max_commit_latency_history=2,
        max_send_latency_history=3,
        max_assignment_latency_history=4,
    )
    assert (other.events_runtime.maxlen, other.commit_latency.maxlen) == (1, 2)
    assert (other.send_latency.maxlen, other.assignment_latency.maxlen) == (3, 4)
    assert other.http_response_latency.maxlen == other.rebalance_end_latency.maxlen == 1


def test_numbers_of_the_users_own_and_times() -> None:
    clock = iter([10.0, 12.5, 12.5])
    monitor = faustc.Monitor(time=lambda: next(clock))
    monitor.count("orders")
    monitor.count("orders", 2)
    assert monitor.metric_counts == Counter(orders=3)
    start = monitor.time()
    assert monitor.secs_since(start) == 2.5
    assert monitor.ms_since(start) == 2500.0
    tp = TopicPartition("t", 1)
    monitor.on_tp_commit({tp: 5})
    monitor.track_tp_end_offset(tp, 9)
    found = monitor.asdict()
    assert found["topic_committed_offsets"] == {"t": {1: 5}}
    assert found["topic_end_offsets"] == {"t": {1: 9}}
    assert found["committed"] == {"t/1": 5}
    assert found["metric_counts"] == {"orders": 3}


def test_tables_have_a_state() -> None:
    monitor = faustc.Monitor()
    table = type("T", (), {"name": "counts"})()
    monitor.on_table_get(table, "k")
    monitor.on_table_set(table, "k", 1)
    monitor.on_table_set(table, "k", 2)
    monitor.on_table_del(table, "k")
    state = monitor.tables["counts"]
    assert isinstance(state, TableState)
    assert state.table is table
    expected = {"keys_retrieved": 1, "keys_updated": 2, "keys_deleted": 1, "events_late": 0}
    assert state.asdict() == expected == monitor.asdict()["tables"]["counts"]


async def test_a_monitor_of_the_users_own(make_app: Make) -> None:
    class Mine(faustc.Monitor):
        seen = 0

        def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
            super().on_message_in(tp, offset, message)
            self.seen += 1

    for options in ({"monitor": Mine()}, {"Monitor": Mine}):
        app = make_app(f"app{len(options)}{'monitor' in options}", **options)
        topic = app.topic("t", value_type=int, partitions=1)

        @app.agent(topic)
        async def read(stream: Any) -> None:
            async for _ in stream:
                pass

        await app.start()
        await topic.send(value=1)
        monitor: Any = app.monitor
        assert type(monitor) is Mine
        await until(lambda m=monitor: m.seen >= 1)
        await app.stop()


@pytest.mark.parametrize("name", ["messages_sent", "rebalances", "rebalance_end_avg"])
def test_names_of_faust_that_are_worked_out(name: str) -> None:
    assert getattr(faustc.Monitor(), name) == 0
