"""What a group member's user holds, brought step by step to what the group gave.

The group decides on the membership's thread, at any time. The user, on a loop
that may be blocked, is told by one callback after the other and never by two at once:

              give(target)
    held ---> on_lost(lost) ---> on_revoke(held - target) ---> on_assign(target - held) ---> held
              (first: somebody      (they may commit             (only what is new)
               else may own it)      until it returns)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from faustc.clock import monotonic
from faustc.exceptions import CommitFailed, NotReady
from faustc.types import TopicPartition

__all__ = ["Holdings", "named"]

logger = logging.getLogger(__name__)

Partitions = frozenset[TopicPartition]
NOTHING: Partitions = frozenset()


class Holdings:
    """The partitions of one member; its sets are replaced, never changed, so any thread reads them.

    call(name, partitions) runs a callback on the user's loop; one that takes longer
    than limit_s is given up. changed is called, on the membership's loop, after
    every step. Must never drop a partition without a callback that says so.
    """

    def __init__(
        self,
        call: Callable[[str, Partitions], Awaitable[None]],
        changed: Callable[[], None],
        *,
        limit_s: float,
        label: str,
    ) -> None:
        self._call = call
        self._on_changed = changed
        self._limit_s = limit_s
        self._label = label
        self._step = asyncio.Event()
        self._work = asyncio.Event()
        self.held: Partitions = NOTHING
        self.target: Partitions = NOTHING
        self.lost: Partitions = NOTHING
        self.losses = 0
        self.waiting_for = ""
        self.waiting_since = 0.0

    @property
    def ours(self) -> Partitions:
        """What is held and not lost: what may be committed."""
        return self.held - self.lost

    @property
    def settled(self) -> bool:
        """Whether the user holds exactly what the group gave, and was told so."""
        return self.held == self.target and not self.lost and not self.waiting_for

    def claim(self, partitions: Collection[TopicPartition]) -> Callable[[], None]:
        """Return what raises CommitFailed once these are not ours, or were not for a moment.

        It may be called from any thread.
        """
        wanted, losses = frozenset(partitions), self.losses

        def check() -> None:
            gone = wanted - self.ours
            if gone or losses != self.losses:
                raise CommitFailed(
                    f"{self._label} has taken {named(gone or wanted)} from this member; whoever "
                    "has it goes on from the last commit"
                )

        return check

    def give(self, target: Partitions) -> None:
        """Bring the user to hold these; returns at once."""
        self.target = target
        self._work.set()
        self._wake()

    def lose(self) -> None:
        """Somebody else may own all we hold from now on; returns at once."""
        self.target = NOTHING
        self.lost = self.held
        self.losses += 1
        self._wake()
        self._work.set()

    async def until(self, reached: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait for a step after which `reached()` holds; False if timeout_s passed first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    await self._step.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Deliver callbacks for ever.

        Raises NotReady when the user's loop is closed, and what on_assign
        raised: a partition that was assigned but is not read must not go unseen.
        """
        while True:
            if self.lost:
                await self._lose_some(self.lost)
            elif revoked := self.held - self.target:
                await self._revoke(revoked)
            elif added := self.target - self.held:
                await self._assign(added)
            else:
                self._work.clear()
                await self._work.wait()

    async def _lose_some(self, lost: Partitions) -> None:
        # Until the user has heard of it, it delivers what is not its own any more.
        if await self._deliver("on_lost", lost):
            self.held -= lost
            self.lost -= lost
        self._wake()

    async def _revoke(self, revoked: Partitions) -> None:
        if await self._deliver("on_revoke", revoked):
            self.held -= revoked
            self.lost -= revoked
        else:
            self.lost |= revoked
            self.losses += 1
        self._wake()

    async def _assign(self, added: Partitions) -> None:
        # Held from before the callback: it may commit, and whatever takes it back comes after it.
        self.held |= added
        self._wake()
        if not await self._deliver("on_assign", added):
            self.lost |= added & self.held
            self.losses += 1
        self._wake()

    async def _deliver(self, name: str, partitions: Partitions) -> bool:
        """Run one callback; False if it did not end in time."""
        self.waiting_for = f"{name}({named(partitions)})"
        self.waiting_since = monotonic()
        try:
            async with asyncio.timeout(self._limit_s) as limit:
                await self._call(name, partitions)
        except NotReady:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a user's callback raises
            if not (isinstance(exc, TimeoutError) and limit.expired()):
                return self._failed(name, exc)
            logger.error(
                "%s: %s did not return within %g s; its partitions count as lost",
                self._label,
                self.waiting_for,
                self._limit_s,
            )
            return False
        finally:
            self.waiting_for = ""
        return True

    def _failed(self, name: str, exc: Exception) -> bool:
        if name == "on_assign":
            raise exc
        logger.error("%s: %s failed; the partitions are given up", self._label, name, exc_info=exc)
        return True

    def _wake(self) -> None:
        # Whoever waits now is woken; whoever comes later waits for the next step.
        self._step.set()
        self._step.clear()
        self._on_changed()


def named(partitions: Partitions, limit: int = 8) -> str:
    """Name partitions as topic/0,1,2, briefly: for logs."""
    if not partitions:
        return "nothing"
    topics: dict[str, list[str]] = {}
    for topic, partition in sorted(partitions):
        topics.setdefault(topic, []).append(str(partition))
    parts = [
        f"{topic}/{','.join(numbers[:16])}{',…' if len(numbers) > 16 else ''}"
        for topic, numbers in list(topics.items())[:limit]
    ]
    return " ".join(parts) + (
        f" and {len(topics) - limit} more topics" if len(topics) > limit else ""
    )
