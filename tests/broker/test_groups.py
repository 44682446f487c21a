"""Consumer groups over a socket: the embedded broker and real Kafka must say the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from faustc.client.codes import (
    COORDINATOR_NOT_AVAILABLE,
    FENCED_INSTANCE_ID,
    GROUP_ID_NOT_FOUND,
    GROUP_SUBSCRIBED_TO_TOPIC,
    ILLEGAL_GENERATION,
    INCONSISTENT_GROUP_PROTOCOL,
    INVALID_GROUP_ID,
    INVALID_REQUEST,
    INVALID_SESSION_TIMEOUT,
    MEMBER_ID_REQUIRED,
    NON_EMPTY_GROUP,
    NONE,
    OFFSET_METADATA_TOO_LARGE,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
)
from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.types import OffsetAndMetadata, TopicPartition
from tests.broker.raw import Raw

SESSION_MS = 6000


def make_topic(bootstrap: str, name: str, partitions: int = 4) -> None:
    """Make a topic, and wait until its leader knows that it leads: Kafka answers before."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)
    rows = [{"partition_index": n, "timestamp": -1} for n in range(partitions)]
    with Raw(bootstrap) as raw:

        def leads() -> bool:
            told = raw.ask("ListOffsets", 1, topics=[{"name": name, "partitions": rows}])
            return all(p.error_code == NONE for t in told.topics for p in t.partitions)

        until(leads)


def until(reached: Callable[[], bool], timeout_s: float = 15.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        time.sleep(0.02)


@pytest.fixture
def topic(bootstrap: str, new_name: Callable[[str], str]) -> str:
    name = new_name("groups")
    make_topic(bootstrap, name)
    return name


@pytest.fixture
def group(new_name: Callable[[str], str]) -> str:
    return new_name("group")


@pytest.fixture
def raw(bootstrap: str) -> Iterator[Raw]:
    with Raw(bootstrap) as connection:
        yield connection


def subscription(*topics: str) -> bytes:
    """Write what a consumer says it reads, version 0."""
    names = b"".join(len(t).to_bytes(2, "big") + t.encode() for t in topics)
    return b"\0\0" + len(topics).to_bytes(4, "big") + names + b"\xff\xff\xff\xff"


class RawMember:
    """A member in single requests, on a connection of its own: a join may be parked."""

    def __init__(self, raw: Raw, group: str, **fields: Any) -> None:
        self.raw = raw
        self.group = group
        self.instance: str | None = fields.pop("group_instance_id", None)
        self.fields = {
            "session_timeout_ms": SESSION_MS,
            "rebalance_timeout_ms": 10_000,
            "protocol_type": "consumer",
            "protocols": [{"name": "range", "metadata": subscription("t")}],
            **fields,
        }
        self.member_id = ""
        self.generation = -1
        self.told: Any = None

    def send_join(self, version: int = 9, **changes: Any) -> None:
        fields = {**self.fields, "group_instance_id": self.instance, **changes}
        self.raw.send("JoinGroup", version, group_id=self.group, member_id=self.member_id, **fields)
        self._version = version

    def joined(self) -> int:
        self.told = self.raw.receive("JoinGroup", self._version)
        if self.told.error_code == NONE:
            self.generation = self.told.generation_id
        if self.told.error_code in (NONE, MEMBER_ID_REQUIRED):
            self.member_id = self.told.member_id
        return int(self.told.error_code)

    def join(self, version: int = 9, **changes: Any) -> int:
        self.send_join(version, **changes)
        error = self.joined()
        if error == MEMBER_ID_REQUIRED:
            self.send_join(version, **changes)
            error = self.joined()
        return error

    @property
    def leads(self) -> bool:
        return bool(self.told.leader == self.member_id)

    def sync(self, assignments: dict[str, bytes] | None = None, version: int = 5) -> Any:
        self.send_sync(assignments, version)
        return self.raw.receive("SyncGroup", version)

    def send_sync(self, assignments: dict[str, bytes] | None = None, version: int = 5) -> None:
        rows = [{"member_id": m, "assignment": a} for m, a in (assignments or {}).items()]
        agreed = {"protocol_type": "consumer", "protocol_name": self.told.protocol_name}
        self.raw.send("SyncGroup", version, **self.who(), **agreed, assignments=rows)

    def who(self) -> dict[str, Any]:
        return {
            "group_id": self.group,
            "generation_id": self.generation,
            "member_id": self.member_id,
            "group_instance_id": self.instance,
        }

    def heartbeat(self, version: int = 4) -> int:
        return int(self.raw.ask("Heartbeat", version, **self.who()).error_code)

    def commit(self, topic: str, offset: int, version: int = 9, **changes: Any) -> int:
        who = {**self.who(), **changes}
        who["generation_id_or_member_epoch"] = who.pop("generation_id")
        row = {"partition_index": 0, "committed_offset": offset, "committed_metadata": ""}
        told = self.raw.ask(
            "OffsetCommit", version, **who, topics=[{"name": topic, "partitions": [row]}]
        )
        return int(told.topics[0].partitions[0].error_code)


@pytest.fixture
def member(bootstrap: str, connect: Callable[[str], Raw], group: str) -> Callable[..., RawMember]:
    return lambda **fields: RawMember(connect(bootstrap), group, **fields)


# -- single requests, every version


@pytest.mark.parametrize("version", range(10))
def test_every_version_of_join_sync_heartbeat_and_leave_makes_a_generation(member, version):
    one = member()
    assert one.join(version) == NONE
    assert one.leads
    assert one.told.protocol_name == "range"
    assert [(m.member_id, bytes(m.metadata)) for m in one.told.members] == [
        (one.member_id, subscription("t"))
    ]
    told = one.sync({one.member_id: b"mine"}, version=min(version, 5))
    assert (told.error_code, bytes(told.assignment)) == (NONE, b"mine")
    assert one.heartbeat(min(version, 4)) == NONE
    leave = min(version, 5)
    told = one.raw.ask(
        "LeaveGroup",
        leave,
        group_id=one.group,
        member_id=one.member_id,
        members=[{"member_id": one.member_id, "group_instance_id": None}],
    )
    assert told.error_code == NONE
    assert one.heartbeat(min(version, 4)) == UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(2, 10))
