"""The group coordinator on virtual time: joins, generations, sessions, static members, offsets."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from faustc.broker.coordinators import Coordinators
from faustc.broker.group_state import MOVES, JoinAnswer, JoinRequest, State, SyncAnswer
from faustc.broker.groups import Committer, GroupCoordinator
from faustc.broker.offsets_store import Committed
from faustc.client.codes import (
    FENCED_INSTANCE_ID,
    GROUP_ID_NOT_FOUND,
    ILLEGAL_GENERATION,
    INCONSISTENT_GROUP_PROTOCOL,
    INVALID_GROUP_ID,
    INVALID_SESSION_TIMEOUT,
    MEMBER_ID_REQUIRED,
    NON_EMPTY_GROUP,
    NONE,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
)
from faustc.types import TopicPartition
from tests.unit.broker.clock import FakeClock

TP = TopicPartition("orders", 0)
SESSION_S = 10.0
REBALANCE_S = 60.0


class Caller:
    """A member's side: sends requests, keeps the answers that came."""

    def __init__(self, groups: GroupCoordinator, clock: FakeClock, **changes: Any) -> None:
        self.groups = groups
        self.clock = clock
        self.request = JoinRequest(
            group_id="g",
            member_id="",
            instance_id=None,
            client_id="c",
            client_host="/127.0.0.1",
            session_timeout_ms=int(SESSION_S * 1000),
            rebalance_timeout_ms=int(REBALANCE_S * 1000),
            protocol_type="consumer",
            protocols={"range": b"sub"},
        )._replace(**changes)
        self.joined: list[JoinAnswer] = []
        self.synced: list[SyncAnswer] = []

    def join(self, **changes: Any) -> None:
        self.request = self.request._replace(**changes)
        self.groups.join(self.request, self.joined.append)
        if self.joined and self.joined[-1].error == MEMBER_ID_REQUIRED:
            self.joined.pop()
            self.join_known()

    def join_known(self) -> None:
        expected = self.groups.find("g").expected
        self.request = self.request._replace(member_id=list(expected)[-1])
        self.groups.join(self.request, self.joined.append)

    @property
    def told(self) -> JoinAnswer:
        return self.joined[-1]

    @property
    def who(self) -> Committer:
        return Committer("g", self.told.generation, self.told.member_id, self.request.instance_id)

    def sync(self, assignments: dict[str, bytes] | None = None) -> None:
        self.request = self.request._replace(member_id=self.told.member_id)
        self.groups.sync(self.who, assignments or {}, self.synced.append)

    def heartbeat(self) -> int:
        return self.groups.heartbeat(self.who)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def make(clock: FakeClock, folder: Path | None = None) -> Coordinators:
    made = Coordinators(folder, clock, clock.now_ms, lambda *marker: None)
    made.start()
    return made


@pytest.fixture
def all_of(clock: FakeClock) -> Coordinators:
    return make(clock)


@pytest.fixture
def groups(all_of: Coordinators) -> GroupCoordinator:
    return all_of.groups


def stable(groups: GroupCoordinator, clock: FakeClock, *members: dict[str, Any]) -> list[Caller]:
    """Make a stable group of these members; each is assigned its own number."""
    callers = [Caller(groups, clock, **member) for member in members]
    for caller in callers:
        caller.join()
    clock.advance(0)
    settle(callers)
    return callers


def settle(callers: list[Caller]) -> None:
    parts = {c.told.member_id: b"%d" % n for n, c in enumerate(callers)}
    for caller in callers:
        caller.sync(parts if caller.told.leader == caller.told.member_id else None)
    assert [c.synced[-1].assignment for c in callers] == list(parts.values())


def test_a_member_gets_its_id_first_and_joins_with_it(groups, clock):
    # when somebody joins without an id
    caller = Caller(groups, clock)
    groups.join(caller.request, caller.joined.append)
    # then it is given one, and is no member yet
    assert caller.told.error == MEMBER_ID_REQUIRED
    assert caller.told.member_id.startswith("c-")
    assert groups.find("g").members == {}
    # when it comes back with the id, then it leads generation 1
    groups.join(caller.request._replace(member_id=caller.told.member_id), caller.joined.append)
    clock.advance(0)
    assert caller.told.error == NONE
    assert caller.told.generation == 1
    assert caller.told.leader == caller.told.member_id
    assert caller.told.members == ((caller.told.member_id, None, b"sub"),)


