"""Consumer groups on a real Kafka: sharing, rebalancing, blocking, leaving, and coming back."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from faustc.client.client import Client
from faustc.client.coordinator import commit_offsets, fetch_offsets
from faustc.client.group import GroupMember, State
from faustc.client.host import LoopThread
from faustc.exceptions import (
    BrokerError,
    CommitFailed,
    ImproperlyConfigured,
    NoBrokersAvailable,
    NotReady,
)
from faustc.types import OffsetAndMetadata, TopicPartition
from tests.conftest import Kafka
from tests.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka

SESSION_MS = 1500
BLOCKED_S = 6.0


def make_topic(bootstrap: str, name: str, partitions: int, replicas: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, replicas)])[name].result(30)


def tps(topic: str, count: int) -> set[TopicPartition]:
    return {TopicPartition(topic, n) for n in range(count)}


async def until(reached: Callable[[], bool], timeout_s: float = 20.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        await asyncio.sleep(0.02)


class User:
    """Listens, and writes down what it was told; `claims` is shared by all users of a group.

    A partition that two of them hold at once, without one having lost it, is the error that
    a group exists to prevent.
    """

    def __init__(self, name: str, claims: dict[TopicPartition, str]) -> None:
        self.name = name
        self.claims = claims
        self.heard: list[tuple[str, frozenset[TopicPartition]]] = []
        self.clashes: list[str] = []
        self.before_revoked: Callable[[frozenset[TopicPartition]], Awaitable[None]] | None = None

    async def on_assign(self, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(("assign", partitions))
        for tp in partitions:
            if tp in self.claims:
                self.clashes.append(f"{self.name} got {tp} of {self.claims[tp]}")
            self.claims[tp] = self.name

    async def on_revoke(self, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(("revoke", partitions))
        if self.before_revoked is not None:
            await self.before_revoked(partitions)
        self._drop(partitions)

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        self.heard.append(("lost", partitions))
        self._drop(partitions)

    def _drop(self, partitions: frozenset[TopicPartition]) -> None:
        for tp in partitions:
            if self.claims.get(tp) == self.name:
                del self.claims[tp]

    def holds(self) -> set[TopicPartition]:
        """What it was told of and has not heard that it goes."""
        held: set[TopicPartition] = set()
        for kind, partitions in list(self.heard):
            held = held | partitions if kind == "assign" else held - partitions
        return held

    def told(self, what: str) -> set[TopicPartition]:
        return {tp for kind, partitions in self.heard if kind == what for tp in partitions}


class Group:
    """Makes members of one group and stops them all in the end."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.claims: dict[TopicPartition, str] = {}
        self.users: list[User] = []
        self.members: list[GroupMember] = []

    def make(self, **options: Any) -> tuple[GroupMember, User]:
        user = User(f"user {len(self.users)}", self.claims)
        member = GroupMember(
            options.pop("bootstrap", self.bootstrap),
            user,
            **{
                "group_id": self.name,
                "topics": [self.name],
                "session_timeout_ms": SESSION_MS,
                "heartbeat_interval_ms": 200,
                **options,
            },
        )
        self.users.append(user)
        self.members.append(member)
        return member, user

    async def join(self, **options: Any) -> tuple[GroupMember, User]:
        member, user = self.make(**options)
        await member.start()
        return member, user

    async def settle(self, partitions: int, *members: GroupMember, spread: int = 1) -> None:
        """Wait until these members hold all the partitions, evenly, and their users know.

        A member holds a partition from before its user is told, on another thread perhaps.
        """
        everything = tps(self.name, partitions)
        users = [self.users[self.members.index(member)] for member in members]

        def shared() -> bool:
            held = [set(m.assignment) for m in members]
            sizes = [len(h) for h in held]
            return (
                set().union(*held) == everything
                and sum(sizes) == len(everything)
                and max(sizes) - min(sizes) <= spread
                and all(m.state is State.STABLE for m in members)
                and all(user.holds() == h for user, h in zip(users, held, strict=True))
            )

        await until(shared)

    async def kill(self, member: GroupMember) -> None:
        """Have a member vanish without a word, as kill -9 would."""
        host, client, membership = member._host, member._client, member._membership
        assert host is not None
        assert client is not None
        assert membership is not None

        async def vanish() -> None:
            for task in membership._tasks:
                task.cancel()
            await client.close()

        await host.run(vanish)
        await host.close()
        dead = self.users[self.members.index(member)].name
        for tp in [tp for tp, name in self.claims.items() if name == dead]:
            del self.claims[tp]

    def check(self) -> None:
        assert [c for user in self.users for c in user.clashes] == []

    async def stop(self) -> None:
        await asyncio.gather(*(member.stop(5) for member in self.members))


