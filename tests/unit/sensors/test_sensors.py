"""Sensors are told what happens, in order, with the state they gave; nobody else pays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.engine.ledger import Ledger
from faustc.engine.observed import ObservedProducer
from faustc.exceptions import DeliveryFailed, ImproperlyConfigured
from faustc.types import TopicPartition
from tests.memory_transport import Cluster
from tests.unit.face.conftest import make_app, mem, until

__all__ = ["make_app", "mem"]
Make = Callable[..., faustc.App]


class Everything(faustc.Sensor):
    """Writes down what it is told."""

    def on_init(self) -> None:
        self.told: list[Any] = []

    def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
        self.told.append(("message in", tp, offset, message.value))

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> Any:
        self.told.append(("event in", offset, event.value))
        return f"state {offset}"

    def on_stream_event_out(
        self, tp: Any, offset: int, stream: Any, event: Any, state: Any = None
    ) -> None:
        self.told.append(("event out", offset, event.value, state))

    def on_message_out(self, tp: Any, offset: int, message: Any) -> None:
        self.told.append(("message out", tp, offset))

    def on_send_initiated(
        self, producer: Any, topic: str, message: Any, keysize: int, valsize: int
    ) -> Any:
        self.told.append(("send", topic, message, keysize, valsize))
        return topic

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        self.told.append(("sent", state, metadata.offset))

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        self.told.append(("not sent", state, type(exc).__name__))


class Rare(faustc.Sensor):
    """Writes down what happens once a batch, a commit or a rebalance."""

    def on_init(self) -> None:
        self.told: list[Any] = []

    def on_commit_initiated(self, consumer: Any) -> Any:
        return "commit"

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        self.told.append(state)

    def on_assignment_start(self, assignor: Any) -> Any:
        self.told.append("assignment")
        return 1

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        self.told.append(("assigned", state))

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None:
        self.told.append(("not assigned", state, type(exc).__name__))

    def on_rebalance_start(self, app: Any) -> Any:
        self.told.append(("rebalance", type(app).__name__))
        return 2

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        self.told.append(("returned", state))

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        self.told.append(("ended", state))

    def on_topic_buffer_full(self, tp: Any) -> None:
        self.told.append(("full", tp))


def reading(app: faustc.App, topic: Any, seen: list[Any]) -> Any:
    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    return read


async def test_messages_and_events_are_told_of_one_by_one(make_app: Make) -> None:
    app, sensor = make_app(), Everything()
    app.sensors.add(sensor)
    topic = app.topic("t", value_type=int, partitions=1)
    seen: list[Any] = []
    reading(app, topic, seen)
    await app.start()
    await (await topic.send(key="k", value=7))
    await until(lambda: {"message out", "sent"} <= {one[0] for one in sensor.told})
    tp = TopicPartition("t", 0)
    told = [one for one in sensor.told if one[0] != "sent"]
    assert told == [
        ("send", "t", b"7", 3, 1),
        ("message in", tp, 0, b"7"),
        ("event in", 0, 7),
        ("event out", 0, 7, "state 0"),
        ("message out", tp, 0),
    ]
    assert ("sent", "t", 0) in sensor.told


async def test_a_message_is_out_when_all_its_readers_are_done(make_app: Make) -> None:
    app, sensor = make_app(), Everything()
    app.sensors.add(sensor)
    topic = app.topic("t", value_type=int, partitions=1)
    go = asyncio.Event()
    reading(app, topic, [])

    @app.agent(topic)
    async def slow(stream: Any) -> None:
        async for _ in stream:
            await go.wait()

    await app.start()
    await topic.send(value=1)
    names = lambda: [one[0] for one in sensor.told]  # noqa: E731
    await until(lambda: names().count("event in") == 2 and "event out" in names())
    assert names().count("message in") == 1
    assert "message out" not in names()
    go.set()
    await until(lambda: "message out" in names())
    assert names().count("event out") == 2


async def test_lists_of_events_are_told_of_event_by_event(make_app: Make) -> None:
    app, sensor = make_app(), Everything()
    app.sensors.add(sensor)
    topic = app.topic("t", value_type=int, partitions=1)

    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for _ in stream.take(2, within=10):
            pass

    await app.start()
    await topic.send_many([5, 6])
    await until(lambda: ("message out", TopicPartition("t", 0), 1) in sensor.told)
    events = [one for one in sensor.told if one[0].startswith("event")]
    assert events == [
        ("event in", 0, 5),
        ("event in", 1, 6),
        ("event out", 0, 5, "state 0"),
        ("event out", 1, 6, "state 1"),
    ]


async def test_a_failed_send_is_told_of_and_still_ends_the_worker(
    make_app: Make, mem: Cluster
) -> None:
    app, sensor = make_app(commit_interval=0.05), Everything()
    app.sensors.add(sensor)
    topic = app.topic("t", value_type=int, partitions=1)
    await app.start()
    producer = app.producer
    assert isinstance(producer, ObservedProducer)
    failing = Failing()
    producer._producer = failing
    await producer.send("t", b"1")
    failing.fail()
    assert ("not sent", "t", "DeliveryFailed") in sensor.told
    with pytest.raises(DeliveryFailed, match="given up"):
        await producer.flush()
    await producer.flush()  # it is said once
    delivery = await producer.send("t", b"1")
    failing.fail()
    with pytest.raises(DeliveryFailed):
        delivery.result()
    await producer.flush()  # its sender has seen it
    assert topic is not None


class Failing:
    """A producer whose brokers never take anything."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    async def send(self, topic: str, value: Any, key: Any = None) -> Any:
        self.given.append(Given())
        return self.given[-1]

    async def flush(self) -> None: ...

    async def stop(self) -> None: ...

    def fail(self) -> None:
        self.given[-1].settle()


