"""A group member against a coordinator that answers what the test says: every error, every loss."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

import pytest

from faustc.client import codes, standing, wire
from faustc.client.assignors import Assignment, CooperativeSticky, Subscription
from faustc.client.group import GroupMember, State
from faustc.client.holdings import Holdings, named
from faustc.client.host import LoopThread
from faustc.client.standing import MOVES, Standing
from faustc.exceptions import BrokerError, CommitFailed, KafkaTimeout
from faustc.types import OffsetAndMetadata, TopicPartition
from tests.unit.client.wire_server import Answer, Request, WireServer

TOPIC = "orders"
ALL = frozenset(TopicPartition(TOPIC, n) for n in range(4))

# Kafka 2.4: the lowest version of everything that we speak.
OLD = {cap.key: (0, cap.min) for cap in wire.CAPS.values()}


class Coordinator(WireServer):
    """A coordinator of a group that has one member, its leader.

    trouble[api] lists what goes wrong before it goes right: a code, None for
    silence, or ConnectionError for a cut.
    """

    def __init__(self, versions: dict[int, tuple[int, int]] | None = None) -> None:
        super().__init__(versions)
        self.topics = [topic(TOPIC, 4)]
        self.trouble: dict[str, list[int | type[ConnectionError] | None]] = {}
        self.generation = 0
        self.members_made = 0
        self.skip_assignment = False
        self.extra_members: list[dict[str, Any]] = []
        self.shared: dict[str, bytes] = {}
        self.offsets: dict[tuple[str, int], tuple[int, str]] = {}
        for name, answer in {
            "FindCoordinator": self.find,
            "JoinGroup": self.join,
            "SyncGroup": self.sync,
            "Heartbeat": lambda request: {"error_code": 0},
            "LeaveGroup": lambda request: {"error_code": 0, "members": []},
            "OffsetCommit": self.commit,
            "OffsetFetch": self.fetch,
        }.items():
            self.answers[name] = self.troubled(name, answer)

    def troubled(
        self, name: str, answer: Callable[[Request], Answer]
    ) -> Callable[[Request], Answer]:
        def troubled_answer(request: Request) -> Answer:
            waiting = self.trouble.get(name)
            if not waiting:
                return answer(request)
            trouble = waiting.pop(0)
            if isinstance(trouble, int):
                return self.refusal(request, trouble)
            return trouble

        return troubled_answer

    def refusal(self, request: Request, code: int) -> Answer:
        if request.name == "OffsetCommit":
            return self.commit(request, code)
        if request.name == "FindCoordinator":
            return self.find(request, code)
        if request.name == "JoinGroup":
            return {**self.joined(request.fields.member_id, "", []), "error_code": code}
        return {"error_code": code}

    def find(self, request: Request, code: int = 0) -> Answer:
        one = {
            "error_code": code,
            "error_message": "",
            "node_id": self.node_id,
            "host": "127.0.0.1",
            "port": self.port,
        }
        return {"coordinators": [{"key": "g", **one}]} if request.version >= 4 else one

    def join(self, request: Request) -> Answer:
        if not request.fields.member_id:
            self.members_made += 1
            member_id = f"member-{self.members_made}"
            if request.fields.group_instance_id is None:
                answer = self.joined(member_id, "", [])
                return {**answer, "error_code": codes.MEMBER_ID_REQUIRED, "generation_id": -1}
        else:
            member_id = request.fields.member_id
        self.generation += 1
        first = request.fields.protocols[0]
        me = {"member_id": member_id, "group_instance_id": None, "metadata": bytes(first.metadata)}
        return self.joined(member_id, first.name, [me, *self.extra_members])

    def joined(
        self, member_id: str, protocol: str, members: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "error_code": 0,
            "generation_id": self.generation,
            "protocol_type": "consumer",
            "protocol_name": protocol,
            "leader": member_id,
            "skip_assignment": self.skip_assignment,
            "member_id": member_id,
            "members": members,
        }

    def sync(self, request: Request) -> Answer:
        for given in request.fields.assignments:
            self.shared[given.member_id] = bytes(given.assignment)
        blob = self.shared.get(request.fields.member_id, b"")
        return {
            "error_code": 0,
            "protocol_type": "consumer",
            "protocol_name": "cooperative-sticky",
            "assignment": blob,
        }

    def commit(self, request: Request, code: int = 0) -> Answer:
        topics = []
        for asked in request.fields.topics:
            for part in asked.partitions:
                if not code:
                    self.offsets[asked.name, part.partition_index] = (
                        part.committed_offset,
                        part.committed_metadata,
                    )
            parts = [
                {"partition_index": part.partition_index, "error_code": code}
                for part in asked.partitions
            ]
            topics.append({"name": asked.name, "partitions": parts})
        return {"topics": topics}

    def fetch(self, request: Request) -> Answer:
        asked = request.fields.groups[0] if request.version >= 8 else request.fields
        topics = []
        for each in asked.topics:
            parts = []
            for number in each.partition_indexes:
                offset, metadata = self.offsets.get((each.name, number), (-1, ""))
                parts.append(
                    {
                        "partition_index": number,
                        "committed_offset": offset,
                        "committed_leader_epoch": -1,
                        "metadata": metadata,
                        "error_code": 0,
                    }
                )
            topics.append({"name": each.name, "partitions": parts})
        if request.version >= 8:
            return {"groups": [{"group_id": "g", "topics": topics, "error_code": 0}]}
        return {"topics": topics, "error_code": 0}


def topic(name: str, partitions: int) -> dict[str, Any]:
    return {
        "error_code": 0,
        "name": name,
        "is_internal": False,
        "partitions": [
            {
                "error_code": 0,
                "partition_index": n,
                "leader_id": 1,
                "leader_epoch": 0,
                "replica_nodes": [1],
                "isr_nodes": [1],
                "offline_replicas": [],
            }
            for n in range(partitions)
        ],
    }


class User:
    """Listens, and writes down what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, frozenset[TopicPartition]]] = []

    async def on_assign(self, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(("assign", partitions))

    async def on_revoke(self, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(("revoke", partitions))

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(("lost", partitions))

    @property
    def order(self) -> list[str]:
        return [what for what, _ in self.heard]


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    async with Coordinator() as server:
        yield server


@pytest.fixture
async def join(coordinator: Coordinator) -> AsyncIterator[Callable[..., Any]]:
    made: list[GroupMember] = []

    async def join_group(settle: bool = True, **options: Any) -> tuple[GroupMember, User]:
        user = User()
        member = GroupMember(
            f"127.0.0.1:{coordinator.port}",
            user,
            **{
                "group_id": "g",
                "topics": [TOPIC],
                "session_timeout_ms": 1000,
                "heartbeat_interval_ms": 30,
                "retry_backoff_ms": 10,
                "retry_backoff_max_ms": 50,
                "request_timeout_ms": 2000,
                **options,
            },
        )
        made.append(member)
        await member.start(5)
        if settle:
            await member.wait_assigned(5)
        return member, user

    yield join_group
    await asyncio.gather(*(member.stop(1) for member in made))


async def until(reached: Callable[[], bool], timeout_s: float = 30.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        await asyncio.sleep(0.005)


# --- the table ---


def reachable(start: State, moves: Mapping[State, set[State]]) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        for state in moves[todo.pop()] - found:
            found.add(state)
            todo.append(state)
    return found


def test_every_state_is_reached_and_every_state_can_end():
    assert reachable(State.UNJOINED, MOVES) == set(State)
    for state in State:
        assert State.LEFT in reachable(state, MOVES)


def test_only_a_revoking_member_joins_and_only_a_syncing_one_becomes_stable():
    assert [s for s in State if State.JOINING in MOVES[s]] == [State.REVOKING]
    assert [s for s in State if State.STABLE in MOVES[s]] == [State.SYNCING]


def test_a_move_that_the_table_lacks_is_refused():
    with pytest.raises(AssertionError):
        Standing("x").move(State.STABLE)


# --- joining ---


async def test_a_new_member_joins_with_the_id_it_was_given(coordinator, join):
    member, user = await join(rebalance_timeout_ms=70_000, max_poll_interval_ms=80_000)
    asked = [request.fields for request in coordinator.seen("JoinGroup")]
    assert [fields.member_id for fields in asked] == ["", "member-1"]
    assert asked[1].session_timeout_ms == 1000
    assert asked[1].rebalance_timeout_ms == 80_000  # the larger one, as in Java
    assert member.member_id == "member-1"
    assert member.is_leader
    assert member.assignment == ALL
    assert user.heard == [("assign", ALL)]


async def test_it_speaks_to_brokers_as_old_as_kafka_2_4():
    async with Coordinator(OLD) as server:
        user = User()
        member = GroupMember(
            f"127.0.0.1:{server.port}", user, group_id="g", topics=[TOPIC], group_instance_id="i"
        )
        await member.start(5)
        assert await member.wait_assigned(5) == ALL
        tp = min(ALL)
        await member.commit({tp: OffsetAndMetadata(3, "x")})
        assert await member.fetch_committed([tp]) == {tp: OffsetAndMetadata(3, "x")}
        await member.stop(2)
        assert server.seen("LeaveGroup") == []  # a static member stays
        assert {r.version for r in server.seen("JoinGroup")} == {5}


async def test_it_rejoins_with_what_it_owns_and_in_which_generation(coordinator, join):
    member, user = await join()
    generation = member.generation
    coordinator.trouble["Heartbeat"] = [codes.REBALANCE_IN_PROGRESS]
    await until(lambda: member.generation > generation)
    said = wire.decode_subscription(
        bytes(coordinator.seen("JoinGroup")[-1].fields.protocols[0].metadata)
    )
    assert said.owned == ALL
    assert said.generation == generation
    assert coordinator.seen("JoinGroup")[-1].fields.reason == "the group is rebalancing"
    assert user.heard == [("assign", ALL)]


@pytest.mark.parametrize("api", ["JoinGroup", "SyncGroup"])
@pytest.mark.parametrize(
    "trouble",
    [
        codes.COORDINATOR_NOT_AVAILABLE,
        codes.NOT_COORDINATOR,
        codes.COORDINATOR_LOAD_IN_PROGRESS,
        codes.REBALANCE_IN_PROGRESS,
        ConnectionError,
    ],
)
async def test_passing_trouble_while_joining_is_tried_again_as_the_same_member(
    coordinator, join, api, trouble
):
    member, user = await join()
    generation = member.generation
    coordinator.trouble = {api: [trouble, trouble], "Heartbeat": [codes.REBALANCE_IN_PROGRESS]}
    await until(lambda: member.generation > generation and member.state is State.STABLE)
    await until(lambda: not coordinator.trouble[api])
    await member.wait_assigned(5)
    assert member.member_id == "member-1"
    assert user.heard == [("assign", ALL)]  # it never stopped reading


@pytest.mark.parametrize("api", ["JoinGroup", "SyncGroup", "Heartbeat"])
@pytest.mark.parametrize("code", [codes.UNKNOWN_MEMBER_ID, codes.ILLEGAL_GENERATION])
async def test_a_member_its_coordinator_forgot_loses_all_and_joins_afresh(
    coordinator, join, api, code
):
    member, user = await join()
    coordinator.trouble = {api: [code]}
    if api != "Heartbeat":
        coordinator.trouble["Heartbeat"] = [codes.REBALANCE_IN_PROGRESS]
    await until(lambda: user.order == ["assign", "lost", "assign"])
    # then: it claims nothing of what it had, and keeps its id only where the id was not at fault
    after = coordinator.seen("JoinGroup")[-1].fields
    said = wire.decode_subscription(bytes(after.protocols[0].metadata))
    assert (said.owned, said.generation) == (frozenset(), -1)
    assert member.member_id == ("member-2" if code == codes.UNKNOWN_MEMBER_ID else "member-1")


@pytest.mark.parametrize("api", ["JoinGroup", "SyncGroup", "Heartbeat", "FindCoordinator"])
@pytest.mark.parametrize("code", [codes.FENCED_INSTANCE_ID, codes.GROUP_AUTHORIZATION_FAILED])
async def test_what_no_retry_cures_ends_it_and_is_told(coordinator, join, api, code):
    told: list[Exception] = []
    member, user = await join()
    member.on_failure = told.append
    coordinator.trouble = {api: [code] * 50}
    if api == "FindCoordinator":
        coordinator.trouble["Heartbeat"] = [codes.NOT_COORDINATOR]
    elif api != "Heartbeat":
        coordinator.trouble["Heartbeat"] = [codes.REBALANCE_IN_PROGRESS]
    await until(lambda: user.order == ["assign", "lost"])
    await until(lambda: len(told) == 1)
    assert member.state is State.FAILED
    with pytest.raises(BrokerError) as raised:
        member.poll()
    assert raised.value.code == code
    assert raised.value is told[0]
    with pytest.raises(CommitFailed):
        await member.commit({min(ALL): OffsetAndMetadata(1)})


async def test_a_coordinator_that_hangs_on_to_joingroup_is_found_out_by_its_heartbeat(
    coordinator, join
):
    # given: a JoinGroup may wait for five minutes, but this coordinator says nothing at all
    member, user = await join()
    generation = member.generation
    coordinator.trouble = {
        "Heartbeat": [codes.REBALANCE_IN_PROGRESS, None],
        "JoinGroup": [None],
    }
    await until(lambda: member.generation > generation, 8)
    assert user.heard == [("assign", ALL)]


async def test_a_join_that_waits_for_slow_members_is_left_in_peace(coordinator, join):
    member, _ = await join()
    coordinator.trouble = {"Heartbeat": [codes.REBALANCE_IN_PROGRESS], "JoinGroup": [None]}
    before = len(coordinator.seen("JoinGroup"))
    await until(lambda: member.state is State.JOINING)
    await asyncio.sleep(1.2)
    assert member.state is State.JOINING
    assert len(coordinator.seen("JoinGroup")) == before + 1


async def test_rejoining_over_and_over_slows_down(coordinator, join):
    await join(retry_backoff_ms=100, retry_backoff_max_ms=1000, heartbeat_interval_ms=10)
    coordinator.trouble["Heartbeat"] = [codes.REBALANCE_IN_PROGRESS] * 10_000
    before = len(coordinator.seen("JoinGroup"))
    await asyncio.sleep(1.5)
    assert len(coordinator.seen("JoinGroup")) - before < 15


async def test_errors_of_joining_over_and_over_slow_down(coordinator, join):
    coordinator.trouble["JoinGroup"] = [codes.COORDINATOR_LOAD_IN_PROGRESS] * 10_000
    await join(settle=False, retry_backoff_ms=100, retry_backoff_max_ms=1000)
    await asyncio.sleep(1.5)
    assert len(coordinator.seen("JoinGroup")) < 8


async def test_a_rebalance_that_does_not_settle_says_what_it_waits_for(
    coordinator, join, caplog, monkeypatch
):
    monkeypatch.setattr(standing, "SLOW_S", 0.1)
    coordinator.trouble["JoinGroup"] = [codes.MEMBER_ID_REQUIRED, None]
    with caplog.at_level(logging.WARNING, "faustc.client.standing"):
        await join(settle=False)
        await asyncio.sleep(1.0)
    lines = [r.getMessage() for r in caplog.records if "rebalance not done" in r.getMessage()]
    assert 2 <= len(lines) <= 5  # at doubling intervals
    assert "other members have yet to join" in lines[0]


async def test_a_callback_that_does_not_return_is_named(coordinator, join, caplog, monkeypatch):
    monkeypatch.setattr(standing, "SLOW_S", 0.1)
    gate = asyncio.Event()
    member, user = await join()

    async def slow(partitions: frozenset[TopicPartition]) -> None:
        await gate.wait()

    user.on_revoke = slow  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "faustc.client.standing"):
        await member.update_subscription(topics=["elsewhere"])
        await until(lambda: "rebalance not done" in caplog.text)
    assert "on_revoke(orders/0,1,2,3)" in caplog.text
    gate.set()


# --- leading ---


async def test_a_leader_told_to_skip_hands_in_nothing(coordinator, join):
    coordinator.skip_assignment = True
    coordinator.shared["member-1"] = wire.encode_assignment(Assignment(tuple(sorted(ALL))))
    member, _ = await join()
    assert list(coordinator.seen("SyncGroup")[0].fields.assignments) == []
    assert member.assignment == ALL


async def test_a_member_that_sends_rubbish_is_left_out_by_the_leader(coordinator, join):
    coordinator.extra_members = [
        {"member_id": "broken", "group_instance_id": None, "metadata": b"\x00\x01\xff\xff\xff"}
    ]
    member, _ = await join()
    assert member.assignment == ALL
    given = {a.member_id: bytes(a.assignment) for a in _last_shared(coordinator)}
    assert wire.decode_assignment(given["broken"]).partitions == ()


def _last_shared(coordinator: Coordinator) -> Any:
    return coordinator.seen("SyncGroup")[-1].fields.assignments


async def test_the_leader_shares_out_again_when_a_topic_grows(coordinator, join):
    member, user = await join(metadata_max_age_ms=50)
    coordinator.topics = [topic(TOPIC, 6)]
    await until(lambda: len(member.assignment) == 6 and len(user.heard) == 2)
    added = frozenset(TopicPartition(TOPIC, n) for n in (4, 5))
    assert user.heard == [("assign", ALL), ("assign", added)]


async def test_a_topic_whose_metadata_is_hidden_for_a_moment_is_not_taken_for_deleted(
    coordinator, join
):
    member, user = await join(metadata_max_age_ms=50)
    hidden = {"error_code": codes.LEADER_NOT_AVAILABLE, "name": TOPIC, "partitions": []}
    coordinator.topics = [{**topic(TOPIC, 0), **hidden}]
    asked = len(coordinator.seen("Metadata"))
    await until(lambda: len(coordinator.seen("Metadata")) > asked + 2)
    assert member.assignment == ALL
    assert user.heard == [("assign", ALL)]


class WithNotes(CooperativeSticky):
    """An assignor of an application: tells each member something, as one with standbys would."""

    name = "with-notes"

    def __init__(self) -> None:
        self.told: list[tuple[bytes | None, int]] = []

    def user_data(self, topics: Sequence[str], owned: Collection[Any], generation: int) -> bytes:
        return b"room for %d" % len(owned)

    def assign(
        self, members: Mapping[str, Subscription], partitions: Mapping[str, int]
    ) -> dict[str, Assignment]:
        shares = super().assign(members, partitions)
        return {
            member: Assignment(share.partitions, b"said: " + (members[member].user_data or b""))
            for member, share in shares.items()
        }

    def assigned(self, assignment: Assignment, generation: int) -> None:
        self.told.append((assignment.user_data, generation))


async def test_an_assignor_of_the_application_gets_its_notes_through(coordinator, join):
    notes = WithNotes()
    member, _ = await join(assignors=[notes])
    coordinator.trouble["Heartbeat"] = [codes.REBALANCE_IN_PROGRESS]
    await until(lambda: len(notes.told) == 2)
    assert member.protocol == "with-notes"
    assert notes.told == [(b"said: room for 0", 1), (b"said: room for 4", 2)]


async def test_one_assignor_that_cannot_cooperate_makes_every_rebalance_eager(coordinator, join):
    _, user = await join(assignors=["cooperative-sticky", "range"])
    coordinator.trouble["Heartbeat"] = [codes.REBALANCE_IN_PROGRESS]
    await until(lambda: user.order == ["assign", "revoke", "assign"])
    said = wire.decode_subscription(
        bytes(coordinator.seen("JoinGroup")[-1].fields.protocols[0].metadata)
    )
    assert said.owned == frozenset()


async def test_a_broken_assignor_is_a_failure_not_a_hang(coordinator, join):
    broken = WithNotes()
    broken.assign = None  # type: ignore[method-assign,assignment]
    member, _ = await join(settle=False, assignors=[broken])
    with pytest.raises(TypeError):
        await member.wait_assigned(5)


# --- committing ---


@pytest.mark.parametrize(
    "trouble",
    [
        codes.COORDINATOR_NOT_AVAILABLE,
        codes.NOT_COORDINATOR,
        codes.COORDINATOR_LOAD_IN_PROGRESS,
        codes.REQUEST_TIMED_OUT,
        codes.REBALANCE_IN_PROGRESS,
        ConnectionError,
    ],
)
async def test_a_commit_in_passing_trouble_gets_through(coordinator, join, trouble):
    member, user = await join()
    coordinator.trouble["OffsetCommit"] = [trouble, trouble]
    await member.commit({tp: OffsetAndMetadata(5) for tp in ALL}, timeout_s=5)
    assert len(coordinator.seen("OffsetCommit")) == 3
    assert coordinator.offsets[TOPIC, 3] == (5, "")
    last = coordinator.seen("OffsetCommit")[-1].fields
    assert last.generation_id_or_member_epoch == member.generation
    assert last.member_id == "member-1"
    assert user.heard == [("assign", ALL)]


@pytest.mark.parametrize("code", [codes.UNKNOWN_MEMBER_ID, codes.ILLEGAL_GENERATION])
async def test_a_commit_by_a_stranger_fails_once_and_is_not_repeated(coordinator, join, code):
    member, user = await join()
    coordinator.trouble["OffsetCommit"] = [code]
    with pytest.raises(CommitFailed, match="orders/0,1,2,3"):
        await member.commit({tp: OffsetAndMetadata(5) for tp in ALL}, timeout_s=5)
    assert len(coordinator.seen("OffsetCommit")) == 1
    assert coordinator.offsets == {}
    await until(lambda: user.order == ["assign", "lost", "assign"])


async def test_a_commit_that_nobody_answers_times_out(coordinator, join):
    member, _ = await join()
    coordinator.trouble["OffsetCommit"] = [None] * 100
    began = time.monotonic()
    with pytest.raises(KafkaTimeout):
        await member.commit({min(ALL): OffsetAndMetadata(5)}, timeout_s=0.5)
    assert time.monotonic() - began < 10


async def test_a_commit_for_a_deleted_topic_fails_soon_and_names_it(coordinator, join):
    member, _ = await join()
    coordinator.trouble["OffsetCommit"] = [codes.UNKNOWN_TOPIC_OR_PARTITION] * 100
    began = time.monotonic()
    with pytest.raises(CommitFailed, match="orders/0"):
        await member.commit({min(ALL): OffsetAndMetadata(5)}, timeout_s=30)
    assert time.monotonic() - began < 20


async def test_a_cancelled_commit_leaves_the_member_well(coordinator, join):
    member, _ = await join()
    coordinator.trouble["OffsetCommit"] = [None]
    task = asyncio.create_task(member.commit({min(ALL): OffsetAndMetadata(5)}))
    await until(lambda: len(coordinator.seen("OffsetCommit")) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The silent answer is still owed on that socket; the next commit comes through or retries.
    await member.commit({min(ALL): OffsetAndMetadata(6)}, timeout_s=5)
    assert coordinator.offsets[TOPIC, 0] == (6, "")


# --- leaving ---


async def test_stopping_revokes_then_leaves_even_if_the_coordinator_is_silent(coordinator, join):
    member, user = await join()
    coordinator.trouble["LeaveGroup"] = [None]
    await member.stop(0.5)
    assert user.order == ["assign", "revoke"]
    left = coordinator.seen("LeaveGroup")[0].fields.members[0]
    assert (left.member_id, left.reason) == ("member-1", "the consumer is closed")


async def test_stopping_does_not_wait_for_ever_for_the_user(coordinator, join, caplog):
    member, user = await join()
    cancelled = asyncio.Event()

    async def never(partitions: frozenset[TopicPartition]) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    user.on_revoke = never  # type: ignore[method-assign]
    began = time.monotonic()
    await member.stop(0.3)
    assert time.monotonic() - began < 20
    assert "on_revoke(orders/0,1,2,3)" in caplog.text
    assert len(coordinator.seen("LeaveGroup")) == 1
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_a_member_whose_users_loop_was_closed_gives_its_partitions_back(coordinator):
    # given: a user on another loop, which is closed without stop()
    elsewhere = LoopThread("user")
    elsewhere.start()
    member = GroupMember(
        f"127.0.0.1:{coordinator.port}",
        User(),
        group_id="g",
        topics=[TOPIC],
        heartbeat_interval_ms=30,
    )
    await elsewhere.run(member.start)
    await member.wait_assigned(5)
    await elsewhere.close()
    # then: it does not keep them for ever
    await until(lambda: len(coordinator.seen("LeaveGroup")) == 1)
    assert member._host is not None
    await until(lambda: not member._host._thread.is_alive())


# --- what the user holds ---


class Script:
    """Answers for the user of a Holdings: records, and lets the test hold a callback back."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def call(self, name: str, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(f"{name} {named(partitions)}")
        await self.gate.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error


def parts(*numbers: int) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition("t", n) for n in numbers)


@pytest.fixture
async def held() -> AsyncIterator[tuple[Holdings, Script]]:
    script = Script()
    holdings = Holdings(script.call, lambda: None, limit_s=0.2, label="x")
    task = asyncio.create_task(holdings.run())
    yield holdings, script
    task.cancel()
    await asyncio.wait([task])


async def test_what_goes_is_revoked_before_what_comes_is_given(held):
    holdings, script = held
    holdings.give(parts(0, 1))
    assert await holdings.until(lambda: holdings.settled, 1)
    holdings.give(parts(1, 2))
    assert await holdings.until(lambda: holdings.settled, 1)
    assert script.heard == ["on_assign t/0,1", "on_revoke t/0", "on_assign t/2"]


async def test_changes_during_a_callback_are_summed_up(held):
    holdings, script = held
    script.gate.clear()
    holdings.give(parts(0))
    await until(lambda: script.heard == ["on_assign t/0"])
    holdings.give(parts(0, 1))
    holdings.give(parts(2))
    script.gate.set()
    assert await holdings.until(lambda: holdings.settled, 1)
    assert script.heard == ["on_assign t/0", "on_revoke t/0", "on_assign t/2"]


async def test_what_is_given_again_after_a_loss_was_lost_first(held):
    holdings, script = held
    holdings.give(parts(0, 1))
    assert await holdings.until(lambda: holdings.settled, 1)
    holdings.lose()
    assert holdings.ours == frozenset()
    assert holdings.held == parts(0, 1)  # the user does not know yet
    holdings.give(parts(0))
    assert await holdings.until(lambda: holdings.settled, 1)
    assert script.heard == ["on_assign t/0,1", "on_lost t/0,1", "on_assign t/0"]


async def test_a_revocation_that_takes_too_long_becomes_a_loss(held, caplog):
    holdings, script = held
    holdings.give(parts(0, 1))
    assert await holdings.until(lambda: holdings.settled, 1)
    script.gate.clear()
    holdings.give(parts(1))
    assert await holdings.until(lambda: holdings.lost == parts(0), 1)
    assert holdings.ours == parts(1)
    script.gate.set()
    assert await holdings.until(lambda: holdings.settled, 1)
    assert script.heard == ["on_assign t/0,1", "on_revoke t/0", "on_lost t/0"]
    assert "on_revoke(t/0) did not return within 0.2 s" in caplog.text


async def test_a_failing_revocation_is_logged_and_the_partitions_are_gone(held, caplog):
    holdings, script = held
    holdings.give(parts(0))
    assert await holdings.until(lambda: holdings.settled, 1)
    script.error = TimeoutError("the user's own")
    holdings.give(parts())
    assert await holdings.until(lambda: holdings.settled, 1)
    assert "on_revoke failed" in caplog.text


async def test_waiting_for_a_step_that_does_not_come_ends_in_time(held):
    holdings, _ = held
    assert not await holdings.until(lambda: False, 0.05)


def test_names_are_short_however_many_there_are():
    many = frozenset(TopicPartition(f"t{n:02}", p) for n in range(20) for p in range(30))
    assert named(frozenset()) == "nothing"
    assert named(parts(3, 1)) == "t/1,3"
    assert len(named(many)) < 600
    assert "12 more topics" in named(many)