@pytest.fixture
async def group(kafka: Kafka, new_name: Callable[[str], str]) -> AsyncIterator[Group]:
    """A group with a topic of 6 partitions, both of one name."""
    made = Group(kafka.bootstrap, new_name("group"))
    make_topic(kafka.bootstrap, made.name, 6)
    yield made
    await made.stop()


async def test_members_share_all_partitions_and_leaving_hands_over_at_once(group):
    one, _ = await group.join(session_timeout_ms=25_000)
    await group.settle(6, one)
    two, _ = await group.join(session_timeout_ms=25_000)
    await group.settle(6, one, two)
    three, _ = await group.join(session_timeout_ms=25_000)
    await group.settle(6, one, two, three)
    # when: one leaves, the others need not wait for its session to time out
    began = time.monotonic()
    await one.stop()
    await group.settle(6, two, three)
    assert time.monotonic() - began < 20
    assert one.state is State.LEFT
    group.check()


async def test_a_cooperative_rebalance_keeps_what_stays(group):
    one, user = await group.join()
    await group.settle(6, one)
    two, _ = await group.join()
    await group.settle(6, one, two)
    # then: what it kept was given once and never taken
    assert user.told("assign") == tps(group.name, 6)
    assert user.told("revoke") == tps(group.name, 6) - one.assignment
    assert user.told("lost") == set()
    assert [what for what, _ in user.heard] == ["assign", "revoke"]
    group.check()


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky"])
async def test_an_eager_rebalance_takes_everything_first(group, assignor):
    one, user = await group.join(assignors=[assignor])
    await group.settle(6, one)
    before = one.assignment
    two, _ = await group.join(assignors=[assignor])
    await group.settle(6, one, two)
    assert [what for what, _ in user.heard] == ["assign", "revoke", "assign"]
    assert user.told("revoke") == before
    assert one.protocol == assignor
    if assignor == "sticky":
        assert one.assignment <= before
    group.check()


async def test_a_static_member_comes_back_without_a_rebalance(group):
    one, _ = await group.join(group_instance_id="one", session_timeout_ms=10_000)
    two, user = await group.join(group_instance_id="two", session_timeout_ms=10_000)
    await group.settle(6, one, two)
    generation, held, heard = two.generation, one.assignment, len(user.heard)
    # when: it is stopped and started again within its session
    await one.stop()
    again, _ = await group.join(group_instance_id="one", session_timeout_ms=10_000)
    await until(lambda: again.assignment == held)
    # then: nobody else noticed
    await asyncio.sleep(0.5)
    assert (again.generation, two.generation) == (generation, generation)
    assert len(user.heard) == heard
    # and: it can commit, and its place is its own
    tp = min(held)
    await again.commit({tp: OffsetAndMetadata(1)})
    group.check()


async def test_a_static_leader_that_comes_back_still_watches_the_topics(group):
    one, _ = await group.join(
        group_instance_id="one", session_timeout_ms=10_000, metadata_max_age_ms=300
    )
    await group.settle(6, one)
    await one.stop()
    again, _ = await group.join(
        group_instance_id="one", session_timeout_ms=10_000, metadata_max_age_ms=300
    )
    await group.settle(6, again)
    admin = AdminClient({"bootstrap.servers": group.bootstrap})
    admin.create_partitions([NewPartitions(group.name, 8)])[group.name].result(10)
    await group.settle(8, again)


async def test_the_second_of_two_with_one_instance_id_fences_the_first(group):
    one, _ = await group.join(group_instance_id="same")
    await group.settle(6, one)
    told: list[Exception] = []
    one.on_failure = told.append
    two, _ = await group.join(group_instance_id="same")
    await group.settle(6, two)
    await until(lambda: bool(told))
    with pytest.raises(BrokerError, match="FENCED_INSTANCE_ID"):
        one.poll()
    assert one.state is State.FAILED
    with pytest.raises(CommitFailed):
        await one.commit({TopicPartition(group.name, 0): OffsetAndMetadata(1)})


