"""The consumer: messages of some topics or partitions, alone or as a member of a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack

from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED
from faustc._native.message import Message
from faustc.client.assigned import Assigned
from faustc.client.assignors import Assignor
from faustc.client.client import Client
from faustc.client.committer import Committer
from faustc.client.coordinator import GroupMetadata, commit_offsets, fetch_offsets
from faustc.client.cursors import Cursor, FetchedBatch
from faustc.client.fetcher import Fetcher, FetchOptions
from faustc.client.group import GroupListener, GroupMember
from faustc.client.leader import DEFAULT_MAX_BYTES, DEFAULT_MAX_PARTITION_BYTES
from faustc.client.positions import POLICIES
from faustc.client.security import NAMES as SECURITY_NAMES
from faustc.client.security import Security, SecurityOptions
from faustc.client.subscription import RebalanceListener, Subscription
from faustc.clock import monotonic
from faustc.exceptions import ConsumerNotStarted, ImproperlyConfigured
from faustc.types import NamePattern, OffsetAndMetadata, TopicPartition

__all__ = ["Consumer", "RebalanceListener"]

ISOLATION_LEVELS = {"read_uncommitted": 0, "read_committed": 1}
# What stop() gives to the last commit and to leaving the group, all in all.
STOP_S = 20.0
# What leaving the group may still take when stop() itself is cancelled.
HURRIED_S = 0.5

OffsetArg = int | tuple[int, str] | OffsetAndMetadata
T = TypeVar("T")


class Consumer(Assigned):
    """Reads messages from Kafka; use it from one event loop, as a context manager or start/stop.

        async with Consumer("orders", bootstrap_servers="localhost:9092", group_id="billing") as c:
            async for message in c:
                ...

    Without group_id it reads all partitions of its topics and commits nothing.
    Names and meanings are aiokafka's, except: keys and values are bytes, made
    when they are looked at; and automatic commits never pass a message that
    user code has not come back from, so a crash repeats messages but loses none.

    All lengths of time are in milliseconds. fetch_max_bytes bounds what is
    buffered of all partitions together, max_partition_fetch_bytes what one
    request brings of one. max_poll_interval_ms is how long user code may
    stay away before the group gives its partitions to others. TLS and passwords:
    see `SecurityOptions`.
    """

    def __init__(
        self,
        *topics: str,
        bootstrap_servers: str | list[str] | tuple[str, ...] = "localhost:9092",
        group_id: str | None = None,
        group_instance_id: str | None = None,
        client_id: str | None = None,
        client_rack: str = "",
        auto_offset_reset: Literal["latest", "earliest", "none"] = "latest",
        isolation_level: Literal["read_uncommitted", "read_committed"] = "read_uncommitted",
        enable_auto_commit: bool = True,
        auto_commit_interval_ms: int = 5000,
        max_poll_records: int | None = None,
        max_poll_interval_ms: int = 300_000,
        fetch_max_bytes: int = DEFAULT_MAX_BYTES,
        max_partition_fetch_bytes: int = DEFAULT_MAX_PARTITION_BYTES,
        fetch_min_bytes: int = 1,
        fetch_max_wait_ms: int = 500,
        check_crcs: bool = True,
        max_decompressed_bytes: int = DEFAULT_MAX_DECOMPRESSED,
        session_timeout_ms: int = 45_000,
        heartbeat_interval_ms: int = 3_000,
        rebalance_timeout_ms: int = 60_000,
        partition_assignment_strategy: Collection[str | Assignor] = ("cooperative-sticky",),
        request_timeout_ms: int = 40_000,
        metadata_max_age_ms: int = 300_000,
        retry_backoff_ms: int = 100,
        client_options: Mapping[str, Any] | None = None,
        **security: Unpack[SecurityOptions],
    ) -> None:
        options = FetchOptions(
            isolation_level=_choice("isolation_level", isolation_level, ISOLATION_LEVELS),
            max_wait_ms=fetch_max_wait_ms,
            min_bytes=fetch_min_bytes,
            max_bytes=fetch_max_bytes,
            max_partition_bytes=max_partition_fetch_bytes,
            check_crcs=check_crcs,
            max_decompressed_bytes=max_decompressed_bytes,
            reset=_choice("auto_offset_reset", auto_offset_reset, POLICIES),
            rack_id=client_rack,
            request_timeout_s=request_timeout_ms / 1000,
        )
        super().__init__(options)
        if max_poll_records is not None and max_poll_records < 1:
            raise ImproperlyConfigured(f"max_poll_records is {max_poll_records}, must be 1 or more")
        self._group_id = group_id
        self._max_poll_records = max_poll_records
        self._poll_s = max_poll_interval_ms / 3000
        self._auto_commit_s = auto_commit_interval_ms / 1000 if enable_auto_commit else None
        common: dict[str, Any] = {
            "client_id": client_id,
            "request_timeout_ms": request_timeout_ms,
            "metadata_max_age_ms": metadata_max_age_ms,
            "retry_backoff_ms": retry_backoff_ms,
        }
        more = dict(client_options or {})
        named = {name: more.pop(name) for name in SECURITY_NAMES & more.keys()}
        more["security"] = Security.of("Consumer", {**named, **security})
        self._make_client: Callable[[], Client] = partial(
            Client, bootstrap_servers, **common, **more
        )

        def make_member(
            listener: GroupListener, names: Collection[str], pattern: NamePattern | None
        ) -> GroupMember:
            return GroupMember(
                bootstrap_servers,
                listener,
                group_id=group_id or "",
                group_instance_id=group_instance_id,
                topics=names,
                pattern=pattern,
                assignors=tuple(partition_assignment_strategy),
                rack=client_rack or None,
                session_timeout_ms=session_timeout_ms,
                heartbeat_interval_ms=heartbeat_interval_ms,
                rebalance_timeout_ms=rebalance_timeout_ms,
                max_poll_interval_ms=max_poll_interval_ms,
                client_options=more,
                **common,
            )

        self._subscription = Subscription(make_member if group_id is not None else None)
        if topics:
            self._subscription.subscribe(topics, None, None)
        self._committer_: Committer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "started" if self._fetcher_ else "new"
        what = self._subscription.pattern or sorted(self._subscription.topics) or "by hand"
        return f"<Consumer {state}, group {self._group_id}, {what}>"

    # -- life --------------------------------------------------------------------------

    async def start(self, timeout_s: float | None = None) -> None:
        """Connect, and begin to read or to join the group, without waiting for messages.

        Raises NoBrokersAvailable, naming the addresses, when no broker answers
        within timeout_s (default: request_timeout_ms); AuthenticationFailed at once.
        """
        if self._client is not None:
            raise ConsumerNotStarted("a consumer is started once: make another")
        client = self._client = self._make_client()
        group_id = self._group_id
        fetcher = Fetcher(client, self._options, self._look_up if group_id is not None else None)
        committer = Committer(
            fetcher.cursors,
            self._send_commit,
            interval_s=self._auto_commit_s if group_id is not None else None,
            timeout_s=self._timeout_s,
        )
        subscription = self._subscription
        subscription.bind(client, fetcher, committer)
        client.add_topics(*subscription.topics, *(tp.topic for tp in subscription.by_hand or ()))
        try:
            await client.start(timeout_s)
            client = self._running  # raises if stop() came meanwhile
            fetcher.start()
            self._fetcher_, self._committer_ = fetcher, committer
            subscription.apply_by_hand()
            await subscription.apply()
            client = self._running
        except BaseException:
            self._stopped = True
            await self._release(client, fetcher)
            raise
        for work in (subscription.run(), committer.run()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Commit what was handed out (if it commits on its own), leave the group, close.

        Bounded in time even when no broker answers. Whoever waits for messages
        gets ConsumerNotStarted.
        """
        for cursor in self._in_hand.values():
            cursor.done = cursor.position
        await self._stop()

    async def _stop(self) -> None:
        if self._stopped or self._client is None:
            return
        self._stopped = True
        if self._fetcher_ is None:
            await self._client.close()  # start() is under way, and does the rest
            return
        fetcher, committer = self._fetcher_, self._committer
        fetcher.ready.wake()
        try:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            async with asyncio.timeout(STOP_S):
                if self._subscription.by_hand is not None:
                    await committer.commit_done(fetcher.cursors, STOP_S / 2)
                await self._subscription.close(STOP_S / 2)
        except TimeoutError:
            pass  # said by the group member; the group will find out by the session timeout
        finally:
            await self._release(self._client, fetcher)

    async def _release(self, client: Client, fetcher: Fetcher) -> None:
        """Give back what is still held; whoever is cancelled in stop() must not leave a member."""
        try:
            await self._subscription.close(HURRIED_S)
        finally:
            try:
                await fetcher.close()
            finally:
                await client.close()

    async def __aenter__(self) -> Consumer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error, what is in hand was perhaps not dealt with: it is not committed.
        await (self.stop() if error is None else self._stop())

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fetcher.fail(error, "the consumer's own task")

    # -- messages ----------------------------------------------------------------------

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Message]]:
        """Return the messages that wait, by partition; of these partitions only, if named.

        Waits up to timeout_ms while there are none; an empty dict then. At most
        max_records in all (default: max_poll_records, no limit). Raises what
        makes a partition unreadable (CorruptFrame, OffsetOutOfRange), after
        all before it was returned; seek past it to go on.
        """
        limit = self._max_poll_records if max_records is None else max_records
        if limit is not None and limit < 1:
            raise ValueError(f"max_records is {limit}, must be 1 or more")
        ready = self._fetcher.ready
        return await self._get(partitions, timeout_ms, lambda: ready.take(partitions, limit)) or {}

    async def getbatches(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_bytes: int | None = None
    ) -> dict[TopicPartition, list[FetchedBatch]]:
        """Return whole batches, as getmany does messages; their records are not parsed yet.

        At least one batch, then at most max_bytes in all, as compressed on the
        wire. The position is past all of them when this returns.
        """
        ready = self._fetcher.ready
        take = ready.take_batches
        return await self._get(partitions, timeout_ms, lambda: take(partitions, max_bytes)) or {}

    async def getone(self, *partitions: TopicPartition) -> Message:
        """Return the next message, waiting for as long as it takes; raises as getmany does."""
        return (await self._get_one(partitions))[1]

    def __aiter__(self) -> AsyncIterator[Message]:
        """Iterate over messages until the consumer is stopped."""
        return self._iterate()

    async def __anext__(self) -> Message:
        try:
            return await self.getone()
        except ConsumerNotStarted:
            raise StopAsyncIteration from None

    async def _iterate(self) -> AsyncIterator[Message]:
        while True:
            try:
                cursor, first = await self._get_one(())
            except ConsumerNotStarted:
                return
            yield first
            # The rest of its batch needs no await, nor a look at the other partitions.
            while cursor.in_batch and cursor.ready:
                cursor.done = cursor.position
                message = cursor.take_one()
                if message is None:
                    break
                yield message
            self._fetcher.ready.served(cursor)  # now it is the turn of others

    async def _get_one(self, partitions: tuple[TopicPartition, ...]) -> tuple[Cursor, Message]:
        ready = self._fetcher.ready
        while True:
            self._come_back(partitions)
            found = ready.take_one(partitions)
            if found is not None:
                self._in_hand[found[0].tp] = found[0]
                return found
            await ready.wait(self._poll_s)

    async def _get(
        self,
        partitions: tuple[TopicPartition, ...],
        timeout_ms: int,
        take: Callable[[], dict[TopicPartition, list[T]]],
    ) -> dict[TopicPartition, list[T]]:
        self._come_back(partitions)
        out = take()
        if not out:
            ready = self._fetcher.ready
            give_up_at = monotonic() + timeout_ms / 1000
            while not out:
                left = give_up_at - monotonic()
                if left > 0:
                    await ready.wait(min(left, self._poll_s))
                else:
                    await asyncio.sleep(0)  # who asks in a loop must let the fetches in
                self._come_back(partitions)
                out = take()
                if left <= 0:
                    break
        for tp in out:
            self._in_hand[tp] = self._fetcher.cursors[tp]
        return out

    def _come_back(self, partitions: tuple[TopicPartition, ...]) -> None:
        """Take note that user code is done with what it was given before."""
        if self._stopped:
            raise ConsumerNotStarted("the consumer is stopped")
        self._fetcher.check()
        self._subscription.poll()
        in_hand = self._in_hand
        if in_hand:
            for tp in partitions or tuple(in_hand):
                cursor = in_hand.pop(tp, None)
                if cursor is not None:
                    cursor.done = cursor.position

    # -- which partitions --------------------------------------------------------------

    def enforce_rebalance(self, reason: str = "asked to") -> None:
        """Have the group share out its partitions anew; does nothing without a group."""
        member = self._subscription.member
        if member is not None:
            member.enforce_rebalance(reason)

    def subscribe(
        self,
        topics: Collection[str] = (),
        pattern: str | NamePattern | None = None,
        listener: RebalanceListener | None = None,
    ) -> None:
        """Read these topics, or those whose names match; replaces the subscription there was."""
        self._subscription.subscribe(topics, pattern, listener)

    def unsubscribe(self) -> None:
        """Give back all partitions; takes effect in the background."""
        if self._subscription.by_hand is not None and self._fetcher_ is not None:
            self._fetcher.remove(list(self._fetcher.cursors))
        self._subscription.unsubscribe()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read exactly these partitions; no group shares them out (group_id still commits)."""
        self._subscription.assign(partitions)
        if self._fetcher_ is not None:
            self._subscription.apply_by_hand()

    def subscription(self) -> frozenset[str]:
        """Return the topics subscribed to."""
        member = self._subscription.member
        return member.topics if member is not None else self._subscription.topics

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that are read now."""
        if self._fetcher_ is None:
            return set(self._subscription.by_hand or ())
        return set(self._fetcher.cursors)

    @property
    def is_leader(self) -> bool:
        """Whether the group made this member its leader: one of each generation is."""
        member = self._subscription.member
        return member is not None and member.is_leader

    @property
    def generation(self) -> int:
        """The group's generation that this member is in; -1 for none."""
        member = self._subscription.member
        return -1 if member is None else member.generation

    # -- commits -----------------------------------------------------------------------

    async def commit(self, offsets: Mapping[TopicPartition, OffsetArg] | None = None) -> None:
        """Commit the positions of all assigned partitions, or these offsets.

        An offset is the next one to be read: a number, (number, note) or
        OffsetAndMetadata. Raises CommitFailed when the group has given a
        partition to somebody else, KafkaTimeout when no answer came in time.
        """
        self._committing()
        if offsets is None:
            wanted = {
                tp: OffsetAndMetadata(cursor.position)
                for tp, cursor in self._fetcher.cursors.items()
                if cursor.position >= 0
            }
        else:
            wanted = {
                TopicPartition(*tp): OffsetAndMetadata(offset)
                if isinstance(offset, int)
                else OffsetAndMetadata(*offset)
                for tp, offset in offsets.items()
            }
        if wanted:
            await self._committer.commit(wanted)

    async def committed(self, partition: TopicPartition) -> int | None:
        """Return the offset that the group has committed, None when it has none."""
        self._committing()
        found = (await self._look_up([partition]))[partition]
        return found.offset if found is not None else None

    @property
    def away_since(self) -> float | None:
        """Since when our group reaches no broker, on the loop's clock; None while it does."""
        member = self._subscription.member
        return None if member is None else member.away_since

    def group_metadata(self) -> GroupMetadata:
        """Return who we are in our group, for `Producer.send_offsets_to_transaction` (KIP-447)."""
        self._committing()
        member, group = self._subscription.member, self._group_id or ""
        return GroupMetadata(group) if member is None else member.group_metadata

    def claim(self, partitions: Collection[TopicPartition]) -> Callable[[], GroupMetadata]:
        """Return what says that, as long as these partitions are ours without a break.

        It raises CommitFailed then. A transaction that is given this outlives a rebalance.
        """
        member = self._subscription.member
        return self.group_metadata if member is None else member.claim(partitions)

    # -- inside ------------------------------------------------------------------------

    @property
    def _committer(self) -> Committer:
        if self._committer_ is None:
            raise ConsumerNotStarted("the consumer is not started")
        return self._committer_

    def _committing(self) -> None:
        if self._group_id is None:
            raise ImproperlyConfigured("offsets are committed by groups: set group_id")

    async def _look_up(
        self, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
        member, timeout_s = self._subscription.member, self._timeout_s
        if member is not None:
            return await member.fetch_committed(partitions, timeout_s)
        return await fetch_offsets(
            self._running, self._group_id or "", partitions, timeout_s=timeout_s
        )

    async def _send_commit(
        self, wanted: Mapping[TopicPartition, OffsetAndMetadata], timeout_s: float
    ) -> None:
        member, client = self._subscription.member, self._client
        if member is not None:
            await member.commit(wanted, timeout_s)
        elif client is not None:
            await commit_offsets(client, self._group_id or "", wanted, timeout_s=timeout_s)


def _choice(name: str, value: str, known: Mapping[str, T]) -> T:
    if value not in known:
        raise ImproperlyConfigured(f"{name} is {value!r}, must be one of {', '.join(known)}")
    return known[value]