def test_an_old_version_is_let_in_at_once(groups, clock):
    caller = Caller(groups, clock, needs_id=False)
    caller.join()
    clock.advance(0)
    assert caller.told.generation == 1


def test_an_id_that_nobody_comes_back_with_is_forgotten(groups, clock):
    caller = Caller(groups, clock)
    groups.join(caller.request, caller.joined.append)
    clock.advance(SESSION_S)
    caller.join(member_id=caller.told.member_id)
    assert caller.told.error == UNKNOWN_MEMBER_ID


def test_the_second_member_makes_the_first_rejoin_and_only_the_leader_learns_who_is_in(
    groups, clock
):
    (first,) = stable(groups, clock, {})
    # when another joins
    second = Caller(groups, clock)
    second.join()
    # then the first learns of it with its heartbeat, and the other waits for it
    assert first.heartbeat() == REBALANCE_IN_PROGRESS
    assert second.joined == []
    first.join()
    assert (first.told.generation, second.told.generation) == (2, 2)
    assert len(first.told.members) == 2
    assert second.told.members == ()
    assert second.told.leader == first.told.member_id
    settle([first, second])
    assert first.heartbeat() == second.heartbeat() == NONE


def test_followers_wait_for_the_leader_and_get_what_it_assigned(groups, clock):
    first, second = stable(groups, clock, {}, {})
    first.join()
    second.join()
    second.sync()
    assert len(second.synced) == 1  # parked: only the one of the first generation
    first.sync({second.told.member_id: b"yours"})
    assert second.synced[-1] == SyncAnswer(NONE, b"yours", "consumer", "range")
    assert first.synced[-1].assignment == b""  # the leader forgot itself


def test_a_member_that_does_not_rejoin_in_time_is_dropped(groups, clock):
    first, second = stable(groups, clock, {}, {})
    third = Caller(groups, clock)
    third.join()
    first.join()
    # when the second goes on with heartbeats but never rejoins
    for _ in range(int(REBALANCE_S) - 1):
        clock.advance(1)
        assert second.heartbeat() == REBALANCE_IN_PROGRESS
    assert third.joined == []
    clock.advance(1)
    # then the next generation starts without it
    assert (first.told.generation, third.told.generation) == (2, 2)
    assert second.heartbeat() == UNKNOWN_MEMBER_ID


def test_a_leader_that_does_not_rejoin_is_replaced_by_one_that_did(groups, clock):
    first, second = stable(groups, clock, {}, {})
    second.join(protocols={"range": b"more"})
    for _ in range(int(REBALANCE_S)):
        clock.advance(1)
        first.heartbeat()
    assert second.told.generation == 2
    assert second.told.leader == second.told.member_id
    assert second.told.members == ((second.told.member_id, None, b"more"),)


def test_a_silent_member_is_lost_after_its_session(groups, clock):
    first, second = stable(groups, clock, {}, {})
    for _ in range(int(SESSION_S) - 1):
        clock.advance(1)
        assert first.heartbeat() == NONE
    clock.advance(1)
    assert first.heartbeat() == REBALANCE_IN_PROGRESS
    first.join()
    assert first.told.generation == 2
    assert len(first.told.members) == 1
    assert second.heartbeat() == UNKNOWN_MEMBER_ID


def test_a_commit_keeps_the_session_alive_like_a_heartbeat(groups, clock):
    (only,) = stable(groups, clock, {})
    for _ in range(30):
        clock.advance(1)
        assert groups.commit(only.who, {TP: Committed(1)}) == NONE
    assert only.heartbeat() == NONE


def test_waiting_for_others_does_not_end_a_session(groups, clock):
    first, second = stable(groups, clock, {}, {})
    first.join()
    for _ in range(30):  # thrice the session of the first, which is parked here
        clock.advance(1)
        second.heartbeat()
    second.join()
    assert first.told.error == NONE
    assert first.told.generation == 2


def test_a_new_member_that_nobody_answers_is_dropped_after_five_minutes(groups, clock):
    slow = 3_600_000
    (first,) = stable(groups, clock, {"rebalance_timeout_ms": slow, "session_timeout_ms": 900_000})
    second = Caller(groups, clock)
    second.join()
    clock.advance(300)
    assert second.told.error == UNKNOWN_MEMBER_ID
    assert len(groups.find("g").members) == 1
    assert first.heartbeat() == REBALANCE_IN_PROGRESS