async def test_a_member_whose_loop_blocks_past_its_session_keeps_its_partitions(group):
    one, user = await group.join()
    await group.settle(6, one)
    generation = one.generation
    # when: user code blocks the loop for twice the session timeout
    time.sleep(2 * SESSION_MS / 1000)  # noqa: ASYNC251 - the point of the test
    # then: nothing was taken, and it can commit
    assert one.generation == generation
    await one.commit({tp: OffsetAndMetadata(7) for tp in one.assignment})
    assert (await one.fetch_committed(one.assignment)) == dict.fromkeys(
        one.assignment, OffsetAndMetadata(7)
    )
    assert [what for what, _ in user.heard] == ["assign"]


async def test_a_blocked_member_keeps_what_it_is_working_on_through_a_rebalance(group):
    # given: a member whose user lives on another thread, and blocks there
    elsewhere = LoopThread("blocked user")
    elsewhere.start()
    one, user = group.make()
    await elsewhere.run(one.start)
    await group.settle(6, one)
    blocked_until = time.monotonic() + BLOCKED_S
    elsewhere.call_soon(time.sleep, BLOCKED_S)
    # when: a second member joins meanwhile
    two, _ = await group.join()
    await until(lambda: two.state is State.STABLE)
    # then: the rebalance was answered, and what is in use has not been given away
    assert time.monotonic() < blocked_until
    assert one.assignment == tps(group.name, 6)
    assert two.assignment == frozenset()
    assert user.told("revoke") == set()
    # and: once it is free again it lets go of half, which the second one gets
    await group.settle(6, one, two)
    assert time.monotonic() > blocked_until
    assert user.told("lost") == set()
    group.check()
    await elsewhere.run(one.stop)
    await elsewhere.close()


async def test_an_eager_rebalance_waits_for_a_blocked_member(group):
    elsewhere = LoopThread("blocked user")
    elsewhere.start()
    one, user = group.make(assignors=["range"])
    await elsewhere.run(one.start)
    await group.settle(6, one)
    blocked_until = time.monotonic() + 2 * SESSION_MS / 1000
    elsewhere.call_soon(time.sleep, 2 * SESSION_MS / 1000)
    two, _ = await group.join(assignors=["range"])
    await group.settle(6, one, two)
    assert time.monotonic() > blocked_until
    assert [what for what, _ in user.heard] == ["assign", "revoke", "assign"]
    group.check()
    await elsewhere.run(one.stop)
    await elsewhere.close()


async def test_a_member_that_does_not_poll_leaves_says_so_and_joins_again(group, caplog):
    one, user = await group.join(max_poll_interval_ms=1000, rebalance_timeout_ms=1000)
    two, _ = await group.join()
    with caplog.at_level(logging.ERROR, "faustc"):
        await until(lambda: one.state is State.STALLED)
        await group.settle(6, two)
    # then: one clear line, and the partitions count as lost
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(lines) == 1
    assert "max_poll_interval" in lines[0]
    assert "1 s" in lines[0]
    assert user.told("lost") != set()
    with pytest.raises(CommitFailed):
        await one.commit({min(user.told("assign")): OffsetAndMetadata(1)})
    # when: it polls again
    held: list[int] = []
    for _ in range(100):
        one.poll()
        held.append(len(one.assignment))
        if one.state is State.STABLE and held[-1] == 3:
            break
        await asyncio.sleep(0.05)
    assert held[-1] == 3
    group.check()


async def test_a_zombie_whose_session_ended_loses_all_and_commits_nothing(group):
    one, user = await group.join()
    await group.settle(6, one)
    two, _ = await group.join()
    await group.settle(6, one, two)
    mine = one.assignment
    # when: even the membership's thread stands still, as under SIGSTOP
    assert one._host is not None
    one._host.call_soon(time.sleep, 2 * SESSION_MS / 1000)
    await group_took_over(group, two)
    refused = asyncio.create_task(one.commit({tp: OffsetAndMetadata(99) for tp in mine}))
    # then: what it held is lost, not revoked, and its late commit is refused
    with pytest.raises(CommitFailed):
        await refused
    assert user.told("revoke").isdisjoint(mine)
    await until(lambda: user.told("lost") == mine)
    committed = await two.fetch_committed(mine)
    assert all(at is None or at.offset != 99 for at in committed.values())
    # and: it comes back
    await group.settle(6, one, two)


async def group_took_over(group: Group, member: GroupMember) -> None:
    # The zombie still claims its partitions on this side: that clash is what is tested.
    await until(lambda: len(member.assignment) == 6)
    for user in group.users:
        user.clashes.clear()