def test_every_version_of_commit_and_fetch_keeps_offset_and_note(raw, group, topic, version):
    rows = [{"partition_index": 1, "committed_offset": 41, "committed_metadata": "nöte"}]
    rows += [{"partition_index": 2, "committed_offset": 42, "committed_metadata": None}]
    rows[0]["committed_leader_epoch"] = 0
    told = raw.ask(
        "OffsetCommit",
        version,
        group_id=group,
        topics=[{"name": topic, "partitions": rows}],
    )
    assert [p.error_code for p in told.topics[0].partitions] == [NONE, NONE]
    for fetch in range(1, 10):
        asked = {"name": topic, "partition_indexes": [1, 2, 3]}
        told = raw.ask(
            "OffsetFetch",
            fetch,
            group_id=group,
            topics=[asked],
            groups=[{"group_id": group, "topics": [asked]}],
            require_stable=True,
        )
        topics = told.groups[0].topics if fetch >= 8 else told.topics
        assert [
            (p.partition_index, p.committed_offset, p.metadata, p.error_code)
            for p in topics[0].partitions
        ] == [(1, 41, "nöte", NONE), (2, 42, "", NONE), (3, -1, "", NONE)]


@pytest.mark.parametrize("version", range(2, 10))
def test_all_offsets_of_a_group_are_fetched_without_naming_them(raw, group, topic, version):
    row = {"partition_index": 3, "committed_offset": 5, "committed_metadata": ""}
    raw.ask("OffsetCommit", 9, group_id=group, topics=[{"name": topic, "partitions": [row]}])

    def fetch(group_id):
        told = raw.ask(
            "OffsetFetch",
            version,
            group_id=group_id,
            topics=None,
            groups=[{"group_id": group_id, "topics": None}],
        )
        topics = told.groups[0].topics if version >= 8 else told.topics
        return {
            t.name: {p.partition_index: p.committed_offset for p in t.partitions} for t in topics
        }

    assert fetch(group) == {topic: {3: 5}}
    assert fetch(group + "-unknown") == {}


