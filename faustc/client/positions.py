"""Where each cursor is to start: the committed offset, the reset policy, the leader's word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from faustc.client import offsets
from faustc.client.client import Client
from faustc.client.cursors import UNKNOWN, Cursor, State
from faustc.client.wakeup import Wakeup
from faustc.exceptions import KafkaError, OffsetOutOfRange, UnsupportedVersion
from faustc.types import OffsetAndMetadata, TopicPartition

logger = logging.getLogger(__name__)

POLICIES = {"earliest": offsets.EARLIEST, "latest": offsets.LATEST, "none": None}
IDLE_S = 60.0

Committed = Callable[
    [Iterable[TopicPartition]], Awaitable[Mapping[TopicPartition, OffsetAndMetadata | None]]
]

Answers = Mapping[TopicPartition, Any]
_Ask = Callable[[Mapping[TopicPartition, Cursor]], Awaitable[Answers]]


class Positions:
    """Answers what cursors need to know before they can be fetched.

    Handed a cursor, it keeps asking, with growing delays, until the cursor is
    READY, FAILED or CLOSED; a broker that does not answer delays only its own
    partitions. settled is called with each cursor that is done.
    """

    def __init__(
        self,
        client: Client,
        *,
        policy: int | None,
        isolation_level: int,
        committed: Committed | None,
        settled: Callable[[Cursor], None],
    ) -> None:
        self._client = client
        self._policy = policy
        self._isolation_level = isolation_level
        self._committed = committed
        self._settled = settled
        self._open: set[Cursor] = set()
        self._busy: set[Cursor] = set()
        self._wakeup = Wakeup()
        self._jobs: dict[State, tuple[_Ask, Callable[[Cursor, Any], None]]] = {
            State.COMMITTED: (self._look_up, self._look_up_came),
            State.RESET: (self._list, self._list_came),
            State.VALIDATE: (self._check, self._check_came),
        }

    def add(self, cursor: Cursor) -> None:
        """Take on a cursor that is COMMITTED, RESET or VALIDATE."""
        self._open.add(cursor)
        self._wakeup.set()

    def lose(self, cursor: Cursor, reason: str, to: int | None = None) -> None:
        """Reset a cursor whose offset is gone by the policy, or fail it if there is none.

        to overrules where the policy resets to. What is buffered stays.
        """
        tp = cursor.tp
        if self._policy is None:
            offset = cursor.fetch_offset if cursor.fetch_offset >= 0 else None
            cursor.fail(
                OffsetOutOfRange(reason, topic=tp.topic, partition=tp.partition, offset=offset)
            )
            self._settled(cursor)
        else:
            cursor.reset(self._policy if to is None else to, forget=False)
            self.add(cursor)

    async def run(self) -> None:
        """Serve cursors until cancelled; an error that is not Kafka's ends it."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as jobs:
            while True:
                now = loop.time()
                self._open = {c for c in self._open if c.state in self._jobs}
                # One without a leader comes again when there is one; groups are asked elsewhere.
                waiting = {
                    c
                    for c in self._open - self._busy
                    if c.state is State.COMMITTED or c.leader != UNKNOWN
                }
                due = [c for c in waiting if c.retry_at <= now]
                for state, cursors in self._split(due):
                    self._busy.update(cursors)
                    jobs.create_task(self._serve(state, cursors))
                retry_at = min((c.retry_at for c in waiting if c.retry_at > now), default=None)
                await self._wakeup.wait(IDLE_S if retry_at is None else retry_at - now)

    def _split(self, due: list[Cursor]) -> Iterable[tuple[State, list[Cursor]]]:
        """Sort cursors by what they need and whom it is asked of."""
        jobs: dict[tuple[State, int], list[Cursor]] = {}
        for cursor in due:
            if cursor.state is State.COMMITTED and self._committed is None:
                self._uncommitted(cursor)
                continue  # it comes again, to be reset
            leader = UNKNOWN if cursor.state is State.COMMITTED else cursor.leader
            jobs.setdefault((cursor.state, leader), []).append(cursor)
        return [(state, cursors) for (state, _), cursors in jobs.items()]

    async def _serve(self, state: State, chosen: list[Cursor]) -> None:
        # Between the choice and our first step one may have been closed, or sought.
        cursors = [cursor for cursor in chosen if cursor.state is state]
        versions = {cursor: cursor.version for cursor in cursors}
        ask, came = self._jobs[state]
        answers: Answers
        try:
            answers = await ask({cursor.tp: cursor for cursor in cursors}) if cursors else {}
        except KafkaError as error:
            answers = dict.fromkeys((cursor.tp for cursor in cursors), error)
        finally:
            self._busy.difference_update(chosen)
            self._wakeup.set()
        now = asyncio.get_running_loop().time()
        for cursor in cursors:
            if cursor.version != versions[cursor]:
                continue  # sought, reset or revoked meanwhile: this answer is to an old question
            answer = answers.get(cursor.tp)
            if not isinstance(answer, KafkaError):
                came(cursor, answer)
            elif isinstance(answer, UnsupportedVersion) and cursor.state is State.VALIDATE:
                cursor.validated()  # a broker too old to be asked
            elif answer.retriable:
                if cursor.backoff.attempts == 3:
                    logger.warning(
                        "%s: still trying to %s: %s", cursor.tp, cursor.state.value, answer
                    )
                cursor.put_off(now)
                continue
            else:
                cursor.fail(answer)
            self._settled(cursor)

    # -- the committed offset ----------------------------------------------------------

    async def _look_up(self, wanted: Mapping[TopicPartition, Cursor]) -> Answers:
        assert self._committed is not None
        return await self._committed(wanted)

    def _look_up_came(self, cursor: Cursor, answer: OffsetAndMetadata | None) -> None:
        if answer is None:
            self._uncommitted(cursor)
        else:
            cursor.placed(answer.offset)

    def _uncommitted(self, cursor: Cursor) -> None:
        self.lose(cursor, "no committed offset, and auto_offset_reset is none")

    # -- the reset policy --------------------------------------------------------------

    async def _list(self, wanted: Mapping[TopicPartition, Cursor]) -> Answers:
        return await offsets.list_offsets_once(
            self._client,
            {tp: cursor.reset_to for tp, cursor in wanted.items()},
            isolation_level=self._isolation_level,
            timeout_s=_patience(wanted.values()),
        )

    def _list_came(self, cursor: Cursor, answer: offsets.ListedOffset) -> None:
        # The assignment has its line: this is one per partition.
        logger.debug("%s/%s starts at offset %s", *cursor.tp, answer.offset)
        cursor.placed(answer.offset)

    # -- the leader's log (KIP-320) ----------------------------------------------------

    async def _check(self, wanted: Mapping[TopicPartition, Cursor]) -> Answers:
        return await offsets.epoch_ends_once(
            self._client,
            {tp: cursor.fetch_epoch for tp, cursor in wanted.items()},
            timeout_s=_patience(wanted.values()),
        )

    def _check_came(self, cursor: Cursor, answer: offsets.EpochEnd) -> None:
        if answer.end_offset < 0 or answer.leader_epoch < 0:
            self.lose(cursor, f"the leader does not know epoch {cursor.fetch_epoch}")
        elif answer.end_offset >= cursor.fetch_offset:
            cursor.validated()
        elif self._policy is None:
            self.lose(cursor, f"the log was truncated to offset {answer.end_offset}")
        else:
            logger.warning(
                "%s/%s was truncated from offset %s to %s: going back",
                *cursor.tp,
                cursor.fetch_offset,
                answer.end_offset,
            )
            cursor.truncated(answer.end_offset, answer.leader_epoch)


def _patience(cursors: Iterable[Cursor]) -> float:
    """Return how long a leader may take to answer: longer for those that waited in vain before."""
    attempts = max(cursor.backoff.attempts for cursor in cursors)
    return min(offsets.FIRST_ATTEMPT_S * 2.0 ** min(attempts, 8), offsets.ATTEMPT_S)