async def test_commits_round_trip_and_absent_ones_are_none(group):
    one, _ = await group.join()
    await group.settle(6, one)
    first, second, other = (TopicPartition(group.name, n) for n in range(3))
    await one.commit({first: OffsetAndMetadata(0, "nöte"), second: OffsetAndMetadata(2**40)})
    assert await one.fetch_committed([first, second, other]) == {
        first: OffsetAndMetadata(0, "nöte"),
        second: OffsetAndMetadata(2**40, ""),
        other: None,
    }
    assert await one.fetch_committed([]) == {}
    await one.commit({})


async def test_only_what_is_held_can_be_committed(group):
    one, _ = await group.join()
    two, _ = await group.join()
    await group.settle(6, one, two)
    with pytest.raises(CommitFailed, match=re.escape(group.name)):
        await one.commit({tp: OffsetAndMetadata(1) for tp in two.assignment})
    assert set((await one.fetch_committed(two.assignment)).values()) == {None}


async def test_on_revoke_can_commit_and_after_it_nothing_can(group):
    one, user = await group.join()
    await group.settle(6, one)
    committed: list[TopicPartition] = []

    async def commit(partitions: frozenset[TopicPartition]) -> None:
        await one.commit({tp: OffsetAndMetadata(5) for tp in partitions})
        committed.extend(partitions)

    user.before_revoked = commit
    two, _ = await group.join()
    await group.settle(6, one, two)
    assert set(committed) == set(two.assignment)
    with pytest.raises(CommitFailed):
        await one.commit(dict.fromkeys(committed, OffsetAndMetadata(9)))
    assert set((await two.fetch_committed(committed)).values()) == {OffsetAndMetadata(5)}
    # and: stop() revokes and commits the same way
    rest = one.assignment
    await one.stop()
    assert set((await two.fetch_committed(rest)).values()) == {OffsetAndMetadata(5)}


async def test_commits_go_through_while_others_come_and_go(group):
    one, user = await group.join()
    await group.settle(6, one)
    stop = asyncio.Event()
    refused: list[BaseException] = []
    done = 0

    async def committing() -> None:
        nonlocal done
        while not stop.is_set():
            mine = one.assignment
            try:
                await one.commit({tp: OffsetAndMetadata(done) for tp in mine}, timeout_s=10)
                done += 1
            except CommitFailed as exc:
                # Only ever for what was taken between the look and the commit.
                if mine <= one.assignment:
                    refused.append(exc)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(committing())
    for _ in range(3):
        two, _ = await group.join()
        await group.settle(6, one, two)
        await two.stop()
        await group.settle(6, one)
    stop.set()
    await task
    assert refused == []
    assert done > 20
    assert user.told("lost") == set()
    group.check()


async def test_the_leader_shares_out_partitions_and_topics_that_appear(group):
    one, _ = await group.join(pattern=group.name + ".*", topics=(), metadata_max_age_ms=300)
    two, _ = await group.join(pattern=group.name + ".*", topics=(), metadata_max_age_ms=300)
    await group.settle(6, one, two)
    admin = AdminClient({"bootstrap.servers": group.bootstrap})
    admin.create_partitions([NewPartitions(group.name, 9)])[group.name].result(10)
    await group.settle(9, one, two)
    other = group.name + "-other"
    make_topic(group.bootstrap, other, 3)
    everything = tps(group.name, 9) | tps(other, 3)
    await until(lambda: one.assignment | two.assignment == everything)
    assert one.topics == {group.name, other}
    # and: one that goes away is let go of
    admin.delete_topics([other])[other].result(10)
    await group.settle(9, one, two)
    group.check()


async def test_a_topic_that_appears_later_is_shared_out_soon(kafka, new_name):
    group = Group(kafka.bootstrap, new_name("group"))
    one, _ = await group.join(client_options={"allow_auto_topic_creation": False})
    await until(lambda: one.state is State.STABLE)
    assert one.assignment == frozenset()
    make_topic(kafka.bootstrap, group.name, 4)
    await group.settle(4, one)
    await group.stop()


async def test_a_changed_subscription_changes_the_assignment(group):
    other = group.name + "-other"
    make_topic(group.bootstrap, other, 2)
    one, user = await group.join()
    await group.settle(6, one)
    await one.update_subscription(topics=[other])
    await until(lambda: one.assignment == tps(other, 2))
    assert user.told("revoke") == tps(group.name, 6)