def test_members_that_never_ask_for_their_assignment_are_dropped(groups, clock):
    first, second = stable(groups, clock, {}, {})
    first.join()
    second.join()
    first.sync({})
    for _ in range(int(REBALANCE_S)):
        clock.advance(1)
        first.heartbeat()
        second.heartbeat()
    assert second.heartbeat() == UNKNOWN_MEMBER_ID
    assert first.heartbeat() == REBALANCE_IN_PROGRESS


def test_the_leader_may_rejoin_to_reassign_and_a_follower_gets_the_same_answer_again(groups, clock):
    first, second = stable(groups, clock, {}, {})
    # a follower that asks again is told the current generation
    generation = second.told.generation
    second.join()
    assert second.told.generation == generation
    assert groups.find("g").state is State.STABLE
    # the leader has everybody rejoin
    first.join()
    assert second.heartbeat() == REBALANCE_IN_PROGRESS


def test_a_changed_subscription_starts_a_rebalance(groups, clock):
    first, second = stable(groups, clock, {}, {})
    second.join(protocols={"range": b"other topics"})
    assert first.heartbeat() == REBALANCE_IN_PROGRESS
    first.join()
    assert {m: s for m, _, s in first.told.members}[second.told.member_id] == b"other topics"


def test_somebody_joining_while_the_group_assigns_sends_all_back_to_join(groups, clock):
    first, second = stable(groups, clock, {}, {})
    first.join()
    second.join()
    second.sync()
    third = Caller(groups, clock)
    third.join()
    assert second.synced[-1].error == REBALANCE_IN_PROGRESS
    first.sync({})
    assert first.synced[-1].error == REBALANCE_IN_PROGRESS
    first.join()
    second.join()
    assert {c.told.generation for c in (first, second, third)} == {3}


def test_leaving_starts_a_rebalance_at_once_and_the_last_one_empties_the_group(groups, clock):
    first, second = stable(groups, clock, {}, {})
    assert groups.leave("g", [(second.told.member_id, None)]) == [NONE]
    assert first.heartbeat() == REBALANCE_IN_PROGRESS
    first.join()
    settle([first])
    generation = first.told.generation
    assert groups.leave("g", [(first.told.member_id, None), ("stranger", None)]) == [
        NONE,
        UNKNOWN_MEMBER_ID,
    ]
    group = groups.find("g")
    assert (group.state, group.generation) == (State.EMPTY, generation + 1)
    assert clock.waiting == 0


def test_leaving_of_an_expected_member_lets_the_others_go_on(groups, clock):
    (first,) = stable(groups, clock, {})
    ghost = Caller(groups, clock)
    groups.join(ghost.request, ghost.joined.append)
    first.join()
    assert len(first.joined) == 1  # the leader waits for whoever was promised a place
    assert groups.leave("g", [(ghost.told.member_id, None)]) == [NONE]
    assert first.told.generation == 2


def test_the_assignor_that_most_prefer_and_all_know_is_chosen(groups, clock):
    a = {"protocols": {"range": b"", "sticky": b"", "odd": b""}}
    b = {"protocols": {"sticky": b"", "range": b""}}
    first, *_ = stable(groups, clock, a, b, b)
    assert first.told.protocol == "sticky"


def test_a_member_that_shares_no_assignor_or_type_is_refused(groups, clock):
    stable(groups, clock, {})
    for wrong in (
        {"protocols": {"other": b""}},
        {"protocol_type": "connect"},
        {"protocols": {}},
        {"protocol_type": ""},
    ):
        caller = Caller(groups, clock)
        caller.join(**wrong)
        assert caller.told.error == INCONSISTENT_GROUP_PROTOCOL


def test_a_sync_that_names_another_assignor_is_refused(groups, clock):
    (only,) = stable(groups, clock, {})
    groups.sync(only.who, {}, only.synced.append, protocol_type="consumer", protocol="sticky")
    assert only.synced[-1].error == INCONSISTENT_GROUP_PROTOCOL


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"group_id": ""}, INVALID_GROUP_ID),
        ({"session_timeout_ms": 999}, INVALID_SESSION_TIMEOUT),
        ({"session_timeout_ms": 1_800_001}, INVALID_SESSION_TIMEOUT),
        ({"member_id": "stranger"}, UNKNOWN_MEMBER_ID),
    ],
)
def test_bad_joins_are_refused_by_name(groups, clock, changes, error):
    caller = Caller(groups, clock)
    caller.join(**changes)
    assert caller.told.error == error


