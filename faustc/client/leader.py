"""Fetches from one broker what it leads of our partitions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED
from faustc._native.fetch import FetchResponse, PartitionFetch, decode_fetch, encode_fetch
from faustc.client import codes, wire
from faustc.client.backoff import Backoff
from faustc.client.client import Client
from faustc.client.cluster import Node
from faustc.client.connection import BrokerConnection
from faustc.client.cursors import NO_ID, UNKNOWN, Budget, Cursor, State
from faustc.client.offsets import LATEST
from faustc.client.sessions import FetchPlan, FetchSession, Want, sessionless
from faustc.client.wakeup import Wakeup
from faustc.exceptions import (
    AuthenticationFailed,
    ConnectionLost,
    CorruptFrame,
    KafkaError,
    KafkaTimeout,
)
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

NOTHING: Mapping[TopicPartition, int] = MappingProxyType({})
FETCH = "Fetch"
PURPOSE = "fetch"  # a socket of its own: a fetch may wait at the broker for long
ASIDE = "fetch-aside"  # and one for what cannot wait as long as that one
FIRST_VERSION_BY_ID = 13
READ_COMMITTED = 1
MIB = 1024 * 1024
DEFAULT_MAX_BYTES = 8 * MIB
DEFAULT_MAX_PARTITION_BYTES = MIB
# What a partition may still ask for when others use up the whole budget.
LEAST_BYTES = 64 * 1024
IDLE_S = 60.0
# How often partitions are asked for while others of the same broker have no room. A fetch that
# waits at the broker for them would keep those from being fetched once they have room.
SHORT_WAIT_S = (0.005, 0.1)
# A fetch that is late by this much may have gone to a broker that hangs: is it still the leader?
LATE_S = 3.0
# How long a fetch waits at the broker while more cursors are about to become ready.
SETTLING_MS = 20
# What a fetch on the side may take, with connecting for it, before it is let be.
ASIDE_S = 1.0


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch; reset is the timestamp of the reset policy, None for no reset."""

    isolation_level: int = 0
    max_wait_ms: int = 500
    min_bytes: int = 1
    max_bytes: int = DEFAULT_MAX_BYTES
    max_partition_bytes: int = DEFAULT_MAX_PARTITION_BYTES
    check_crcs: bool = True
    max_decompressed_bytes: int = DEFAULT_MAX_DECOMPRESSED
    reset: int | None = LATEST
    rack_id: str = ""
    request_timeout_s: float = 40.0


class _Plan:
    """One request about to be made; versions tells which cursors' answers are still wanted."""

    __slots__ = ("crowded", "max_bytes", "max_wait_ms", "retry_s", "versions", "wants")

    def __init__(self, max_bytes: int, max_wait_ms: int) -> None:
        self.wants: dict[TopicPartition, Want] = {}
        self.versions: dict[TopicPartition, int] = {}
        self.max_bytes = max_bytes
        self.max_wait_ms = max_wait_ms
        self.retry_s = IDLE_S  # when to plan again, if nothing changes before
        self.crowded = False  # a cursor is left out for want of room

    @property
    def reserved(self) -> int:
        """How many bytes the answer may bring."""
        return min(self.max_bytes, sum(want.max_bytes for want in self.wants.values()))


