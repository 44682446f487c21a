"""Where messages gather: the open parcel of each partition, within the buffer memory.

A parcel's memory is taken in steps as it grows (16 KiB, 64 KiB, ...), so many
partitions with few messages each do not use up the buffer; once sealed it counts
for its real size, until the brokers have it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import time

from faustc._native.builder import BatchBuilder
from faustc._native.delivery import Delivery
from faustc.client.backoff import Deadline
from faustc.client.buffer import BufferMemory
from faustc.client.delivery import Deliveries
from faustc.client.failures import Failures
from faustc.client.lane import Lane
from faustc.client.parcel import Parcel
from faustc.client.partitioner import TopicLanes
from faustc.exceptions import FaustError, MessageTooLarge
from faustc.types import HeadersArg

# A loop of sends that never really wait would keep everything else from running:
# the loop gets a turn when this long has passed since the last one.
TURN_S = 0.005
# So many latencies of requests are kept for who asks.
LATENCIES = 30
FIRST_STEP = 16 * 1024
GROWTH = 4
# Batch header 61 bytes; length, attributes, two deltas, key and value lengths and
# the header count of a record at most 41.
OVERHEAD = 61 + 41


class Accumulator:
    """Opens, grows and closes parcels; knows those that are not done yet.

    `wake` is called with a lane that has something new for the sender.
    """

    def __init__(
        self,
        *,
        compression: str | None,
        max_batch_size: int,
        max_request_size: int,
        buffer_memory: int,
        delivery_timeout_s: float,
        max_block_s: float,
        transactional: bool = False,
        wake: Callable[[Lane], None],
    ) -> None:
        self.compression = compression
        self.transactional = transactional
        self.max_batch_size = max_batch_size
        self.max_request_size = max_request_size
        self.delivery_timeout_s = delivery_timeout_s
        self.max_block_s = max_block_s
        self.next_turn = 0.0
        self.refuse: FaustError | None = None  # why nothing more is taken
        self.memory = BufferMemory(buffer_memory)
        self.failures = Failures()
        #: How long the last requests took that were answered, or failed.
        self.latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self.incomplete: dict[Parcel, None] = {}
        self.topics: dict[str, TopicLanes] = {}
        # Those not used for long: their sequences must go on where they were.
        self.resting: dict[str, TopicLanes] = {}
        self._wake = wake
        self._loop = asyncio.get_running_loop()

    def check(self, size: int, topic: str) -> None:
        """Raise MessageTooLarge if a message of size bytes, all included, can never be sent."""
        if size > self.max_request_size:
            raise MessageTooLarge(
                f"a message of {size} bytes for {topic}; max_request_size is "
                f"{self.max_request_size}"
            )
        if size > self.memory.capacity:
            raise MessageTooLarge(
                f"a message of {size} bytes for {topic}; buffer_memory is {self.memory.capacity}"
            )

    # --- appending; the producer's fast path has its own ---

    async def append(
        self,
        lanes: TopicLanes,
        to: Lane | None,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: HeadersArg,
    ) -> Delivery:
        """Put a message into a lane, or where keyless ones go, whatever room has to be made first.

        Raises MessageTooLarge at once, KafkaTimeout when the buffer stays full.
        """
        size = OVERHEAD + _size(key) + _size(value) + _size_of_headers(headers)
        self.check(size, lanes.topic)
        deadline = Deadline(self.max_block_s)
        while True:
            lane = to or lanes.sticky
            parcel = lane.open
            if parcel is None:
                await self._open(lanes, lane, size, deadline)
                continue
            try:
                index = parcel.append(key, value, timestamp_ms, headers)
            except BaseException:
                self._discard_empty(lane)
                raise
            if index >= 0:
                return Delivery(parcel, index, timestamp_ms)
            if not self._grow(lane):
                self._close_full(lanes, lane)
                await self.give_turn()

    async def append_many(
        self,
        deliveries: Deliveries,
        lanes: TopicLanes,
        to: Lane | None,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None,
        headers: HeadersArg = None,
    ) -> None:
        """Put messages into one lane, or where keyless ones go; raises as `append`."""
        start, total = 0, len(values)
        overhead = OVERHEAD + _size_of_headers(headers)
        deadline = Deadline(self.max_block_s)
        while start < total:
            lane = to or lanes.sticky
            parcel = lane.open
            if parcel is None or parcel.builder is None:
                # Only the first message of a batch may be larger than a batch: no other
                # has to be looked at.
                size = overhead + _size(values[start]) + (_size(keys[start]) if keys else 0)
                self.check(size, lanes.topic)
                await self._open(lanes, lane, size, deadline)
                continue
            first = parcel.builder.count
            try:
                taken = parcel.builder.append_many(
                    values, keys, deliveries.timestamp_ms, start, headers
                )
            except BaseException:
                self._discard_empty(lane)
                raise
            if taken:
                deliveries.add(parcel, first, taken)
                start += taken
                deadline = Deadline(self.max_block_s)
            if start < total and not self._grow(lane):
                self._close_full(lanes, lane)
                await self.give_turn()
        # A clock that was put back must not put off the next turn for as long.
        if not self.next_turn - TURN_S <= time() < self.next_turn:
            await self.give_turn()

    async def give_turn(self) -> None:
        """Let the event loop run: appending alone never waits, and would starve all else."""
        self.next_turn = time() + TURN_S
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise self.refuse

    def begin(self, topic: str, partitions: int) -> TopicLanes:
        """Return the lanes of a topic, made anew or as they were when it was used last."""
        lanes = self.topics.get(topic) or self.resting.pop(topic, None)
        if lanes is None:
            lanes = TopicLanes(topic, partitions)
        lanes.used_at = self._loop.time()
        self.topics[topic] = lanes
        return lanes

    def rest(self, idle_s: float) -> list[str]:
        """Put aside the topics not used for idle_s, and return their names."""
        before = self._loop.time() - max(idle_s, 2 * self.max_block_s)  # some may wait for memory
        names = [n for n, lanes in self.topics.items() if lanes.used_at < before and lanes.quiet]
        for name in names:
            self.resting[name] = self.topics.pop(name)
        return names

    def _grow(self, lane: Lane) -> bool:
        """Let the open parcel of a lane grow a step; False when it is as large as may be."""
        parcel = lane.open
        if parcel is None or parcel.builder is None:
            return False
        more = min(parcel.reserved * GROWTH, self.max_batch_size) - parcel.reserved
        if more <= 0 or not self.memory.take(more):
            return False
        parcel.reserved += more
        parcel.builder.set_max_bytes(parcel.reserved)
        return True

    def _close_full(self, topic: TopicLanes, lane: Lane) -> None:
        """Close the open parcel of a lane because it is full."""
        if lane.open is not None and lane.open.builder is not None:
            size = lane.open.builder.size_bytes
            lane.close_open()
            self._wake(lane)
            topic.closed(lane, size)

    def close_ripe(self, lane: Lane) -> None:
        """Close the open parcel of a lane because it has waited long enough."""
        if lane.open is not None and lane.open.builder is not None:
            size = lane.open.builder.size_bytes
            lane.close_open()
            self.topics[lane.tp.topic].closed(lane, size)

    async def _open(self, lanes: TopicLanes, lane: Lane, size: int, deadline: Deadline) -> None:
        """Open a parcel in a lane whose first message has `size` bytes.

        Waits while the buffer is full; raises KafkaTimeout after the deadline.
        Another sender may have opened one meanwhile: then that one stays.
        """
        step = max(size, min(FIRST_STEP, self.max_batch_size))
        lanes.used_at = self._loop.time()
        if not self.memory.take(step):
            self._wake(lane)
            await self.memory.wait(step, deadline.left())
            if lane.open is not None:
                self.memory.give(step)
                return
        if self.refuse is not None:
            self.memory.give(step)
            raise self.refuse
        now = self._loop.time()
        parcel = Parcel(
            lane.tp,
            BatchBuilder(self.compression, max_bytes=step, transactional=self.transactional),
            self.failures,
            opened_at=now,
            deadline=now + self.delivery_timeout_s,
            reserved=step,
        )
        parcel.on_done = self._done
        self.incomplete[parcel] = None
        lane.open = parcel
        self._wake(lane)

    def _discard_empty(self, lane: Lane) -> None:
        """Drop the open parcel of a lane if its first message was not one after all."""
        parcel = lane.open
        if parcel is not None and parcel.builder is not None and parcel.builder.count == 0:
            lane.open = None
            parcel.written(-1, -1)

    def sealed(self, parcel: Parcel) -> None:
        """Take note that a parcel has its final size."""
        if parcel.parent is None:
            size = len(parcel.data)
            self.memory.give(parcel.reserved - size)
            parcel.reserved = size

    def _done(self, parcel: Parcel) -> None:
        self.memory.give(parcel.reserved)
        parcel.reserved = 0
        self.incomplete.pop(parcel, None)


def _size(data: bytes | None) -> int:
    return 0 if data is None else memoryview(data).nbytes


def _size_of_headers(headers: HeadersArg) -> int:
    if not headers:
        return 0
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    # UTF-8 takes up to four bytes a character, each length up to five
    return sum(4 * len(name) + 10 + _size(data) for name, data in pairs)