def test_offsets_of_what_does_not_exist_or_is_too_long_are_refused_one_by_one(raw, group, topic):
    rows = [
        {"partition_index": 0, "committed_offset": 1, "committed_metadata": "x" * 4096},
        {"partition_index": 1, "committed_offset": 1, "committed_metadata": "x" * 4097},
        {"partition_index": 99, "committed_offset": 1, "committed_metadata": ""},
    ]
    topics = [
        {"name": topic, "partitions": rows},
        {"name": topic + "-unknown", "partitions": rows[:1]},
    ]
    told = raw.ask("OffsetCommit", 9, group_id=group, topics=topics)
    errors = {(t.name, p.partition_index): p.error_code for t in told.topics for p in t.partitions}
    assert errors == {
        (topic, 0): NONE,
        (topic, 1): OFFSET_METADATA_TOO_LARGE,
        (topic, 99): UNKNOWN_TOPIC_OR_PARTITION,
        (topic + "-unknown", 0): UNKNOWN_TOPIC_OR_PARTITION,
    }


@pytest.mark.parametrize(
    ("version", "key_type"), [(0, 0), *((v, kind) for v in range(1, 7) for kind in (0, 1, 9))]
)
def test_every_version_finds_the_coordinator(raw, bootstrap, version, key_type):
    # A broker that was never asked before has to create the coordinators' topics first.
    give_up_at = time.monotonic() + 30
    while True:
        told = raw.ask(
            "FindCoordinator", version, key="k", coordinator_keys=["k", "l"], key_type=key_type
        )
        found = told.coordinators if version >= 4 else [told]
        away = any(one.error_code == COORDINATOR_NOT_AVAILABLE for one in found)
        if not away or time.monotonic() > give_up_at:
            break
        time.sleep(0.1)
    for one in found:
        if key_type == 9:
            assert (one.error_code, one.node_id, one.port) == (INVALID_REQUEST, -1, -1)
        else:
            assert (one.error_code, f"{one.host}:{one.port}") == (NONE, bootstrap)
    if version >= 4:
        assert [one.key for one in found] == ["k", "l"]


def test_strangers_and_bad_requests_are_told_the_same(member, raw, group, topic):
    assert member(session_timeout_ms=10).join() == INVALID_SESSION_TIMEOUT
    assert member(protocols=[]).join() == INCONSISTENT_GROUP_PROTOCOL
    assert member(protocol_type="").join() == INCONSISTENT_GROUP_PROTOCOL
    stranger = member()
    stranger.member_id = "stranger"
    assert stranger.join() == UNKNOWN_MEMBER_ID
    stranger.generation = 1
    assert stranger.heartbeat() == UNKNOWN_MEMBER_ID
    nobody = member()
    nobody.group = ""
    assert nobody.join() == INVALID_GROUP_ID
    assert nobody.heartbeat() == INVALID_GROUP_ID
    other = member()
    other.group = group + "-unknown"
    other.generation, other.member_id = 3, "x"
    assert other.commit(topic, 1, version=8) == ILLEGAL_GENERATION
    assert other.commit(topic, 1, version=9) == GROUP_ID_NOT_FOUND
    leave = [{"member_id": "x", "group_instance_id": None}]
    told = raw.ask("LeaveGroup", 5, group_id=other.group, members=leave)
    assert (told.error_code, [m.error_code for m in told.members]) in (
        (UNKNOWN_MEMBER_ID, []),
        (NONE, [UNKNOWN_MEMBER_ID]),
    )


# -- generations, by single requests


def rebalanced(first: RawMember, *others: RawMember) -> None:
    """Have all join one generation; the others are new or rejoin."""
    for one in others:
        if not one.member_id and one.instance is None:
            one.send_join()
            assert one.joined() == MEMBER_ID_REQUIRED
        one.send_join()
    if first.member_id:
        until(lambda: first.heartbeat() == REBALANCE_IN_PROGRESS)
    first.send_join()
    assert [one.joined() for one in (first, *others)] == [NONE] * (1 + len(others))


def settled(*members: RawMember) -> None:
    """Sync all; each is assigned its number."""
    parts = {one.member_id: b"%d" % n for n, one in enumerate(members)}
    for one in members:
        one.send_sync(parts if one.leads else None)
    told = [one.raw.receive("SyncGroup", 5) for one in members]
    assert [(t.error_code, bytes(t.assignment)) for t in told] == [
        (NONE, part) for part in parts.values()
    ]