def test_requests_of_another_generation_are_refused(groups, clock):
    (only,) = stable(groups, clock, {})
    old = only.who._replace(generation=0)
    assert groups.heartbeat(old) == ILLEGAL_GENERATION
    assert groups.commit(old, {TP: Committed(1)}) == ILLEGAL_GENERATION
    groups.sync(old, {}, only.synced.append)
    assert only.synced[-1].error == ILLEGAL_GENERATION
    assert groups.heartbeat(only.who._replace(group_id="none such")) == UNKNOWN_MEMBER_ID


# -- static members (KIP-345)


STATIC = [{"instance_id": "i0"}, {"instance_id": "i1"}]


def restarted(caller: Caller, **changes: Any) -> Caller:
    again = Caller(
        caller.groups, caller.clock, **{**caller.request._asdict(), "member_id": "", **changes}
    )
    again.join()
    return again


@pytest.mark.parametrize("which", [0, 1], ids=["leader", "follower"])
def test_a_static_member_comes_back_without_a_rebalance_and_keeps_its_part(groups, clock, which):
    members = stable(groups, clock, *STATIC)
    other = members[1 - which]
    again = restarted(members[which])
    # it is answered at once, in the same generation, under a new id
    assert again.told.error == NONE
    assert again.told.generation == other.told.generation
    assert again.told.member_id != members[which].told.member_id
    assert again.told.skip_assignment is (which == 0)
    again.sync()
    assert again.synced[-1].assignment == b"%d" % which
    assert other.heartbeat() == again.heartbeat() == NONE
    # and whoever still has the old id is fenced
    assert members[which].heartbeat() == FENCED_INSTANCE_ID
    assert groups.commit(members[which].who, {TP: Committed(1)}) == FENCED_INSTANCE_ID


def test_an_old_static_leader_is_not_told_that_it_leads(groups, clock):
    first, _ = stable(groups, clock, *STATIC)
    again = restarted(first, may_skip=False)
    assert again.told.leader == first.told.member_id
    assert again.told.leader != again.told.member_id
    assert again.told.members == ()


def test_a_static_member_with_other_assignors_only_rebalances_if_that_changes_the_choice(
    groups, clock
):
    first, second = stable(
        groups,
        clock,
        {**STATIC[0], "protocols": {"sticky": b"", "range": b""}},
        {**STATIC[1], "protocols": {"range": b"", "sticky": b""}},
    )
    assert first.told.protocol == "sticky"
    again = restarted(second, protocols={"sticky": b"new", "range": b""})
    assert again.told.error == NONE
    assert first.heartbeat() == NONE
    restarted(again, protocols={"range": b""})
    assert first.heartbeat() == REBALANCE_IN_PROGRESS


def test_a_static_member_that_comes_back_while_the_group_assigns_is_assigned_anew(groups, clock):
    first, second = stable(groups, clock, *STATIC)
    first.join()
    second.join(protocols={"range": b"x"})
    again = restarted(second)
    first.sync({second.told.member_id: b"to nobody"})
    assert first.synced[-1].error == REBALANCE_IN_PROGRESS
    first.join()
    settle([first, again])


def test_the_twin_that_waits_is_fenced_when_the_other_joins(groups, clock):
    _, second = stable(groups, clock, *STATIC)
    second.join(protocols={"range": b"x"})  # parked: the first has not rejoined
    restarted(second)
    assert second.told.error == FENCED_INSTANCE_ID


def test_an_unknown_instance_and_a_wrong_id_of_a_known_one_are_told_apart(groups, clock):
    stable(groups, clock, *STATIC)
    assert groups.heartbeat(Committer("g", 1, "x", "i9")) == UNKNOWN_MEMBER_ID
    assert groups.heartbeat(Committer("g", 1, "x", "i0")) == FENCED_INSTANCE_ID


def test_a_static_member_keeps_its_place_until_its_session_ends(groups, clock):
    first, _ = stable(groups, clock, *STATIC)
    clock.advance(SESSION_S - 1)
    assert first.heartbeat() == NONE
    clock.advance(1)
    assert first.heartbeat() == REBALANCE_IN_PROGRESS


