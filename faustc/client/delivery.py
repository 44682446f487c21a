"""What senders get back: runs of bulk messages, and the count of what was given up."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, NamedTuple

from faustc.client.parcel import Parcel
from faustc.exceptions import FaustError
from faustc.types import TopicPartition


class Written(NamedTuple):
    """A run of messages of one send_many that landed together.

    offset is that of the first of `messages`, -1 when the broker did not
    say (acks=0); timestamp is in milliseconds, timestamp_type 1 is LogAppendTime.
    """

    topic_partition: TopicPartition
    offset: int
    messages: int
    timestamp: int
    timestamp_type: int


class Deliveries:
    """The promise that all messages of one send_many are written.

    Await it for a list of `Written`, in the order they were appended; a parcel
    that was given up raises DeliveryFailed after all the others are settled.
    """

    __slots__ = ("_runs", "timestamp_ms")

    def __init__(self, timestamp_ms: int) -> None:
        self.timestamp_ms = timestamp_ms
        self._runs: list[tuple[Parcel, int, int]] = []

    def add(self, parcel: Parcel, first: int, count: int) -> None:
        """Take note of `count` messages from index `first` of a parcel on."""
        self._runs.append((parcel, first, count))

    def __len__(self) -> int:
        return sum(count for _, _, count in self._runs)

    def __await__(self) -> Generator[Any, None, list[Written]]:
        return self._wait().__await__()

    async def _wait(self) -> list[Written]:
        waited_for = [run for run in self._runs if not run[0].done]
        for parcel, first, count in waited_for:
            parcel.watch(first, count)
        try:
            for parcel, _, _ in waited_for:
                await parcel.wait_done()
        except asyncio.CancelledError:
            for parcel, first, count in waited_for:
                parcel.unwatch(first, count)
            raise
        return self.result()

    def done(self) -> bool:
        """Say whether every message was written or given up."""
        return all(parcel.done for parcel, _, _ in self._runs)

    def result(self) -> list[Written]:
        """Return the runs; raises what awaiting would, or asyncio.InvalidStateError."""
        error: Exception | None = None
        runs: list[Written] = []
        for parcel, first, count in self._runs:
            error = error or self._collect(parcel, first, count, runs)
        if error is not None:
            raise error
        return runs

    def exception(self) -> Exception | None:
        """Return the first error among them, None if all were written."""
        try:
            self.result()
        except FaustError as exc:
            return exc
        return None

    def _collect(
        self, parcel: Parcel, first: int, count: int, runs: list[Written]
    ) -> Exception | None:
        error: Exception | None = None
        at, end = first, first + count
        while at < end:
            part, start = parcel.part_of(at) if parcel.done else (parcel, 0)
            stop = min(end, start + part.count) if parcel.done else end
            problem = parcel.exception(at)
            if problem is None:
                found = parcel.result(at, self.timestamp_ms)
                _, _, tp, offset, timestamp, timestamp_type = found
                runs.append(Written(tp, offset, stop - at, timestamp, timestamp_type))
            else:
                for index in range(at + 1, stop):
                    parcel.exception(index)
                error = error or problem
            at = stop
        return error
