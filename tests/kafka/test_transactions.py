"""Transactions on real Kafka, in both versions of the protocol, librdkafka on the other side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest

from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.exceptions import (
    CommitFailed,
    ImproperlyConfigured,
    NotReady,
    ProducerFenced,
    TransactionAborted,
)
from faustc.testing import Faults
from faustc.types import OffsetAndMetadata, TopicPartition
from tests.conftest import Kafka
from tests.kafka.test_librdkafka import make_topic

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["version 2", "version 1"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """A cluster of each version of the transaction protocol."""
    if request.param == "version 2":
        kafka: Kafka = request.getfixturevalue("kafka")
        return kafka.bootstrap
    old: str = request.getfixturevalue("kafka_without_transactions_v2").bootstrap
    return old


@pytest.fixture
def topic(bootstrap: str, new_name: Callable[[str], str]) -> str:
    name = new_name("txn")
    make_topic(bootstrap, name, 3)
    return name


def values_of(bootstrap: str, topic: str, *, committed: bool = True) -> list[bytes]:
    """Read a whole topic by librdkafka, which knows nothing of us."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(3)])
    found: list[bytes] = []
    ends = 0
    deadline = time.monotonic() + 30
    while ends < 3 and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            ends += 1
        else:
            found.append(message.value())
    consumer.close()
    assert ends == 3
    return found


def producer(bootstrap: str, txn_id: str, **options: Any) -> Producer:
    return Producer(bootstrap_servers=bootstrap, transactional_id=txn_id, **options)


async def committed(bootstrap: str, group: str, tp: TopicPartition) -> int | None:
    async with Consumer(bootstrap_servers=bootstrap, group_id=group) as consumer:
        return await consumer.committed(tp)


async def test_what_is_committed_is_seen_and_what_is_aborted_is_not(
    bootstrap: str, topic: str
) -> None:
    async with producer(bootstrap, topic) as one:
        for number in range(30):
            await one.begin_transaction()
            await one.send_many(
                topic,
                [b"%d-%d" % (number, n) for n in range(20)],
                keys=[b"%d" % n for n in range(20)],
            )
            if number % 3 == 2:
                await one.abort_transaction()
            else:
                await one.commit_transaction()
    expected = {
        b"%d-%d" % (number, n) for number in range(30) for n in range(20) if number % 3 != 2
    }
    got = await asyncio.to_thread(values_of, bootstrap, topic)
    assert len(got) == len(expected)
    assert set(got) == expected


async def test_nothing_is_seen_before_the_end(bootstrap: str, topic: str) -> None:
    async with producer(bootstrap, topic) as one, one.transaction():
        await one.send_and_wait(topic, b"early")
        assert await asyncio.to_thread(values_of, bootstrap, topic) == []
        assert await asyncio.to_thread(values_of, bootstrap, topic, committed=False) == [b"early"]
    assert await asyncio.to_thread(values_of, bootstrap, topic) == [b"early"]


async def test_a_block_that_raises_aborts(bootstrap: str, topic: str) -> None:
    async with producer(bootstrap, topic) as one:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with one.transaction():
                await one.send_and_wait(topic, b"lost")
                raise ZeroDivisionError
        async with one.transaction():
            await one.send(topic, b"kept")
    assert await asyncio.to_thread(values_of, bootstrap, topic) == [b"kept"]


async def test_messages_need_a_transaction(bootstrap: str, topic: str) -> None:
    async with producer(bootstrap, topic) as one:
        with pytest.raises(NotReady, match="between two transactions"):
            await one.send(topic, b"")
        async with one.transaction():
            await one.send(topic, b"in")
            with pytest.raises(NotReady):
                await one.begin_transaction()
        with pytest.raises(NotReady):
            await one.send(topic, b"")
    with pytest.raises(ImproperlyConfigured):
        Producer(transactional_id="x", acks=1)


async def test_the_next_producer_of_an_id_fences_the_one_before(bootstrap: str, topic: str) -> None:
    async with producer(bootstrap, topic) as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"of the old")
        async with producer(bootstrap, topic) as new:
            async with new.transaction():
                await new.send(topic, b"of the new")
            with pytest.raises(ProducerFenced):
                await old.commit_transaction()
            with pytest.raises(ProducerFenced):
                await old.send(topic, b"again")
    assert await asyncio.to_thread(values_of, bootstrap, topic) == [b"of the new"]


async def test_fenced_while_it_sends(bootstrap: str, topic: str) -> None:
    async with producer(bootstrap, topic) as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"of the old", partition=0)
        async with producer(bootstrap, topic):
            with pytest.raises((ProducerFenced, TransactionAborted)):  # noqa: PT012
                await old.send(topic, b"late", partition=0)
                await old.commit_transaction()
    assert await asyncio.to_thread(values_of, bootstrap, topic) == []


async def test_offsets_are_committed_with_it(
    bootstrap: str, topic: str, new_name: Callable[[str], str]
) -> None:
    group, tp = new_name("group"), TopicPartition(topic, 0)
    async with (
        Consumer(
            topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        ) as consumer,
        producer(bootstrap, topic) as one,
    ):
        while tp not in consumer.assignment():
            await consumer.getmany(timeout_ms=100)
        offsets = {tp: OffsetAndMetadata(7, "note")}
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with one.transaction():
                await one.send_offsets_to_transaction(offsets, consumer.group_metadata())
                raise ZeroDivisionError
        assert await consumer.committed(tp) is None
        async with one.transaction():
            await one.send_offsets_to_transaction(offsets, consumer.claim(offsets))
        assert await consumer.committed(tp) == 7


