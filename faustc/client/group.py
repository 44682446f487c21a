"""A member of a consumer group, as the loop of its user sees it.

The membership itself (membership.py) runs on a thread of its own with its own
small client, so a user loop that blocks for less than max_poll_interval keeps
its partitions: heartbeats go out, rebalances are answered with what is owned,
and only a revocation waits for the user.

    user's loop:  GroupMember --commit, stop--> LoopThread: Membership -> Coordinator -> broker
                  GroupListener <--on_revoke, on_assign, on_lost-- Holdings
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from faustc.client.assignors import Assignor, assignor
from faustc.client.auth import fetch_token
from faustc.client.client import Client
from faustc.client.coordinator import GroupMetadata, fetch_offsets
from faustc.client.holdings import Holdings, Partitions
from faustc.client.host import LoopThread, SameLoop, call_across
from faustc.client.membership import Membership
from faustc.client.security import Security, Token
from faustc.client.standing import State, Terms
from faustc.clock import monotonic
from faustc.exceptions import FaustError, ImproperlyConfigured, KafkaTimeout, NotReady
from faustc.types import NamePattern, OffsetAndMetadata, TopicPartition

__all__ = ["GroupListener", "GroupMember", "GroupMetadata", "State"]

logger = logging.getLogger(__name__)

DEFAULT_ASSIGNORS: tuple[str, ...] = ("cooperative-sticky",)


class GroupListener(Protocol):
    """Told what the group gives and takes, on the user's loop, one call at a time and in order.

    One that takes longer than max(rebalance timeout, max poll interval) is cancelled, and
    its partitions are lost. What on_assign raises ends the membership; what the
    others raise is logged, and the partitions are gone all the same.
    """

    async def on_revoke(self, partitions: Partitions) -> None:
        """Stop with these, commit them, forget them. They are ours until this returns."""

    async def on_assign(self, partitions: Partitions) -> None:
        """Begin with these, from their committed offsets; they come to those held already."""

    async def on_lost(self, partitions: Partitions) -> None:
        """Forget these, without a commit: somebody else may have them."""


class GroupMember:
    """One member of a consumer group; made and used on one loop, `poll` from anywhere.

    topics or pattern (matched from the start of a name) say what it subscribes
    to. assignors are names or objects, the favourite first; if one of them
    is not cooperative, every rebalance takes everything away first. Lengths ending in _ms
    are milliseconds. client_options goes to the membership's own `Client`.
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str],
        listener: GroupListener,
        *,
        group_id: str,
        group_instance_id: str | None = None,
        topics: Collection[str] = (),
        pattern: str | NamePattern | None = None,
        assignors: Sequence[str | Assignor] = DEFAULT_ASSIGNORS,
        rack: str | None = None,
        session_timeout_ms: int = 45_000,
        heartbeat_interval_ms: int = 3_000,
        rebalance_timeout_ms: int = 60_000,
        max_poll_interval_ms: int = 300_000,
        request_timeout_ms: int = 40_000,
        metadata_max_age_ms: int = 300_000,
        retry_backoff_ms: int = 100,
        retry_backoff_max_ms: int = 1_000,
        client_id: str | None = None,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not group_id:
            raise ImproperlyConfigured("a group needs an id that is not empty")
        if not assignors:
            raise ImproperlyConfigured("a group member needs at least one assignor")
        if heartbeat_interval_ms >= session_timeout_ms:
            raise ImproperlyConfigured(
                f"heartbeat_interval_ms ({heartbeat_interval_ms}) must be below "
                f"session_timeout_ms ({session_timeout_ms}), best a third of it"
            )
        self._terms = Terms(
            group_id,
            group_instance_id,
            rack,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            max_poll_interval_ms=max_poll_interval_ms,
            request_timeout_ms=request_timeout_ms,
            retry_backoff_ms=retry_backoff_ms,
            retry_backoff_max_ms=retry_backoff_max_ms,
        )
        self._bootstrap = bootstrap_servers
        self._options: dict[str, Any] = {
            "request_timeout_ms": request_timeout_ms,
            "metadata_max_age_ms": metadata_max_age_ms,
            "retry_backoff_ms": retry_backoff_ms,
            "retry_backoff_max_ms": retry_backoff_max_ms,
            **({"client_id": client_id} if client_id else {}),
            **(client_options or {}),
        }
        self._listener = listener
        self._assignors = [assignor(a) if isinstance(a, str) else a for a in assignors]
        self._wants = _wants(topics, pattern)
        self._home: asyncio.AbstractEventLoop | None = None
        self._host: LoopThread | SameLoop | None = None
        self._client: Client | None = None
        self._membership: Membership | None = None
        self._stopped = False
        self._ending: asyncio.Task[None] | None = None
        self.on_failure: Callable[[Exception], None] | None = None

    # --- life ---

    async def start(self, timeout_s: float = 30.0) -> None:
        """Connect and begin to join, in the background; no assignment is waited for.

        Raises NoBrokersAvailable or KafkaTimeout when no broker answers in time.
        """
        if self._host is not None:
            raise NotReady("this group member was started before; make another")
        self._home = asyncio.get_running_loop()
        dialer = self._options.get("dialer")
        if dialer is None or dialer.across_threads:
            self._host = LoopThread(f"faustc group {self._terms.group_id}")
        else:
            self._host = SameLoop()
        self._host.start()
        try:
            await self._host.run(self._open, timeout_s)
        except BaseException:
            self._stopped = True
            await self._end(self._host)
            raise

    async def stop(self, timeout_s: float = 30.0) -> None:
        """Have everything revoked, leave the group (a static member stays in it), and end.

        An unreachable coordinator is logged; then the group finds out by itself, after
        the session timeout. Does nothing the second time.
        """
        if self._host is None or self._stopped:
            return
        self._stopped = True
        try:
            await self._host.run(self._close, timeout_s)
        except FaustError as exc:
            logger.warning("group %s: not left cleanly: %s", self._terms.group_id, exc)
        finally:
            await self._end(self._host)

    async def _end(self, host: LoopThread | SameLoop) -> None:
        """Give back sockets and thread, whatever became of the membership."""
        try:
            await host.run(self._disconnect)
        except NotReady:
            pass  # the thread is gone, and its sockets with it
        finally:
            await host.close()

    async def _open(self, timeout_s: float) -> None:
        client = Client(self._bootstrap, **self._at_home(self._options))
        holdings = Holdings(
            self._tell,
            lambda: membership.stepped(),
            limit_s=self._terms.patience_ms / 1000,
            label=f"group {self._terms.group_id}",
        )
        assert self._home is not None
        membership = Membership(
            client, self._terms, self._assignors, holdings, self._failed, self._home.is_closed
        )
        try:
            await client.start(timeout_s)
            membership.subscribe(*self._wants)
            if self._wants[1] is not None:
                await client.refresh(timeout_s)
            if self._stopped:  # while we connected: nobody would close what we keep from here on
                raise NotReady("the group member was stopped while it started")
        except BaseException:
            await client.close()
            raise
        self._client, self._membership = client, membership
        membership.start()

    def _at_home(self, options: dict[str, Any]) -> dict[str, Any]:
        """Have a token provider called on the user's loop: what it uses may belong there."""
        security: Security | None = options.get("security")
        if security is None or security.token_provider is None:
            return options
        home, provider = self._home, security.token_provider
        assert home is not None

        async def provide() -> Token:
            return await call_across(home, fetch_token, provider)

        return {**options, "security": security.with_tokens_from(provide)}

    async def _close(self, timeout_s: float) -> None:
        try:
            if self._membership is not None:
                await self._membership.leave(timeout_s)
        finally:
            await self._disconnect()

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _tell(self, name: str, partitions: Partitions) -> None:
        assert self._home is not None
        await call_across(self._home, getattr(self._listener, name), partitions)

    def _failed(self, exc: Exception) -> None:
        """Pass a failure on to the user's loop; runs on the membership's."""

        def tell() -> None:
            if self.on_failure is not None:
                self.on_failure(exc)

        assert self._home is not None
        try:
            self._home.call_soon_threadsafe(tell)
        except RuntimeError:
            # Nobody is left to tell, or to call stop().
            self._ending = asyncio.create_task(self._end_alone())

    async def _end_alone(self) -> None:
        assert self._host is not None
        try:
            await self._close(1.0)
        finally:
            self._host.loop.stop()

    # --- use ---

    def poll(self) -> None:
        """Say that the user is at work; from any thread, no lock taken.

        Must be called at least every max_poll_interval, or the member leaves the group
        until the next call. Raises the failure that has ended the membership.
        """
        membership = self._membership
        if membership is None:
            return
        if membership.failure is not None:
            raise membership.failure
        membership.last_poll = monotonic()
        # Whoever stalls looks at last_poll again after it has set its state: no poll is missed.
        if membership.state is State.STALLED and self._host is not None:
            self._host.call_soon(membership.polled)

    async def commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_s: float = 40.0
    ) -> None:
        """Commit offsets of partitions that are held.

        Tries again what can be, through a cooperative rebalance too. Raises
        CommitFailed when a partition is not ours (any more), KafkaTimeout when it was
        not done in time, BrokerError for what the broker refuses.
        """
        if offsets:
            host, membership = self._running()
            await host.run(membership.commit, dict(offsets), timeout_s)

    async def fetch_committed(
        self, partitions: Iterable[TopicPartition], timeout_s: float = 40.0
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return the group's committed offsets, None where there is none (see `fetch_offsets`)."""
        host, _ = self._running()
        assert self._client is not None
        return await host.run(
            fetch_offsets, self._client, self._terms.group_id, list(partitions), timeout_s=timeout_s
        )

    async def update_subscription(
        self, *, topics: Collection[str] = (), pattern: str | NamePattern | None = None
    ) -> None:
        """Subscribe to something else; the group rebalances if that makes a difference."""
        self._wants = _wants(topics, pattern)
        if self._membership is not None:
            host, membership = self._running()
            host.call_soon(membership.subscribe, *self._wants)

    def enforce_rebalance(self, reason: str) -> None:
        """Have the group share out its partitions anew."""
        if self._membership is not None:
            host, membership = self._running()
            host.call_soon(membership.enforce_rebalance, reason)

    async def wait_assigned(self, timeout_s: float = 30.0) -> Partitions:
        """Wait until the group is stable and the user knows of everything; return what is held."""
        host, membership = self._running()

        def reached() -> bool:
            return membership.failure is not None or (
                membership.state is State.STABLE and membership.holdings.settled
            )

        if not await host.run(membership.holdings.until, reached, timeout_s):
            raise KafkaTimeout(
                f"group {self._terms.group_id} is {self.state.value} after {timeout_s:g} s"
            )
        if membership.failure is not None:
            raise membership.failure
        return membership.holdings.held

    # --- what is so now; replaced as a whole on the other thread, so read without a lock ---

    @property
    def assignment(self) -> Partitions:
        """What on_assign was told of, and neither on_revoke nor on_lost have returned for."""
        return self._membership.holdings.held if self._membership else frozenset()

    @property
    def topics(self) -> frozenset[str]:
        """The topics subscribed to; with a pattern, those that match now."""
        return self._membership.topics if self._membership else self._wants[0]

    @property
    def state(self) -> State:
        """Where the member stands with its group."""
        return self._membership.state if self._membership else State.UNJOINED

    @property
    def generation(self) -> int:
        """The group's generation that we are in; -1 for none."""
        return self._membership.generation if self._membership else -1

    @property
    def member_id(self) -> str:
        """What the coordinator calls us; empty before it has answered."""
        return self._membership.member_id if self._membership else ""

    @property
    def protocol(self) -> str | None:
        """The name of the assignor that the group chose."""
        return self._membership.protocol if self._membership else None

    @property
    def is_leader(self) -> bool:
        """Whether we share out the partitions in this generation."""
        return self._membership.is_leader if self._membership else False

    @property
    def group_metadata(self) -> GroupMetadata:
        """Who we are, for offsets that a transaction commits (KIP-447)."""
        if self._membership is None:
            return GroupMetadata(self._terms.group_id)
        return self._membership.metadata

    def claim(self, partitions: Collection[TopicPartition]) -> Callable[[], GroupMetadata]:
        """Return what says who we are as long as we have had these; then it raises CommitFailed."""
        _, membership = self._running()
        check = membership.holdings.claim(partitions)

        def identity() -> GroupMetadata:
            check()
            return membership.metadata

        return identity

    @property
    def away_since(self) -> float | None:
        """Since when no broker is connected, though it is always tried; None while one is."""
        return self._client.away_since if self._client is not None else None

    @property
    def failure(self) -> Exception | None:
        """What ended the membership for good."""
        return self._membership.failure if self._membership else None

    def _running(self) -> tuple[LoopThread | SameLoop, Membership]:
        if self._host is None or self._membership is None:
            raise NotReady(f"the member of group {self._terms.group_id} is not started")
        return self._host, self._membership


def _wants(
    topics: Collection[str], pattern: str | NamePattern | None
) -> tuple[frozenset[str], NamePattern | None]:
    if isinstance(topics, str):
        raise ImproperlyConfigured(
            f"topics must be a collection of names, not the string {topics!r}"
        )
    if topics and pattern is not None:
        raise ImproperlyConfigured("subscribe to topics or to a pattern, not to both")
    return frozenset(topics), re.compile(pattern) if isinstance(pattern, str) else pattern
