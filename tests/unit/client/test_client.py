"""A client of servers that come, go, move and answer with errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from faustc.client import codes
from faustc.client.client import CONTROLLER, Client
from faustc.client.directory import parse_servers
from faustc.exceptions import (
    BrokerError,
    ConnectionLost,
    CorruptFrame,
    ImproperlyConfigured,
    KafkaTimeout,
    NoBrokersAvailable,
    NotReady,
    UnsupportedVersion,
)
from faustc.types import TopicPartition
from tests.unit.client.wire_server import WireServer, until

QUICK = {"retry_backoff_ms": 10, "retry_backoff_max_ms": 40, "reconnect_backoff_ms": 5}


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@contextlib.asynccontextmanager
async def client_of(*servers: WireServer, **options: Any) -> AsyncIterator[Client]:
    client = Client(
        [f"127.0.0.1:{server.port}" for server in servers],
        client_id="me",
        **{
            "retry_backoff_ms": 10,
            "retry_backoff_max_ms": 40,
            "reconnect_backoff_ms": 5,
            **options,
        },
    )
    await client.start(5)
    try:
        yield client
    finally:
        await client.close()
        assert len(asyncio.all_tasks()) < 12, "no task of the client is left"


def topic(name: str, *, leader: int = 1, epoch: int = 0, partitions: int = 1, error: int = 0):
    return {
        "name": name,
        "topic_id": uuid.uuid5(uuid.NAMESPACE_DNS, name),
        "error_code": error,
        "is_internal": False,
        "partitions": [
            {
                "error_code": 0,
                "partition_index": number,
                "leader_id": leader,
                "leader_epoch": epoch,
                "replica_nodes": [leader],
                "isr_nodes": [leader],
                "offline_replicas": [],
            }
            for number in range(partitions)
        ],
    }


def address(server: WireServer) -> dict[str, Any]:
    return {"node_id": server.node_id, "host": "127.0.0.1", "port": server.port, "rack": None}


def answer_metadata(server: WireServer, **topics: dict[str, Any] | int) -> None:
    """Answer each topic asked for: with fields, an error code, or as one that does not exist."""

    def answer(request: Any) -> dict[str, Any]:
        asked = [t.name for t in request.fields.topics or ()]
        found = []
        for name in asked:
            known = topics.get(name, codes.UNKNOWN_TOPIC_OR_PARTITION)
            if isinstance(known, int):
                known = {**topic(name, partitions=0, error=known), "topic_id": None}
            found.append(known)
        return {**server.metadata(request), "topics": found}

    server.answers["Metadata"] = answer


# --- servers and bootstrapping ---


def test_bootstrap_servers_are_read_as_users_write_them():
    assert parse_servers("a:1, b:2,,c") == [("a", 1), ("b", 2), ("c", 9092)]
    assert parse_servers(["a:1", "a:1"]) == [("a", 1)]
    assert parse_servers("[::1]:5,[fe80::2],::3") == [("::1", 5), ("fe80::2", 9092), ("::3", 9092)]


@pytest.mark.parametrize("servers", ["", ",", "a:b", "a:0", "a:70000", ":9092", []])
def test_what_is_no_server_is_said_before_anything_is_dialled(servers):
    with pytest.raises(ImproperlyConfigured):
        Client(servers)


async def test_the_bootstrap_connection_is_kept_when_it_is_the_brokers_own(server):
    async with client_of(server) as client:
        connection = await client.connection(1)

        assert connection.node_id == 1
        assert server.opened == 1
        assert client.cluster.cluster_id == "c"


async def test_purposes_have_sockets_of_their_own_and_share_within(server):
    async with client_of(server) as client:
        fetch, produce, again = await asyncio.gather(
            client.connection(1, "fetch"),
            client.connection(1, "produce"),
            client.connection(1, "fetch"),
        )

        assert fetch is again
        assert fetch is not produce
        assert server.opened == 3


async def test_one_living_server_of_three_is_enough(server):
    async with WireServer() as gone:
        dead = gone.port
    client = Client(["127.0.0.1:1", f"127.0.0.1:{dead}", f"127.0.0.1:{server.port}"])

    await client.start(5)

    assert set(client.cluster.brokers) == {1}
    await client.close()


async def test_no_server_at_all_names_each_and_why_within_the_timeout():
    started = time.monotonic()
    client = Client("127.0.0.1:1,no-such-host.invalid:9092")

    with pytest.raises(NoBrokersAvailable) as caught:
        await client.start(0.5)

    assert time.monotonic() - started < 20
    for part in ("127.0.0.1:1", "Connection refused", "no-such-host.invalid:9092", "0.5 s"):
        assert part in str(caught.value)
    assert client.closed


async def test_a_server_that_comes_up_meanwhile_is_found(server):
    port = server.port
    await server.stop()
    client = Client(f"127.0.0.1:{port}")
    starting = asyncio.ensure_future(client.start(10))
    await asyncio.sleep(0.2)

    await server.listen(port)
    await starting

    assert set(client.cluster.brokers) == {1}
    await client.close()


async def test_a_broker_too_old_is_refused_at_once_not_tried_for_long():
    async with WireServer({18: (0, 3), 3: (0, 5)}) as server:
        started = time.monotonic()

        with pytest.raises(UnsupportedVersion, match="Metadata"):
            await Client(f"127.0.0.1:{server.port}").start(20)

        assert time.monotonic() - started < 15


async def test_a_starting_broker_that_knows_no_brokers_is_asked_again(server):
    server.brokers = []
    client = Client(f"127.0.0.1:{server.port}", retry_backoff_ms=10)
    starting = asyncio.ensure_future(client.start(5))
    await until(lambda: len(server.seen("Metadata")) >= 2)

    server.brokers = None
    await starting

    assert set(client.cluster.brokers) == {1}
    await client.close()


async def test_a_client_that_is_not_started_says_so():
    client = Client("127.0.0.1:1")

    with pytest.raises(NotReady):
        await client.connection(1)
    await client.close()


async def test_a_closed_client_fails_its_waiters_and_leaves_no_descriptor(server):
    before = len(os.listdir("/proc/self/fd"))
    async with client_of(server) as client:
        waiting = [
            asyncio.ensure_future(client.request("ListGroups", timeout_s=30)),
            asyncio.ensure_future(client.partitions_for("never", 30)),
        ]
        await asyncio.sleep(0.05)
    for failure in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(failure, ConnectionLost)
    with pytest.raises(ConnectionLost, match="closed"):
        await client.request("ListGroups")
    await until(lambda: not server.open_connections)
    # Others of this process open and close some, too: what counts is that none stays.
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)


# --- metadata ---


async def test_only_topics_that_somebody_wants_are_asked_for(server):
    answer_metadata(server, a=topic("a"), b=topic("b", partitions=3))
    async with client_of(server) as client:
        assert [r.fields.topics for r in server.seen("Metadata")] == [[]]

        assert await client.partitions_for("b") == (0, 1, 2)
        assert await client.partitions_for("a") == (0,)
        asked = [[t.name for t in r.fields.topics] for r in server.seen("Metadata")]
        assert asked == [[], ["b"], ["a"]]

        await client.refresh(5)
        assert [t.name for t in server.seen("Metadata")[-1].fields.topics] == ["a", "b"]


async def test_a_known_topic_costs_no_request(server):
    answer_metadata(server, a=topic("a"))
    async with client_of(server) as client:
        await client.partitions_for("a")
        before = len(server.requests)

        assert await client.partitions_for("a") == (0,)
        assert await client.leader_for(TopicPartition("a", 0)) == (1, 0)

        assert len(server.requests) == before


async def test_many_who_ask_at_once_share_a_request(server):
    answer_metadata(server, a=topic("a"))
    async with client_of(server) as client:
        before = len(server.seen("Metadata"))

        await asyncio.gather(*(client.partitions_for("a", 5) for _ in range(50)))
        for _ in range(50):
            client.request_refresh()
        await client.refresh(5)

        assert len(server.seen("Metadata")) - before <= 3


async def test_a_topic_that_appears_later_is_waited_for(server):
    answer_metadata(server)
    async with client_of(server) as client:
        waiting = asyncio.ensure_future(client.partitions_for("late", 5))
        await until(lambda: len(server.seen("Metadata")) >= 3)

        answer_metadata(server, late=topic("late", partitions=2))

        assert await waiting == (0, 1)


async def test_a_topic_that_never_appears_is_named_and_forgotten(server):
    answer_metadata(server)
    async with client_of(server) as client:
        with pytest.raises(BrokerError, match=r"UNKNOWN_TOPIC.*'ghost' is not there after 0.2 s"):
            await client.partitions_for("ghost", 0.2)

        await client.refresh(5)
        assert server.seen("Metadata")[-1].fields.topics == []


@pytest.mark.parametrize("code", [codes.INVALID_TOPIC_EXCEPTION, codes.TOPIC_AUTHORIZATION_FAILED])
async def test_a_topic_we_may_not_have_is_refused_at_once(server, code: int):
    answer_metadata(server, bad=code)
    async with client_of(server) as client:
        with pytest.raises(BrokerError, match="'bad'") as caught:
            await client.partitions_for("bad", 30)

        assert caught.value.code == code


async def test_auto_creation_is_asked_for_unless_switched_off(server):
    answer_metadata(server, a=topic("a"))
    for allowed in (True, False):
        async with client_of(server, allow_auto_topic_creation=allowed) as client:
            await client.partitions_for("a")
        assert server.seen("Metadata")[-1].fields.allow_auto_topic_creation is allowed


async def test_only_topics_about_to_be_used_are_created_not_all_that_once_were(server):
    answer_metadata(server, a=topic("a"))

    def last() -> tuple[list[str], bool]:
        fields = server.seen("Metadata")[-1].fields
        return [t.name for t in fields.topics], fields.allow_auto_topic_creation

    async with client_of(server) as client:
        await client.partitions_for("a")
        assert last() == (["a"], True)

        await client.refresh(5)
        assert last() == (["a"], False), "it may have been deleted meanwhile"

        client.look_for("a")
        await until(lambda: last() == (["a"], True))

        client.drop_topics("a")
        assert client.cluster.partitions("a") is None
        await client.refresh(5)
        assert last() == ([], False)


async def test_a_client_that_is_closed_while_it_starts_leaves_nothing_running(server):
    client = Client(f"127.0.0.1:{server.port}")
    closing: list[asyncio.Task[None]] = []

    def close_meanwhile(request: Any) -> dict[str, Any]:
        closing.append(asyncio.create_task(client.close()))
        return server.metadata(request)

    server.answers["Metadata"] = close_meanwhile
    with pytest.raises(ConnectionLost, match="the client is closed"):
        await client.start(5)
    await asyncio.gather(*closing)
    await until(lambda: server.open_connections == 0)
    assert not [t for t in asyncio.all_tasks() if "metadata" in t.get_name()]


async def test_nobody_answering_metadata_is_a_timeout_that_names_the_topic(server):
    async with client_of(server) as client:
        server.answers["Metadata"] = lambda request: None

        with pytest.raises(KafkaTimeout, match="'a'"):
            await client.partitions_for("a", 0.3)


async def test_a_partition_without_leader_is_waited_for_and_named(server):
    answer_metadata(server, a=topic("a", leader=-1))
    async with client_of(server) as client:
        with pytest.raises(BrokerError, match=r"LEADER_NOT_AVAILABLE.*a/0"):
            await client.leader_for(TopicPartition("a", 0), 0.2)
        with pytest.raises(BrokerError, match=r"UNKNOWN_TOPIC_OR_PARTITION.*a/9"):
            await client.leader_for(TopicPartition("a", 9), 0.2)

        waiting = asyncio.ensure_future(client.leader_for(TopicPartition("a", 0), 5))
        await asyncio.sleep(0.05)
        answer_metadata(server, a=topic("a", leader=1, epoch=1))
        assert await waiting == (1, 1)


async def test_metadata_grows_old(server):
    answer_metadata(server, a=topic("a"))
    async with client_of(server, metadata_max_age_ms=100) as client:
        await client.partitions_for("a")
        answer_metadata(server, a=topic("a", partitions=2))
        told = []
        client.on_metadata.append(told.append)

        await until(lambda: client.cluster.partitions("a") == (0, 1))

        assert told[-1] is client.cluster


async def test_a_listener_that_fails_does_not_stop_the_metadata(server, caplog):
    async with client_of(server) as client:
        client.on_metadata.append(lambda cluster: 1 / 0)

        await client.refresh(5)
        await client.refresh(5)

    assert "A metadata listener failed" in caplog.text


async def test_all_topics_and_then_only_some(server):
    everything = [topic("a"), topic("b")]
    server.topics = everything
    async with client_of(server) as client:
        client.set_topics(None)
        await client.refresh(5)
        assert server.seen("Metadata")[-1].fields.topics is None
        assert client.cluster.topics() == {"a", "b"}

        client.set_topics({"a"})
        assert client.cluster.topics() == {"a"}


async def test_a_broker_that_moved_is_found_at_its_new_address(server):
    async with WireServer() as new_place, client_of(server) as client:
        old = await client.connection(1)
        server.brokers = [address(new_place)]

        await client.refresh(5)

        assert old.closed
        assert (await client.connection(1)).port == new_place.port


async def test_when_all_known_brokers_are_gone_the_bootstrap_servers_are_asked_again():
    async with (
        WireServer() as seed,
        WireServer(node_id=7) as first,
        WireServer(node_id=8) as second,
    ):
        seed.brokers = [address(first)]
        async with client_of(seed) as client:
            await client.connection(7)
            seed.brokers = [address(second)]

            await first.stop()
            await until(lambda: set(client.cluster.brokers) == {8})

            assert (await client.connection(8)).port == second.port
            await first.listen()


async def test_a_broker_may_send_us_back_to_the_bootstrap_servers():
    async with (
        WireServer() as seed,
        WireServer(node_id=7) as first,
        WireServer(node_id=8) as second,
    ):
        seed.brokers = [address(first)]
        first.answers["Metadata"] = lambda request: {
            **first.metadata(request),
            "error_code": codes.REBOOTSTRAP_REQUIRED,
        }
        async with client_of(seed) as client:
            seed.brokers = [address(second)]

            await client.refresh(5)

            assert set(client.cluster.brokers) == {8}


async def test_a_broker_that_hangs_does_not_hold_metadata_up(server, monkeypatch):
    monkeypatch.setattr("faustc.client.directory.PATIENCE_S", 0.1)
    async with WireServer(node_id=2) as hung:
        server.brokers = [address(server), address(hung)]
        hung.answers["ApiVersions"] = lambda request: None
        async with client_of(server) as client:
            for _ in range(6):
                await client.refresh(5)


# --- reconnecting ---


async def test_a_broker_out_of_reach_is_tried_with_growing_patience_and_said_once(server, caplog):
    caplog.set_level("INFO", logger="faustc.client")
    async with client_of(server, reconnect_backoff_ms=20, reconnect_backoff_max_ms=80) as client:
        await client.connection(1)
        port = server.port
        await server.stop()
        started = time.monotonic()
        attempts = 0
        while time.monotonic() - started < 0.6:
            attempts += 1
            with pytest.raises(ConnectionLost):
                await client.connection(1)

        assert attempts < 25
        assert caplog.text.count("out of reach") == 1
        await server.listen(port)
        await until(lambda: client.cluster.brokers)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(ConnectionLost):
                    await client.connection(1)
                    break
        assert caplog.text.count("is back after") == 1


async def test_callers_that_wait_for_one_attempt_share_its_failure(server):
    async with client_of(server) as client:
        server.answers["ApiVersions"] = lambda request: ConnectionResetError
        before = server.opened

        found = await asyncio.gather(
            *(client.connection(1, "fetch") for _ in range(20)), return_exceptions=True
        )

        assert all(isinstance(failure, ConnectionLost) for failure in found)
        assert server.opened - before == 1


async def test_a_node_that_is_not_in_the_cluster_is_no_reason_to_wait(server):
    async with client_of(server) as client:
        with pytest.raises(ConnectionLost, match="node 99"):
            await client.connection(99)


# --- routing and retrying ---


def coordinator_at(server: WireServer, **more: Any) -> Any:
    def answer(request: Any) -> dict[str, Any]:
        key = request.fields.coordinator_keys[0]
        found = {"key": key, "error_code": 0, **address(server), **more}
        found.pop("rack", None)
        return {"coordinators": [found]}

    return answer


async def test_a_request_for_a_group_goes_to_its_coordinator(server):
    async with WireServer(node_id=2) as other:
        server.brokers = [address(server), address(other)]
        server.answers["FindCoordinator"] = other.answers["FindCoordinator"] = coordinator_at(other)
        other.answers["Heartbeat"] = lambda request: {"error_code": 0}
        async with client_of(server) as client:
            for _ in range(3):
                await client.request("Heartbeat", node=("group", "g"), group_id="g")

            assert await client.coordinator("group", "g") == 2
        looked_up = server.seen("FindCoordinator") + other.seen("FindCoordinator")
        assert len(looked_up) == 1
        assert looked_up[0].fields.key_type == 0


async def test_a_coordinator_that_moved_is_looked_up_anew(server):
    async with WireServer(node_id=2) as other:
        server.brokers = [address(server), address(other)]
        for asked in (server, other):
            asked.answers["FindCoordinator"] = coordinator_at(server)
            asked.answers["Metadata"] = server.metadata
        server.answers["Heartbeat"] = lambda request: {"error_code": codes.NOT_COORDINATOR}
        other.answers["Heartbeat"] = lambda request: {"error_code": 0}
        async with client_of(server) as client:
            request = asyncio.ensure_future(
                client.request("Heartbeat", node=("group", "g"), group_id="g", timeout_s=5)
            )
            await until(lambda: server.seen("Heartbeat"))

            for asked in (server, other):
                asked.answers["FindCoordinator"] = coordinator_at(other)

            assert (await request).error_code == 0


async def test_a_coordinator_that_is_not_there_yet_is_waited_for(server):
    server.answers["FindCoordinator"] = coordinator_at(
        server, error_code=codes.COORDINATOR_NOT_AVAILABLE
    )
    async with client_of(server) as client:
        # the deadline may pass between two tries, or while a lookup is under way
        with pytest.raises(
            (BrokerError, KafkaTimeout), match=r"COORDINATOR_NOT_AVAILABLE|FindCoord"
        ):
            await client.coordinator("group", "g", 1.0)

        waiting = asyncio.ensure_future(client.coordinator("txn", "x", 5))
        await until(lambda: server.seen("FindCoordinator")[-1].fields.key_type == 1)
        server.answers["FindCoordinator"] = coordinator_at(server)
        assert await waiting == 1


async def test_a_coordinator_answer_without_our_key_is_corrupt_not_node_0(server):
    server.answers["FindCoordinator"] = lambda request: {"coordinators": []}
    async with client_of(server) as client:
        with pytest.raises(CorruptFrame, match="FindCoordinator"):
            await client.coordinator("group", "g", 0.2)


async def test_a_coordinator_without_an_address_is_not_dialled(server, caplog):
    server.answers["FindCoordinator"] = coordinator_at(server, node_id=9, host="", port=0)
    async with client_of(server) as client:
        # the deadline may pass between two tries, or while a lookup is under way
        with pytest.raises((ConnectionLost, KafkaTimeout)):
            await client.request("Heartbeat", node=("group", "g"), group_id="g", timeout_s=0.2)
    assert "no address" in caplog.text


async def test_a_lost_connection_is_tried_again_and_an_error_that_stays_is_raised(server):
    answers = [ConnectionResetError, {"error_code": codes.COORDINATOR_LOAD_IN_PROGRESS}]
    server.answers["ListGroups"] = lambda request: answers.pop(0) if answers else {"error_code": 0}
    async with client_of(server) as client:
        assert (await client.request("ListGroups", timeout_s=5)).error_code == 0

        server.answers["ListGroups"] = lambda r: {"error_code": codes.CLUSTER_AUTHORIZATION_FAILED}
        with pytest.raises(BrokerError, match=r"CLUSTER_AUTHORIZATION_FAILED.*ListGroups"):
            await client.request("ListGroups", timeout_s=5)

        server.answers["ListGroups"] = lambda r: {"error_code": codes.REQUEST_TIMED_OUT}
        # the deadline may pass while an answer is under way: then that is what is told
        with pytest.raises((BrokerError, KafkaTimeout), match=r"REQUEST_TIMED_OUT|not answered"):
            await client.request("ListGroups", timeout_s=0.2)


async def test_without_retry_the_answer_comes_as_it_is(server):
    server.answers["ListGroups"] = lambda r: {"error_code": codes.COORDINATOR_LOAD_IN_PROGRESS}
    async with client_of(server) as client:
        answer = await client.request("ListGroups", retry=False)
        assert answer.error_code == codes.COORDINATOR_LOAD_IN_PROGRESS
        assert len(server.seen("ListGroups")) == 1

        server.answers["ListGroups"] = lambda r: ConnectionResetError
        with pytest.raises(ConnectionLost):
            await client.request("ListGroups", retry=False)
        assert len(server.seen("ListGroups")) == 2


async def test_codes_inside_an_answer_are_tried_again_where_that_helps(server):
    def results(*found: int) -> dict[str, Any]:
        return {"topics": [{"name": str(n), "error_code": code} for n, code in enumerate(found)]}

    answers = [results(codes.NOT_CONTROLLER, codes.NOT_CONTROLLER)]
    last = results(0, codes.TOPIC_ALREADY_EXISTS)
    server.answers["CreateTopics"] = lambda request: answers.pop(0) if answers else last
    async with client_of(server) as client:
        answer = await client.request(
            "CreateTopics",
            node=CONTROLLER,
            errors=lambda found: [t.error_code for t in found.topics],
            timeout_s=5,
            topics=[],
        )

    assert [t.error_code for t in answer.topics] == [0, codes.TOPIC_ALREADY_EXISTS]
    assert len(server.seen("CreateTopics")) == 2


async def test_not_the_leader_is_not_asked_of_the_same_broker_again(server):
    server.answers["ListGroups"] = lambda r: {"error_code": codes.NOT_LEADER_OR_FOLLOWER}
    async with client_of(server) as client:
        with pytest.raises(BrokerError, match="NOT_LEADER"):
            await client.request("ListGroups", node=1, timeout_s=5)

    assert len(server.seen("ListGroups")) == 1


async def test_a_silent_broker_is_a_timeout_that_names_the_request(server):
    async with client_of(server) as client:
        with pytest.raises(KafkaTimeout, match=r"ListGroups to ANY: not answered within 0.1 s"):
            await client.request("ListGroups", timeout_s=0.1)

        assert not (await client.connection(1)).closed, "a short patience is the caller's own"


async def test_requests_that_any_broker_answers_avoid_the_one_that_is_down(server):
    async with WireServer(node_id=2) as other:
        server.brokers = [address(server), address(other)]
        server.answers["ListGroups"] = other.answers["ListGroups"] = lambda r: {"error_code": 0}
        async with client_of(server) as client:
            await other.stop()

            for _ in range(20):
                await client.request("ListGroups", timeout_s=5)
            await other.listen(other.port)


async def test_leaders_told_by_an_answer_are_used_at_once(server):
    answer_metadata(server, a=topic("a"))
    async with client_of(server) as client:
        await client.partitions_for("a")

        client.learn_leaders({TopicPartition("a", 0): (5, 9)})

        assert client.cluster.leader(TopicPartition("a", 0)) == (5, 9)