class Given:
    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def add_done_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def done(self) -> bool:
        return True

    def settle(self) -> None:
        for callback in self.callbacks:
            callback(self)

    def exception(self) -> Any:
        return DeliveryFailed("given up", topic="t")

    def result(self) -> Any:
        raise self.exception()


async def test_with_no_such_sensor_nothing_is_done_per_message(make_app: Make) -> None:
    app, rare = make_app(), Rare()
    app.sensors.add(rare)
    topic = app.topic("t", value_type=int, partitions=1)
    agent = reading(app, topic, [])
    await app.start()
    await topic.send(value=1)
    await until(lambda: app.monitor.events_total == 1)
    assert not app.sensors.wants_messages
    assert not app.sensors.wants_sends
    reader = next(iter(app.runner.engine.assignment.readers()))
    assert type(reader.inbox(TopicPartition("t", 0)).ledger) is Ledger
    assert not isinstance(app.producer, ObservedProducer)
    assert app.stream(topic).steps() == []
    assert agent is not None


async def test_rebalances_commits_and_assignments(make_app: Make) -> None:
    app, sensor = make_app(commit_interval=0.1), Rare()
    app.sensors.add(sensor)
    topic = app.topic("t", value_type=int, partitions=1)
    reading(app, topic, [])
    await app.start()
    await topic.send(value=1)
    await until(lambda: "commit" in sensor.told)
    assert sensor.told[:6] == [
        ("rebalance", "App"),
        ("returned", 2),
        "assignment",
        ("assigned", 1),
        ("ended", 2),
        "commit",
    ]
    monitor: Any = app.monitor
    assert (monitor.rebalances, monitor.assignments_completed) == (1, 1)
    assert len(monitor.commit_latency) == monitor.commits_total >= 1
    assert len(monitor.rebalance_end_latency) == len(monitor.rebalance_return_latency) == 1
    assert monitor.rebalance_end_avg >= monitor.rebalance_return_avg >= 0


async def test_an_assignment_that_fails(make_app: Make) -> None:
    app, sensor = make_app(), Rare()
    app.sensors.add(sensor)
    reading(app, app.topic("t", value_type=int, partitions=1), [])

    @app.on_partitions_assigned.connect
    async def fails(app: Any, assigned: Any, **rest: Any) -> None:
        raise LookupError

    await app._start_sensors()
    with pytest.raises(LookupError):
        async with app.runner.engine.telling.of_assignment(None):
            await app.on_partitions_assigned.send(set())
    assert ("not assigned", 1, "LookupError") in sensor.told
    assert app.monitor.assignments_failed == 1


async def test_a_reader_without_room_is_told_of_not_again_and_again(make_app: Make) -> None:
    app, sensor = make_app(consumer_max_fetch_size=1), Rare()
    app.sensors.add(sensor)
    topic = app.topic("t", value_type=int, partitions=1)
    go = asyncio.Event()

    @app.agent(topic)
    async def slow(stream: Any) -> None:
        async for _ in stream:
            await go.wait()

    await app.start()
    tp = TopicPartition("t", 0)
    for n in range(3):
        await (await topic.send(value=n))
        await asyncio.sleep(0.02)
    await until(lambda: ("full", tp) in sensor.told)
    await asyncio.sleep(0.05)
    # Once when the first came, and once when it was taken and the next had come.
    assert sensor.told.count(("full", tp)) <= 2
    assert app.monitor.topic_buffer_full[tp] == sensor.told.count(("full", tp))
    go.set()


async def test_sensors_start_and_stop_with_their_app(make_app: Make) -> None:
    app, sensor, gone = make_app(), Rare(), Rare()
    app.sensors.add(sensor)
    app.sensors.add(sensor)
    app.sensors.add(gone)
    app.sensors.remove(gone)
    await app.start()
    assert (sensor.state, gone.state) == ("running", "init")
    assert list(app.sensors) == [sensor, app.monitor]
    assert sensor in app.sensors
    await app.stop()
    assert sensor.state == "stopped"
    with pytest.raises(ImproperlyConfigured, match="a sensor is an object of a subclass"):
        app.sensors.add(Rare)  # type: ignore[arg-type]


async def test_a_sensor_that_only_ends_is_given_the_bases_state(make_app: Make) -> None:
    seen: list[Any] = []

    class Ends(faustc.Sensor):
        def on_rebalance_end(self, app: Any, state: Any) -> None:
            seen.append(state)

    app = make_app()
    app.sensors.add(Ends())
    state = app.sensors.on_rebalance_start(app)
    app.sensors.on_rebalance_end(app, state)
    assert set(seen[0]) == {"time_start"}


def test_a_worker_takes_sensors(make_app: Make) -> None:
    app, sensor = make_app(), Rare()
    faustc.Worker(app, sensors=[sensor])
    assert sensor in app.sensors