async def test_more_members_than_partitions_leaves_some_idle_and_ready(kafka, new_name):
    group = Group(kafka.bootstrap, new_name("group"))
    make_topic(kafka.bootstrap, group.name, 2)
    members = [(await group.join())[0] for _ in range(4)]
    await group.settle(2, *members)
    busy = next(m for m in members if m.assignment)
    await busy.stop()
    await group.settle(2, *(m for m in members if m is not busy))
    group.check()
    await group.stop()


@pytest.mark.parametrize("assignor", ["cooperative-sticky", "range"])
async def test_a_storm_of_joins_leaves_and_deaths_settles(group, assignor):
    seed = int(time.time())
    rng = random.Random(seed)
    print(f"seed {seed}")
    stop = asyncio.Event()

    async def committing(member: GroupMember) -> None:
        offset = 0
        while not stop.is_set():
            offset += 1
            try:
                await member.commit(
                    {tp: OffsetAndMetadata(offset) for tp in member.assignment}, timeout_s=10
                )
            except (CommitFailed, NotReady):
                pass  # taken away, or stopped, in between
            await asyncio.sleep(0.02)

    members = [(await group.join(assignors=[assignor]))[0] for _ in range(4)]
    tasks = [asyncio.create_task(committing(member)) for member in members]
    for _ in range(12):
        what = rng.choice(["join", "leave", "die", "wait"])
        victim = rng.randrange(len(members))
        if what == "leave" and len(members) > 1:
            await members.pop(victim).stop()
        elif what == "die" and len(members) > 1:
            await group.kill(members.pop(victim))
        elif what == "join" and len(members) < 7:
            members.append((await group.join(assignors=[assignor]))[0])
            tasks.append(asyncio.create_task(committing(members[-1])))
        await asyncio.sleep(rng.random() * 0.4)
    await group.settle(6, *members)
    stop.set()
    await asyncio.gather(*tasks)
    group.check()
    # and: whoever holds a partition can commit it
    for member in members:
        await member.commit({tp: OffsetAndMetadata(1000) for tp in member.assignment})


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "cooperative-sticky"])
async def test_a_librdkafka_consumer_shares_a_group_with_ours(group, assignor):
    theirs = LibrdkafkaMember(group, assignor)
    theirs.start()
    try:
        # given: it leads, as the first one
        await until(lambda: len(theirs.held) == 6)
        # when: ours joins, then both share
        one, _ = await group.join(assignors=[assignor])
        await until(lambda: len(one.assignment) == 3 and len(theirs.held) == 3)
        assert set(one.assignment) | theirs.held == tps(group.name, 6)
        await one.commit({tp: OffsetAndMetadata(3) for tp in one.assignment})
        # and: another of ours
        two, _ = await group.join(assignors=[assignor])
        await until(
            lambda: [len(h) for h in (one.assignment, two.assignment, theirs.held)] == [2] * 3
        )
    finally:
        await asyncio.to_thread(theirs.stop)
    await group.settle(6, one, two)
    # when: it comes back, ours leads
    again = LibrdkafkaMember(group, assignor)
    again.start()
    try:
        await until(lambda: len(again.held) == 2)
        everything = one.assignment | two.assignment | again.held
        await until(lambda: one.assignment | two.assignment | again.held == tps(group.name, 6))
        assert len(everything) <= 6
    finally:
        await asyncio.to_thread(again.stop)
    group.check()


class LibrdkafkaMember:
    """A confluent-kafka consumer on a thread, that polls until it is stopped."""

    def __init__(self, group: Group, assignor: str) -> None:
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": group.bootstrap,
                "group.id": group.name,
                "partition.assignment.strategy": assignor,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 200,
                "enable.auto.commit": False,
            }
        )
        self._consumer.subscribe([group.name])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self.held: set[TopicPartition] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._consumer.poll(0.05)
            self.held = {
                TopicPartition(tp.topic, tp.partition) for tp in self._consumer.assignment()
            }
        self._consumer.close()


async def test_offsets_without_a_membership(kafka, group):
    tp = TopicPartition(group.name, 0)
    async with Client(kafka.bootstrap) as client:
        await commit_offsets(client, group.name, {tp: OffsetAndMetadata(4)}, timeout_s=10)
        assert await fetch_offsets(client, group.name, [tp], timeout_s=10) == {
            tp: OffsetAndMetadata(4)
        }
        gone = TopicPartition(group.name, 77)
        with pytest.raises((CommitFailed, BrokerError), match=f"{group.name}/77"):
            await commit_offsets(client, group.name, {gone: OffsetAndMetadata(4)}, timeout_s=10)


