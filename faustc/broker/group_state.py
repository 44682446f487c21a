"""What a consumer group is: its states, its members, and what they agree on.

Plain state, no clock and no answers: `groups.py` decides when something moves.
The protocol is Kafka's classic one (KIP-62, KIP-345, KIP-394); the consumer
protocol of KIP-848 is not served.
"""

from __future__ import annotations

import enum
import struct
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from faustc.client.codes import FENCED_INSTANCE_ID, NONE, UNKNOWN_MEMBER_ID


class Timer(Protocol):
    """What call_later returns: a callback that may still be called off."""

    def cancel(self) -> None: ...


class JoinRequest(NamedTuple):
    """A JoinGroup request, whatever its version; timeouts are in milliseconds.

    protocols are in the member's order of preference. needs_id: the version is one
    that is told to come back with the id it was given (KIP-394). may_skip: the
    version knows that a leader may be told not to assign (KIP-814).
    """

    group_id: str
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: Mapping[str, bytes]
    needs_id: bool = True
    may_skip: bool = True


class JoinAnswer(NamedTuple):
    """What a member is told; members (id, instance id, subscription) only if it leads."""

    error: int
    member_id: str = ""
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    skip_assignment: bool = False


class SyncAnswer(NamedTuple):
    """The part of a generation that is one member's."""

    error: int
    assignment: bytes = b""
    protocol_type: str | None = None
    protocol: str | None = None


class State(enum.Enum):
    """Where a group is; the values are the names that Kafka reports."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


#            .--------------- all members gone ----------------.
#            v                                                 |
# (new) -> EMPTY -> PREPARING (all join) -> COMPLETING (leader assigns) -> STABLE
#                      ^  '--------<-------------'                            |
#                      '----------------- joins, leaves, time-outs -----------'
# DEAD: deleted; from anywhere, to nowhere.
MOVES: dict[State, frozenset[State]] = {
    State.EMPTY: frozenset({State.PREPARING, State.DEAD}),
    State.PREPARING: frozenset({State.COMPLETING, State.EMPTY, State.DEAD}),
    State.COMPLETING: frozenset({State.STABLE, State.PREPARING, State.DEAD}),
    State.STABLE: frozenset({State.PREPARING, State.DEAD}),
    State.DEAD: frozenset(),
}


@dataclass(slots=True, eq=False)
class Member:
    """One member: what it told when it joined, and who waits for its answers."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: dict[str, bytes]
    assignment: bytes = b""
    # Not yet told any generation: nobody could be sending its heartbeats.
    is_new: bool = False
    join_waiter: Callable[[JoinAnswer], None] | None = None
    sync_waiter: Callable[[SyncAnswer], None] | None = None
    session: Timer | None = None

    def answer_join(self, answer: JoinAnswer) -> bool:
        """Answer the parked JoinGroup; False if none was parked."""
        waiter, self.join_waiter = self.join_waiter, None
        if waiter is None:
            return False
        waiter(answer)
        return True

    def answer_sync(self, answer: SyncAnswer) -> bool:
        """Answer the parked SyncGroup; False if none was parked."""
        waiter, self.sync_waiter = self.sync_waiter, None
        if waiter is None:
            return False
        waiter(answer)
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether a request of its is parked here, so that silence says nothing."""
        return self.join_waiter is not None or self.sync_waiter is not None

    def stop_session(self) -> None:
        """Call the session's end off."""
        if self.session is not None:
            self.session.cancel()
            self.session = None


