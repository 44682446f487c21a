"""Keeps the buffers of the assigned partitions full, with one fetch per leader under way.

Each leader broker has a loop of its own (leader.py): plan a request from its
cursors, send it, put what comes into the cursors, and at once plan the next,
so that a fetch is under way while user code works on what the last one brought.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from faustc._native.fetch import PartitionFetch
from faustc.client import codes
from faustc.client.backoff import Backoff
from faustc.client.client import Client
from faustc.client.cluster import Cluster
from faustc.client.cursors import NO_ID, UNKNOWN, Budget, Cursor, State
from faustc.client.leader import FetchOptions, Leader
from faustc.client.offsets import EARLIEST
from faustc.client.positions import Committed, Positions
from faustc.client.ready import Ready
from faustc.exceptions import AuthenticationFailed, CorruptFrame
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

__all__ = ["FetchOptions", "Fetcher"]

# After how many looks for a leader it is worth telling.
WARN_AFTER = 8


class Fetcher:
    """The cursors of all assigned partitions, and the tasks that fill them.

    Owned by a consumer and used from its event loop only. `ready` is where
    messages are taken from. A task that dies is reported by `check`.
    """

    def __init__(
        self, client: Client, options: FetchOptions, committed: Committed | None = None
    ) -> None:
        self.ready = Ready()
        self._client = client
        self._options = options
        self._cursors: dict[TopicPartition, Cursor] = {}
        self._leaders: dict[int, Leader] = {}
        self._budget = Budget(options.max_bytes, self._freed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._closed = False
        self._leaderless = Backoff(0.1, 1.0)
        self._ask_again_at: asyncio.TimerHandle | None = None
        self._positions = Positions(
            client,
            policy=options.reset,
            isolation_level=options.isolation_level,
            committed=committed,
            settled=self._settled,
        )

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve cursors; the client must be started."""
        self._client.on_metadata.append(self._place)
        self._own(self._positions.run(), "positions")

    async def close(self) -> None:
        """End all tasks and drop what is buffered; every wait for messages ends."""
        self._closed = True
        if self._place in self._client.on_metadata:
            self._client.on_metadata.remove(self._place)
        if self._ask_again_at is not None:
            self._ask_again_at.cancel()
        self.remove(list(self._cursors))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.ready.wake()

    def check(self) -> None:
        """Raise if one of our tasks died; its error is the cause.

        AuthenticationFailed is raised as it is: our tasks have no part in it.
        """
        if isinstance(self._failure, AuthenticationFailed):
            raise self._failure
        if self._failure is not None:
            raise RuntimeError("the consumer's fetcher died") from self._failure

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"faustc fetcher, {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error, task.get_name())

    def fail(self, error: BaseException, task: str) -> None:
        """Have every later call raise, since a task that it depends on died."""
        logger.error("Task %r of a consumer died", task, exc_info=error)
        self._failure = error
        self.ready.wake()

    # -- which partitions --------------------------------------------------------------

    @property
    def cursors(self) -> Mapping[TopicPartition, Cursor]:
        """The cursor of each assigned partition."""
        return MappingProxyType(self._cursors)

    def add(
        self, tps: Iterable[TopicPartition], *, held: bool = False, start: int | None = None
    ) -> None:
        """Begin to read partitions, from the committed offset, or else by the reset policy.

        start (a timestamp, or EARLIEST) overrules both. Held ones hand out nothing yet.
        """
        for tp in tps:
            if tp in self._cursors:
                continue
            cursor = self._cursors[tp] = Cursor(tp, self._budget)
            cursor.held = held
            if start is not None:
                cursor.reset(start, forget=True)
            self._positions.add(cursor)
        self._place(self._client.cluster)

    def remove(self, tps: Iterable[TopicPartition]) -> None:
        """Stop reading partitions; when this returns nothing of them is handed out."""
        for tp in tps:
            cursor = self._cursors.pop(tp, None)
            if cursor is None:
                continue
            cursor.close()
            self.ready.note(cursor)
            leader = self._leaders.get(cursor.node)
            if leader is not None:
                leader.cursors.pop(tp, None)
        self.ready.wake()

    def seek(self, cursor: Cursor, offset: int) -> None:
        """Go to an offset; the next message handed out is the first at or after it."""
        cursor.seek(offset)
        self._settled(cursor)

    def seek_by_time(self, cursor: Cursor, timestamp: int) -> None:
        """Go to EARLIEST or LATEST; the offset is looked up in the background."""
        cursor.reset(timestamp, forget=True)
        self._settled(cursor)

    def pause(self, cursor: Cursor, paused: bool) -> None:
        """Neither fetch a partition nor hand out of it while it is paused."""
        cursor.paused = paused
        self._settled(cursor)

    def hold(self, tps: Iterable[TopicPartition], held: bool) -> None:
        """Hand out nothing of these partitions, while a rebalance is told to user code."""
        for tp in tps:
            if (cursor := self._cursors.get(tp)) is not None:
                cursor.held = held
                self._settled(cursor)

    # -- what happens to cursors -------------------------------------------------------

    def _settled(self, cursor: Cursor) -> None:
        """Take note that a cursor may now be fetched, looked up, handed out, or none of it."""
        if cursor.state in (State.COMMITTED, State.RESET, State.VALIDATE):
            self._positions.add(cursor)
        self.ready.note(cursor)
        self.ready.wake()
        leader = self._leaders.get(cursor.node)
        if leader is not None:
            leader.settled()

    def _noted(self, cursor: Cursor) -> None:
        self.ready.note(cursor)
        self.ready.wake()

    def _freed(self) -> None:
        for leader in self._leaders.values():
            leader.wakeup.set()

    def _refused(self, cursor: Cursor, part: PartitionFetch) -> None:
        """Act on the error code that a broker gave for one partition."""
        topic, partition = cursor.tp
        error = codes.error_for(part.error, f"{topic}/{partition}")
        if cursor.replica != UNKNOWN:
            cursor.put_off(asyncio.get_running_loop().time())
            self._redirect(cursor, UNKNOWN)  # the leader knows better
            return
        if part.error == codes.OFFSET_OUT_OF_RANGE:
            reason = f"the log does not have offset {cursor.fetch_offset} (any more)"
            logger.info("%s/%s: %s", topic, partition, reason)
            self._positions.lose(cursor, reason)
        elif part.error == codes.CORRUPT_MESSAGE:
            # The broker itself found its log damaged.
            cursor.fail(CorruptFrame(str(error)).at(topic, partition, cursor.fetch_offset))
        elif error.retriable or part.error == codes.UNKNOWN_SERVER_ERROR:
            logger.debug("%s", error)
            cursor.put_off(asyncio.get_running_loop().time())
            if codes.lookup(part.error).refresh:
                self._client.request_refresh()
        else:
            cursor.fail(error)
        self._settled(cursor)

    # -- where partitions are led ------------------------------------------------------

    def _place(self, cluster: Cluster) -> None:
        """Give each cursor to the loop of its leader, and look again if one has none."""
        if self._closed:
            return
        leaderless = False
        for tp, cursor in self._cursors.items():
            self._identify(cursor, cluster.topic_id(tp.topic))
            found = cluster.leader(tp)
            node_id, epoch = found or (UNKNOWN, UNKNOWN)
            if found is None and self._excluded(cursor, cluster):
                continue
            leaderless = leaderless or found is None
            if node_id != cursor.leader or epoch != cursor.leader_epoch:
                self._move(cursor, node_id, epoch)
            elif cursor.replica != UNKNOWN:
                self._redirect(cursor, UNKNOWN)  # the leader says whether it still holds
        if not leaderless:
            self._leaderless.reset()
        elif self._ask_again_at is None:
            loop = asyncio.get_running_loop()
            self._ask_again_at = loop.call_later(self._leaderless.next(), self._ask_again)

    def _excluded(self, cursor: Cursor, cluster: Cluster) -> bool:
        """Fail a cursor whose topic we may not see, or whose name no topic can have."""
        code = cluster.topic_error(cursor.tp.topic)
        if code == codes.NONE or codes.retriable(code):
            return False
        if cursor.state is not State.FAILED:
            cursor.fail(codes.error_for(code, cursor.tp.topic))
            self._settled(cursor)
        return True

    def _ask_again(self) -> None:
        self._ask_again_at = None
        if self._leaderless.attempts == WARN_AFTER:
            names = [f"{t}/{p}" for (t, p), c in self._cursors.items() if c.leader == UNKNOWN]
            logger.warning("No broker leads %s: still looking", ", ".join(names[:10]))
        self._client.request_refresh()

    def _move(self, cursor: Cursor, node_id: int, epoch: int) -> None:
        """Follow a partition to another leader, or into another term of the same one."""
        self._leave(cursor)
        newer = 0 <= cursor.leader_epoch < epoch
        cursor.leader = node_id
        cursor.replica = UNKNOWN
        if node_id == UNKNOWN:
            return  # the epoch stays, to tell whether the next leader's is another
        cursor.leader_epoch = epoch
        cursor.retry_at = 0.0  # the other one refused, this one was not asked
        if newer and cursor.fetch_epoch >= 0 and cursor.state is State.READY:
            # A new leader may lack what the old one gave us (KIP-320).
            cursor.validate()
        self._join(cursor)

    def _leave(self, cursor: Cursor) -> None:
        leader = self._leaders.get(cursor.node)
        if leader is not None:
            leader.cursors.pop(cursor.tp, None)
            leader.wakeup.set()

    def _join(self, cursor: Cursor) -> None:
        node_id = cursor.node
        leader = self._leaders.get(node_id)
        if leader is None:
            leader = self._leaders[node_id] = Leader(
                node_id,
                self._client,
                self._options,
                self._budget,
                noted=self._noted,
                refused=self._refused,
                redirected=self._redirect,
            )
            self._own(leader.run(), f"node {node_id}")
        leader.cursors[cursor.tp] = cursor
        self._settled(cursor)

    def _redirect(self, cursor: Cursor, node_id: int) -> None:
        """Fetch from a replica that is nearer, or (UNKNOWN) from the leader again (KIP-392)."""
        logger.info("%s/%s is fetched from node %s now", *cursor.tp, node_id)
        self._leave(cursor)
        cursor.replica = node_id
        self._join(cursor)

    def _identify(self, cursor: Cursor, topic_id: bytes) -> None:
        """Notice a topic that was deleted and created again: its offsets mean nothing now."""
        if topic_id in (NO_ID, cursor.topic_id):
            return
        again = cursor.topic_id != NO_ID
        cursor.topic_id = topic_id
        if not again:
            return
        cursor.leader_epoch = UNKNOWN
        if cursor.state in (State.READY, State.VALIDATE):
            logger.warning("%s was deleted and created again: starting over", cursor.tp.topic)
            # All of the new topic came after we began to listen: none of it may be missed.
            self._positions.lose(cursor, "the topic was deleted and created again", EARLIEST)
