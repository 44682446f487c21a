"""Carries a group from one generation to the next: rejoin, assign, and who is too late.

The phases of Kafka's classic protocol, with their three clocks: each member's
session, the wait for everybody to rejoin, and the wait for everybody to ask for
its assignment. The first rebalance of an empty group starts with the next turn of
the loop: Kafka's group.initial.rebalance.delay.ms is 0 here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from faustc.broker.group_state import (
    Group,
    JoinAnswer,
    Member,
    State,
    SyncAnswer,
    Timer,
    group_entry,
)
from faustc.broker.journal import Journal
from faustc.client.codes import NONE, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID

logger = logging.getLogger(__name__)

# A member who was never answered cannot send heartbeats: this long it may wait.
# Kafka's default for it, which nobody sets otherwise.
NEW_MEMBER_TIMEOUT_S = 300.0


class Clock(Protocol):
    """What a coordinator needs of an event loop."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer: ...


class Rebalance:
    """Moves groups through their states. Knows no requests; answers those that are parked."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal

    # -- sessions

    def touch(self, group: Group, member: Member, timeout_s: float | None = None) -> None:
        """Start a member's session anew; in seconds, or as long as the member asked for."""
        member.stop_session()
        if timeout_s is None:
            timeout_s = member.session_timeout_ms / 1000
        member.session = self._clock.call_later(timeout_s, self._expire, group, member)

    def admit(self, group: Group, member: Member) -> None:
        """Take a new member in."""
        group.add(member)
        self.touch(group, member, NEW_MEMBER_TIMEOUT_S)
        self.begin(group, f"{member.member_id} joins")

    def expect(self, group: Group, member_id: str, timeout_s: float) -> None:
        """Wait for the owner of an id that was given out."""
        group.expected[member_id] = self._clock.call_later(
            timeout_s, self._give_up_on, group, member_id
        )

    def _expire(self, group: Group, member: Member) -> None:
        member.session = None
        if member.is_waiting and not member.is_new:
            return  # its session starts again with our answer
        logger.info("Group %s lost %s: its session ended", group.group_id, member.member_id)
        member.answer_join(JoinAnswer(UNKNOWN_MEMBER_ID))
        member.answer_sync(SyncAnswer(UNKNOWN_MEMBER_ID))
        group.remove(member.member_id)
        if group.state in (State.STABLE, State.COMPLETING):
            self.begin(group, f"{member.member_id} fell silent")
        elif group.state is State.PREPARING and group.all_joined:
            self._complete(group)

    def _give_up_on(self, group: Group, member_id: str) -> None:
        group.remove(member_id)
        if group.state is State.PREPARING and group.all_joined:
            self._complete(group)

    # -- first phase: everybody joins

    def begin(self, group: Group, reason: str) -> None:
        """Have everybody rejoin; during a rebalance, see whether that was the last one."""
        if group.state is State.PREPARING:
            self.complete_if_joined(group)
            return
        if group.state is State.COMPLETING:
            for member in group.members.values():
                member.assignment = b""
                if member.answer_sync(SyncAnswer(REBALANCE_IN_PROGRESS)):
                    self.touch(group, member)
        self._stop_wait(group)
        group.unsynced.clear()
        group.move(State.PREPARING)
        logger.info(
            "Group %s rebalances after generation %d: %s", group.group_id, group.generation, reason
        )
        if group.came_from is State.EMPTY:
            # Not in this very call, so that members who come together start together.
            self._wait_for_joins(group, 0.0)
        elif group.all_joined:
            self._complete(group)
        else:
            self._wait_for_joins(group, group.rebalance_timeout_s)

    def complete_if_joined(self, group: Group) -> None:
        """Begin the next generation if nobody is missing any more."""
        waits = group.state is State.PREPARING and group.came_from is not State.EMPTY
        if waits and group.all_joined:
            self._complete(group)

    def _wait_for_joins(self, group: Group, delay_s: float) -> None:
        group.rebalance = self._clock.call_later(delay_s, self._complete, group)

    def _complete(self, group: Group) -> None:
        """Begin the next generation with those who joined in time; static ones may be late."""
        self._stop_wait(group)
        for member in list(group.members.values()):
            if member.join_waiter is None and member.instance_id is None:
                logger.info("Group %s lost %s: too late", group.group_id, member.member_id)
                group.remove(member.member_id)
        if group.members and not group.elect():
            # Only static members are left and none came: their sessions decide.
            self._wait_for_joins(group, group.rebalance_timeout_s)
            return
        group.generation += 1
        if not group.members:
            group.protocol = None
            group.move(State.EMPTY)
            self._journal.append(group_entry(group))
            logger.info("Group %s is empty, generation %d", group.group_id, group.generation)
            return
        group.protocol = group.chosen_protocol()
        group.move(State.COMPLETING)
        group.unsynced = set(group.members)
        for member in group.members.values():
            member.answer_join(generation_for(group, member))
            member.is_new = False
            self.touch(group, member)
        group.rebalance = self._clock.call_later(
            group.rebalance_timeout_s, self._expire_unsynced, group
        )

    # -- second phase: the leader assigns

    def assign(self, group: Group, assignments: Mapping[str, bytes]) -> None:
        """Take the leader's word and pass it on; whoever it forgot gets nothing."""
        for member in group.members.values():
            member.assignment = assignments.get(member.member_id, b"")
        self._journal.append(group_entry(group))
        group.move(State.STABLE)
        for member in group.members.values():
            if member.answer_sync(part_of(group, member)):
                self.touch(group, member)

    def has_synced(self, group: Group, member_id: str) -> None:
        """Note that a member asked for its assignment."""
        group.unsynced.discard(member_id)
        if not group.unsynced:
            self._stop_wait(group)

    def _expire_unsynced(self, group: Group) -> None:
        group.rebalance = None
        if not group.unsynced:
            return
        gone = sorted(group.unsynced)
        for member_id in gone:
            group.remove(member_id)
        self.begin(group, f"{gone} did not ask for their assignment in time")

    def _stop_wait(self, group: Group) -> None:
        if group.rebalance is not None:
            group.rebalance.cancel()
            group.rebalance = None

    def stop(self, group: Group) -> None:
        """Call all timers of a group off."""
        self._stop_wait(group)
        for member in group.members.values():
            member.stop_session()
        for timer in group.expected.values():
            timer.cancel()
        group.expected.clear()


def generation_for(group: Group, member: Member) -> JoinAnswer:
    """Return what a member is told of the current generation."""
    leads = group.leader == member.member_id
    return JoinAnswer(
        NONE,
        member.member_id,
        group.generation,
        group.protocol_type,
        group.protocol,
        group.leader or "",
        group.subscriptions() if leads else (),
    )


def part_of(group: Group, member: Member) -> SyncAnswer:
    """Return a member's part of the current generation."""
    return SyncAnswer(NONE, member.assignment, group.protocol_type, group.protocol)