@dataclass(slots=True, eq=False)
class Group:
    """One group and its members, in the order in which they came."""

    group_id: str
    state: State = State.EMPTY
    came_from: State = State.EMPTY
    generation: int = 0
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    static: dict[str, str] = field(default_factory=dict)
    # Ids given out (KIP-394) whose owners have not come back yet.
    expected: dict[str, Timer] = field(default_factory=dict)
    # Who has not asked for its part of this generation yet.
    unsynced: set[str] = field(default_factory=set)
    rebalance: Timer | None = None
    # What the journal knows: the last whole generation, not one that is being made.
    recorded: list[Any] | None = None

    def move(self, to: State) -> None:
        """Change the state; a move that the table lacks is a bug of ours."""
        if to not in MOVES[self.state]:
            raise AssertionError(f"group {self.group_id}: {self.state} -> {to}")
        self.came_from, self.state = self.state, to

    def new_member_id(self, client_id: str, instance_id: str | None) -> str:
        """Make an id that nobody else has, readable in logs."""
        return f"{instance_id or client_id}-{uuid.uuid4()}"

    def check(self, member_id: str, instance_id: str | None) -> int:
        """Return NONE if this is a member, else why not (fenced, or unknown)."""
        if instance_id is not None:
            current = self.static.get(instance_id)
            if current is None:
                return UNKNOWN_MEMBER_ID
            if current != member_id:
                return FENCED_INSTANCE_ID
        return NONE if member_id in self.members else UNKNOWN_MEMBER_ID

    def add(self, member: Member) -> None:
        """Take a member in; the first one leads."""
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self.static[member.instance_id] = member.member_id
        if self.leader is None:
            self.leader = member.member_id
        expected = self.expected.pop(member.member_id, None)
        if expected is not None:
            expected.cancel()

    def remove(self, member_id: str) -> None:
        """Let a member or an expected one go; if it led, the eldest leads."""
        member = self.members.pop(member_id, None)
        if member is not None:
            member.stop_session()
            if member.instance_id is not None:
                self.static.pop(member.instance_id, None)
        expected = self.expected.pop(member_id, None)
        if expected is not None:
            expected.cancel()
        self.unsynced.discard(member_id)
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)

    def replace_static(self, instance_id: str, new_id: str) -> Member:
        """Hand a static member's place to the same instance come back under a new id.

        Whoever still waits under the old id is a second process with the same
        instance id, or the same one before its restart: it is fenced.
        """
        old = self.members.pop(self.static[instance_id])
        old.stop_session()
        old.answer_join(JoinAnswer(FENCED_INSTANCE_ID, old.member_id))
        old.answer_sync(SyncAnswer(FENCED_INSTANCE_ID))
        self.unsynced.discard(old.member_id)
        member = Member(
            new_id,
            instance_id,
            old.client_id,
            old.client_host,
            old.session_timeout_ms,
            old.rebalance_timeout_ms,
            old.protocols,
            old.assignment,
        )
        self.members[new_id] = member
        self.static[instance_id] = new_id
        if self.leader == old.member_id:
            self.leader = new_id
        return member

    @property
    def all_joined(self) -> bool:
        """Whether every member waits for the next generation, and nobody is expected."""
        return not self.expected and all(m.join_waiter for m in self.members.values())

    @property
    def rebalance_timeout_s(self) -> float:
        """How long the slowest member asked to be waited for."""
        return max((m.rebalance_timeout_ms for m in self.members.values()), default=0) / 1000

    def common_protocols(self) -> list[str]:
        """Return the assignors that every member knows, the first member's order."""
        members = list(self.members.values())
        if not members:
            return []
        return [p for p in members[0].protocols if all(p in m.protocols for m in members)]

    def supports(self, protocol_type: str, protocols: Mapping[str, bytes]) -> bool:
        """Return whether someone who speaks these could be a member."""
        if not protocol_type or not protocols:
            return False
        if self.state is State.EMPTY or not self.members:
            return True
        if protocol_type != self.protocol_type:
            return False
        return any(name in protocols for name in self.common_protocols())

    def chosen_protocol(self) -> str:
        """Return the assignor with most votes: each member has one, for its first common one."""
        common = self.common_protocols()
        votes = dict.fromkeys(common, 0)
        for member in self.members.values():
            votes[next(name for name in member.protocols if name in votes)] += 1
        return max(common, key=votes.__getitem__)

    def elect(self) -> bool:
        """Keep the leader if it rejoined, else take one who did; False if nobody did."""
        if self.leader is None:
            return False
        if self.members[self.leader].join_waiter is None:
            joined = (m.member_id for m in self.members.values() if m.join_waiter)
            found = next(joined, None)
            if found is None:
                return False
            self.leader = found
        return True

    def subscriptions(self) -> tuple[tuple[str, str | None, bytes], ...]:
        """Return what the leader needs to assign: each member's id, instance and metadata."""
        chosen = self.protocol or ""
        return tuple(
            (m.member_id, m.instance_id, m.protocols.get(chosen, b""))
            for m in self.members.values()
        )

    def reads(self, topic: str) -> bool:
        """Return whether a member subscribed to the topic, as far as one can tell."""
        if self.protocol_type != "consumer":
            return False
        return any(
            topic in subscribed_topics(metadata)
            for member in self.members.values()
            for metadata in member.protocols.values()
        )


def group_entry(group: Group) -> list[Any]:
    """Return what the journal keeps of a group whose generation is whole; note it as recorded."""
    members = [
        [
            m.member_id,
            m.instance_id,
            m.client_id,
            m.client_host,
            m.session_timeout_ms,
            m.rebalance_timeout_ms,
            {name: _text(metadata) for name, metadata in m.protocols.items()},
            _text(m.assignment),
        ]
        for m in group.members.values()
    ]
    agreed = [group.protocol_type, group.protocol, group.leader]
    group.recorded = ["group", group.group_id, group.generation, *agreed, members]
    return group.recorded


def group_of_entry(entry: list[Any]) -> Group:
    """Make the group that `group_entry` wrote down; its sessions are not running."""
    _, group_id, generation, protocol_type, protocol, leader, rows = entry
    group = Group(group_id, State.EMPTY, State.EMPTY, generation, protocol_type, protocol)
    group.recorded = entry
    for member_id, instance_id, client_id, host, session_ms, rebalance_ms, protocols, own in rows:
        known = {name: b64decode(metadata) for name, metadata in protocols.items()}
        member = Member(
            member_id, instance_id, client_id, host, session_ms, rebalance_ms, known, b64decode(own)
        )
        group.add(member)
    if group.members:
        group.state = State.STABLE
        group.leader = leader
    return group


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def subscribed_topics(metadata: bytes) -> frozenset[str]:
    """Read the topics out of a consumer's subscription; none if it is not one."""
    topics = []
    try:
        (count,) = struct.unpack_from(">i", metadata, 2)
        at = 6
        for _ in range(count):
            (size,) = struct.unpack_from(">h", metadata, at)
            if size < 0 or at + 2 + size > len(metadata):
                return frozenset()
            topics.append(metadata[at + 2 : at + 2 + size].decode())
            at += 2 + size
    except (struct.error, UnicodeDecodeError):
        return frozenset()
    return frozenset(topics)
