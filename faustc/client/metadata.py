"""Keeps the cluster snapshot fresh: on demand, on errors, and by age.

One loop asks; everybody else waits for it, so that a hundred partitions that
lose their leader at once cost one request. A full refresh asks for the topics
that somebody wants (decoding an answer blocks the event loop for about 6 us a
partition), a partial one only for those that somebody is about to use. Only the
latter lets brokers create what is missing (where they are set up to): else a
topic that was deleted would come back because it was used once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from faustc.client import codes
from faustc.client.backoff import Backoff, Deadline
from faustc.client.cluster import Cluster
from faustc.exceptions import ConnectionLost, KafkaError, KafkaTimeout

logger = logging.getLogger(__name__)

REPEAT_LOG_S = 30.0

# Asks the cluster for some topics, None for all, and whether to create what is missing of
# them; returns the Metadata answer.
Ask = Callable[[list[str] | None, bool], Awaitable[Any]]


class Metadata:
    """The snapshot, the topics that somebody wants, and those who wait for an answer."""

    def __init__(
        self, ask: Ask, *, max_age_s: float, backoff_s: float, backoff_max_s: float
    ) -> None:
        self.cluster = Cluster()
        self.on_update: list[Callable[[Cluster], None]] = []
        self._ask = ask
        self._max_age_s = max_age_s
        self._min_interval_s = backoff_s
        self._backoff = Backoff(backoff_s, backoff_max_s)
        self._wanted: set[str] | None = set()
        self._full_due = False
        self._new_topics: set[str] = set()
        self._waiters: set[asyncio.Future[Cluster]] = set()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._refreshed_at = self._loop.time()
        self._last_error: KafkaError | None = None
        self._logged_at = 0.0
        self._ended: str | None = None

    @property
    def wanted(self) -> frozenset[str] | None:
        """The topics that a full refresh asks for, None for all."""
        return None if self._wanted is None else frozenset(self._wanted)

    def add_topics(self, topics: Iterable[str]) -> bool:
        """Want more topics, and ask for those soon; return whether any of them was new."""
        if self._wanted is None:
            return False
        new = set(topics) - self._wanted
        self._wanted |= new
        self.look_for(new)
        return bool(new)

    def look_for(self, topics: Iterable[str]) -> None:
        """Ask soon for these, and have them created where brokers do that."""
        self._new_topics |= set(topics)
        if self._new_topics:
            self._wake.set()

    def drop_topics(self, topics: Collection[str]) -> None:
        """Want these no longer, and forget what was known of them."""
        if self._wanted is not None:
            self._wanted.difference_update(topics)
            self.cluster = self.cluster.without(topics)

    def set_topics(self, topics: Iterable[str] | None) -> None:
        """Want exactly these, None for all, and forget the others."""
        if topics is None:
            self._wanted = None
            self.request_refresh()
            return
        wanted = set(topics)
        new = wanted - (self._wanted or set())
        self._wanted = wanted
        gone = [name for name in self.cluster.topics() if name not in wanted]
        if gone:
            self.cluster = self.cluster.without(gone)
        self.look_for(new)

    def request_refresh(self) -> None:
        """Ask soon for all that is wanted; many calls make one request."""
        self._full_due = True
        self._wake.set()

    async def refresh(self, timeout_s: float, topics: Iterable[str] | None = None) -> Cluster:
        """Return the snapshot after an answer that was asked for after this call.

        topics: only these are asked for; None: all that is wanted. Raises
        KafkaTimeout, with the last failure as its cause, and ConnectionLost
        when the client is closed.
        """
        if self._ended is not None:
            raise ConnectionLost(self._ended)
        waiter: asyncio.Future[Cluster] = self._loop.create_future()
        self._waiters.add(waiter)
        if topics is None:
            self._full_due = True
        else:
            self._new_topics |= set(topics)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError as exc:
            raise KafkaTimeout(
                f"no metadata within {timeout_s:g} s"
                + (f": {self._last_error}" if self._last_error else "")
            ) from (self._last_error or exc)
        finally:
            self._waiters.discard(waiter)

    def end(self, reason: str) -> None:
        """Fail whoever waits for an answer, now or later, with ConnectionLost: none will come."""
        self._ended = reason
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ConnectionLost(reason))

    def apply(self, answer: Any, asked: Iterable[str] | None) -> None:
        """Make the next snapshot of an answer and tell those who listen."""
        before = self.cluster
        after = before.updated(answer, asked=asked)
        if before.cluster_id and after.cluster_id != before.cluster_id:
            logger.warning(
                "The brokers now belong to cluster %s, before it was %s",
                after.cluster_id,
                before.cluster_id,
            )
        self.replace(after)

    def replace(self, cluster: Cluster) -> None:
        """Take another snapshot and tell those who listen."""
        self.cluster = cluster
        for listener in list(self.on_update):
            try:
                listener(cluster)
            except Exception:
                # one listener's mistake must not stop the metadata of all others
                logger.exception("A metadata listener failed")

    async def run(self) -> None:
        """Refresh when asked to and by age, until cancelled."""
        while True:
            await self._wait_until_due()
            full, self._full_due = self._full_due, False
            new, self._new_topics = self._new_topics, set()
            waiters = set(self._waiters)
            started = self._loop.time()
            try:
                if new or not full:
                    await self._refresh_once(sorted(new), create=True)
                if full:
                    wanted = None if self._wanted is None else sorted(self._wanted)
                    await self._refresh_once(wanted, create=False)
            except KafkaError as exc:
                self._note_failure(exc)
                self._full_due = self._full_due or full
                self._new_topics |= new
                self._wake.set()
                await asyncio.sleep(self._backoff.next())
                continue
            self._note_success()
            if full:
                self._refreshed_at = started
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(self.cluster)

    async def _wait_until_due(self) -> None:
        due = self._refreshed_at + self._max_age_s
        try:
            async with asyncio.timeout_at(due):
                await self._wake.wait()
        except TimeoutError:
            self._full_due = True
        if self._full_due and not self._new_topics:
            # Let the calls of one event, and the cluster's own agreement, come together.
            await asyncio.sleep(self._refreshed_at + self._min_interval_s - self._loop.time())
        self._wake.clear()

    async def _refresh_once(self, topics: list[str] | None, *, create: bool) -> None:
        answer = await self._ask(topics, create)
        error = getattr(answer, "error_code", 0)
        if error:
            raise codes.error_for(error, "Metadata")
        self.apply(answer, topics)

    def _note_failure(self, error: KafkaError) -> None:
        now = self._loop.time()
        if self._last_error is None or now - self._logged_at >= REPEAT_LOG_S:
            self._logged_at = now
            logger.warning("Metadata cannot be refreshed: %s", error)
        self._last_error = error

    def _note_success(self) -> None:
        if self._last_error is not None:
            logger.info("Metadata is refreshed again")
        self._last_error = None
        self._backoff.reset()


async def wait_for_topic(metadata: Metadata, topic: str, deadline: Deadline) -> tuple[int, ...]:
    """Return a topic's partitions as soon as the cluster tells them.

    A topic that is not there (yet) is asked for again until the deadline.
    Raises BrokerError for one that never will be (an invalid name, no
    authorization), and when the deadline passes; KafkaTimeout without any answer.
    """
    added = metadata.add_topics([topic])
    known = metadata.cluster.partitions(topic)
    if known is not None:
        return known
    backoff = Backoff(0.05, 1.0)
    try:
        while True:
            try:
                cluster = await metadata.refresh(deadline.left(), [topic])
            except KafkaTimeout as exc:
                raise KafkaTimeout(f"topic {topic!r}: {exc}") from exc.__cause__
            known = cluster.partitions(topic)
            if known is not None:
                return known
            error = cluster.topic_error(topic) or codes.UNKNOWN_TOPIC_OR_PARTITION
            if not codes.retriable(error):
                raise codes.error_for(error, f"topic {topic!r}")
            await deadline.sleep(backoff.next())
            if deadline.expired():
                raise codes.error_for(
                    error, f"topic {topic!r} is not there after {deadline.timeout_s:g} s"
                )
    except KafkaError:
        if added:  # or every refresh from now on would ask for it, and perhaps create it
            metadata.drop_topics([topic])
        raise