async def test_a_stranger_to_the_group_commits_nothing(
    bootstrap: str, topic: str, new_name: Callable[[str], str]
) -> None:
    group, tp = new_name("group"), TopicPartition(topic, 0)
    async with producer(bootstrap, topic) as one:
        async with Consumer(
            topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        ) as consumer:
            while tp not in consumer.assignment():
                await consumer.getmany(timeout_ms=100)
            zombie = consumer.group_metadata()
        async with Consumer(
            topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        ) as consumer:
            while tp not in consumer.assignment():
                await consumer.getmany(timeout_ms=100)
            await one.begin_transaction()
            await one.send(topic, b"of a zombie")
            with pytest.raises(CommitFailed):
                await one.send_offsets_to_transaction({tp: OffsetAndMetadata(9)}, zombie)
            with pytest.raises(TransactionAborted):
                await one.commit_transaction()
            await one.abort_transaction()
            assert await consumer.committed(tp) is None
    assert await asyncio.to_thread(values_of, bootstrap, topic) == []


async def test_open_for_too_long(bootstrap: str, topic: str) -> None:
    async with producer(bootstrap, topic, transaction_timeout_ms=1000) as one:
        await one.begin_transaction()
        await one.send_and_wait(topic, b"slow")
        await asyncio.sleep(13)  # brokers look for those every ten seconds
        with pytest.raises((ProducerFenced, TransactionAborted)) as told:
            await one.commit_transaction()
        if told.type is TransactionAborted:
            await one.abort_transaction()
            async with one.transaction():
                await one.send(topic, b"slow")
            return
    assert await asyncio.to_thread(values_of, bootstrap, topic) == []


@pytest.mark.parametrize("api", ["EndTxn", "Produce", "InitProducerId", "TxnOffsetCommit"])
async def test_lost_answers(
    bootstrap: str, topic: str, api: str, new_name: Callable[[str], str]
) -> None:
    """The broker has done it, and we never hear of that."""
    faults = Faults(seed=1)
    group, tp = new_name("group"), TopicPartition(topic, 0)
    async with producer(bootstrap, topic, dialer=faults.dialer()) as one:
        for number in range(12):
            if number % 2:
                faults.control(api, cut_after_bytes=2)
            async with one.transaction():
                for n in range(3):
                    await one.send(topic, b"%d-%d" % (number, n), partition=n)
                await one.send_offsets_to_transaction({tp: OffsetAndMetadata(number)}, group)
    got = await asyncio.to_thread(values_of, bootstrap, topic)
    assert sorted(got) == sorted(b"%d-%d" % (number, n) for number in range(12) for n in range(3))
    assert await committed(bootstrap, group, tp) == 11


async def test_many_lost_answers_at_random(bootstrap: str, topic: str) -> None:
    """Some transactions end in doubt; each is whole, or not there, and none is there twice."""
    faults = Faults(seed=7)
    for api in ("EndTxn", "Produce", "AddPartitionsToTxn", "InitProducerId"):
        faults.control(api, cut_after_bytes=2, times=None, chance=0.2)
    sure: list[int] = []
    async with producer(bootstrap, topic, dialer=faults.dialer()) as one:
        for number in range(40):
            try:
                async with one.transaction():
                    for n in range(9):
                        await one.send(topic, b"%d-%d" % (number, n), partition=n % 3)
                    if number % 5 == 4:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue
            sure.append(number)
        faults.clear()
    got = await asyncio.to_thread(values_of, bootstrap, topic)
    assert sorted(got) == sorted(b"%d-%d" % (number, n) for number in sure for n in range(9))


async def test_an_end_that_comes_late_does_not_end_the_next(bootstrap: str, topic: str) -> None:
    """Jepsen's finding: it is refused, since whoever did not hear of an end has a new epoch."""
    async with producer(bootstrap, topic) as one:
        async with one.transaction():
            await one.send(topic, b"first")
        client = one.client
        await one.begin_transaction()
        await one.send_and_wait(topic, b"second")
        transactions = one._transactional()
        who = transactions._persona.current
        end = {
            "transactional_id": topic,
            "producer_id": who.producer_id,
            "producer_epoch": who.epoch,
            "committed": True,
        }
        # Its first EndTxn is held up on the way: we time out, and ask again.
        await one.commit_transaction()
        transactions._renew = True
        await transactions._init(_deadline(), *transactions._persona.current)
        await one.begin_transaction()
        await one.send_and_wait(topic, b"third")
        late = await client.request("EndTxn", node=("txn", topic), retry=False, **end)
        assert late.error_code != 0
        assert b"third" not in await asyncio.to_thread(values_of, bootstrap, topic)
        await one.abort_transaction()
    assert sorted(await asyncio.to_thread(values_of, bootstrap, topic)) == [b"first", b"second"]


def _deadline() -> Any:
    from faustc.client.backoff import Deadline

    return Deadline(10)


async def test_librdkafka_and_we_share_an_id(bootstrap: str, topic: str) -> None:
    """What it left open we abort, and it what we did."""

    def theirs() -> confluent_kafka.Producer:
        made = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
        made.init_transactions(30)
        return made

    first = await asyncio.to_thread(theirs)
    first.begin_transaction()
    first.produce(topic, b"left open by librdkafka")
    await asyncio.to_thread(first.flush, 10)
    ours = producer(bootstrap, topic)
    await ours.start()
    async with ours.transaction():
        await ours.send(topic, b"ours")
    await ours.begin_transaction()
    await ours.send_and_wait(topic, b"left open by us")
    last = await asyncio.to_thread(theirs)
    last.begin_transaction()
    last.produce(topic, b"librdkafka's")
    await asyncio.to_thread(last.commit_transaction, 30)
    await ours.stop(2)
    assert sorted(await asyncio.to_thread(values_of, bootstrap, topic)) == [
        b"librdkafka's",
        b"ours",
    ]