def test_two_members_share_generations_and_commits_are_fenced_by_them(member, topic):
    first, second = member(), member()
    assert first.join() == NONE
    settled(first)
    rebalanced(first, second)
    assert first.generation == second.generation == 2
    assert first.leads
    assert not second.leads
    assert {m.member_id for m in first.told.members} == {first.member_id, second.member_id}
    assert second.told.members == []
    # nobody commits while the leader assigns
    assert second.commit(topic, 1) == REBALANCE_IN_PROGRESS
    settled(first, second)
    assert second.commit(topic, 1) == NONE
    assert second.commit(topic, 1, generation_id=1) == ILLEGAL_GENERATION
    assert second.commit(topic, 1, member_id="x") == UNKNOWN_MEMBER_ID
    assert second.commit(topic, 1, generation_id=-1, member_id="") == UNKNOWN_MEMBER_ID
    # a follower that joins again is told the same, a leader starts a rebalance
    assert second.join() == NONE
    assert second.generation == 2
    first.send_join()
    until(lambda: second.heartbeat() == REBALANCE_IN_PROGRESS)
    assert second.commit(topic, 2) == NONE
    assert second.sync().error_code == REBALANCE_IN_PROGRESS
    second.send_join()
    assert (first.joined(), second.joined()) == (NONE, NONE)
    assert first.generation == 3


def test_static_members_come_back_in_their_places_at_once(member, bootstrap, group):
    first, second = member(group_instance_id="a"), member(group_instance_id="b")
    assert first.join() == NONE
    settled(first)
    rebalanced(first, second)
    settled(first, second)
    for old, is_leader in ((first, True), (second, False)):
        again = member(group_instance_id=old.instance)
        started = time.monotonic()
        assert again.join() == NONE
        told = again.sync()
        took_s = time.monotonic() - started
        assert again.generation == 2
        assert again.member_id != old.member_id
        assert again.told.skip_assignment is is_leader
        assert (told.error_code, bytes(told.assignment)) == (NONE, b"0" if is_leader else b"1")
        assert took_s < 10
        # the one before is fenced
        assert old.heartbeat() == FENCED_INSTANCE_ID
        assert old.sync().error_code == FENCED_INSTANCE_ID
        assert old.join() == FENCED_INSTANCE_ID
    # an administrator removes one by its instance
    leave = [{"member_id": "", "group_instance_id": i} for i in ("a", "nobody")]
    told = first.raw.ask("LeaveGroup", 5, group_id=group, members=leave)
    assert [m.error_code for m in told.members] == [NONE, UNKNOWN_MEMBER_ID]


def test_an_old_static_leader_is_not_told_that_it_leads(member):
    old = member(group_instance_id="a")
    assert old.join(version=8) == NONE
    settled(old)
    again = member(group_instance_id="a")
    assert again.join(version=8) == NONE
    assert again.told.leader == old.member_id
    assert not again.leads


def test_a_member_that_falls_silent_is_lost_and_the_others_go_on(member):
    first, second = member(), member(session_timeout_ms=1500, rebalance_timeout_ms=2000)
    assert first.join() == NONE
    settled(first)
    rebalanced(first, second)
    settled(first, second)
    started = time.monotonic()
    until(lambda: first.heartbeat() == REBALANCE_IN_PROGRESS)
    assert 1.2 < time.monotonic() - started < 30
    assert first.join() == NONE
    assert len(first.told.members) == 1
    assert second.heartbeat() == UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(7))