class Leader:
    """The fetches from one broker, which it waits for with one request at a time.

    A cursor that becomes ready while that request waits at the broker (sought,
    resumed, newly assigned) is fetched on the side, over a second socket, without
    waiting: or it would be up to max_wait_ms late.

    refused is called with a cursor and its part of an answer that has an error
    code, redirected with one that says which replica is nearer, noted with each
    cursor that got something.
    """

    def __init__(
        self,
        node_id: int,
        client: Client,
        options: FetchOptions,
        budget: Budget,
        *,
        noted: Callable[[Cursor], None],
        refused: Callable[[Cursor, PartitionFetch], None],
        redirected: Callable[[Cursor, int], None],
    ) -> None:
        self.node_id = node_id
        self.cursors: dict[TopicPartition, Cursor] = {}
        self.wakeup = Wakeup()
        self._client = client
        self._options = options
        self._budget = budget
        self._noted = noted
        self._refused = refused
        self._redirected = redirected
        self._session = FetchSession()
        self._backoff = Backoff(0.05, 1.0)
        self._settled = Wakeup()

    def settled(self) -> None:
        """Look again: a cursor may have become ready, or ceased to be."""
        self.wakeup.set()
        self._settled.set()

    async def run(self) -> None:
        """Fetch, one request at a time, until cancelled."""
        loop = asyncio.get_running_loop()
        short_wait = Backoff(*SHORT_WAIT_S, jitter=0.0)
        while True:
            self.wakeup.clear()
            plan = self._plan(loop.time())
            if not plan.wants:
                await self.wakeup.wait(plan.retry_s)
                continue
            self._budget.reserved += plan.reserved
            try:
                response = await self._fetch(plan)
            except KafkaError as error:
                await self._failed(error)
                continue
            finally:
                self._budget.reserved -= plan.reserved
            if response.error:
                # The session is started over with the next request.
                logger.debug("Node %s: %s", self.node_id, codes.error_for(response.error))
                if codes.lookup(response.error).refresh:
                    self._client.request_refresh()
                await asyncio.sleep(self._backoff.next())
                continue
            self._backoff.reset()
            brought = self._absorb(plan, response)
            # It holds every batch, and those hold what they decompressed once they are opened.
            del response
            if brought:
                short_wait.reset()
            elif plan.crowded:
                await self.wakeup.wait(short_wait.next())

    async def _failed(self, error: KafkaError) -> None:
        if isinstance(error, AuthenticationFailed):
            raise error  # no attempt will do better, and who waits for messages must hear of it
        self._session.lost()
        self._client.request_refresh()
        for cursor in list(self.cursors.values()):
            if cursor.replica == self.node_id:
                self._redirected(cursor, UNKNOWN)
        # The client waits out the broker's own backoff, and logs that it is away.
        if not isinstance(error, ConnectionLost | KafkaTimeout):
            logger.warning("Fetching from node %s failed: %s", self.node_id, error)
        await asyncio.sleep(self._backoff.next())

    def _plan(self, now: float, asked: Mapping[TopicPartition, int] = NOTHING) -> _Plan:
        """Plan a request; asked has the versions of cursors that another one is for."""
        options = self._options
        room = self._budget.room
        part_bytes = enough = options.max_partition_bytes
        if room < part_bytes:
            # Some partitions hold what nobody takes from them. Those that have nothing get
            # small fetches all the same: nobody may starve because another is not read.
            part_bytes, enough = min(part_bytes, LEAST_BYTES), 1
        plan = _Plan(max(room, part_bytes), options.max_wait_ms)
        for tp, cursor in self.cursors.items():
            if cursor.paused or cursor.state is State.FAILED or asked.get(tp) == cursor.version:
                continue
            if cursor.state is not State.READY:
                plan.max_wait_ms = min(plan.max_wait_ms, SETTLING_MS)
            elif cursor.buffered_bytes >= enough:
                plan.crowded = True
                plan.max_wait_ms = 0
            elif cursor.retry_at > now:
                plan.retry_s = min(plan.retry_s, cursor.retry_at - now)
            else:
                plan.versions[tp] = cursor.version
                plan.wants[tp] = Want(
                    cursor.topic_id, cursor.leader_epoch, cursor.fetch_offset, part_bytes
                )
        plan.max_wait_ms = min(plan.max_wait_ms, int(plan.retry_s * 1000) + 1)
        return plan

    async def _fetch(self, plan: _Plan) -> FetchResponse:
        """Fetch within the session, and on the side what becomes ready meanwhile."""
        connection = await self._client.connection(self.node_id, PURPOSE)
        version = self._version(connection, plan)
        session = self._session
        request = session.plan(plan.wants, by_id=version >= FIRST_VERSION_BY_ID)
        answer = self._ask(connection, version, plan, request)
        wait_s = plan.max_wait_ms / 1000
        late = asyncio.get_running_loop().call_later(wait_s + LATE_S, self._doubt)
        try:
            if plan.max_wait_ms > SETTLING_MS:
                await self._fetch_aside(plan, answer)
            body = await answer
        finally:
            late.cancel()
            answer.cancel()  # does nothing once it is done
        response = self._decode(connection, version, plan, body)
        session.answered(response.error, response.session_id)
        return response

    async def _fetch_aside(self, plan: _Plan, answer: asyncio.Future[bytes]) -> None:
        """Until the answer is there, fetch what becomes ready and is not in its plan."""
        loop = asyncio.get_running_loop()
        asked = dict(plan.versions)  # and what has nothing new on the side: that may wait
        short_wait = Backoff(*SHORT_WAIT_S, jitter=0.0)
        answer.add_done_callback(lambda _: self._settled.set())
        self._settled.clear()
        wait_s = IDLE_S
        while not answer.done():
            await self._settled.wait(wait_s)
            more = self._plan(loop.time(), asked)
            more.max_wait_ms = 0
            wait_s = short_wait.next() if more.crowded else more.retry_s
            if answer.done() or not more.wants:
                continue
            self._budget.reserved += more.reserved
            try:
                async with asyncio.timeout(ASIDE_S):
                    response = await self._fetch_once(more)
            except (KafkaError, TimeoutError) as error:
                logger.debug("Node %s: no fetch on the side: %s", self.node_id, error)
                return
            finally:
                self._budget.reserved -= more.reserved
            if response.error:
                return  # the session's next request will hear of it, too
            if self._absorb(more, response):
                short_wait.reset()
                self._settled.set()
            del response
            for tp, want in more.wants.items():
                cursor = self.cursors.get(tp)
                if cursor is not None and cursor.fetch_offset == want.fetch_offset:
                    asked[tp] = more.versions[tp]

    async def _fetch_once(self, plan: _Plan) -> FetchResponse:
        """Fetch without a session, over the second socket."""
        connection = await self._client.connection(self.node_id, ASIDE)
        version = self._version(connection, plan)
        request = sessionless(plan.wants)
        body = await self._ask(connection, version, plan, request)
        return self._decode(connection, version, plan, body)

    def _version(self, connection: BrokerConnection, plan: _Plan) -> int:
        version = connection.version(FETCH)
        if any(want.topic_id == NO_ID for want in plan.wants.values()):
            version = min(version, FIRST_VERSION_BY_ID - 1)
        return version

    def _ask(
        self, connection: BrokerConnection, version: int, plan: _Plan, request: FetchPlan
    ) -> asyncio.Future[bytes]:
        options = self._options

        def encode(correlation_id: int) -> bytes:
            return encode_fetch(
                version,
                correlation_id,
                connection.client_id,
                max_wait_ms=plan.max_wait_ms,
                min_bytes=options.min_bytes,
                max_bytes=plan.max_bytes,
                isolation_level=options.isolation_level,
                session_id=request.session_id,
                session_epoch=request.session_epoch,
                topics=request.topics,
                forgotten=request.forgotten,
                rack_id=options.rack_id,
            )

        return connection.request_native(
            wire.api_key(FETCH),
            encode,
            timeout_s=options.request_timeout_s + plan.max_wait_ms / 1000,
        )

    def _decode(
        self, connection: BrokerConnection, version: int, plan: _Plan, body: bytes
    ) -> FetchResponse:
        options = self._options
        names = {want.topic_id: tp.topic for tp, want in plan.wants.items()}
        try:
            response = decode_fetch(
                body,
                version,
                topic_names=names,
                check_crc=options.check_crcs,
                max_decompressed=options.max_decompressed_bytes,
            )
        except CorruptFrame as error:
            connection.close(error)  # nothing on it can be trusted to be what it seems
            raise
        connection.throttle(response.throttle_ms)
        damage = next((p.corrupt for p in response.partitions if p.corrupt is not None), None)
        if damage is not None:
            connection.close(damage)  # it is fetched again, by another way if there is one
            if options.check_crcs:
                self._measure_damage(body, version, names, response)
        return response

    def _doubt(self) -> None:
        logger.info("Node %s is late with its answer: looking who leads now", self.node_id)
        self._client.request_refresh()

    def _measure_damage(
        self, body: bytes, version: int, names: dict[bytes, str], response: FetchResponse
    ) -> None:
        """Find out where corrupt batches end, so that a seek past their start gets past them."""
        unchecked = decode_fetch(
            body,
            version,
            topic_names=names,
            check_crc=False,
            max_decompressed=self._options.max_decompressed_bytes,
        )
        for part, again in zip(response.partitions, unchecked.partitions, strict=True):
            if part.corrupt is None or len(again.batches) <= len(part.batches):
                continue
            batch = again.batches[len(part.batches)]
            cursor = self.cursors.get(TopicPartition(part.topic, part.partition))
            if cursor is not None and batch.last_offset < part.highwater:
                cursor.damaged(batch.base_offset, batch.last_offset + 1)

    def _absorb(self, plan: _Plan, response: FetchResponse) -> bool:
        """Put an answer into the cursors; say whether it brought anything."""
        committed_only = self._options.isolation_level == READ_COMMITTED
        brought = False
        self._learn(response)
        for part in response.partitions:
            tp = TopicPartition(part.topic, part.partition)
            cursor = self.cursors.get(tp)
            if cursor is None or plan.versions.get(tp) != cursor.version:
                continue  # revoked, sought, or led elsewhere since it was asked for
            if part.error:
                self._refused(cursor, part)
                continue
            if part.preferred_replica >= 0 and part.preferred_replica != self.node_id:
                self._redirected(cursor, part.preferred_replica)
                continue
            offset = cursor.fetch_offset
            cursor.ease()
            cursor.absorb(part, committed_only=committed_only)
            if part.corrupt is not None and cursor.error is None:
                logger.warning(
                    "%s/%s arrived damaged at offset %d, and is fetched again: %s",
                    *tp,
                    cursor.fetch_offset,
                    part.corrupt,
                )
                cursor.put_off(asyncio.get_running_loop().time())
            if cursor.fetch_offset != offset or cursor.error is not None:
                brought = True
                # A broker fills its answer in the order it is asked in.
                self.cursors[tp] = self.cursors.pop(tp)
                self._noted(cursor)
        return brought

    def _learn(self, response: FetchResponse) -> None:
        """Take over who leads, where the broker says so along with its refusal (KIP-951)."""
        leaders = {
            TopicPartition(part.topic, part.partition): part.current_leader
            for part in response.partitions
            if part.error and part.current_leader is not None
        }
        if leaders:
            nodes = [Node(*endpoint) for endpoint in response.endpoints]
            self._client.learn_leaders(leaders, nodes)