async def test_a_member_that_cannot_reach_a_broker_says_which_in_time(new_name):
    member, _ = Group("127.0.0.1:1", new_name("group")).make()
    began = time.monotonic()
    with pytest.raises(NoBrokersAvailable, match=r"127\.0\.0\.1:1"):
        await member.start(timeout_s=1.0)
    assert time.monotonic() - began < 20
    await member.stop()


async def test_a_session_timeout_that_the_broker_refuses_is_a_failure_not_a_hang(group):
    one, _ = await group.join(session_timeout_ms=10_000_000)
    with pytest.raises(BrokerError, match="INVALID_SESSION_TIMEOUT"):
        await one.wait_assigned(10)
    with pytest.raises(BrokerError, match="INVALID_SESSION_TIMEOUT"):
        one.poll()


async def test_an_assignment_that_the_user_cannot_take_is_a_failure_not_silence(group):
    one, user = group.make()

    async def breaks(partitions: frozenset[TopicPartition]) -> None:
        raise ValueError("no room")

    user.on_assign = breaks  # type: ignore[method-assign]
    await one.start()
    with pytest.raises(ValueError, match="no room"):
        await one.wait_assigned(10)


async def test_nothing_is_left_of_a_stopped_member(group):
    one, _ = await group.join()
    await group.settle(6, one)
    thread = one._host._thread  # type: ignore[union-attr]
    await one.stop()
    await one.stop()
    assert not thread.is_alive()
    with pytest.raises(NotReady):
        await one.fetch_committed([TopicPartition(group.name, 0)])


def test_wrong_settings_are_refused_by_name():
    user = User("u", {})
    for options, message in [
        ({"group_id": ""}, "empty"),
        ({"topics": "orders"}, "collection"),
        ({"topics": ["a"], "pattern": "b"}, "not to both"),
        ({"assignors": []}, "at least one"),
        ({"assignors": ["best"]}, "cooperative-sticky"),
        ({"session_timeout_ms": 1000, "heartbeat_interval_ms": 1000}, "heartbeat_interval_ms"),
    ]:
        with pytest.raises(ImproperlyConfigured, match=message):
            GroupMember("localhost", user, **{"group_id": "g", **options})


async def test_a_killed_coordinator_is_replaced_and_nothing_is_lost(
    kafka3: KafkaCluster, new_name: Callable[[str], str]
) -> None:
    group = Group(kafka3.bootstrap, new_name("group"))
    make_topic(kafka3.bootstrap, group.name, 6, 3)
    one, _ = await group.join(session_timeout_ms=10_000)
    two, user = await group.join(session_timeout_ms=10_000)
    await group.settle(6, one, two)
    await one.commit({tp: OffsetAndMetadata(1) for tp in one.assignment})
    async with Client(kafka3.bootstrap) as client:
        coordinator = await client.coordinator("group", group.name)
    # when
    kafka3.kill(coordinator)
    began = time.monotonic()
    # then: a commit under way gets through at the next coordinator
    await one.commit({tp: OffsetAndMetadata(2) for tp in one.assignment}, timeout_s=30)
    assert time.monotonic() - began < 20
    await asyncio.sleep(2)
    await group.settle(6, one, two)
    assert set((await two.fetch_committed(one.assignment)).values()) == {OffsetAndMetadata(2)}
    assert user.told("lost") == set()
    # and: the group goes on
    kafka3.restart(coordinator)
    three, _ = await group.join(session_timeout_ms=10_000)
    await group.settle(6, one, two, three)
    group.check()
    await group.stop()


async def test_a_coordinator_that_hangs_is_replaced_and_nothing_is_lost(
    kafka3: KafkaCluster, new_name: Callable[[str], str]
) -> None:
    group = Group(kafka3.bootstrap, new_name("group"))
    make_topic(kafka3.bootstrap, group.name, 6, 3)
    options = {"session_timeout_ms": 12_000, "request_timeout_ms": 6_000}
    one, user = await group.join(**options)
    await group.settle(6, one)
    async with Client(kafka3.bootstrap) as client:
        coordinator = await client.coordinator("group", group.name)
    # when: it is neither dead nor alive, as under SIGSTOP, while another member joins
    kafka3.nodes[coordinator].pause()
    try:
        two, _ = await group.join(**options)
        await group.settle(6, one, two)
        await one.commit({tp: OffsetAndMetadata(2) for tp in one.assignment})
    finally:
        kafka3.nodes[coordinator].resume()
    # then
    assert user.told("lost") == set()
    group.check()
    await group.stop()
    kafka3.nodes[coordinator].wait_ready(3)
