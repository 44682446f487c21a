"""The admin client against a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from faustc.client.admin import Admin, NewTopic
from faustc.client.producer import Producer
from faustc.exceptions import BrokerError, ImproperlyConfigured, NoBrokersAvailable
from faustc.types import TopicPartition
from tests.conftest import Kafka

pytestmark = pytest.mark.kafka
NewName = Callable[[str], str]


@pytest.fixture
async def admin(kafka: Kafka) -> AsyncIterator[Admin]:
    async with Admin(kafka.bootstrap) as admin:
        yield admin


async def listed(admin: Admin, name: str, *, there: bool = True) -> None:
    """Wait until a topic is known, or forgotten: a controller answers before its brokers know."""
    async with asyncio.timeout(30):
        while (name in await admin.list_topics()) is not there:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_created_topic_has_its_partitions_and_configs(
    admin: Admin, new_name: NewName
) -> None:
    name = new_name("made")
    created = await admin.create_topics(
        [NewTopic(name, 3, 1, {"retention.ms": 7_200_000, "cleanup.policy": "compact"})]
    )
    assert created[name].num_partitions == 3
    assert created[name].configs["retention.ms"] == "7200000"
    assert created[name].configs["cleanup.policy"] == "compact"
    await listed(admin, name)
    described = (await admin.describe_topics([name]))[name]
    assert [p.partition for p in described.partitions] == [0, 1, 2]
    assert described.topic_id == created[name].topic_id != bytes(16)
    assert not described.is_internal


async def test_broker_defaults_apply_to_minus_one(admin: Admin, new_name: NewName) -> None:
    name = new_name("defaults")
    created = await admin.create_topics([NewTopic(name)])
    assert created[name].num_partitions >= 1
    assert created[name].replication_factor >= 1


async def test_refusals_name_the_topic_and_spare_the_others(
    admin: Admin, new_name: NewName
) -> None:
    old, new, bad = new_name("old"), new_name("new"), "not/a/name"
    await admin.create_topics([NewTopic(old)])
    with pytest.raises(BrokerError, match=f"TOPIC_ALREADY_EXISTS.*{old}") as caught:
        await admin.create_topics([NewTopic(old), NewTopic(bad), NewTopic(new)])
    assert (caught.value.code, caught.value.name) == (36, "TOPIC_ALREADY_EXISTS")
    assert any(bad in note for note in caught.value.__notes__)
    await listed(admin, new)


async def test_validate_only_makes_nothing(admin: Admin, new_name: NewName) -> None:
    name = new_name("checked")
    await admin.create_topics([NewTopic(name, 2, 1)], validate_only=True)
    assert name not in await admin.list_topics()
    with pytest.raises(BrokerError) as caught:
        await admin.create_topics([NewTopic(name, 2, 99)], validate_only=True)
    assert caught.value.name == "INVALID_REPLICATION_FACTOR"


async def test_deleted_topic_is_gone_and_cannot_be_deleted_twice(
    admin: Admin, new_name: NewName
) -> None:
    name = new_name("gone")
    await admin.create_topics([NewTopic(name)])
    await listed(admin, name)
    await admin.delete_topics([name])
    await listed(admin, name, there=False)
    with pytest.raises(BrokerError, match=name) as caught:
        await admin.delete_topics([name], timeout_ms=2_000)
    assert caught.value.name == "UNKNOWN_TOPIC_OR_PARTITION"


async def test_describing_never_makes_a_topic(admin: Admin, new_name: NewName) -> None:
    name = new_name("never")
    with pytest.raises(BrokerError, match=name) as caught:
        await admin.describe_topics([name])
    assert caught.value.name == "UNKNOWN_TOPIC_OR_PARTITION"
    assert name not in await admin.list_topics()


async def test_partitions_are_added_and_never_taken(admin: Admin, new_name: NewName) -> None:
    name = new_name("wider")
    await admin.create_topics([NewTopic(name, 1)])
    await listed(admin, name)
    await admin.create_partitions({name: 4})
    async with asyncio.timeout(30):
        while len((await admin.describe_topics([name]))[name].partitions) != 4:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    with pytest.raises(BrokerError, match=name) as caught:
        await admin.create_partitions({name: 2})
    assert caught.value.name == "INVALID_PARTITIONS"


async def test_deleted_records_move_the_start_of_the_log(
    admin: Admin, kafka: Kafka, new_name: NewName
) -> None:
    name = new_name("cut")
    await admin.create_topics([NewTopic(name, 2)])
    async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
        for partition in (0, 1):
            await (await producer.send_many(name, [b"x"] * 10, partition=partition))
    first, second = TopicPartition(name, 0), TopicPartition(name, 1)
    assert await admin.delete_records({first: 4, second: -1}) == {first: 4, second: 10}
    with pytest.raises(BrokerError, match=f"{name}/0") as caught:
        await admin.delete_records({first: 11})
    assert caught.value.name == "OFFSET_OUT_OF_RANGE"


async def test_timeouts_are_checked_and_hold(admin: Admin) -> None:
    with pytest.raises(ImproperlyConfigured, match="timeout_ms is 0"):
        await admin.list_topics(timeout_ms=0)
    with pytest.raises(ImproperlyConfigured, match="request_timeout_ms is -1"):
        Admin(request_timeout_ms=-1)
    with pytest.raises(NoBrokersAvailable, match=r"127\.0\.0\.1:1"):
        await Admin("127.0.0.1:1", request_timeout_ms=500).start()
