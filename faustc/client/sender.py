"""The sender: brings parcels to the leaders of their partitions, and keeps time for them.

It owns the outlets (one per leader), the metadata's view of which lane belongs
to which, the producer id, and every task of the producer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import Any

from faustc.client import codes
from faustc.client.accumulator import Accumulator
from faustc.client.client import Client
from faustc.client.cluster import Cluster
from faustc.client.identity import Persona
from faustc.client.lane import Lane
from faustc.client.outlet import Outlet, Terms
from faustc.client.parcel import failure
from faustc.client.partitioner import TopicLanes
from faustc.client.transactions import Transactions
from faustc.client.verdict import Judge
from faustc.exceptions import KafkaError, ProducerClosed
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

# How late a delivery timeout may be noticed.
TICK_S = 0.1
# A topic that nothing was sent to for so long is no longer asked for (Java's
# metadata.max.idle.ms).
IDLE_TOPIC_S = 300.0
# A topic that is gone while messages wait for it is looked for this often.
LOOK_AGAIN_S = 1.0
# InitProducerId needs a transaction timeout even without a transaction; the broker ignores it.
_NO_TRANSACTION_MS = 60_000


class Sender:
    """Runs from start to close on one event loop; `broken` says why it can no longer send."""

    def __init__(
        self,
        client: Client,
        accumulator: Accumulator,
        persona: Persona,
        terms: Terms,
        transactions: Transactions | None = None,
    ) -> None:
        self.broken: ProducerClosed | None = None
        self._client = client
        self._accumulator = accumulator
        self._persona = persona
        self._terms = terms
        self._transactions = transactions
        self._judge = Judge(
            backoff_s=terms.backoff_s,
            backoff_max_s=terms.backoff_max_s,
            compression=accumulator.compression,
            refused=None if transactions is None else transactions.refused,
        )
        self._outlets: dict[int, Outlet] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.Event()
        self._closed = False

    async def start(self, timeout_s: float) -> None:
        """Get a producer id if one is needed, and begin."""
        if self._transactions is not None:
            await self._transactions.init(timeout_s)
        elif self._persona.wanted:
            await self._become_somebody(timeout_s)
        if self._closed:  # meanwhile: nobody would end what begins here
            raise ProducerClosed("the producer was stopped while it started")
        self._client.on_metadata.append(self._on_metadata)
        self.spawn(self._keep_time(), "producer timekeeper")

    async def close(self) -> None:
        """End every task and give up what is left."""
        self._closed = True
        if self._transactions is not None:
            await self._transactions.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for outlet in self._outlets.values():
            outlet.close()
        if self._on_metadata in self._client.on_metadata:
            self._client.on_metadata.remove(self._on_metadata)
        self._abandon("the producer was stopped", self.broken)

    # --- lanes ---

    def wake(self, lane: Lane) -> None:
        """A lane has something to send."""
        self._work.set()
        if lane.node >= 0:
            self._outlet(lane.node).add(lane)
        else:
            self._client.request_refresh()

    def drop_unsent(self, error: KafkaError) -> None:
        """Give up what was not sent yet."""
        for lane in self._lanes():
            lane.drop_unsent(error)

    def flush(self) -> None:
        """Look at every outlet again: nothing lingers while somebody flushes."""
        for outlet in self._outlets.values():
            outlet.poke()

    def update(self, topic: TopicLanes) -> None:
        """Take on what the metadata say of one topic."""
        cluster = self._client.cluster
        numbers = cluster.partitions(topic.topic)
        if not numbers:
            return  # deleted or not told: what waits for it runs into its deadline
        leaders = [-1] * (numbers[-1] + 1)
        for number in numbers:
            found = cluster.leader(TopicPartition(topic.topic, number))
            if found is not None:
                leaders[number] = found[0]
        before = {lane: lane.node for lane in topic.lanes}
        for lane in topic.update(leaders):
            old = self._outlets.get(before.get(lane, -1))
            if old is not None:
                old.remove(lane)
            if not lane.idle:
                self.wake(lane)

    def _on_metadata(self, cluster: Cluster) -> None:
        for topic in self._accumulator.topics.values():
            self.update(topic)
        idle = self._accumulator.rest(IDLE_TOPIC_S)
        if idle:
            self._client.drop_topics(*idle)
        for node_id in [n for n in self._outlets if n not in cluster.brokers]:
            if self._outlets[node_id].idle:
                self._outlets.pop(node_id).close()

    def _outlet(self, node_id: int) -> Outlet:
        outlet = self._outlets.get(node_id)
        if outlet is None:
            outlet = self._outlets[node_id] = Outlet(
                node_id,
                client=self._client,
                accumulator=self._accumulator,
                persona=self._persona,
                judge=self._judge,
                terms=self._terms,
                rehome=self.wake,
                spawn=self.spawn,
                crash=self.crash,
                transactions=self._transactions,
            )
        return outlet

    def _lanes(self) -> Iterator[Lane]:
        for topic in self._accumulator.topics.values():
            yield from topic.lanes

    # --- time ---

    async def _keep_time(self) -> None:
        """Give up what is past its deadline, find lost leaders, renew the producer id."""
        while True:
            await self._work.wait()
            await asyncio.sleep(TICK_S)
            if self._persona.wanted:
                await self._renew()
            now = self._loop.time()
            timeout_s = self._accumulator.delivery_timeout_s
            for lane in self._lanes():
                if lane.open is None and not lane.backlog:
                    continue
                lane.expire(now, timeout_s, self._why(lane))
                if lane.node < 0 and not lane.idle:
                    self._client.request_refresh()
            self._look_for_missing(now)
            if not self._accumulator.incomplete:
                self._work.clear()

    def _look_for_missing(self, now: float) -> None:
        """Ask for topics that were deleted while messages wait for them."""
        cluster = self._client.cluster
        for name, topic in self._accumulator.topics.items():
            missing = cluster.partitions(name) is None and not topic.quiet
            if missing and topic.looked_at + LOOK_AGAIN_S <= now:
                topic.looked_at = now
                self._client.look_for(name)

    def _why(self, lane: Lane) -> KafkaError | None:
        """Return what keeps a lane from being sent, as far as is known."""
        if lane.node < 0:
            return codes.error_for(
                codes.LEADER_NOT_AVAILABLE, f"{lane.tp.topic}/{lane.tp.partition} has no leader"
            )
        outlet = self._outlets.get(lane.node)
        return outlet.last_error if outlet is not None else None

    async def _become_somebody(self, timeout_s: float) -> None:
        answer = await self._client.request(
            "InitProducerId",
            timeout_s=timeout_s,
            transactional_id=None,
            transaction_timeout_ms=_NO_TRANSACTION_MS,
            producer_id=-1,
            producer_epoch=-1,
        )
        self._persona.become(answer.producer_id, answer.producer_epoch)

    async def _renew(self) -> None:
        try:
            await self._become_somebody(TICK_S * 10)
        except KafkaError as exc:
            logger.warning("No new producer id yet: %s", exc)
        else:
            self.flush()

    # --- tasks ---

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task of ours: close ends it, and its failure ends the producer."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """Give everything up: something happened that we have no answer to."""
        if self.broken is None and not self._closed:
            logger.error("The producer %s died", self._client.client_id, exc_info=error)
            self.broken = ProducerClosed(f"the producer died: {error!r}")
            self.broken.__cause__ = error
            self._accumulator.refuse = self.broken
            for outlet in self._outlets.values():
                outlet.close()
            self._abandon("the producer died", error)
            self._accumulator.topics.clear()  # so that send does not find its way

    def _abandon(self, why: str, cause: BaseException | None) -> None:
        for lane in self._lanes():
            lane.abort(why, cause)
        for parcel in list(self._accumulator.incomplete):  # none, unless a lane lost it
            parcel.give_up(failure(parcel, why, cause))
        self._accumulator.memory.abort(self.broken or ProducerClosed(why))
