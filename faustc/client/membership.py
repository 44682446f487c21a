"""The life of one member of a consumer group, as a table of states and the moves between them.

Runs on the membership's own loop (see host.py), so that heartbeats go out and
rebalances are answered while user code blocks its loop. Follows the Java
client where Kafka leaves a choice; what a member may still do with a partition
is decided in holdings.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from faustc.client import codes, wire
from faustc.client.assignors import Assignment, Assignor, Subscription
from faustc.client.backoff import Backoff, Deadline
from faustc.client.client import Client
from faustc.client.cluster import Cluster
from faustc.client.coordinator import (
    Coordinator,
    GroupMetadata,
    Joined,
    MemberIdRequired,
    commit_offsets,
)
from faustc.client.group_leader import GroupLeader
from faustc.client.holdings import NOTHING, Holdings, Partitions, named
from faustc.client.standing import JOINED, OUT, REBALANCING, Standing, State, Terms
from faustc.clock import monotonic
from faustc.exceptions import (
    BrokerError,
    CommitFailed,
    ConnectionLost,
    KafkaError,
    KafkaTimeout,
    NotReady,
)
from faustc.types import NamePattern, OffsetAndMetadata, TopicPartition

__all__ = ["Membership"]

logger = logging.getLogger(__name__)


# Codes after which the member is a stranger to its coordinator.
_UNKNOWN = {codes.UNKNOWN_MEMBER_ID, codes.ILLEGAL_GENERATION}


class Membership:
    """One member of one group; everything in it runs on one loop, except `last_poll`.

    It must never give up a partition without telling the user, nor let an offset be
    committed for one that is not its own any more.
    """

    def __init__(
        self,
        client: Client,
        terms: Terms,
        assignors: Sequence[Assignor],
        holdings: Holdings,
        on_failure: Callable[[Exception], None],
        user_gone: Callable[[], bool],
    ) -> None:
        self._client = client
        self._terms = terms
        self._assignors = {assignor.name: assignor for assignor in assignors}
        # One that cannot cooperate makes everybody stop: which of them the group
        # picks is known only after we joined, and then it would be too late to let go.
        self.cooperative = all(assignor.cooperative for assignor in assignors)
        self.holdings = holdings
        self._on_failure = on_failure
        self._user_gone = user_gone
        self._beat_timeout_s = terms.session_timeout_ms / 2000
        self._stable_s = 0.0
        self._short_rounds = 0
        self._leader = GroupLeader(client, self._assignors, terms.group_id)
        self._coordinator = Coordinator(client, terms.group_id, terms.group_instance_id)
        self._backoff = Backoff(terms.retry_backoff_ms / 1000, terms.retry_backoff_max_ms / 1000)
        self._standing = Standing(f"group {terms.group_id} new member")
        self.generation = -1
        self.member_id = ""
        self.protocol: str | None = None
        self.is_leader = False
        self.failure: Exception | None = None
        self.last_poll = monotonic()
        self._pattern: NamePattern | None = None
        self._wanted: frozenset[str] = frozenset()
        self.topics: frozenset[str] = frozenset()
        self._claimed: Partitions = NOTHING
        self._rejoin = asyncio.Event()
        self._reason = "first join"
        self._polled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # --- what the owner calls ---

    def start(self) -> None:
        """Begin to join; runs until `leave` or `failure`."""
        self.last_poll = monotonic()
        self._reason = "first join"
        self._client.on_metadata.append(self._look_at)
        for work in (self._live, self._beat, self.holdings.run):
            self._tasks.append(asyncio.create_task(self._guarded(work), name=work.__qualname__))

    def subscribe(self, topics: Collection[str], pattern: NamePattern | None) -> None:
        """Change what is subscribed to; joins again if that makes a difference."""
        self._wanted, self._pattern = frozenset(topics), pattern
        self._leader.watch(self._wanted, everything=pattern is not None)
        self._resolve(self._client.cluster)

    async def leave(self, timeout_s: float) -> None:
        """Let the user let go of everything, tell the group, and end."""
        deadline = Deadline(timeout_s)
        if self.state in (State.LEAVING, State.LEFT):
            return
        self._standing.move(State.LEAVING)
        try:
            await self._leave(deadline)
        finally:
            for task in self._tasks:  # those that an interrupted leave has not ended
                task.cancel()
        self.generation, self.member_id = -1, ""
        self._standing.move(State.LEFT)

    async def _leave(self, deadline: Deadline) -> None:
        live, _, tell = self._tasks or (None, None, None)
        if live is not None:
            await _cancel([live])  # the heart beats on while the user lets go
        self.holdings.give(NOTHING)
        if tell is not None and not tell.done():
            let_go = await self.holdings.until(lambda: not self.holdings.held, deadline.left())
            if not let_go:
                awaited = self.holdings.waiting_for or named(self.holdings.held)
                logger.warning("%s: leaves without %s", self._standing.label, awaited)
        await _cancel(self._tasks)
        await self._say_goodbye("the consumer is closed", max(deadline.left(), 0.5))

    def polled(self) -> None:
        """Wake up a member that had stalled; called after `last_poll` was set."""
        self._polled.set()

    async def commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_s: float
    ) -> None:
        """Commit as this member, through a rebalance if the partitions stay ours.

        Raises CommitFailed where they are not (any more).
        """
        deadline = Deadline(timeout_s)
        backoff = Backoff(0.05, 1.0)
        check = self.holdings.claim(offsets)
        tried = -1

        def identity() -> GroupMetadata:
            nonlocal tried
            check()
            tried = self.generation
            return self.metadata

        while True:
            try:
                return await commit_offsets(
                    self._client,
                    self._terms.group_id,
                    offsets,
                    timeout_s=deadline.left(),
                    identity=identity,
                )
            except BrokerError as exc:
                if exc.code == codes.FENCED_INSTANCE_ID:
                    self._fail(exc)
                    raise CommitFailed(str(exc)) from exc
                if exc.code == codes.REBALANCE_IN_PROGRESS:
                    self._ask_rejoin("a commit met a rebalance")
                elif exc.code not in _UNKNOWN:
                    raise
                # In the middle of a rebalance our generation is old without us being strangers.
                elif tried == self.generation and self.state not in REBALANCING:
                    self._lose(str(exc), forget_member=exc.code == codes.UNKNOWN_MEMBER_ID)
            await deadline.sleep(backoff.next())
            deadline.check(f"the commit for group {self._terms.group_id}")

    @property
    def state(self) -> State:
        """Where we stand with the group."""
        return self._standing.state

    @property
    def metadata(self) -> GroupMetadata:
        """Who we are to the coordinator now."""
        return GroupMetadata(
            self._terms.group_id, self.generation, self.member_id, self._terms.group_instance_id
        )

    # --- the round: revoke, join, sync, stay ---

    async def _live(self) -> None:
        while self.state is not State.FAILED:
            if not self._wanted and self._pattern is None:
                await self._rejoin.wait()
            if self.state is State.STALLED:
                await self._wait_for_poll()
            try:
                await self._round()
            except (ConnectionLost, KafkaTimeout) as exc:
                self._again_after(exc)
            except BrokerError as exc:
                if exc.code in _UNKNOWN:
                    self._lose(f"{exc}", forget_member=exc.code == codes.UNKNOWN_MEMBER_ID)
                elif exc.code == codes.REBALANCE_IN_PROGRESS or exc.retriable:
                    self._again_after(exc)
                else:
                    raise
            else:
                if not self._hasty():
                    continue
            if self.state not in (State.UNJOINED, *OUT):
                self._standing.move(State.UNJOINED)
            await asyncio.sleep(self._backoff.next())

    def _hasty(self) -> bool:
        """Whether the last generations were so short that the next round had better wait."""
        if self._stable_s * 1000 >= self._terms.heartbeat_interval_ms:
            self._short_rounds = 0
            self._backoff.reset()
            return False
        # Two in a row are a cooperative rebalance: let go, then hand over.
        self._short_rounds += 1
        return self._short_rounds > 2

    async def _round(self) -> None:
        self._rejoin.clear()
        self._stable_s = 0.0
        self._standing.move(State.REVOKING)
        if not self.cooperative:
            self.holdings.give(NOTHING)
            await self.holdings.until(lambda: not self.holdings.ours)
        if self._standing.left(State.REVOKING):
            return
        self._standing.move(State.JOINING)
        joined = await self._join()
        if self._standing.left(State.JOINING):
            return
        self._standing.move(State.SYNCING)
        self.generation, self.member_id = joined.generation, joined.member_id
        self.protocol, self.is_leader = joined.protocol, joined.is_leader
        self._standing.label = f"group {self._terms.group_id} {self.member_id}"
        blob = await self._coordinator.sync(
            joined.generation,
            joined.member_id,
            joined.protocol,
            await self._share_out(joined),
            timeout_s=self._terms.request_timeout_ms / 1000,
        )
        if self._standing.left(State.SYNCING):
            return
        self._standing.move(State.STABLE)
        self._take(joined, wire.decode_assignment(blob))
        await self._rejoin.wait()
        self._stable_s = self._standing.lasted_s()

    async def _join(self) -> Joined:
        # What is on its way to the user counts too: nobody else has it.
        self._claimed = (self.holdings.ours | self.holdings.target) if self.cooperative else NOTHING
        topics = tuple(sorted(self.topics))
        protocols = []
        for assignor in self._assignors.values():
            subscription = Subscription(
                topics=topics,
                user_data=assignor.user_data(topics, self._claimed, self.generation),
                owned=self._claimed,
                generation=self.generation if self._claimed else -1,
                rack=self._terms.rack,
            )
            protocols.append((assignor.name, wire.encode_subscription(subscription)))
        logger.info("%s: joining (%s)", self._standing.label, self._reason)
        while True:
            try:
                return await self._coordinator.join(
                    self.member_id,
                    protocols,
                    session_timeout_ms=self._terms.session_timeout_ms,
                    rebalance_timeout_ms=self._terms.patience_ms,
                    reason=self._reason,
                    timeout_s=self._terms.request_timeout_ms / 1000,
                )
            except MemberIdRequired as exc:
                if self.member_id:
                    raise
                self.member_id = exc.member_id

    async def _share_out(self, joined: Joined) -> dict[str, bytes]:
        if not joined.is_leader:
            return {}
        timeout_s = self._terms.request_timeout_ms / 1000
        return await self._leader.share_out(joined, self._wanted, timeout_s)

    def _take(self, joined: Joined, assigned: Assignment) -> None:
        target = frozenset(assigned.partitions)
        out_of_date = None
        if self._terms.group_instance_id is not None:
            # It may be back, subscribed to less, and be given what its former self had (KIP-345).
            strange = {tp for tp in target if tp.topic not in self.topics}
            if strange:
                target -= strange
                out_of_date = "given topics that are not subscribed to"
        assignor = self._assignors.get(joined.protocol)
        if assignor is not None:
            share = assigned._replace(partitions=tuple(sorted(target)))
            out_of_date = assignor.assigned(share, joined.generation) or out_of_date
        logger.info(
            "%s: generation %d%s, %s: %s",
            self._standing.label,
            joined.generation,
            " (leader)" if joined.is_leader else "",
            joined.protocol,
            named(target),
        )
        self.holdings.give(target)
        self._look_at(self._client.cluster)  # as it was when the answer was on its way
        if out_of_date is not None:
            self._ask_rejoin(out_of_date)

    # --- what makes it join again ---

    def enforce_rebalance(self, reason: str) -> None:
        """Join again, though nothing that we know of has changed."""
        self._ask_rejoin(reason)

    def _ask_rejoin(self, reason: str) -> None:
        if not self._rejoin.is_set():
            self._reason = reason
            self._rejoin.set()

    def stepped(self) -> None:
        """Look again, after the user was told something; called by the holdings."""
        # The others wait for what we claimed and were not given: once it is let go, say so.
        left_over = self._claimed - self.holdings.target
        if self.state is State.STABLE and left_over and not left_over & self.holdings.held:
            self._claimed = NOTHING
            self._ask_rejoin(f"let go of {named(left_over)}")

    def _look_at(self, cluster: Cluster) -> None:
        """Compare new metadata with what the group was shared out by."""
        self._resolve(cluster)
        leading = self.state is State.STABLE and self.is_leader
        if leading and (change := self._leader.change(cluster)):
            self._ask_rejoin(change)

    def _resolve(self, cluster: Cluster) -> None:
        if self._pattern is None:
            topics = self._wanted
        else:
            pattern = self._pattern
            topics = frozenset(
                topic
                for topic in cluster.topics()
                if pattern.match(topic) and not cluster.is_internal(topic)
            )
        if topics != self.topics:
            self.topics = topics
            self._ask_rejoin("the subscription changed")

    # --- the heart ---

    async def _beat(self) -> None:
        interval_s = self._terms.heartbeat_interval_ms / 1000
        while True:
            await asyncio.sleep(interval_s)
            overdue_s = monotonic() - self.last_poll - self._terms.max_poll_interval_ms / 1000
            if overdue_s > 0 and self.state not in OUT:
                await self._stall()
            self._standing.complain(self.holdings.waiting_for, self.holdings.waiting_since)
            if self.is_leader and self._leader.missing:
                self._client.request_refresh()
            if self._user_gone():
                await self._say_goodbye("its user's event loop is closed", 5.0)
                self.member_id = ""
                raise NotReady("the event loop of the group member's user was closed before stop()")
            if self.state in JOINED and self.generation >= 0:
                await self._beat_once()
            elif self.state in REBALANCING and self._standing.lasted_s() > self._beat_timeout_s:
                await self._coordinator.probe(
                    self.generation, self.member_id, timeout_s=self._beat_timeout_s
                )

    async def _beat_once(self) -> None:
        generation = self.generation
        try:
            await self._coordinator.heartbeat(
                generation, self.member_id, timeout_s=self._beat_timeout_s
            )
        except (ConnectionLost, KafkaTimeout) as exc:
            self._again_after(exc)
        except BrokerError as exc:
            if generation != self.generation:
                return  # the answer is about a generation that is past
            if exc.code == codes.REBALANCE_IN_PROGRESS:
                self._ask_rejoin("the group is rebalancing")
            elif exc.code in _UNKNOWN:
                self._lose(f"{exc}", forget_member=exc.code == codes.UNKNOWN_MEMBER_ID)
            elif exc.retriable:
                self._again_after(exc)
            else:
                raise

    async def _stall(self) -> None:
        logger.error(
            "%s: leaves the group, since it has not polled for more than max_poll_interval "
            "(%g s); it joins again when it does. Poll more often, take fewer messages at a time, "
            "or raise max_poll_interval_ms",
            self._standing.label,
            self._terms.max_poll_interval_ms / 1000,
        )
        self._polled.clear()
        self._standing.move(State.STALLED)
        self._rejoin.set()
        self.holdings.lose()
        member_id, self.generation, self.member_id = self.member_id, -1, ""
        await self._say_goodbye("max_poll_interval exceeded", 5.0, member_id)

    async def _wait_for_poll(self) -> None:
        interval_s = self._terms.heartbeat_interval_ms / 1000
        while monotonic() - self.last_poll > self._terms.max_poll_interval_ms / 1000:
            try:
                async with asyncio.timeout(interval_s):
                    await self._polled.wait()
                    self._polled.clear()
            except TimeoutError:
                pass  # look at last_poll again: a poll may have come just before we stalled
        self._reason = "polls again"
        self._standing.move(State.UNJOINED)

    async def _say_goodbye(self, reason: str, timeout_s: float, member_id: str = "") -> None:
        member_id = member_id or self.member_id
        # A static member keeps its place for its next start; the session timeout ends it (KIP-345).
        if not member_id or self._terms.group_instance_id is not None:
            return
        try:
            await self._coordinator.leave(member_id, reason, timeout_s=timeout_s)
        except KafkaError as exc:
            logger.info("%s: could not say goodbye: %s", self._standing.label, exc)

    # --- ends and troubles ---

    def _lose(self, reason: str, *, forget_member: bool) -> None:
        if self.state in OUT and self.generation < 0 and not self.holdings.ours:
            self.member_id = "" if forget_member else self.member_id
            return
        logger.warning("%s: lost %s: %s", self._standing.label, named(self.holdings.ours), reason)
        self.generation = -1
        if forget_member:
            self.member_id = ""
        self._claimed = NOTHING
        self.holdings.lose()
        self._ask_rejoin(reason)

    def _again_after(self, exc: Exception) -> None:
        if self._client.closed:  # its own task died: no attempt will ever do better
            raise exc
        self._standing.trouble(exc)

    def _fail(self, exc: Exception) -> None:
        if self.failure is not None or self.state in (State.LEAVING, State.LEFT):
            return
        logger.error("%s: out of the group for good: %s", self._standing.label, exc)
        self.failure = exc
        self.generation = -1
        self._standing.move(State.FAILED)
        self.holdings.lose()
        self._on_failure(exc)

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except (KafkaError, NotReady) as exc:
            self._fail(exc)
        except Exception as exc:
            logger.exception("%s: %s died", self._standing.label, work.__qualname__)
            self._fail(exc)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