def test_an_administrator_removes_static_members_by_instance(groups, clock):
    first, _ = stable(groups, clock, *STATIC)
    assert groups.leave("g", [("", "i1"), ("", "i9"), ("x", "i0")]) == [
        NONE,
        UNKNOWN_MEMBER_ID,
        FENCED_INSTANCE_ID,
    ]
    assert first.heartbeat() == REBALANCE_IN_PROGRESS


# -- offsets


def test_a_consumer_outside_of_a_group_commits_while_it_has_no_members(groups, all_of, clock):
    nobody = Committer("g")
    assert groups.commit(nobody, {TP: Committed(7, 3, "note", 0)}) == NONE
    assert all_of.offsets.get("g", TP) == Committed(7, 3, "note", 0)
    assert groups.find("g").state is State.EMPTY
    stable(groups, clock, {})
    assert groups.commit(nobody, {TP: Committed(8)}) == UNKNOWN_MEMBER_ID
    assert all_of.offsets.get("g", TP).offset == 7


def test_a_member_of_an_unknown_group_is_told_so_as_its_version_can_say_it(groups):
    who = Committer("none", 5, "m")
    assert groups.commit(who, {TP: Committed(1)}) == GROUP_ID_NOT_FOUND
    assert groups.commit(who, {TP: Committed(1)}, is_old=True) == ILLEGAL_GENERATION


def test_commits_wait_while_the_group_assigns(groups, clock):
    (only,) = stable(groups, clock, {})
    only.join()
    assert groups.commit(only.who, {TP: Committed(1)}) == REBALANCE_IN_PROGRESS


def test_commits_are_taken_while_the_group_rejoins(groups, clock):
    # so that whoever gives a partition up can say how far it got
    first, second = stable(groups, clock, {}, {})
    first.join()
    assert groups.commit(second.who, {TP: Committed(1)}) == NONE


def test_offsets_in_a_transaction_show_when_it_commits(groups, all_of, clock):
    (only,) = stable(groups, clock, {})
    groups.commit(only.who, {TP: Committed(1)})
    assert groups.hold(only.who, 42, {TP: Committed(5)}) == NONE
    assert all_of.offsets.get("g", TP).offset == 1
    assert all_of.offsets.is_held("g", TP)
    assert not all_of.offsets.is_held("other", TP)
    all_of.offsets.settle(42, True)
    assert all_of.offsets.get("g", TP).offset == 5
    assert not all_of.offsets.is_held("g", TP)


def test_transactional_offsets_are_fenced_by_member_and_generation(groups, clock):
    (only,) = stable(groups, clock, *STATIC[:1])
    hold = lambda who: groups.hold(who, 42, {TP: Committed(5)})  # noqa: E731
    assert hold(only.who._replace(generation=9)) == ILLEGAL_GENERATION
    assert hold(only.who._replace(member_id="x")) == FENCED_INSTANCE_ID
    assert hold(only.who._replace(member_id="x", instance_id=None)) == UNKNOWN_MEMBER_ID
    assert hold(Committer("g")) == NONE  # a producer that says nothing of the group
    assert hold(Committer("none", 1, "x")) == ILLEGAL_GENERATION


def test_only_empty_groups_are_deleted_with_all_that_they_committed(groups, all_of, clock):
    (only,) = stable(groups, clock, {})
    groups.commit(only.who, {TP: Committed(1)})
    assert groups.delete("g") == NON_EMPTY_GROUP
    groups.leave("g", [(only.told.member_id, None)])
    assert groups.delete("g") == NONE
    assert groups.delete("g") == GROUP_ID_NOT_FOUND
    assert all_of.offsets.get("g", TP) is None


def test_single_offsets_are_deleted_unless_a_member_reads_the_topic(groups, all_of, clock):
    subscription = struct.pack(">hih6si", 0, 1, 6, b"orders", -1)
    stable(groups, clock, {"protocols": {"range": subscription}})
    assert groups.check_delete_offsets("g") == NONE
    assert groups.find("g").reads("orders")
    assert not groups.find("g").reads("other")
    assert groups.check_delete_offsets("none") == GROUP_ID_NOT_FOUND
    other = Caller(groups, clock, group_id="connect", protocol_type="connect", needs_id=False)
    other.join()
    assert groups.check_delete_offsets("connect") == NON_EMPTY_GROUP


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0", b"\0\0\x7f\xff\xff\xff", struct.pack(">hihh", 0, 2**31 - 1, -2, -2)],
)
def test_a_subscription_that_is_none_reads_nothing(groups, clock, garbage):
    stable(groups, clock, {"protocols": {"range": garbage}})
    assert not groups.find("g").reads("orders")


