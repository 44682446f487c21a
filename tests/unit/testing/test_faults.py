"""Faults by API, and that an application under them neither loses nor invents anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import faustc
from faustc.client import Admin, Consumer, Producer
from faustc.client.admin import NewTopic
from faustc.client.codes import NOT_LEADER_OR_FOLLOWER
from faustc.exceptions import BrokerError, ImproperlyConfigured
from faustc.testing import Faults, MemoryBroker, virtual_time
from faustc.testing.refusals import REFUSABLE


def echo_app() -> faustc.App:
    app = faustc.App("echo", broker="kafka://127.0.0.1:1")
    out = app.topic("out", partitions=1)

    @app.agent(app.topic("in", partitions=1))
    async def echo(stream: Any) -> None:
        async for value in stream:
            await out.send(value=value)

    return app


FAULTS = [
    ("Produce", {"drop": 1}),
    ("Produce", {"cut_after_bytes": 0}),
    ("Produce", {"error": "NOT_LEADER_OR_FOLLOWER"}),
    ("Produce", {"error": "NOT_ENOUGH_REPLICAS", "times": 3}),
    ("Produce", {"delay_s": 7.0}),
    ("Fetch", {"drop": 1}),
    ("Fetch", {"cut_after_bytes": 10}),
    ("Fetch", {"error": "NOT_LEADER_OR_FOLLOWER", "times": 2}),
    ("Fetch", {"error": "UNKNOWN_SERVER_ERROR"}),
    ("Fetch", {"delay_s": 5.0, "times": 3}),
    ("OffsetCommit", {"drop": 1}),
    ("OffsetCommit", {"cut_after_bytes": 0}),
    ("OffsetCommit", {"error": "COORDINATOR_LOAD_IN_PROGRESS"}),
    ("OffsetCommit", {"error": "NOT_COORDINATOR"}),
    ("OffsetCommit", {"delay_s": 3.0}),
    ("Heartbeat", {"error": "REBALANCE_IN_PROGRESS"}),
    ("Heartbeat", {"error": "UNKNOWN_MEMBER_ID"}),
    ("Heartbeat", {"drop": 2}),
    ("Metadata", {"drop": 1}),
    ("Metadata", {"cut_after_bytes": 3}),
]


@pytest.mark.parametrize(("api", "fault"), FAULTS, ids=lambda value: str(value).strip("{}"))
async def test_an_app_goes_on_through_a_fault(api: str, fault: dict[str, Any]) -> None:
    app = echo_app()
    async with app.test_context() as t:
        await t.send("in", value=0)
        await t.settled()
        t.control(api, **fault)
        for value in range(1, 6):
            await t.send("in", value=value)
            await t.advance(4)
        t.faults.clear()
        await t.settled()
        # In order; at least once where a commit or the group was hit, else exactly once.
        values = t.values("out")
        assert sorted(set(values)) == [0, 1, 2, 3, 4, 5]
        if api not in ("OffsetCommit", "Heartbeat"):
            assert values == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("api", ["FindCoordinator", "JoinGroup", "SyncGroup", "OffsetFetch"])
async def test_an_app_starts_through_a_fault(api: str) -> None:
    code = "COORDINATOR_NOT_AVAILABLE"
    for fault in ({"error": code, "times": 3}, {"cut_after_bytes": 0}, {"drop": 1}):
        app = echo_app()
        context = app.test_context()
        context.control(api, **fault)
        async with context as t:
            await t.send("in", value=1)
            await t.settled()
            assert t.values("out") == [1]
            assert api in t.faults.describe().partition("happened")[2]


async def test_lost_commit_is_replayed_not_skipped() -> None:
    async with MemoryBroker() as broker:
        app = echo_app()
        async with app.test_context(broker=broker) as t:
            await t.send("in", value=1)
            await t.settled()
            assert t.committed("in") == 1
            t.control("OffsetCommit", error="COORDINATOR_LOAD_IN_PROGRESS", times=None)
            await t.send("in", value=2)
            with pytest.raises(TimeoutError, match="the offsets are not committed"):
                await t.settled()
            await t.kill()
        async with echo_app().test_context(broker=broker) as t:
            await t.settled()
            assert t.committed("in") == 2
            assert t.values("out") == [1, 2, 2]


async def test_faults_work_for_clients_made_by_hand() -> None:
    with virtual_time():
        async with MemoryBroker() as broker:
            faults = Faults()
            dialer = faults.dialer(broker.dialer())
            faults.control("CreateTopics", error="POLICY_VIOLATION")
            async with Admin(bootstrap_servers="memory:9092", dialer=dialer) as admin:
                with pytest.raises(BrokerError, match="POLICY_VIOLATION"):
                    await admin.create_topics([NewTopic("t", 1, 1, {})])
                await admin.create_topics([NewTopic("t", 1, 1, {})])
            async with Producer(bootstrap_servers="memory:9092", dialer=dialer) as producer:
                faults.control("Produce", cut_after_bytes=0)
                await producer.send_and_wait("t", b"1")
            async with Consumer(
                "t",
                bootstrap_servers="memory:9092",
                auto_offset_reset="earliest",
                client_options={"dialer": dialer},
            ) as consumer:
                message = await consumer.getone()
                assert message.value == b"1"
            assert [m.value for m in broker.messages("t")] == [b"1"]  # once, though it was retried
            assert list(faults.history)[-1] == "Produce #1: cut_after_bytes=0"


async def test_a_plan_with_a_seed_happens_again() -> None:
    async def run(seed: int) -> list[str]:
        app = echo_app()
        async with app.test_context(seed=seed) as t:
            t.control("Produce", error=NOT_LEADER_OR_FOLLOWER, times=None, chance=0.3)
            for value in range(20):
                await t.send("in", value=value)
            t.faults.clear()
            await t.settled()
            return list(t.faults.history)

    first, again, other = await run(7), await run(7), await run(8)
    # How many requests the sends travel in is not a matter of the seed.
    common = min(len(first), len(again), len(other))
    assert common >= 3
    assert first[:common] == again[:common] != other[:common]


async def test_a_failing_test_is_told_of_the_faults() -> None:
    app = echo_app()

    async def test() -> None:
        async with app.test_context(seed=42) as t:
            t.control("Produce", delay_s=0.5)
            await t.send("in", value=1)
            raise AssertionError("as it may be")

    with pytest.raises(AssertionError) as failed:
        await test()
    [note] = failed.value.__notes__
    assert "seed 42" in note
    assert "planned Produce: delay_s=0.5, 1 times, chance 1" in note
    assert "happened Produce #1: delay_s=0.5" in note


async def test_a_test_without_faults_has_no_notes() -> None:
    with pytest.raises(AssertionError) as failed:
        async with echo_app().test_context():
            raise AssertionError
    assert getattr(failed.value, "__notes__", []) == []


@pytest.mark.parametrize(
    ("api", "fault", "said"),
    [
        ("Prodce", {"drop": 1}, "no API 'Prodce'"),
        ("Produce", {}, "give one of"),
        ("Produce", {"drop": 1, "delay_s": 2}, "give one of"),
        ("Produce", {"error": "NO_SUCH_ERROR"}, "no error 'NO_SUCH_ERROR'"),
        ("Produce", {"drop": 1, "chance": 0}, "chance"),
        ("Metadata", {"error": "UNKNOWN_SERVER_ERROR"}, "cannot be refused"),
    ],
)
def test_a_plan_that_cannot_be(api: str, fault: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        Faults().control(api, **fault)


async def test_every_refusal_reads_as_its_error() -> None:
    """What is made up here is what the broker answers, as far as the client can tell."""
    assert "Produce" in REFUSABLE
    with virtual_time():
        async with MemoryBroker() as broker:
            faults = Faults()
            dialer = faults.dialer(broker.dialer())
            async with Admin(bootstrap_servers="memory:9092", dialer=dialer) as admin:
                for api, call in {
                    "CreatePartitions": lambda: admin.create_partitions({"t": 2}),
                    "DeleteTopics": lambda: admin.delete_topics(["t"]),
                }.items():
                    faults.control(api, error="CLUSTER_AUTHORIZATION_FAILED")
                    with pytest.raises(BrokerError, match="CLUSTER_AUTHORIZATION_FAILED"):
                        await asyncio.wait_for(call(), 100)
