"""What to do when a member of a group fails: start it again, or all, or give up, or end it all.

The members are an agent's actors. A class, or an instance with limits of its own, is given
to an agent (`supervisor_strategy=`), or a class is named by the setting agent_supervisor.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import ClassVar

__all__ = [
    "CrashingSupervisor",
    "ForfeitOneForAllSupervisor",
    "ForfeitOneForOneSupervisor",
    "OneForAllSupervisor",
    "OneForOneSupervisor",
    "SupervisorStrategy",
    "Verdict",
]


class Verdict(Enum):
    """What becomes of the group."""

    RESTART_ONE = "the one that failed is started again"
    RESTART_ALL = "all are started again"
    FORFEIT_ONE = "the one that failed is given up, the others go on"
    FORFEIT_ALL = "all are given up"
    CRASH = "the app stops, with this failure as its own"


class SupervisorStrategy:
    """Decides by `verdict`; override `decide` to look at the failure first.

    max_restarts in `over` seconds are let through at once, more have to wait for the
    rest of that time: a group that fails all the time is slow, not dead. With `raises`
    the app stops instead, with an exception of that class as the reason.
    """

    verdict: ClassVar[Verdict] = Verdict.RESTART_ONE
    max_restarts: float = 100.0
    over: float = 1.0
    raises: type[BaseException] | None = None

    def __init__(
        self,
        *,
        max_restarts: float | None = None,
        over: float | timedelta | None = None,
        raises: type[BaseException] | None = None,
    ) -> None:
        if max_restarts is not None:
            self.max_restarts = max_restarts
        if over is not None:
            self.over = over.total_seconds() if isinstance(over, timedelta) else over
        if raises is not None:
            self.raises = raises

    def decide(self, error: BaseException) -> Verdict:
        """Return what to do after this failure."""
        return self.verdict


class OneForOneSupervisor(SupervisorStrategy):
    """Starts again the one that failed, and only that: the default."""


class OneForAllSupervisor(SupervisorStrategy):
    """Starts all of the group again when one fails; what they had in hand comes again."""

    verdict = Verdict.RESTART_ALL


class ForfeitOneForOneSupervisor(SupervisorStrategy):
    """Gives up the one that failed; the others go on."""

    verdict = Verdict.FORFEIT_ONE


class ForfeitOneForAllSupervisor(SupervisorStrategy):
    """Gives up the whole group when one fails."""

    verdict = Verdict.FORFEIT_ALL


class CrashingSupervisor(SupervisorStrategy):
    """Ends the app when one fails, and its worker with a non-zero code.

    The event in hand is not done: it comes again to whoever reads it next.
    """

    verdict = Verdict.CRASH
