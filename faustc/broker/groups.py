"""Coordinates consumer groups: who is a member, who leads, who reads what.

As Kafka's classic coordinator does it, on one node. It knows no sockets: an answer
that has to wait for others is given to a callback, once. It knows no loop either,
only a clock that can call later, so that it runs on virtual time.

Left out: a delay of the first rebalance (Kafka waits three seconds for others), a
greatest group size, the expiry of empty groups, and the consumer protocol (KIP-848).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from faustc.broker.group_state import (
    Group,
    JoinAnswer,
    JoinRequest,
    Member,
    State,
    SyncAnswer,
    group_entry,
    group_of_entry,
)
from faustc.broker.groups_rebalance import Clock, Rebalance, generation_for, part_of
from faustc.broker.journal import Journal
from faustc.broker.offsets_store import Committed, OffsetsStore
from faustc.client.codes import (
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


class Committer(NamedTuple):
    """Who commits: a member of a generation, or nobody (generation -1, no id)."""

    group_id: str
    generation: int = -1
    member_id: str = ""
    instance_id: str | None = None


class GroupCoordinator:
    """All groups of the broker. Owns their timers; `close` calls them all off.

    Session timeouts outside of the bounds (milliseconds) are refused. Kafka's lower
    bound is 6000 unless configured; ours is short, since nobody tests a lost member
    by waiting for six seconds.
    """

    def __init__(
        self,
        clock: Clock,
        offsets: OffsetsStore,
        journal: Journal,
        *,
        min_session_timeout_ms: int = 1_000,
        max_session_timeout_ms: int = 1_800_000,
    ) -> None:
        self._rebalance = Rebalance(clock, journal)
        self._offsets = offsets
        self._journal = journal
        self._min_session_ms = min_session_timeout_ms
        self._max_session_ms = max_session_timeout_ms
        self._groups: dict[str, Group] = {}

    # -- the journal

    def replay(self, entry: list[Any]) -> bool:
        """Take in a journal entry; False if it is not one of groups."""
        match entry:
            case ["group", group_id, *_]:
                self._groups[group_id] = group_of_entry(entry)
            case ["no group", group_id]:
                self._groups.pop(group_id, None)
            case _:
                return False
        return True

    def snapshot(self) -> Iterator[list[Any]]:
        """Yield entries from which the groups can be made again."""
        for group in self._groups.values():
            if group.recorded is not None:
                yield group.recorded

    def start(self) -> None:
        """Begin the sessions of members that the journal knew; groups of mere offsets appear."""
        for group_id in self._offsets.groups():
            self._groups.setdefault(group_id, Group(group_id))
        for group in self._groups.values():
            for member in group.members.values():
                self._rebalance.touch(group, member)

    def close(self) -> None:
        """Call every timer off. Parked requests stay unanswered: their sockets close next."""
        for group in self._groups.values():
            self._rebalance.stop(group)

    # -- joining

    def join(self, request: JoinRequest, answer: Callable[[JoinAnswer], None]) -> None:
        """Let a member in, or in again; answer when the generation is complete."""
        at_once = self._join(request, answer)
        if at_once is not None:
            answer(at_once)

    def _join(
        self, request: JoinRequest, waiter: Callable[[JoinAnswer], None]
    ) -> JoinAnswer | None:
        """Return the answer, or None if it will be given to the waiter."""
        if not request.group_id:
            return JoinAnswer(INVALID_GROUP_ID, request.member_id)
        if not self._min_session_ms <= request.session_timeout_ms <= self._max_session_ms:
            return JoinAnswer(INVALID_SESSION_TIMEOUT, request.member_id)
        group = self._groups.get(request.group_id)
        if group is None:
            if request.member_id:
                return JoinAnswer(UNKNOWN_MEMBER_ID, request.member_id)
            group = self._groups[request.group_id] = Group(request.group_id)
        if not group.supports(request.protocol_type, request.protocols):
            return JoinAnswer(INCONSISTENT_GROUP_PROTOCOL, request.member_id)
        if request.member_id:
            return self._join_known(group, request, waiter)
        new_id = group.new_member_id(request.client_id, request.instance_id)
        if request.instance_id is not None and request.instance_id in group.static:
            return self._join_static_again(group, request, new_id, waiter)
        if request.instance_id is None and request.needs_id:
            # A client whose request times out asks again; had it been let in, each
            # attempt would leave a member behind that never answers (KIP-394).
            self._rebalance.expect(group, new_id, request.session_timeout_ms / 1000)
            return JoinAnswer(MEMBER_ID_REQUIRED, new_id)
        self._join_new(group, request, new_id, waiter)
        return None

    def _join_new(
        self,
        group: Group,
        request: JoinRequest,
        member_id: str,
        waiter: Callable[[JoinAnswer], None],
    ) -> None:
        member = Member(
            member_id,
            request.instance_id,
            request.client_id,
            request.client_host,
            request.session_timeout_ms,
            request.rebalance_timeout_ms,
            dict(request.protocols),
            is_new=True,
            join_waiter=waiter,
        )
        if not group.members:
            group.protocol_type = request.protocol_type
        self._rebalance.admit(group, member)

    def _join_known(
        self, group: Group, request: JoinRequest, waiter: Callable[[JoinAnswer], None]
    ) -> JoinAnswer | None:
        member_id = request.member_id
        if member_id in group.expected and request.instance_id is None:
            self._join_new(group, request, member_id, waiter)
            return None
        error = group.check(member_id, request.instance_id)
        if error:
            return JoinAnswer(error, member_id)
        member = group.members[member_id]
        # The leader rejoins a stable group to have it assigned anew: topics changed.
        wants_new = list(member.protocols.items()) != list(request.protocols.items()) or (
            group.state is State.STABLE and group.leader == member_id
        )
        if group.state is State.PREPARING or wants_new:
            _update(member, request, waiter)
            self._rebalance.begin(group, f"{member_id} rejoins")
            return None
        # It may not have got the answer the first time: give it once more.
        return generation_for(group, member)

    def _join_static_again(
        self,
        group: Group,
        request: JoinRequest,
        new_id: str,
        waiter: Callable[[JoinAnswer], None],
    ) -> JoinAnswer | None:
        """Give a restarted static member its place back, if possible without a rebalance."""
        assert request.instance_id is not None
        leader_before = group.leader
        member = group.replace_static(request.instance_id, new_id)
        _update(member, request, waiter)
        self._rebalance.touch(group, member)
        if group.state is not State.STABLE or group.chosen_protocol() != group.protocol:
            # While the group assigns, the leader may be assigning to the old id.
            self._rebalance.begin(group, f"static {new_id} came back")
            return None
        member.join_waiter = None
        self._journal.append(group_entry(group))
        told = generation_for(group, member)
        if request.may_skip:
            return told._replace(skip_assignment=group.leader == new_id)
        # Told by its old id who leads, it does not take itself for the leader, and
        # so does not assign over the heads of the others.
        return told._replace(leader=leader_before or "", members=())

    # -- syncing

    def sync(
        self,
        who: Committer,
        assignments: Mapping[str, bytes],
        answer: Callable[[SyncAnswer], None],
        *,
        protocol_type: str | None = None,
        protocol: str | None = None,
    ) -> None:
        """Answer with the member's assignment, once the leader has brought everybody's."""
        group = self._groups.get(who.group_id)
        error = self._check(group, who)
        if group is None or error:
            answer(SyncAnswer(error))
            return
        if protocol_type not in (None, group.protocol_type) or (
            protocol not in (None, group.protocol)
        ):
            answer(SyncAnswer(INCONSISTENT_GROUP_PROTOCOL))
            return
        member = group.members[who.member_id]
        if group.state is State.PREPARING:
            answer(SyncAnswer(REBALANCE_IN_PROGRESS))
            return
        self._rebalance.has_synced(group, who.member_id)
        if group.state is State.STABLE:
            answer(part_of(group, member))
            return
        member.sync_waiter = answer
        if group.leader == who.member_id:
            self._rebalance.assign(group, assignments)

    # -- staying and leaving

    def heartbeat(self, who: Committer) -> int:
        """Prolong a session; return an error code, REBALANCE_IN_PROGRESS to call for a rejoin."""
        group = self._groups.get(who.group_id)
        error = self._check(group, who)
        if group is None or error:
            return error
        self._rebalance.touch(group, group.members[who.member_id])
        return REBALANCE_IN_PROGRESS if group.state is State.PREPARING else NONE

    def leave(self, group_id: str, members: Iterable[tuple[str, str | None]]) -> list[int] | int:
        """Let members go, by id or (an administrator) by instance id alone.

        Return an error for each, or one for all.
        """
        group = self._groups.get(group_id)
        if group is None:
            return UNKNOWN_MEMBER_ID if group_id else INVALID_GROUP_ID
        errors = [_leave(group, *member) for member in members]
        if NONE in errors:
            if group.state in (State.STABLE, State.COMPLETING):
                self._rebalance.begin(group, "members left")
            else:
                self._rebalance.complete_if_joined(group)
        return errors

    def _check(self, group: Group | None, who: Committer) -> int:
        """Return NONE if this is a member of the current generation, else why not."""
        if not who.group_id:
            return INVALID_GROUP_ID
        if group is None or not group.members:
            return UNKNOWN_MEMBER_ID
        error = group.check(who.member_id, who.instance_id)
        return error or (NONE if who.generation == group.generation else ILLEGAL_GENERATION)

    # -- offsets

    def commit(
        self, who: Committer, offsets: Mapping[TopicPartition, Committed], *, is_old: bool = False
    ) -> int:
        """Commit offsets, or return why not. is_old: the version cannot say "no such group"."""
        group = self._groups.get(who.group_id)
        if group is None:
            if who.generation >= 0:
                return ILLEGAL_GENERATION if is_old else GROUP_ID_NOT_FOUND
            group = self._groups[who.group_id] = Group(who.group_id)
        if who.generation >= 0 or group.state is not State.EMPTY:
            # A consumer outside of the group may commit only while it has no members.
            error = self._check(group, who)
            if error:
                return error
            if group.state is State.COMPLETING:
                return REBALANCE_IN_PROGRESS
            self._rebalance.touch(group, group.members[who.member_id])
        if offsets:
            self._offsets.commit(who.group_id, offsets)
        return NONE

    def hold(
        self, who: Committer, producer_id: int, offsets: Mapping[TopicPartition, Committed]
    ) -> int:
        """Keep offsets for the end of a transaction, or return why not (KIP-447).

        A producer that names no member is trusted: it fences by transactional id.
        """
        group = self._groups.get(who.group_id)
        if group is None:
            if who.generation >= 0:
                return ILLEGAL_GENERATION
            group = self._groups[who.group_id] = Group(who.group_id)
        if who.generation >= 0 or who.member_id or who.instance_id is not None:
            error = self._check(group, who)
            if error and not (who.generation < 0 and group.state is State.EMPTY):
                return error
        if offsets:
            self._offsets.hold(producer_id, who.group_id, offsets)
        return NONE

    # -- looking and deleting

    def find(self, group_id: str) -> Group | None:
        """Return a group to look at, None if there is none."""
        return self._groups.get(group_id)

    def all(self) -> list[Group]:
        """Return every group to look at."""
        return list(self._groups.values())

    def delete(self, group_id: str) -> int:
        """Delete a group that has no members, with its offsets."""
        group = self._groups.get(group_id)
        if group is None:
            return GROUP_ID_NOT_FOUND
        if group.state is not State.EMPTY:
            return NON_EMPTY_GROUP
        self._offsets.delete_group(group_id)
        self._journal.append(["no group", group_id])
        group.move(State.DEAD)
        self._rebalance.stop(group)
        del self._groups[group_id]
        return NONE

    def check_delete_offsets(self, group_id: str) -> int:
        """Return NONE if single offsets of the group may be deleted, else why not."""
        group = self._groups.get(group_id)
        if group is None:
            return GROUP_ID_NOT_FOUND
        if group.state is not State.EMPTY and group.protocol_type != "consumer":
            return NON_EMPTY_GROUP
        return NONE


def _update(member: Member, request: JoinRequest, waiter: Callable[[JoinAnswer], None]) -> None:
    # If one waits already, its client has given it up: that is why it asks again.
    member.join_waiter = waiter
    member.protocols = dict(request.protocols)
    member.session_timeout_ms = request.session_timeout_ms
    member.rebalance_timeout_ms = request.rebalance_timeout_ms


def _leave(group: Group, member_id: str, instance_id: str | None) -> int:
    if not member_id:
        member_id = group.static.get(instance_id or "", "")
    elif member_id in group.expected:
        group.remove(member_id)
        return NONE
    error = group.check(member_id, instance_id)
    if not error:
        group.members[member_id].answer_join(JoinAnswer(UNKNOWN_MEMBER_ID))
        group.members[member_id].answer_sync(SyncAnswer(UNKNOWN_MEMBER_ID))
        group.remove(member_id)
    return error
