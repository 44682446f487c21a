"""What the assignor of tables rests on, on a real Kafka: static members, user data, standbys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from faustc.client.copartitioned import Copartitioned, Share
from faustc.client.group import GroupMember
from faustc.types import TopicPartition
from tests.conftest import Kafka
from tests.kafka.test_group import Group, make_topic, tps, until

pytestmark = pytest.mark.kafka

# A member that is late with a heartbeat, on a busy machine, would change who has what.
LONGER = {"session_timeout_ms": 6_000}


@pytest.fixture
async def group(kafka: Kafka, new_name: Any) -> AsyncIterator[Group]:
    name = new_name("sharing")
    make_topic(kafka.bootstrap, name, 6)
    one = Group(kafka.bootstrap, name)
    yield one
    for member in one.members:
        await member.stop()


class Worker:
    """A member with the assignor of tables, and what it was told last."""

    def __init__(self, group: Group, url: str, standbys: int = 1) -> None:
        self.share = Share()
        self.group = group
        self.assignor = Copartitioned(self._heard)
        self.assignor.url = url
        self.assignor.sizes = {6: standbys}
        self.member: GroupMember

    def _heard(self, share: Share, target: frozenset[TopicPartition]) -> None:
        self.share = share

    async def join(self, **options: Any) -> Worker:
        self.member, _ = await self.group.join(assignors=[self.assignor], **options)
        return self


@pytest.mark.parametrize("leads", [True, False])
async def test_a_static_member_that_comes_back_elsewhere_is_found_there(
    group: Group, leads: bool
) -> None:
    """Kafka answers with its old share, and to the one that leads with SkipAssignment."""
    static: dict[str, Any] = {"session_timeout_ms": 10_000}
    pair = [
        await Worker(group, f"http://node{n}").join(group_instance_id=f"i{n}", **static)
        for n in range(2)
    ]
    await group.settle(6, *(worker.member for worker in pair))
    which = next(n for n in range(2) if pair[n].member.is_leader == leads)
    had = pair[which].member.assignment
    stays = pair[1 - which]
    await until(lambda: stays.share.addresses.keys() == {"http://node0", "http://node1"})
    await pair[which].member.stop()
    back = await Worker(group, "http://elsewhere").join(group_instance_id=f"i{which}", **static)
    told = {"http://elsewhere", f"http://node{1 - which}"}
    await until(lambda: all(w.share.addresses.keys() == told for w in (back, stays)))
    await group.settle(6, back.member, stays.member)
    assert back.member.assignment == had
    assert stays.share.addresses["http://elsewhere"] == had
    group.check()


async def test_one_that_comes_back_as_it_was_disturbs_nobody(group: Group) -> None:
    static: dict[str, Any] = {"session_timeout_ms": 10_000}
    pair = [
        await Worker(group, f"http://node{n}").join(group_instance_id=f"i{n}", **static)
        for n in range(2)
    ]
    await group.settle(6, *(worker.member for worker in pair))
    generation = pair[0].member.generation
    held = pair[1].member.assignment
    await pair[1].member.stop()
    back = await Worker(group, "http://node1").join(group_instance_id="i1", **static)
    await until(lambda: back.member.assignment == held)
    assert back.member.generation == pair[0].member.generation == generation


async def test_a_static_member_that_comes_back_for_less_is_given_less(
    group: Group, kafka: Kafka, new_name: Any
) -> None:
    other = new_name("other")
    make_topic(kafka.bootstrap, other, 2)
    static: dict[str, Any] = {"session_timeout_ms": 10_000}
    both = [group.name, other]
    one, _ = await group.join(topics=both, group_instance_id="one", **static)
    two, _ = await group.join(topics=both, group_instance_id="two", **static)
    everything = tps(group.name, 6) | tps(other, 2)
    await until(lambda: one.assignment | two.assignment == everything)
    await until(lambda: len(one.assignment) == len(two.assignment) == 4)
    await two.stop()
    back, user = await group.join(group_instance_id="two", **static)
    await until(lambda: tps(other, 2) <= one.assignment)
    await until(lambda: one.assignment | back.assignment == everything)
    assert not any(tp.topic == other for tp in user.told("assign"))
    group.check()


async def test_standbys_are_told_and_take_over(group: Group) -> None:
    workers = [await Worker(group, f"http://node{n}").join(**LONGER) for n in range(3)]
    members = [worker.member for worker in workers]
    await group.settle(6, *members)
    everything = tps(group.name, 6)
    await until(
        lambda: sorted(tp for w in workers for tp in w.share.standbys) == sorted(everything)
    )
    for worker in workers:
        assert not worker.share.standbys & worker.member.assignment
        assert len(worker.share.standbys) == 2
    # When: one is gone
    gone = workers.pop(0)
    lost = gone.member.assignment
    standing = {tp: w for w in workers for tp in w.share.standbys & lost}
    await group.kill(gone.member)
    await group.settle(6, *(worker.member for worker in workers))
    promoted = [tp for tp in lost if tp in standing[tp].member.assignment]
    assert promoted
    full = [tp for tp in lost if tp not in promoted]
    assert all(len(standing[tp].member.assignment) == 3 for tp in full)
    await until(
        lambda: sorted(tp for w in workers for tp in w.share.standbys) == sorted(everything)
    )
    group.check()