def test_groups_are_described_in_every_version(member, raw, group, version):
    first = member()

    def describe(name):
        (told,) = raw.ask("DescribeGroups", version, groups=[name]).groups
        return told

    told = describe(group)
    assert (told.group_state, told.error_code, told.members) == (
        "Dead",
        GROUP_ID_NOT_FOUND if version >= 6 else NONE,
        [],
    )
    assert first.join() == NONE
    told = describe(group)
    assert (told.group_state, told.protocol_type) == ("CompletingRebalance", "consumer")
    settled(first)
    told = describe(group)
    assert (told.group_state, told.protocol_data) == ("Stable", "range")
    (only,) = told.members
    assert only.member_id == first.member_id
    assert only.client_id == "raw"
    assert only.client_host == "/127.0.0.1"
    assert bytes(only.member_metadata) == subscription("t")
    assert bytes(only.member_assignment) == b"0"
    if version >= 3:
        assert told.authorized_operations is None
        (told,) = raw.ask(
            "DescribeGroups", version, groups=[group], include_authorized_operations=True
        ).groups
        assert told.authorized_operations == {3, 6, 8, 10, 11}


@pytest.mark.parametrize("version", range(6))
def test_groups_are_listed_in_every_version_and_filtered(member, raw, group, version):
    first = member()
    first.join()
    settled(first)

    def listed(**filters):
        told = raw.ask("ListGroups", version, **filters)
        assert told.error_code == NONE
        return {g.group_id: g for g in told.groups}

    assert listed()[group].protocol_type == "consumer"
    if version >= 4:
        assert listed(states_filter=["stable"])[group].group_state == "Stable"
        assert group not in listed(states_filter=["Empty"])
    if version >= 5:
        assert listed(types_filter=["classic"])[group].group_type == "classic"
        assert group not in listed(types_filter=["consumer"])


@pytest.mark.parametrize("version", range(3))
def test_groups_are_deleted_once_they_are_empty(member, raw, group, topic, version):
    first = member()
    first.join()
    settled(first)
    first.commit(topic, 7)

    def delete(name):
        (told,) = raw.ask("DeleteGroups", version, groups_names=[name]).results
        return told.error_code

    assert delete(group) == NON_EMPTY_GROUP
    raw.ask("LeaveGroup", 2, group_id=group, member_id=first.member_id)
    assert delete(group) == NONE
    assert delete(group) == GROUP_ID_NOT_FOUND
    asked = [{"name": topic, "partition_indexes": [0]}]
    told = raw.ask("OffsetFetch", 7, group_id=group, topics=asked)
    assert told.topics[0].partitions[0].committed_offset == -1


def test_single_offsets_are_deleted_unless_they_are_in_use(member, raw, group, topic):
    first = member(protocols=[{"name": "range", "metadata": subscription(topic)}])
    first.join()
    settled(first)
    first.commit(topic, 7)

    def delete(name):
        rows = [{"partition_index": 0}, {"partition_index": 99}]
        told = raw.ask(
            "OffsetDelete", 0, group_id=name, topics=[{"name": topic, "partitions": rows}]
        )
        errors = {p.partition_index: p.error_code for t in told.topics for p in t.partitions}
        return told.error_code, errors

    assert delete(group + "-unknown")[0] == GROUP_ID_NOT_FOUND
    unknown = {99: UNKNOWN_TOPIC_OR_PARTITION}
    assert delete(group) == (NONE, {0: GROUP_SUBSCRIBED_TO_TOPIC, **unknown})
    raw.ask("LeaveGroup", 2, group_id=group, member_id=first.member_id)
    assert delete(group) == (NONE, {0: NONE, **unknown})
    asked = [{"name": topic, "partition_indexes": [0]}]
    told = raw.ask("OffsetFetch", 7, group_id=group, topics=asked)
    assert told.topics[0].partitions[0].committed_offset == -1


# -- whole clients


