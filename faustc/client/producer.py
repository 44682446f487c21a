"""The producer: messages in, batches to the leaders of their partitions.

A send puts its message into the open batch of a partition and returns; the
sender brings batches to the brokers while the application goes on. There is no
future per message, no task per request, and no `await` that really waits unless
the buffer is full or a topic is new.

Why these defaults: a request costs some 60 us of Python however large it is. With
100-byte messages to one partition, batches of 16, 64, 128, 256 and 512 KiB came to
0.92, 0.67, 0.62, 0.57 and 0.56 us of CPU a message through send, and to 0.55, 0.20,
0.15, 0.125 and 0.13 us through send_many; so 256 KiB. linger_ms is 0 since waiting
is not what makes batches large: while a request is unanswered, messages gather for
the next one anyway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import time
from typing import Self, Unpack

from faustc._native.compression import codec_id
from faustc._native.delivery import Delivery
from faustc._native.partition import partition_for, scatter
from faustc.client.accumulator import TURN_S, Accumulator
from faustc.client.backoff import Deadline
from faustc.client.client import Client
from faustc.client.delivery import Deliveries
from faustc.client.dialer import Dialer
from faustc.client.identity import Persona
from faustc.client.outlet import Terms, check_above_0
from faustc.client.partitioner import Partitioner, TopicLanes
from faustc.client.security import Security, SecurityOptions
from faustc.client.sender import Sender
from faustc.client.transacting import Transacting
from faustc.client.transactions import State, Transactions
from faustc.exceptions import (
    DeliveryFailed,
    ImproperlyConfigured,
    KafkaError,
    KafkaTimeout,
    NotReady,
    ProducerClosed,
)
from faustc.types import HeadersArg, RecordMetadata, TopicPartition

logger = logging.getLogger(__name__)

ACKS = {"all": -1, -1: -1, 0: 0, 1: 1}


class Producer(Transacting):
    """Sends messages to a Kafka cluster; `async with`, or start and stop.

    Used from the event loop it was started on alone; from another thread go through
    `asyncio.run_coroutine_threadsafe`. Any number of tasks may send at once. Messages
    of one task to one partition keep their order.

    acks: "all" (or -1), 1 or 0. compression_type: none, gzip, snappy, lz4, zstd or
    one that was registered. linger_ms: how long a batch that is not full waits for
    more; 0 sends it at once when nothing is unanswered by its broker, else with the
    next answer or after 5 ms. max_batch_size and max_request_size are bytes before
    compression; a larger message is refused. buffer_memory bounds all that is not
    acknowledged yet, in bytes: when it is full, send waits up to max_block_ms.
    delivery_timeout_ms bounds all attempts at a message, counted from when its
    batch was begun. enable_idempotence (default: where acks allow it) writes every
    message once and in order, whatever is retried. partitioner is called with (key,
    all partitions, those with a leader) for messages without an explicit partition.
    TLS and passwords: see `SecurityOptions`.

    transactional_id: with it every message belongs to a transaction, whose messages are all
    seen by consumers that read_committed, or none (KIP-98). One producer at a time goes by an
    id; the next one that starts fences it, and aborts what it left open. A transaction that is
    open for transaction_timeout_ms is aborted by brokers. See `Transacting`.

    A message that was given up raises DeliveryFailed where its Delivery is awaited. Failures
    that nobody looked at are raised by the next `flush` and `stop`; `errors` counts them all.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str | Sequence[str] = "localhost:9092",
        client_id: str | None = None,
        acks: str | int = "all",
        compression_type: str | None = None,
        linger_ms: float = 0,
        max_batch_size: int = 256 * 1024,
        max_request_size: int = 1_048_576,
        buffer_memory: int = 32 * 1024 * 1024,
        enable_idempotence: bool | None = None,
        partitioner: Partitioner | None = None,
        request_timeout_ms: int = 30_000,
        delivery_timeout_ms: int = 120_000,
        max_block_ms: int = 60_000,
        retry_backoff_ms: int = 100,
        retry_backoff_max_ms: int = 1_000,
        max_in_flight: int = 5,
        metadata_max_age_ms: int = 300_000,
        connections_max_idle_ms: int = 540_000,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
        dialer: Dialer | None = None,
        **security: Unpack[SecurityOptions],
    ) -> None:
        if acks not in ACKS:
            raise ImproperlyConfigured(f'acks is {acks!r}; it must be "all", -1, 0 or 1')
        self._acks = ACKS[acks]
        if enable_idempotence is None:
            enable_idempotence = self._acks == -1
        if enable_idempotence and self._acks != -1:
            raise ImproperlyConfigured(f'enable_idempotence needs acks="all", not {acks!r}')
        if transactional_id is not None and not (transactional_id and enable_idempotence):
            raise ImproperlyConfigured(
                "a transactional_id is not empty, and needs an idempotent producer"
            )
        if not 1 <= max_in_flight <= 5:
            raise ImproperlyConfigured(
                f"max_in_flight is {max_in_flight}; 1 to 5: a broker remembers the last five "
                f"batches of a producer, to tell a repeated one"
            )
        check_above_0(
            max_batch_size=max_batch_size,
            max_request_size=max_request_size,
            buffer_memory=buffer_memory,
            request_timeout_ms=request_timeout_ms,
            delivery_timeout_ms=delivery_timeout_ms,
            retry_backoff_ms=retry_backoff_ms,
            transaction_timeout_ms=transaction_timeout_ms,
        )
        if linger_ms < 0 or max_block_ms < 0:
            raise ImproperlyConfigured("linger_ms and max_block_ms must not be below 0")
        codec_id(compression_type)
        self._compression = compression_type
        self._max_request_size = max_request_size
        self._max_batch_size = min(max_batch_size, max_request_size, buffer_memory)
        self._buffer_memory = buffer_memory
        self._max_block_s = max_block_ms / 1000
        self._delivery_timeout_s = delivery_timeout_ms / 1000
        self._partitioner = partitioner
        self._client = Client(
            bootstrap_servers,
            client_id=client_id,
            request_timeout_ms=request_timeout_ms,
            metadata_max_age_ms=metadata_max_age_ms,
            retry_backoff_ms=retry_backoff_ms,
            retry_backoff_max_ms=retry_backoff_max_ms,
            connections_max_idle_ms=connections_max_idle_ms,
            security=Security.of("Producer", security),
            dialer=dialer,
        )
        self._persona = Persona(
            idempotent=enable_idempotence, transactional=transactional_id is not None
        )
        self._transactions: Transactions | None = None
        if transactional_id is not None:
            self._transactions = Transactions(
                self._client,
                self._persona,
                transactional_id,
                transaction_timeout_ms,
                drain=self._drain,
                drop=self._drop,
                poke=self._poke,
                opened=self._open_or_close,
            )
        self._terms = Terms(
            acks=self._acks,
            linger_s=linger_ms / 1000,
            request_timeout_ms=request_timeout_ms,
            max_request_size=max_request_size,
            max_in_flight=max_in_flight,
            backoff_s=retry_backoff_ms / 1000,
            backoff_max_s=retry_backoff_max_ms / 1000,
        )
        self._topics: dict[str, TopicLanes] = {}
        self._turn_began = self._next_turn = 0.0
        self._accumulator: Accumulator | None = None
        self._sender: Sender | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "stopped" if self._closed else "running" if self._sender else "not started"
        return f"<Producer {self._client.client_id}, {state}>"

    # --- life ---

    async def start(self, timeout_s: float | None = None) -> None:
        """Reach the cluster and, if idempotent, get a producer id.

        timeout_s defaults to the request timeout. Raises NoBrokersAvailable,
        AuthenticationFailed, UnsupportedVersion, or BrokerError when the broker refuses us.
        """
        if self._sender is not None or self._closed:
            raise ProducerClosed("a producer is started once")
        deadline = Deadline(self._client.request_timeout_s if timeout_s is None else timeout_s)
        await self._client.start(deadline.left())
        if self._closed:
            raise ProducerClosed("the producer was stopped while it started")
        self._accumulator = Accumulator(
            compression=self._compression,
            max_batch_size=self._max_batch_size,
            max_request_size=self._max_request_size,
            buffer_memory=self._buffer_memory,
            delivery_timeout_s=self._delivery_timeout_s,
            max_block_s=self._max_block_s,
            transactional=self._transactions is not None,
            wake=lambda lane: sender.wake(lane),
        )
        self._topics = self._accumulator.topics
        transactions = self._transactions
        if transactions is not None:
            self._accumulator.failures.listener = transactions.doom
        sender = Sender(self._client, self._accumulator, self._persona, self._terms, transactions)
        self._sender = sender
        try:
            await sender.start(deadline.left())
        except BaseException:
            self._closed = True
            await sender.close()
            await self._client.close()
            raise

    async def stop(self, timeout_s: float = 30.0) -> None:
        """Send what is waiting, for timeout_s at most, then give up the rest and disconnect.

        An open transaction is aborted. Idempotent. Raises DeliveryFailed, once all is closed,
        when messages were given up that nobody looked at.
        """
        if self._closed:
            return
        self._closed = True
        if self._sender is None or self._accumulator is None:
            await self._client.close()
            return
        self._topics = {}  # the fast path of send finds nothing any more
        self._accumulator.refuse = ProducerClosed("the producer was stopped")
        try:
            if self._transactions is None:
                await self._drain(timeout_s)
            elif self._transactions.state in (State.OPEN, State.DOOMED):
                await self._transactions.abort(timeout_s)
        except KafkaError as exc:
            logger.error("Stopping %r: %s", self, exc)
        finally:
            try:
                await self._sender.close()
            finally:
                await self._client.close()
        failure = self._accumulator.failures.take()
        # Whoever ended, or left, a transaction was told there.
        if failure is not None and self._transactions is None:
            raise failure

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self.stop()
        except DeliveryFailed as exc:
            if error is None:
                raise
            logger.error("While leaving because of %r: %s", error, exc)

    @property
    def client(self) -> Client:
        """The client that this producer runs on; it ends with it."""
        return self._client

    @property
    def errors(self) -> int:
        """How many messages were given up since the start."""
        return self._accumulator.failures.total if self._accumulator is not None else 0

    def take_latencies(self) -> list[float]:
        """Return how many seconds the last requests took that nobody asked for before; 30 at most.

        From when a request is sent to when it is answered.
        """
        if self._accumulator is None:
            return []
        found = list(self._accumulator.latencies_s)
        self._accumulator.latencies_s.clear()
        return found

    @property
    def pending_bytes(self) -> int:
        """How much of buffer_memory is in use."""
        if self._accumulator is None:
            return 0
        return self._accumulator.memory.capacity - self._accumulator.memory.free

    # --- sending ---

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: HeadersArg = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """Put one message on its way; return the promise of its RecordMetadata.

        timestamp_ms is milliseconds since 1970, by default now. Waits only for a
        topic that is new to this producer, or while the buffer is full. Raises
        MessageTooLarge at once, KafkaTimeout after max_block_ms, BrokerError for a
        topic that does not exist or is refused, TypeError when key or value is
        not bytes-like, ValueError for a partition that the topic does not have.
        """
        now = time()
        if timestamp_ms is None:
            timestamp_ms = int(now * 1000)
        if not self._turn_began <= now < self._next_turn:  # or the clock was put back
            self._turn_began, self._next_turn = now, now + TURN_S
            await asyncio.sleep(0)
        try:
            lanes = self._topics[topic]
        except KeyError:
            lanes = await self._find_topic(topic)
        if partition is not None:
            lane = lanes.lane(partition)
        elif self._partitioner is not None:
            lane = lanes.ask(self._partitioner, key)
        elif key is not None:
            lane = lanes.lanes[partition_for(key, lanes.size)]
        else:
            lane = lanes.sticky
        parcel = lane.open
        if parcel is not None:
            index = parcel.append(key, value, timestamp_ms, headers)
            if index >= 0:
                return Delivery(parcel, index, timestamp_ms)
        accumulator, _ = self._running()
        keyless = key is None and partition is None and self._partitioner is None
        return await accumulator.append(
            lanes, None if keyless else lane, key, value, timestamp_ms, headers
        )

    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: HeadersArg = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> RecordMetadata:
        """Send one message and wait until it is written; raises as `send` and its Delivery do."""
        return await (await self.send(topic, value, key, headers, partition, timestamp_ms))

    async def send_many(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        headers: HeadersArg = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Deliveries:
        """Put many messages on their way with one call; return one promise for all of them.

        All get the same timestamp and headers. With keys (as many as values), each
        goes where `send` would bring it; within a partition they keep their order.
        Raises as `send` does: then some of them may be on their way already, and
        failures of those are reported by `flush`.

        Awaiting what it returns waits until all are written, and gives one `Written`
        (partition, first offset, how many) for each run of messages that landed
        together; it raises DeliveryFailed if any was given up:

            deliveries = await producer.send_many("orders", [b"1", b"2"])
            for run in await deliveries:
                print(run.topic_partition, run.offset, run.messages)
        """
        if headers:  # ours from here on: the caller may change his while we wait for room
            headers = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        if timestamp_ms is None:
            timestamp_ms = int(time() * 1000)
        try:
            lanes = self._topics[topic]
        except KeyError:
            lanes = await self._find_topic(topic)
        accumulator, _ = self._running()
        append_many = accumulator.append_many
        deliveries = Deliveries(timestamp_ms)
        if keys is not None and len(keys) != len(values):
            raise ValueError(f"{len(values)} values, {len(keys)} keys")
        if partition is not None:
            await append_many(deliveries, lanes, lanes.lane(partition), values, keys, headers)
        elif self._partitioner is not None:
            for lane, (some, some_keys) in lanes.deal(self._partitioner, values, keys).items():
                await append_many(deliveries, lanes, lane, some, some_keys, headers)
        elif keys is None:
            await append_many(deliveries, lanes, None, values, None, headers)
        else:
            for number, dealt in enumerate(scatter(values, keys, lanes.size)):
                if dealt is not None:
                    to = lanes.lanes[number] if number < lanes.size else None
                    await append_many(deliveries, lanes, to, *dealt, headers)
        return deliveries

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything sent before this call is written or given up.

        timeout_s defaults to what deliveries and requests may take at most. Raises
        DeliveryFailed when messages were given up since the last flush that nobody looked
        at (within a transaction TransactionAborted or ProducerFenced instead), KafkaTimeout
        when some are still on their way.
        """
        accumulator, _ = self._running()
        await self._drain(
            self._delivery_timeout_s + self._client.request_timeout_s
            if timeout_s is None
            else timeout_s
        )
        failure = accumulator.failures.take()
        if self._transactions is not None:
            self._transactions.check_sound()
        elif failure is not None:
            raise failure

    async def partitions_for(self, topic: str, timeout_s: float | None = None) -> set[int]:
        """Return the numbers of a topic's partitions; raises as `send` for an unknown topic."""
        self._running()
        timeout_s = self._max_block_s if timeout_s is None else timeout_s
        return set(await self._client.partitions_for(topic, timeout_s))

    def key_partition(self, topic: str, key: bytes | None) -> TopicPartition:
        """Return where a message with this key goes, from what is known of the topic now.

        Raises NotReady if nothing is known: nothing was sent to it, nor was partitions_for
        awaited.
        """
        lanes = None if self._accumulator is None else self._accumulator.topics.get(topic)
        if lanes is None and self._partitioner is None and key is not None:
            known = self._client.cluster.partitions(topic)
            if known:
                return TopicPartition(topic, partition_for(key, max(known) + 1))
        if lanes is None:
            raise NotReady(
                f"the producer has not sent to {topic} yet and knows no partitions of it"
            )
        if self._partitioner is not None:
            return lanes.ask(self._partitioner, key).tp
        if key is None:
            return lanes.sticky.tp
        return lanes.lanes[partition_for(key, lanes.size)].tp

    # --- inside ---

    def _running(self) -> tuple[Accumulator, Sender]:
        if self._closed:
            raise ProducerClosed("the producer was stopped")
        if self._sender is None or self._accumulator is None:
            raise ProducerClosed("the producer is not started")
        if self._sender.broken is not None:
            raise ProducerClosed(str(self._sender.broken)) from self._sender.broken.__cause__
        return self._accumulator, self._sender

    async def _find_topic(self, topic: str) -> TopicLanes:
        accumulator, sender = self._running()
        if self._transactions is not None:
            self._transactions.check_open()
        numbers = await self._client.partitions_for(topic, self._max_block_s)
        self._running()
        self._client.add_topics(topic)
        if self._transactions is not None:
            self._transactions.check_open()  # still, or again
        lanes = accumulator.begin(topic, numbers[-1] + 1)
        sender.update(lanes)
        return lanes

    async def _drain(self, timeout_s: float) -> None:
        """Wait for everything that is not done now, sending it without lingering."""
        assert self._accumulator is not None
        assert self._sender is not None
        waiting = list(self._accumulator.incomplete)
        self._terms.flushing += 1
        try:
            self._sender.flush()
            async with asyncio.timeout(timeout_s):
                for parcel in waiting:
                    await parcel.wait_done()
        except TimeoutError as exc:
            left = [parcel for parcel in waiting if not parcel.done]
            raise KafkaTimeout(
                f"{len(left)} batches are not acknowledged after {timeout_s:g} s, "
                f"the first for {left[0].tp.topic}/{left[0].tp.partition}"
                if left
                else f"not flushed within {timeout_s:g} s"
            ) from (left[0].last_error if left and left[0].last_error else exc)
        finally:
            self._terms.flushing -= 1
