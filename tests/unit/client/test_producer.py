"""A producer over real sockets, with brokers that refuse, forget, fall silent and hang up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from faustc._native.compression import register, unregister
from faustc.client import sender
from faustc.client.producer import Producer
from faustc.exceptions import (
    BrokerError,
    DeliveryFailed,
    ImproperlyConfigured,
    KafkaTimeout,
    MessageTooLarge,
    ProducerClosed,
)
from tests.unit.client.produce_broker import TOPIC, ProduceBroker
from tests.unit.client.wire_server import MODERN, WireServer, until

NOT_LEADER, TIMED_OUT, NOT_ENOUGH, NOT_ENOUGH_AFTER = 6, 7, 19, 20


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@contextlib.asynccontextmanager
async def producing(server: WireServer, **options: Any) -> AsyncIterator[Producer]:
    producer = Producer(
        bootstrap_servers=f"127.0.0.1:{server.port}",
        **{"retry_backoff_ms": 5, "retry_backoff_max_ms": 20, **options},
    )
    await producer.start(5)
    try:
        yield producer
    finally:
        with contextlib.suppress(DeliveryFailed):
            await producer.stop(0.5)
        assert len(asyncio.all_tasks()) < 8, "no task of the producer is left"


# --- the way it should be ---


@pytest.mark.parametrize("version", [8, 9, 12, 13])
@pytest.mark.parametrize("codec", [None, "zstd"])
async def test_messages_arrive_with_every_version(
    server: WireServer, version: int, codec: str | None
) -> None:
    server.versions = {**MODERN, 0: (3, version)}
    broker = ProduceBroker(server)
    async with producing(server, compression_type=codec) as producer:
        first = await producer.send_and_wait(TOPIC, b"v", b"k", timestamp_ms=123)
        bulk = await (await producer.send_many(TOPIC, [b"a", None], keys=[None, b"b"]))
    assert (first.offset, first.timestamp, first.timestamp_type) == (0, 123, 0)
    assert [(run.offset, run.messages) for run in bulk] in ([(1, 2)], [(1, 1), (2, 1)])
    assert sorted(broker.logs[0].messages[1:], key=str) == [(None, b"a", ()), (b"b", None, ())]


async def test_many_messages_may_have_headers_in_common(server: WireServer) -> None:
    broker = ProduceBroker(server, partitions=3)
    headers: dict[str, bytes | None] = {"from": b"here", "none": None}
    expected = tuple(headers.items())
    values = [b"%d" % n * 50 for n in range(200)]
    async with producing(server, buffer_memory=20_000, max_batch_size=4_000) as producer:
        keys = [b"%d" % n for n in range(200)]
        sending = asyncio.create_task(producer.send_many(TOPIC, values, keys=keys, headers=headers))
        await until(lambda: any(log.messages for log in broker.logs))
        headers["from"] = b"elsewhere"  # ours: what is under way is not changed by it
        deliveries = await sending
        assert sum(run.messages for run in await deliveries) == len(deliveries) == 200
        await producer.send_many(TOPIC, [b"in one"], partition=1, headers=[("n", b"1")] * 2)
        with pytest.raises(MessageTooLarge):
            await producer.send_many(TOPIC, [b""], headers={"n": b"x" * 20_000})
    written = [message for log in broker.logs for message in log.messages]
    assert broker.logs[1].messages[-1].headers == (("n", b"1"), ("n", b"1"))
    assert {m.headers for m in written if m.value != b"in one"} == {expected}
    assert sorted(m.value for m in written if m.value != b"in one") == sorted(values)


async def test_partitions_of_a_leader_share_a_request(server: WireServer) -> None:
    broker = ProduceBroker(server, partitions=8)
    async with producing(server) as producer:
        await producer.partitions_for(TOPIC)
        for partition in range(8):
            await producer.send(TOPIC, b"v", partition=partition)
        await producer.flush()
    assert len(broker.requests) <= 2
    assert sorted(p for request in broker.requests for p in request) == list(range(8))


async def test_a_message_goes_at_once_and_linger_makes_it_wait(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        fastest = 1.0
        for _ in range(10):  # the fastest of them tells, on a busy machine too
            began = time.monotonic()
            await producer.send_and_wait(TOPIC, b"at once")
            fastest = min(fastest, time.monotonic() - began)
        assert fastest < 0.5
    async with producing(server, linger_ms=200) as producer:
        await producer.partitions_for(TOPIC)
        began = time.monotonic()
        one, two = await producer.send(TOPIC, b"1"), await producer.send(TOPIC, b"2")
        await asyncio.gather(one, two)
        assert time.monotonic() - began > 0.19
    async with producing(server, linger_ms=60_000) as producer:
        await producer.send(TOPIC, b"3")
        await asyncio.wait_for(producer.flush(), 20)  # which does not linger
    assert len(broker.requests) == 12


async def test_an_application_may_partition_by_itself(server: WireServer) -> None:
    broker = ProduceBroker(server, partitions=3)
    async with producing(server, partitioner=lambda key, every, available: int(key)) as producer:
        await producer.send(TOPIC, b"one", b"1")
        await producer.send_many(TOPIC, [b"two", b"0"], keys=[b"2", b"0"])
        with pytest.raises(ValueError, match="no partition 3"):
            await producer.send(TOPIC, b"", b"3")
        await producer.flush()
    assert [log.messages[0].value for log in broker.logs] == [b"0", b"one", b"two"]


async def test_a_topic_unused_for_long_is_forgotten_and_its_sequences_go_on_later(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = ProduceBroker(server)
    monkeypatch.setattr(sender, "IDLE_TOPIC_S", 0.0)
    async with producing(server, max_block_ms=0) as producer:
        waiting = await producer.send(TOPIC, b"0")
        await producer.client.refresh(5)
        await waiting
        assert TOPIC in producer.client.cluster.topics(), "not while something waits for it"
        for number in range(1, 4):
            await until(lambda: producer.pending_bytes == 0)
            await producer.client.refresh(5)
            assert TOPIC not in producer.client.cluster.topics()
            await producer.client.refresh(5)
            assert server.seen("Metadata")[-1].fields.topics == []
            await producer.send_and_wait(TOPIC, b"%d" % number)
    assert [message.value for message in broker.logs[0].messages] == [b"0", b"1", b"2", b"3"]


async def test_a_topic_deleted_while_messages_wait_for_it_is_looked_for(
    server: WireServer,
) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        await producer.send_and_wait(TOPIC, b"0")
        topics = server.topics
        server.topics = [{**topics[0], "error_code": 3, "partitions": []}]
        broker.refuse = lambda partition: 3  # UNKNOWN_TOPIC_OR_PARTITION

        def created() -> bool:
            fields = server.seen("Metadata")[-1].fields
            names = [topic.name for topic in fields.topics]
            return names == [TOPIC] and fields.allow_auto_topic_creation

        await producer.client.refresh(5)
        delivery = await producer.send(TOPIC, b"1")
        await until(created)
        server.topics, broker.refuse = topics, lambda partition: None
        assert (await delivery).offset == 1


async def test_without_acks_nobody_waits_for_an_answer(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server, acks=0) as producer:
        found = await asyncio.wait_for(producer.send_and_wait(TOPIC, b"v"), 2)
        assert found.offset == -1
        await until(lambda: broker.logs[0].messages)
    assert server.seen("InitProducerId") == []


async def test_callbacks_and_results_of_a_delivery(server: WireServer) -> None:
    ProduceBroker(server)
    async with producing(server) as producer:
        delivery = await producer.send(TOPIC, b"v")
        called: list[Any] = []
        delivery.add_done_callback(called.append)
        assert not delivery.done()
        with pytest.raises(asyncio.InvalidStateError):
            delivery.result()
        await producer.flush()
        await until(lambda: called)
        assert called == [delivery]
        assert delivery.done()
        assert delivery.exception() is None
        assert delivery.result().offset == 0
        assert (await delivery) == delivery.result()


async def test_a_cancelled_wait_leaves_the_others_waiting(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        await producer.partitions_for(TOPIC)
        deliveries = [await producer.send(TOPIC, b"%d" % i) for i in range(3)]
        waits = [asyncio.ensure_future(each) for each in deliveries]
        await asyncio.sleep(0)
        waits[1].cancel()
        assert [(await waits[0]).offset, (await waits[2]).offset] == [0, 2]
        assert waits[1].cancelled()
    assert len(broker.logs[0].messages) == 3


# --- once and in order ---


@pytest.mark.parametrize("seed", range(12))
async def test_every_message_is_written_once_and_in_order_whatever_happens(
    server: WireServer, seed: int
) -> None:
    """Requests and answers get lost, brokers refuse or only say so; seeded."""
    rng = random.Random(seed)
    broker = ProduceBroker(server, partitions=3)
    trouble = True

    def fate() -> str:
        kinds = ["answer", "lose request", "lose answer"]
        return rng.choices(kinds, [70, 15, 15])[0] if trouble else "answer"

    def refuse(partition: int) -> int | None:
        codes = [None, NOT_LEADER, TIMED_OUT, NOT_ENOUGH, -TIMED_OUT, -NOT_ENOUGH_AFTER]
        return rng.choices(codes, [75, 5, 5, 5, 5, 5])[0] if trouble else None

    broker.fate, broker.refuse = fate, refuse
    sent: list[list[bytes]] = [[], [], []]
    async with producing(server, max_batch_size=200) as producer:
        for number in range(400):
            partition = rng.randrange(3)
            value = b"%d" % number
            sent[partition].append(value)
            if rng.random() < 0.1:
                more = [b"%d+%d" % (number, i) for i in range(rng.randrange(30))]
                sent[partition] += more
                await producer.send(TOPIC, value, partition=partition)
                await producer.send_many(TOPIC, more, partition=partition)
            else:
                await producer.send(TOPIC, value, partition=partition)
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() * 0.01)
        trouble = seed % 2 == 0  # some find calm waters in the end, some never
        await producer.flush(30)
        assert producer.errors == 0
        assert producer.pending_bytes == 0
    assert [[m.value for m in log.messages] for log in broker.logs] == sent


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_given_up_in_the_middle_makes_no_duplicates(
    server: WireServer, seed: int
) -> None:
    """The same, with brokers that fall silent for longer than the delivery timeout."""
    rng = random.Random(seed)
    broker = ProduceBroker(server)

    def fate() -> str:
        kinds = ["answer", "lose request", "lose answer", "stay silent"]
        return rng.choices(kinds, [70, 5, 5, 20])[0]

    broker.fate = fate
    options = {"delivery_timeout_ms": 150, "request_timeout_ms": 60, "max_batch_size": 200}
    async with producing(server, **options) as producer:
        deliveries = []
        for number in range(150):
            deliveries.append(await producer.send(TOPIC, b"%d" % number))
            await asyncio.sleep(rng.random() * 0.01)
        found = await asyncio.gather(*deliveries, return_exceptions=True)
    log = [int(m.value or b"") for m in broker.logs[0].messages]
    assert log == sorted(set(log)), "in order, none twice"
    failed = {number for number, each in enumerate(found) if isinstance(each, DeliveryFailed)}
    assert len(failed) == producer.errors
    assert set(range(150)) - failed <= set(log), "all that was acknowledged is there"
    for number, each in enumerate(found):
        if number not in failed:
            assert log[each.offset] == number


async def test_a_broker_that_forgot_us_gets_a_new_epoch(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        await producer.send_and_wait(TOPIC, b"1")
        answers = iter([59])  # UNKNOWN_PRODUCER_ID
        broker.refuse = lambda partition: next(answers, None)
        assert (await producer.send_and_wait(TOPIC, b"2")).offset == 1
        await producer.send_and_wait(TOPIC, b"3")
    assert [m.value for m in broker.logs[0].messages] == [b"1", b"2", b"3"]
    assert [known.epoch for known in broker.logs[0].producers.values()] == [1]
    assert broker.producer_ids == 1


async def test_a_duplicate_is_a_success(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        broker.refuse = lambda partition: -46
        assert (await producer.send_and_wait(TOPIC, b"1")).offset == -1
    assert len(broker.logs[0].messages) == 1


# --- refusals ---


async def test_a_refused_message_fails_and_the_next_ones_do_not(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        answers = iter([87])  # INVALID_RECORD
        broker.refuse = lambda partition: next(answers, None)
        with pytest.raises(DeliveryFailed, match=r"t/0.*INVALID_RECORD") as caught:
            await producer.send_and_wait(TOPIC, b"bad")
        assert isinstance(caught.value.__cause__, BrokerError)
        assert (caught.value.topic, caught.value.partition) == (TOPIC, 0)
        await producer.flush()  # somebody saw it: nothing to report
        await producer.send_and_wait(TOPIC, b"good")
        assert producer.errors == 1
    assert [m.value for m in broker.logs[0].messages] == [b"good"]


async def test_flush_reports_once_what_nobody_looked_at(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        await producer.partitions_for(TOPIC)
        broker.refuse = lambda partition: 29  # TOPIC_AUTHORIZATION_FAILED
        for _ in range(3):
            await producer.send(TOPIC, b"v")
        bulk = await producer.send_many(TOPIC, [b"v"] * 4)
        with pytest.raises(DeliveryFailed, match=r"7 messages not written.*AUTHORIZATION"):
            await producer.flush()
        await producer.flush()
        assert isinstance(bulk.exception(), DeliveryFailed)
        with pytest.raises(DeliveryFailed):
            await bulk
        assert producer.errors == 7
        await producer.send(TOPIC, b"v")
        with pytest.raises(DeliveryFailed, match="1 message not written"):
            await producer.stop()
        await producer.stop()


async def test_a_batch_too_large_for_the_topic_is_halved(server: WireServer) -> None:
    broker = ProduceBroker(server)
    broker.logs[0].max_batch_bytes = 400
    async with producing(server) as producer:
        await producer.partitions_for(TOPIC)
        values = [b"%02d" % i + b"x" * 50 for i in range(40)]
        values[20] = b"y" * 500
        deliveries = [await producer.send(TOPIC, value) for value in values]
        found = await asyncio.gather(*deliveries, return_exceptions=True)
        after = await producer.send_and_wait(TOPIC, b"after")
    assert isinstance(found[20], MessageTooLarge)
    assert "t/0" in str(found[20])
    rest = [value for i, value in enumerate(values) if i != 20]
    assert [m.value for m in broker.logs[0].messages] == [*rest, b"after"]
    offsets = [each.offset for i, each in enumerate(found) if i != 20]
    assert [*offsets, after.offset] == list(range(40))


async def test_a_message_above_the_limit_is_refused_at_once(server: WireServer) -> None:
    ProduceBroker(server)
    async with producing(server, max_request_size=10_000) as producer:
        for send in (
            lambda: producer.send(TOPIC, b"x" * 10_000),
            lambda: producer.send(TOPIC, None, None, [("h", b"x" * 10_000)]),
            lambda: producer.send_many(TOPIC, [b"x" * 10_000]),
        ):
            with pytest.raises(MessageTooLarge, match="max_request_size is 10000"):
                await send()
        with pytest.raises(TypeError):
            await producer.send(TOPIC, "text")  # type: ignore[arg-type]
        await producer.send_and_wait(TOPIC, b"x" * 9_000)
        assert producer.pending_bytes == 0


# --- patience ---


async def test_a_silent_broker_ends_in_a_timeout_and_later_messages_get_through(
    server: WireServer,
) -> None:
    broker = ProduceBroker(server)
    options = {"delivery_timeout_ms": 400, "request_timeout_ms": 200}
    async with producing(server, **options) as producer:
        await producer.send_and_wait(TOPIC, b"0")
        broker.fate = lambda: "stay silent"
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match=r"t/0: not acknowledged within 0.4 s") as caught:
            await producer.send_and_wait(TOPIC, b"written, but who knows")
        assert 0.35 < time.monotonic() - began < 10
        assert isinstance(caught.value.__cause__, KafkaTimeout)
        broker.fate = lambda: "answer"
        assert (await producer.send_and_wait(TOPIC, b"2")).offset == 2
        await producer.send_and_wait(TOPIC, b"3")
    assert [m.value for m in broker.logs[0].messages][2:] == [b"2", b"3"]


async def test_a_full_buffer_makes_send_wait_and_never_grows(server: WireServer) -> None:
    broker = ProduceBroker(server)
    options = {"buffer_memory": 50_000, "max_batch_size": 5_000, "max_block_ms": 1000}
    async with producing(server, **options) as producer:
        await producer.send_and_wait(TOPIC, b"0")
        broker.fate = lambda: "stay silent"

        async def fill() -> None:
            for _ in range(1000):
                await producer.send(TOPIC, b"x" * 1000)

        with pytest.raises(KafkaTimeout, match="of 50000 bytes of buffer_memory"):
            await fill()
        assert 40_000 < producer.pending_bytes <= 50_000
        with pytest.raises(KafkaTimeout):
            await producer.send_many(TOPIC, [b"x" * 1000] * 100)
        assert producer.pending_bytes <= 50_000
        server.cut()
        broker.fate = lambda: "answer"
        for _ in range(200):
            await producer.send(TOPIC, b"y" * 1000)
        await producer.flush(10)
        assert producer.pending_bytes == 0


async def test_sends_give_the_loop_its_turns(server: WireServer) -> None:
    ProduceBroker(server)
    async with producing(server) as producer:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        for _ in range(100_000):
            await producer.send(TOPIC, b"x" * 20)
        ticking.cancel()
        assert ticks > 5


async def test_stop_ends_in_time_and_fails_what_is_left(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server) as producer:
        await producer.send_and_wait(TOPIC, b"0")
        broker.fate = lambda: "stay silent"
        seen, unseen = await producer.send(TOPIC, b"1"), await producer.send(TOPIC, b"2")
        waiting = asyncio.ensure_future(seen)
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match=r"1 message not written.*stopped"):
            await producer.stop(0.3)
        assert time.monotonic() - began < 20
        with pytest.raises(DeliveryFailed, match="stopped"):
            await waiting
        assert isinstance(unseen.exception(), DeliveryFailed)
        for call in (producer.send(TOPIC), producer.send_many(TOPIC, []), producer.flush()):
            with pytest.raises(ProducerClosed):
                await call


def _broken(data: Any, level: int | None = None) -> bytes:
    raise RuntimeError("this codec is broken")


@pytest.fixture
def broken_codec() -> Iterator[str]:
    register(7, "broken", _broken, lambda data, max_size: b"")
    yield "broken"
    unregister(7)


async def test_a_producer_that_dies_says_so_and_leaves_nobody_waiting(
    server: WireServer, broken_codec: str
) -> None:
    ProduceBroker(server)
    async with producing(server, compression_type=broken_codec) as producer:
        delivery = await producer.send(TOPIC, b"v")
        with pytest.raises(DeliveryFailed, match="the producer died") as caught:
            await asyncio.wait_for(delivery, 30)
        assert "this codec is broken" in str(caught.value.__cause__)
        for call in (producer.send(TOPIC), producer.send_many(TOPIC, [b""]), producer.flush()):
            with pytest.raises(ProducerClosed, match="this codec is broken"):
                await call
        assert producer.pending_bytes == 0


async def test_stop_ends_who_waits_for_room(server: WireServer) -> None:
    broker = ProduceBroker(server)
    async with producing(server, buffer_memory=20_000, max_batch_size=5_000) as producer:
        await producer.send_and_wait(TOPIC, b"0")
        broker.fate = lambda: "stay silent"

        async def fill() -> None:
            while True:
                await producer.send(TOPIC, b"x" * 1000)

        filling = asyncio.create_task(fill())
        await asyncio.sleep(0.1)
        with contextlib.suppress(DeliveryFailed):
            await producer.stop(0.1)
        with pytest.raises(ProducerClosed):
            await asyncio.wait_for(filling, 30)


async def test_a_moved_leader_is_followed_in_order(server: WireServer) -> None:
    async with WireServer(node_id=2) as other:
        old, new = ProduceBroker(server), ProduceBroker(other)
        new.logs = old.logs  # as replicated
        brokers = [
            {"node_id": s.node_id, "host": "127.0.0.1", "port": s.port, "rack": None}
            for s in (server, other)
        ]
        server.brokers = other.brokers = brokers
        server.topics[0]["partitions"][0]["leader_id"] = 1
        other.topics = server.topics
        async with producing(server) as producer:
            await producer.send_and_wait(TOPIC, b"0")
            server.topics[0]["partitions"][0].update(leader_id=2, leader_epoch=1)
            old.refuse = lambda partition: NOT_LEADER
            for number in range(1, 200):
                await producer.send(TOPIC, b"%d" % number)
                if number % 20 == 0:
                    await asyncio.sleep(0.002)
            await producer.flush(10)
        assert [m.value for m in old.logs[0].messages] == [b"%d" % n for n in range(200)]
        assert new.requests


async def test_an_answer_of_rubbish_is_not_believed(server: WireServer) -> None:
    broker = ProduceBroker(server)
    usual = server.answers["Produce"]
    rubbish = iter([b"\xff" * 20, b"\x00\x00", b""])

    def answer(request: Any) -> Any:
        body = next(rubbish, None)
        if body is None:
            return usual(request)
        return request.frame[4:8] + body

    server.answers["Produce"] = answer
    async with producing(server) as producer:
        assert (await asyncio.wait_for(producer.send_and_wait(TOPIC, b"v"), 5)).offset == 0
    assert len(broker.logs[0].messages) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"acks": 2}, "acks is 2"),
        ({"acks": 1, "enable_idempotence": True}, 'needs acks="all"'),
        ({"max_in_flight": 6}, "max_in_flight is 6"),
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"linger_ms": -1}, "linger_ms"),
        ({"transactional_id": ""}, "transactional_id"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        Producer(**options)