async def eventually(reached: Callable[[], bool], timeout_s: float = 20.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        await asyncio.sleep(0.02)


async def test_faustc_consumers_share_a_topic_and_take_over_from_each_other(
    bootstrap, topic, group
):
    async with Producer(bootstrap_servers=bootstrap) as producer:
        for partition in range(4):
            await producer.send_and_wait(topic, b"%d" % partition, partition=partition)
    options = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    options["heartbeat_interval_ms"] = 200
    async with Consumer(topic, bootstrap_servers=bootstrap, **options) as first:
        seen: dict[int, int] = {}

        async def read(consumer: Consumer, count: int) -> None:
            while len(seen) < count:
                for tp, messages in (await consumer.getmany(timeout_ms=200)).items():
                    for one in messages:
                        seen[tp.partition] = seen.get(tp.partition, 0) + 1
                        await consumer.commit({tp: one.offset + 1})

        await asyncio.wait_for(read(first, 4), 20)
        async with Consumer(topic, bootstrap_servers=bootstrap, **options) as second:

            async def poll_both() -> None:
                while (len(first.assignment()), len(second.assignment())) != (2, 2):
                    await first.getmany(timeout_ms=20)
                    await second.getmany(timeout_ms=20)

            await asyncio.wait_for(poll_both(), 20)
            assert first.assignment() | second.assignment() == {
                TopicPartition(topic, n) for n in range(4)
            }

        # the second left: the first has everything again
        async def poll_first() -> None:
            while len(first.assignment()) != 4:
                await first.getmany(timeout_ms=20)

        await asyncio.wait_for(poll_first(), 20)
        assert await first.getmany(timeout_ms=200) == {}
    assert seen == {0: 1, 1: 1, 2: 1, 3: 1}


class Reader:
    """A confluent-kafka consumer polled on a thread, as its users run it."""

    def __init__(self, bootstrap: str, group: str, topic: str, **options: Any) -> None:
        self.seen: list[tuple[int, bytes]] = []
        self.errors: list[Any] = []
        self.assigned: set[int] = set()
        self.revocations = 0
        self._stop = threading.Event()
        self.consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": 200,
                **{name.replace("_", "."): value for name, value in options.items()},
            }
        )
        self.consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _on_assign(self, _: Any, partitions: Any) -> None:
        self.assigned |= {p.partition for p in partitions}

    def _on_revoke(self, _: Any, partitions: Any) -> None:
        self.revocations += 1
        self.assigned -= {p.partition for p in partitions}

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self.consumer.poll(0.05)
            if message is None:
                continue
            if message.error():
                self.errors.append(message.error())
            else:
                self.seen.append((message.partition(), message.value()))

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)
        self.consumer.close()


@pytest.fixture
def reader(bootstrap: str, group: str, topic: str) -> Iterator[Callable[..., Reader]]:
    made: list[Reader] = []

    def make(**options: Any) -> Reader:
        made.append(Reader(bootstrap, group, topic, **options))
        return made[-1]

    yield make
    for one in made:
        if not one._stop.is_set():
            one.close()


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_librdkafka_consumers_share_a_topic_and_take_over(
    bootstrap, topic, group, reader, strategy
):
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for n in range(40):
        producer.produce(topic, b"%d" % n, partition=n % 4)
    assert producer.flush(20) == 0
    first = reader(partition_assignment_strategy=strategy)
    until(lambda: len(first.seen) == 40)
    second = reader(partition_assignment_strategy=strategy)
    until(lambda: len(first.assigned) == len(second.assigned) == 2)
    assert first.assigned | second.assigned == {0, 1, 2, 3}
    first.close()  # commits, then leaves
    until(lambda: second.assigned == {0, 1, 2, 3})
    producer.produce(topic, b"last", partition=0)
    producer.flush(20)
    until(lambda: (0, b"last") in second.seen)
    assert second.seen == [(0, b"last")]


def test_a_librdkafka_static_member_is_back_within_a_second_without_a_rebalance(reader):
    options = {"group_instance_id": "a", "partition_assignment_strategy": "range"}
    first = reader(**options)
    other = reader(**{**options, "group_instance_id": "b"})
    until(lambda: len(first.assigned) == len(other.assigned) == 2)
    had, revocations = set(first.assigned), other.revocations
    first.close()  # a static member does not leave
    started = time.monotonic()
    again = reader(**options)
    until(lambda: again.assigned == had)
    assert time.monotonic() - started < 10
    assert other.revocations == revocations


def test_the_older_of_two_librdkafka_members_with_one_instance_id_is_fenced(reader):
    first = reader(group_instance_id="a")
    until(lambda: len(first.assigned) == 4)
    second = reader(group_instance_id="a")
    until(lambda: len(second.assigned) == 4)
    until(lambda: bool(first.errors))
    assert first.errors[0].code() == confluent_kafka.KafkaError._FATAL
    assert second.errors == []


