"""Where messages gather: the open parcel of each partition, within the buffer memory.

A parcel's memory is taken in steps as it grows (16 KiB, 64 KiB, ...), so many
partitions with few messages each do not use up the buffer; once sealed it counts
for its real size, until the brokers have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faustc._native.builder import BatchBuilder
from faustc.client.backoff import Deadline
from faustc.client.buffer import BufferMemory
from faustc.client.failures import Failures
from faustc.client.lane import Lane
from faustc.client.parcel import Parcel
from faustc.client.partitioner import TopicLanes
from faustc.exceptions import MessageTooLarge

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
        wake: Callable[[Lane], None],
    ) -> None:
        self.compression = compression
        self.max_batch_size = max_batch_size
        self.max_request_size = max_request_size
        self.delivery_timeout_s = delivery_timeout_s
        self.memory = BufferMemory(buffer_memory)
        self.failures = Failures()
        self.incomplete: dict[Parcel, None] = {}
        self.topics: dict[str, TopicLanes] = {}
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

    def grow(self, lane: Lane) -> bool:
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

    def close(self, topic: TopicLanes, lane: Lane) -> None:
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

    async def open(self, lane: Lane, size: int, deadline: Deadline) -> None:
        """Open a parcel in a lane whose first message has `size` bytes.

        Waits while the buffer is full; raises KafkaTimeout after the deadline.
        Another sender may have opened one meanwhile: then that one stays.
        """
        step = max(size, min(FIRST_STEP, self.max_batch_size))
        if not self.memory.take(step):
            self._wake(lane)
            await self.memory.wait(step, deadline.left())
            if lane.open is not None:
                self.memory.give(step)
                return
        now = self._loop.time()
        parcel = Parcel(
            lane.tp,
            BatchBuilder(self.compression, max_bytes=step),
            self.failures,
            opened_at=now,
            deadline=now + self.delivery_timeout_s,
            reserved=step,
        )
        parcel.on_done = self._done
        self.incomplete[parcel] = None
        lane.open = parcel
        self._wake(lane)

    def discard_empty(self, lane: Lane) -> None:
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
