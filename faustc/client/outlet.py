"""An outlet: what goes to one leader, over one connection.

It decides when a request goes and what is in it. It sends from callbacks of the
event loop, so a request costs no task; only connecting is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from faustc._native.produce import decode_produce, encode_produce
from faustc.client import wire
from faustc.client.accumulator import Accumulator
from faustc.client.backoff import Backoff
from faustc.client.client import Client
from faustc.client.cluster import NO_TOPIC_ID, Node
from faustc.client.connection import BrokerConnection
from faustc.client.identity import Persona
from faustc.client.lane import Lane
from faustc.client.parcel import Parcel
from faustc.client.transactions import Transactions
from faustc.client.verdict import Judge
from faustc.exceptions import ConnectionLost, CorruptFrame, ImproperlyConfigured, KafkaError
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

# With linger_ms=0 a parcel that is not full goes at once if no request to its
# broker is unanswered, else with the next answer, but waits no longer than this.
COMPANY_S = 0.005
PURPOSE = "produce"
_PRODUCE = wire.api_key("Produce")
_TOPIC_IDS_SINCE = 13
_SLACK = 4096  # request header, client id, topic names


@dataclass(slots=True)
class Terms:
    """How requests are made. flushing counts those who wait in flush: then nothing lingers."""

    acks: int
    linger_s: float
    request_timeout_ms: int
    max_request_size: int
    max_in_flight: int
    backoff_s: float
    backoff_max_s: float
    flushing: int = 0


def check_above_0(**numbers: int) -> None:
    """Raise ImproperlyConfigured for the first that is not."""
    for name, value in numbers.items():
        if value <= 0:
            raise ImproperlyConfigured(f"{name} is {value}; it must be above 0")


class Outlet:
    """Sends the lanes that one broker leads; it never touches a lane that moved away."""

    def __init__(
        self,
        node_id: int,
        *,
        client: Client,
        accumulator: Accumulator,
        persona: Persona,
        judge: Judge,
        terms: Terms,
        rehome: Callable[[Lane], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        crash: Callable[[Exception], None],
        transactions: Transactions | None = None,
    ) -> None:
        self.node_id = node_id
        self.last_error: KafkaError | None = None
        self._client = client
        self._accumulator = accumulator
        self._persona = persona
        self._judge = judge
        self._terms = terms
        self._rehome = rehome
        self._spawn = spawn
        self._crash = crash
        self._transactions = transactions
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Lane, None] = {}
        self._connection: BrokerConnection | None = None
        self._connecting = False
        self._unanswered = 0
        self._last_sent = 0.0
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, neither to be sent nor to be answered."""
        return not (self._lanes or self._unanswered or self._connecting)

    def add(self, lane: Lane) -> None:
        """A lane has something to send (or may have)."""
        self._lanes[lane] = None
        self.poke()

    def remove(self, lane: Lane) -> None:
        """A lane has another leader now."""
        self._lanes.pop(lane, None)

    def poke(self) -> None:
        """Look soon whether something can go; many pokes make one look."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def close(self) -> None:
        """Send nothing more."""
        self._lanes.clear()
        if self._timer is not None:
            self._timer.cancel()

    # --- sending ---

    def _pump(self) -> None:
        self._scheduled = False
        try:
            self._send_what_may_go()
        except Exception as exc:  # noqa: BLE001 - a callback has nobody to raise to
            self._crash(exc)

    def _send_what_may_go(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            self._connect()
            return
        now = self._loop.time()
        while self._unanswered < self._terms.max_in_flight:
            parcels, due = self._collect(now)
            if not parcels:
                if due is not None:
                    self._look_again_at(due)
                return
            try:
                self._ship(connection, parcels, now)
            except KafkaError as exc:  # the request before this one found the socket dead
                self._failed(parcels, exc)
                self._rejoin(parcels)
                return

    def _collect(self, now: float) -> tuple[list[tuple[Lane, Parcel]], float | None]:
        """Take what goes into one request, and say when more may be due."""
        chosen: list[tuple[Lane, Parcel]] = []
        room = self._terms.max_request_size - _SLACK
        due: float | None = None
        transactions = self._transactions
        for lane in list(self._lanes):
            if not (lane.ready or lane.retry) and lane.open is not None:
                ripe = self._ripe_at(lane.open, now)
                if ripe > now:
                    due = ripe if due is None else min(due, ripe)
                    continue
                self._accumulator.close_ripe(lane)
            if chosen and lane.next_size() > room:
                continue
            if transactions is not None and not lane.idle and not transactions.admits(lane):
                continue  # we are poked when it is admitted
            parcel = lane.next(now, self._persona, self._terms.max_in_flight)
            if parcel is None:
                if lane.idle:
                    del self._lanes[lane]
                elif now < lane.hold_until:
                    due = lane.hold_until if due is None else min(due, lane.hold_until)
                continue
            self._accumulator.sealed(parcel)
            room -= len(parcel.data)
            chosen.append((lane, parcel))
            # To the end of the round, so that no lane starves behind a busy one.
            del self._lanes[lane]
            if not lane.idle:
                self._lanes[lane] = None
            if room <= 0:
                break
        return chosen, due

    def _ripe_at(self, parcel: Parcel, now: float) -> float:
        if self._terms.flushing or self._accumulator.memory.contended:
            return now
        if self._terms.linger_s:
            return parcel.opened_at + self._terms.linger_s
        return max(parcel.opened_at, self._last_sent) + COMPANY_S if self._unanswered else now

    def _look_again_at(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None  # by the clock alone, one that has just fired may seem to come yet
        self.poke()

    def _ship(
        self, connection: BrokerConnection, chosen: list[tuple[Lane, Parcel]], now: float
    ) -> None:
        cluster = self._client.cluster
        transactions = self._transactions
        transactional_id = None if transactions is None else transactions.transactional_id
        version = connection.version("Produce", transactional=transactional_id is not None)
        by_topic: dict[str, list[tuple[int, bytes]]] = {}
        for lane, parcel in chosen:
            by_topic.setdefault(lane.tp.topic, []).append((lane.tp.partition, parcel.data))
        ids = {topic: cluster.topic_id(topic) for topic in by_topic}
        if version >= _TOPIC_IDS_SINCE and NO_TOPIC_ID in ids.values():
            version = _TOPIC_IDS_SINCE - 1  # a topic just deleted, say: by name the broker tells
        topics = [(topic, ids[topic], batches) for topic, batches in by_topic.items()]
        terms = self._terms
        answer = connection.request_native(
            _PRODUCE,
            lambda correlation_id: encode_produce(
                version,
                correlation_id,
                connection.client_id,
                transactional_id=transactional_id,
                acks=terms.acks,
                timeout_ms=terms.request_timeout_ms,
                topics=topics,
            ),
            timeout_s=terms.request_timeout_ms / 1000,
            want_answer=terms.acks != 0,
        )
        self._unanswered += 1
        self._last_sent = now
        names = {topic_id: topic for topic, topic_id in ids.items()}
        answer.add_done_callback(partial(self._answered, connection, version, names, chosen, now))

    # --- answers ---

    def _answered(
        self,
        connection: BrokerConnection,
        version: int,
        names: dict[bytes, str],
        chosen: list[tuple[Lane, Parcel]],
        sent: float,
        answer: asyncio.Future[bytes],
    ) -> None:
        self._unanswered -= 1
        self._accumulator.latencies_s.append(self._loop.time() - sent)
        try:
            error = _error_of(answer)
            if error is not None:
                self._failed(chosen, error)
            elif self._terms.acks == 0:
                for lane, parcel in chosen:
                    lane.written(parcel, -1, -1)
            else:
                self._settle(connection, answer.result(), version, names, chosen)
            self._rejoin(chosen)
        except Exception as exc:  # noqa: BLE001 - a callback has nobody to raise to
            self._crash(exc)
        self.poke()

    def _settle(
        self,
        connection: BrokerConnection,
        body: bytes,
        version: int,
        names: dict[bytes, str],
        chosen: list[tuple[Lane, Parcel]],
    ) -> None:
        try:
            answer = decode_produce(body, version, topic_names=names)
        except CorruptFrame as exc:
            connection.close(exc)
            self._failed(chosen, exc)
            return
        connection.throttle(answer.throttle_ms)
        self.last_error = None
        now = self._loop.time()
        acks = {(ack.topic, ack.partition): ack for ack in answer.partitions}
        stale = False
        leaders: dict[TopicPartition, tuple[int, int]] = {}
        for lane, parcel in chosen:
            ack = acks.get((lane.tp.topic, lane.tp.partition))
            if ack is None:
                missing = ConnectionLost(
                    f"{connection.host}:{connection.port} did not answer for "
                    f"{lane.tp.topic}/{lane.tp.partition}"
                )
                self._judge.again(lane, parcel, now, missing)
                continue
            stale |= self._judge.answered(
                lane,
                parcel,
                now,
                code=ack.error,
                base_offset=ack.base_offset,
                log_append_time=ack.log_append_time,
                detail=ack.error_message or "",
            )
            if ack.error and ack.current_leader is not None:
                leaders[lane.tp] = ack.current_leader
        if leaders:  # KIP-951: told along with the refusal
            self._client.learn_leaders(leaders, [Node(*node) for node in answer.endpoints])
        if stale:
            self._client.request_refresh()

    def _failed(self, chosen: list[tuple[Lane, Parcel]], error: KafkaError) -> None:
        self.last_error = error
        now = self._loop.time()
        for lane, parcel in chosen:
            self._judge.again(lane, parcel, now, error)
        self._client.request_refresh()

    def _rejoin(self, chosen: list[tuple[Lane, Parcel]]) -> None:
        """Put lanes that have something to send back in line, wherever their leader is now."""
        for lane, _ in chosen:
            if not lane.idle:
                self._rehome(lane)

    # --- connecting ---

    def _connect(self) -> None:
        if self._lanes and not self._connecting:
            self._connecting = True
            self._spawn(self._open(), f"produce connection to node {self.node_id}")

    async def _open(self) -> None:
        backoff = Backoff(self._terms.backoff_s, self._terms.backoff_max_s)
        try:
            while self._lanes:
                try:
                    self._connection = await self._client.connection(self.node_id, PURPOSE)
                    break
                except KafkaError as exc:
                    self.last_error = exc
                    self._client.request_refresh()
                    await asyncio.sleep(backoff.next())
        finally:
            self._connecting = False
        self.poke()


def _error_of(answer: asyncio.Future[bytes]) -> KafkaError | None:
    if answer.cancelled():
        return ConnectionLost("the request was cancelled")
    error = answer.exception()
    if error is None or isinstance(error, KafkaError):
        return error
    lost = ConnectionLost(f"the request failed: {error!r}")
    lost.__cause__ = error
    return lost