async def test_faustc_and_librdkafka_share_a_group(bootstrap, topic, group, reader):
    other = reader(partition_assignment_strategy="range")
    until(lambda: len(other.assigned) == 4)
    options = {"group_id": group, "partition_assignment_strategy": ["range"]}
    async with Consumer(topic, bootstrap_servers=bootstrap, **options) as consumer:

        async def share() -> None:
            while (len(consumer.assignment()), len(other.assigned)) != (2, 2):
                await consumer.getmany(timeout_ms=50)

        await asyncio.wait_for(share(), 20)
        mine = {tp.partition for tp in consumer.assignment()}
        assert mine | other.assigned == {0, 1, 2, 3}
    await eventually(lambda: other.assigned == {0, 1, 2, 3})


async def test_a_consumer_without_a_group_commits_for_others_to_read(bootstrap, topic, group):
    tp = TopicPartition(topic, 2)
    async with Consumer(bootstrap_servers=bootstrap, group_id=group) as consumer:
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(17, "note")})
    partition = confluent_kafka.TopicPartition(topic, 2)
    outside = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    loop = asyncio.get_running_loop()
    (found,) = await loop.run_in_executor(None, outside.committed, [partition], 20)
    await loop.run_in_executor(None, outside.close)
    assert found.offset == 17


def test_an_administrator_sees_and_deletes_groups(bootstrap, topic, group, reader):
    one = reader()
    until(lambda: len(one.assigned) == 4)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    listed = admin.list_consumer_groups(request_timeout=20).result()
    assert group in {g.group_id for g in listed.valid}
    described = admin.describe_consumer_groups([group], request_timeout=20)[group].result()
    assert described.state == confluent_kafka.ConsumerGroupState.STABLE
    (member,) = described.members
    assert {p.partition for p in member.assignment.topic_partitions} == {0, 1, 2, 3}
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        admin.delete_consumer_groups([group], request_timeout=20)[group].result()
    assert caught.value.args[0].code() == NON_EMPTY_GROUP
    one.close()
    admin.delete_consumer_groups([group], request_timeout=20)[group].result()


# -- the embedded broker alone


def test_members_and_offsets_outlive_a_restart_of_the_broker(embedded_private, connect, new_name):
    group, topic = new_name("group"), new_name("groups")
    make_topic(embedded_private.bootstrap, topic)
    first = RawMember(connect(embedded_private.bootstrap), group, group_instance_id="a")
    assert first.join() == NONE
    settled(first)
    assert first.commit(topic, 7) == NONE
    # when the broker is another process
    embedded_private.restart()
    # then members go on as if nothing was, on new connections
    first.raw.reconnect()
    assert first.heartbeat() == NONE
    assert bytes(first.sync().assignment) == b"0"
    asked = [{"name": topic, "partition_indexes": [0]}]
    told = first.raw.ask("OffsetFetch", 7, group_id=group, topics=asked)
    assert told.topics[0].partitions[0].committed_offset == 7
    # and a static member that starts again has its place
    again = RawMember(connect(embedded_private.bootstrap), group, group_instance_id="a")
    assert again.join() == NONE
    assert again.generation == first.generation


def test_a_deleted_topic_takes_its_offsets_along(bootstrap, topic, group, raw):
    row = {"partition_index": 0, "committed_offset": 5, "committed_metadata": ""}
    raw.ask("OffsetCommit", 9, group_id=group, topics=[{"name": topic, "partitions": [row]}])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(20)

    def offset() -> int:
        asked = [{"name": topic, "partition_indexes": [0]}]
        told = raw.ask("OffsetFetch", 7, group_id=group, topics=asked)
        return int(told.topics[0].partitions[0].committed_offset)

    until(lambda: offset() == -1)


def test_a_parked_member_whose_connection_dies_comes_back(member):
    first, second = member(), member()
    assert first.join() == NONE
    settled(first)
    # given one that waits for the other to rejoin, and dies
    second.send_join()
    assert second.joined() == MEMBER_ID_REQUIRED
    second.send_join()
    until(lambda: first.heartbeat() == REBALANCE_IN_PROGRESS)
    # when it asks again on another connection
    second.raw.reconnect()
    second.send_join()
    first.send_join()
    # then both are in
    assert (first.joined(), second.joined()) == (NONE, NONE)
    settled(first, second)