# -- what a restart keeps


def test_after_a_restart_members_go_on_in_their_generation(clock, tmp_path):
    before = make(clock, tmp_path)
    members = stable(before.groups, clock, *STATIC)
    before.groups.commit(members[0].who, {TP: Committed(11, 2, "é", 5)})
    before.close()
    # when the broker starts again
    after = make(clock, tmp_path)
    for member in members:
        member.groups = after.groups
        assert member.heartbeat() == NONE
    members[1].sync()
    assert members[1].synced[-1].assignment == b"1"
    assert after.offsets.get("g", TP) == Committed(11, 2, "é", 5)
    # then static members still come back into their places
    assert restarted(members[0]).told.generation == members[0].told.generation
    # and sessions run from the restart on
    clock.advance(SESSION_S)
    assert after.groups.find("g").members == {}


def test_what_was_deleted_stays_deleted_and_a_torn_tail_is_cut(clock, tmp_path, caplog):
    before = make(clock, tmp_path)
    nobody = Committer("g")
    other = TopicPartition("other", 1)
    before.groups.commit(nobody, {TP: Committed(1), other: Committed(2)})
    before.topic_deleted("orders")
    before.groups.commit(Committer("gone"), {TP: Committed(1)})
    before.groups.delete("gone")
    before.close()
    file = tmp_path / "coordinators.journal"
    whole = file.stat().st_size
    with file.open("ab") as journal:
        journal.write(b'0badc0de ["offsets","g",[["other",1,99,-1,"",-1]]]\n')
        journal.write(b"12345678 [")
    after = make(clock, tmp_path)
    assert file.stat().st_size == whole
    assert "torn" in caplog.text
    assert after.offsets.get("g", TP) is None
    assert after.offsets.get("g", other) == Committed(2)
    assert after.groups.find("gone") is None
    # and it can be written again
    after.groups.commit(nobody, {other: Committed(3)})
    after.close()
    assert make(clock, tmp_path).offsets.get("g", other) == Committed(3)


def test_kill_at_any_byte_of_the_journal_keeps_each_whole_commit(clock, tmp_path):
    first = make(clock, tmp_path / "a")
    sizes = []
    file = tmp_path / "a" / "coordinators.journal"
    for offset in range(3):
        first.groups.commit(Committer("g"), {TP: Committed(offset)})
        sizes.append(file.stat().st_size)
    content = file.read_bytes()
    for cut in range(len(content) + 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "coordinators.journal").write_bytes(content[:cut])
        after = make(clock, folder)
        whole = sum(cut >= size for size in sizes)
        got = after.offsets.get("g", TP)
        assert (got.offset if got else None) == (whole - 1 if whole else None)
        after.close()


def test_the_journal_is_rewritten_before_it_grows_without_end(clock, tmp_path, monkeypatch):
    monkeypatch.setattr("faustc.broker.journal.REWRITE_BYTES", 2000)
    before = make(clock, tmp_path)
    before._journal._rewrite_at = 2000
    (member,) = stable(before.groups, clock, {})
    before.groups.hold(member.who, 42, {TP: Committed(5)})
    for offset in range(1000):
        before.groups.commit(member.who, {TP: Committed(offset)})
    assert (tmp_path / "coordinators.journal").stat().st_size < 4000
    before.close()
    after = make(clock, tmp_path)
    assert after.offsets.get("g", TP).offset == 999
    assert after.offsets.is_held("g", TP)
    member.groups = after.groups
    assert member.heartbeat() == NONE


def test_a_journal_rewritten_within_a_rebalance_knows_the_last_whole_generation(clock, tmp_path):
    before = make(clock, tmp_path)
    first, second = stable(before.groups, clock, {}, {})
    fresh = Caller(before.groups, clock, group_id="new", needs_id=False)
    fresh.join()
    third = Caller(before.groups, clock)
    third.join()
    before._journal._rewrite()
    before.close()
    after = make(clock, tmp_path)
    assert set(after.groups.find("g").members) == {first.told.member_id, second.told.member_id}
    assert after.groups.find("g").state is State.STABLE
    assert after.groups.find("new") is None


def test_every_move_of_the_table_leads_to_a_state_and_dead_leads_nowhere():
    assert set(MOVES) == set(State)
    assert MOVES[State.DEAD] == frozenset()
