"""The client against real brokers: negotiation, metadata, coordinators, brokers that die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from faustc.client import codes, wire
from faustc.client.client import ANY, CONTROLLER, Client
from faustc.client.cluster import NO_TOPIC_ID
from faustc.exceptions import BrokerError, KafkaError
from faustc.types import TopicPartition
from tests.conftest import Kafka
from tests.kafka_cluster import KafkaCluster
from tests.unit.client.wire_server import until

pytestmark = pytest.mark.kafka


@contextlib.asynccontextmanager
async def client_of(bootstrap: str, **options: Any) -> AsyncIterator[Client]:
    client = Client(bootstrap, **options)
    await client.start(30)
    try:
        yield client
    finally:
        await client.close()


async def create_topic(client: Client, name: str, partitions: int = 1, replicas: int = 1) -> None:
    answer = await client.request(
        "CreateTopics",
        node=CONTROLLER,
        timeout_s=30,
        errors=lambda found: [t.error_code for t in found.topics],
        topics=[{"name": name, "num_partitions": partitions, "replication_factor": replicas}],
        timeout_ms=20_000,
    )
    assert answer.topics[0].error_code == 0, answer


async def start_again(cluster: KafkaCluster, node_id: int) -> None:
    """Start a killed node while the event loop goes on."""
    node = cluster.nodes[node_id]
    node.spawn()  # not in another thread: a node dies with the thread that started it
    running = sum(n.running for n in cluster.nodes.values())
    await asyncio.to_thread(node.wait_ready, running)


async def test_a_real_broker_negotiates_every_api_we_use(kafka: Kafka):
    async with client_of(kafka.bootstrap) as client:
        connection = await client.connection(next(iter(client.cluster.brokers)))

        chosen = {name: connection.version(name) for name in wire.CAPS}

        assert chosen["Metadata"] >= 12
        assert chosen["Fetch"] >= 13
        assert chosen["Produce"] >= 9
        assert connection.finalized_features.get("metadata.version", 0) > 0


async def test_every_metadata_version_tells_the_same(kafka: Kafka, new_name: Callable[[str], str]):
    name = new_name("versions")
    async with client_of(kafka.bootstrap) as client:
        await create_topic(client, name, partitions=3)
        await client.partitions_for(name, 20)
        connection = await client.connection(next(iter(client.cluster.brokers)))
        told = []
        for version in range(wire.CAPS["Metadata"].min, connection.version("Metadata") + 1):
            answer = await connection.request(
                "Metadata",
                version=version,
                topics=[{"name": name}],
                allow_auto_topic_creation=False,
            )
            told.append(
                sorted(
                    (p.partition_index, p.leader_id, p.leader_epoch)
                    for p in answer.topics[0].partitions
                )
            )

        assert len(told) >= 6
        assert all(found == told[0] for found in told)
        assert len(told[0]) == 3


async def test_a_topic_is_created_seen_and_gone(kafka: Kafka, new_name: Callable[[str], str]):
    name = new_name("life")
    async with client_of(kafka.bootstrap, allow_auto_topic_creation=False) as client:
        with pytest.raises(BrokerError, match=name) as caught:
            await client.partitions_for(name, 0.5)
        assert caught.value.code == codes.UNKNOWN_TOPIC_OR_PARTITION

        await create_topic(client, name, partitions=2)
        assert await client.partitions_for(name, 20) == (0, 1)
        first_id = client.cluster.topic_id(name)
        assert first_id != NO_TOPIC_ID
        assert client.cluster.topic_name(first_id) == name
        leader, epoch = await client.leader_for(TopicPartition(name, 1), 20)
        assert leader in client.cluster.brokers
        assert epoch >= 0

        await client.request(
            "DeleteTopics",
            node=CONTROLLER,
            topic_names=[name],
            topics=[{"name": name, "topic_id": None}],
            timeout_ms=20_000,
        )
        client.on_metadata.append(lambda cluster: client.request_refresh())
        client.request_refresh()
        await until(lambda: client.cluster.partitions(name) is None, 20)

        await create_topic(client, name, partitions=1)
        await until(lambda: client.cluster.partitions(name) == (0,), 20)
        assert client.cluster.topic_id(name) != first_id


async def test_a_missing_topic_is_created_when_it_may_be(
    kafka: Kafka, new_name: Callable[[str], str]
):
    async with client_of(kafka.bootstrap) as client:
        assert len(await client.partitions_for(new_name("auto"), 20)) >= 1


async def test_an_invalid_name_is_refused_at_once(kafka: Kafka):
    async with client_of(kafka.bootstrap) as client:
        started = time.monotonic()

        with pytest.raises(BrokerError, match="INVALID_TOPIC"):
            await client.partitions_for("no spaces, please", 30)

        assert time.monotonic() - started < 5


async def test_coordinators_of_groups_and_transactions_are_found_and_used(
    kafka: Kafka, new_name: Callable[[str], str]
):
    group = new_name("g")
    async with client_of(kafka.bootstrap) as client:
        assert await client.coordinator("group", group, 30) in client.cluster.brokers
        assert await client.coordinator("txn", new_name("x"), 30) in client.cluster.brokers

        answer = await client.request(
            "OffsetFetch",
            node=("group", group),
            timeout_s=30,
            group_id=group,
            topics=None,
            groups=[{"group_id": group, "topics": None}],
            require_stable=True,
        )
        assert answer.error_code == 0

        with pytest.raises(BrokerError, match="UNKNOWN_MEMBER_ID"):
            await client.request(
                "Heartbeat", node=("group", group), group_id=group, generation_id=1, member_id="x"
            )


async def test_a_nested_answer_of_any_broker(kafka: Kafka):
    async with client_of(kafka.bootstrap) as client:
        answer = await client.request("DescribeCluster", node=ANY)

        assert answer.cluster_id == client.cluster.cluster_id
        assert {b.broker_id for b in answer.brokers} == set(client.cluster.brokers)


async def test_clients_that_come_and_go_leave_no_descriptors_and_no_tasks(kafka: Kafka):
    async with client_of(kafka.bootstrap):
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        async with client_of(kafka.bootstrap) as client:
            await client.connection(next(iter(client.cluster.brokers)), "fetch")

    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_broker_before_transactions_v2_gets_the_older_versions(
    kafka_without_transactions_v2: KafkaCluster,
):
    async with client_of(kafka_without_transactions_v2.bootstrap) as client:
        connection = await client.connection(next(iter(client.cluster.brokers)))

        assert not connection.transactions_v2
        assert connection.version("EndTxn") <= 4
        assert connection.version("Produce", transactional=True) <= 11


async def test_requests_outlive_a_broker_that_is_killed_and_comes_back(
    kafka_private: KafkaCluster, new_name: Callable[[str], str], caplog: pytest.LogCaptureFixture
):
    name = new_name("outlive")
    caplog.set_level("INFO", logger="faustc.client")
    async with client_of(kafka_private.bootstrap) as client:
        await create_topic(client, name)
        await client.partitions_for(name, 20)
        node_id = next(iter(client.cluster.brokers))
        connection = await client.connection(node_id)

        kafka_private.kill(node_id)
        await until(lambda: connection.closed)
        waiting = asyncio.ensure_future(client.request("ListGroups", timeout_s=60))
        await start_again(kafka_private, node_id)

        assert (await waiting).error_code == 0
        assert await client.coordinator("group", "g", 30) == node_id
        assert (await client.refresh(30)).leader(TopicPartition(name, 0)) is not None
    assert caplog.text.count("out of reach") <= 2
    assert "is back after" in caplog.text


async def test_a_leader_that_dies_is_followed_to_the_next(
    kafka3: KafkaCluster, new_name: Callable[[str], str]
):
    name = new_name("leader")
    tp = TopicPartition(name, 0)
    async with client_of(kafka3.bootstrap) as client:
        assert set(client.cluster.brokers) == {1, 2, 3}
        await create_topic(client, name, replicas=3)
        leader, epoch = await client.leader_for(tp, 30)
        await client.connection(leader, "fetch")

        kafka3.kill(leader)
        try:
            async with asyncio.timeout(60):
                while client.cluster.leader(tp) in (None, (leader, epoch)):
                    with contextlib.suppress(KafkaError):
                        await client.refresh(5)
                    await asyncio.sleep(0.1)
            moved, later = await client.leader_for(tp, 30)
            assert moved != leader
            assert later > epoch
            for _ in range(10):
                assert (await client.request("ListGroups", timeout_s=30)).error_code == 0
        finally:
            await start_again(kafka3, leader)


async def test_a_broker_that_is_stopped_in_its_tracks_holds_nobody_up_for_long(
    kafka3: KafkaCluster,
):
    async with client_of(kafka3.bootstrap) as client:
        stopped = sorted(client.cluster.brokers)[0]
        await client.connection(stopped)
        kafka3.nodes[stopped].pause()
        try:
            started = time.monotonic()
            for _ in range(5):
                await client.refresh(30)
            assert time.monotonic() - started < 25
        finally:
            kafka3.nodes[stopped].resume()


async def test_every_address_of_a_name_is_tried(kafka: Kafka, monkeypatch: pytest.MonkeyPatch):
    host, port = kafka.bootstrap.split(",")[0].rsplit(":", 1)
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def two_addresses(name: str, number: int, **how: Any) -> Any:
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        living = await look_up(host if name == "kafka.test" else name, number, **how)
        return [dead, *living]

    monkeypatch.setattr(loop, "getaddrinfo", two_addresses)

    async with client_of(f"kafka.test:{port}") as client:
        assert client.cluster.brokers
