"""Where a member stands with its group: the states, the moves between them, and for how long."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping
from typing import NamedTuple

from faustc.clock import monotonic

__all__ = ["JOINED", "MOVES", "OUT", "REBALANCING", "Standing", "State", "Terms"]

logger = logging.getLogger(__name__)

# A rebalance that has not settled is told of after this long, and then at doubling intervals;
# trouble with the coordinator at most once in as long.
SLOW_S = 10.0


class State(enum.Enum):
    """Where a member stands with its group."""

    UNJOINED = "unjoined"
    REVOKING = "revoking"
    JOINING = "joining"
    SYNCING = "syncing"
    STABLE = "stable"
    STALLED = "stalled"
    LEAVING = "leaving"
    LEFT = "left"
    FAILED = "failed"


#             .------------------------(rebalance)--------------------.
#             v                                                       |
# UNJOINED -> REVOKING ------> JOINING -------> SYNCING -------> STABLE
#    ^  ^     (eager: the      (the other       (the leader       |
#    |  |      user lets go)    members join)    shares out)      |
#    |  |        |                 |                |             |
#    |  '--------'-----------------'----------------'-------------'  an error: after a backoff
#    |
#    '------- STALLED <-- any of these: the user does not poll; joins again when it does
#
# any of these -> LEAVING -> LEFT: stop() was called
# any of these -> FAILED (-> LEAVING): a retry would not help
_ENDS = {State.LEAVING, State.FAILED}
_AWAY = {State.UNJOINED, State.STALLED, *_ENDS}
MOVES: Mapping[State, set[State]] = {
    State.UNJOINED: {State.REVOKING, State.STALLED, *_ENDS},
    State.REVOKING: {State.JOINING, *_AWAY},
    State.JOINING: {State.SYNCING, *_AWAY},
    State.SYNCING: {State.STABLE, *_AWAY},
    State.STABLE: {State.REVOKING, *_AWAY},
    State.STALLED: {State.UNJOINED, *_ENDS},
    State.LEAVING: {State.LEFT},
    State.LEFT: set(),
    State.FAILED: {State.LEAVING},
}

# The coordinator knows us, and expects our heart to beat.
JOINED = {State.STABLE, State.REVOKING, State.LEAVING}
# It is about to know us by another generation.
REBALANCING = {State.UNJOINED, State.JOINING, State.SYNCING}
# It is not to count on us.
OUT = {State.STALLED, State.LEAVING, State.LEFT, State.FAILED}

_AWAITED = {
    State.UNJOINED: "the coordinator to be found",
    State.JOINING: "the coordinator to answer JoinGroup: other members have yet to join",
    State.SYNCING: "the leader of the group to share out the partitions",
}


class Terms(NamedTuple):
    """On what terms a member is in its group; lengths are in milliseconds."""

    group_id: str
    group_instance_id: str | None = None
    rack: str | None = None
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int = 60_000
    max_poll_interval_ms: int = 300_000
    request_timeout_ms: int = 40_000
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000

    @property
    def patience_ms(self) -> int:
        """How long the group waits for this member in a rebalance (as in the Java client)."""
        return max(self.rebalance_timeout_ms, self.max_poll_interval_ms)


class Standing:
    """The state, since when, and what its member has to say of it in the log."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.state = State.UNJOINED
        self.entered_at = monotonic()
        self._unsettled_at = self.entered_at
        self._complained_s = 0.0
        self._quiet_until = 0.0

    def move(self, state: State) -> None:
        """Go to another state; the table must have that move."""
        assert state in MOVES[self.state], f"{self.state} -> {state}"
        logger.debug("%s: %s -> %s", self.label, self.state.value, state.value)
        if self.state is State.STABLE:
            self._unsettled_at = monotonic()
            self._complained_s = 0.0
        self.state = state
        self.entered_at = monotonic()

    def left(self, state: State) -> bool:
        """Whether it is not in that state any more: asked after an await."""
        return self.state is not state

    def lasted_s(self) -> float:
        """How long it has been in this state."""
        return monotonic() - self.entered_at

    @property
    def awaited(self) -> str:
        """What it waits for; empty when for nothing."""
        return _AWAITED.get(self.state, "")

    def trouble(self, exc: Exception) -> None:
        """Log what is tried again; as a warning now and then, the rest for debugging."""
        now = monotonic()
        level = logging.DEBUG
        if now >= self._quiet_until:
            self._quiet_until = now + SLOW_S
            level = logging.WARNING
        logger.log(level, "%s: %s; trying again", self.label, exc)

    def complain(self, user: str, user_since: float) -> None:
        """Log what an unsettled rebalance waits for, if that has taken long.

        user: the callback that has not returned since user_since, if any.
        """
        awaited = f"{user} to return on the user's loop" if user else self.awaited
        if not awaited:
            return
        since = user_since if user else self._unsettled_at
        waited_s = monotonic() - since
        if waited_s < self._complained_s:
            self._complained_s = 0.0  # that was about another wait
        if waited_s >= max(SLOW_S, 2 * self._complained_s):
            self._complained_s = waited_s
            logger.warning(
                "%s: rebalance not done after %.0f s: waiting for %s", self.label, waited_s, awaited
            )
