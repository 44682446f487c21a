"""The partitions assigned to a consumer: where it is in them, and where it goes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from faustc.client import offsets
from faustc.client.backoff import Deadline
from faustc.client.client import Client
from faustc.client.cursors import Cursor
from faustc.client.fetcher import Fetcher, FetchOptions
from faustc.exceptions import ConsumerNotStarted, KafkaTimeout
from faustc.types import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition


class Assigned:
    """The half of a Consumer that is about positions; the other half makes and ends its parts."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._timeout_s = options.request_timeout_s
        self._client: Client | None = None
        self._fetcher_: Fetcher | None = None
        self._stopped = False
        # What was handed out since user code last came back: it may still be at work on it.
        self._in_hand: dict[TopicPartition, Cursor] = {}

    def pause(self, *partitions: TopicPartition) -> None:
        """Neither fetch nor hand out these until `resume`; what is buffered stays."""
        for cursor in self._all(partitions):
            self._fetcher.pause(cursor, True)

    def resume(self, *partitions: TopicPartition) -> None:
        """Go on with partitions that were paused."""
        for cursor in self._all(partitions):
            self._fetcher.pause(cursor, False)

    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        return {tp for tp, cursor in self._fetcher.cursors.items() if cursor.paused}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on from an offset of an assigned partition; what is buffered is dropped."""
        if offset < 0:
            raise ValueError(f"offset {offset} is below 0")
        self._in_hand.pop(partition, None)
        self._fetcher.seek(self._cursor(partition), offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go to the first offset there is (of all assigned partitions, if none is named)."""
        await self._seek_by_time(partitions, offsets.EARLIEST)

    async def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go past the last offset there is now, read_committed: the last stable one."""
        await self._seek_by_time(partitions, offsets.LATEST)

    async def rewind(
        self, partitions: Collection[TopicPartition], otherwise: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
        """Go on from the committed offsets, where there is none from those in `otherwise`.

        Return what is committed. Waits for transactions that are about to commit some. Raises
        KafkaTimeout, BrokerError.
        """
        found = await self._look_up(partitions)
        for tp in partitions:
            committed = found.get(tp)
            offset = otherwise.get(tp) if committed is None else committed.offset
            if offset is not None and tp in self._fetcher.cursors:
                self.seek(tp, offset)
        return found

    async def committed_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
        """Return what the group has committed for partitions, with what was written down."""
        return await self._look_up(partitions)

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next message to be handed out, waiting till it is known."""
        deadline = Deadline(self._timeout_s)
        while True:
            self._fetcher.check()
            cursor = self._cursor(partition)
            if cursor.position >= 0:
                return cursor.position
            if cursor.error is not None:
                raise cursor.error
            if deadline.expired():
                raise KafkaTimeout(
                    f"the position of {partition.topic}/{partition.partition} "
                    f"is not known after {self._timeout_s:g} s"
                )
            await self._fetcher.ready.wait(deadline.left())

    def known_position(self, partition: TopicPartition) -> int | None:
        """Return the offset of the next message to be handed out; None while it is unknown.

        Raises what makes the partition unreadable.
        """
        self._fetcher.check()
        cursor = self._cursor(partition)
        if cursor.position < 0 and cursor.error is not None:
            raise cursor.error
        return cursor.position if cursor.position >= 0 else None

    def highwater(self, partition: TopicPartition) -> int | None:
        """Return the end offset that the last fetch told, None before there was one."""
        cursor = self._cursor(partition)
        return cursor.highwater if cursor.highwater >= 0 else None

    def topic_id(self, topic: str) -> str | None:
        """Return the id that the cluster gave a topic, in hex; None where it is not known.

        It is another one after the topic was deleted and created again. Brokers before 2.8
        have none, and nobody knows one before the topic was asked about.
        """
        known = self._running.cluster.topic_id(topic)
        return known.hex() if any(known) else None

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition, assigned or not."""
        return await self._edges(partitions, offsets.EARLIEST)

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset after the last message; read_committed: the last stable offset."""
        return await self._edges(partitions, offsets.LATEST)

    async def high_watermarks(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the offset after the last record of each partition, committed or not."""
        found = await offsets.list_offsets(
            self._running,
            {TopicPartition(*tp): offsets.LATEST for tp in partitions},
            isolation_level=0,
            timeout_s=self._timeout_s,
        )
        return {tp: one.offset for tp, one in found.items()}

    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return for each partition the first message at or after a time in milliseconds.

        None where there is none.
        """
        found = await self._list(timestamps)
        return {
            tp: OffsetAndTimestamp(one.offset, one.timestamp) if one.offset >= 0 else None
            for tp, one in found.items()
        }

    # -- the cluster -------------------------------------------------------------------

    async def topics(self) -> set[str]:
        """Return the names of all topics that we may see, Kafka's own excepted."""
        answer = await self._running.request("Metadata", topics=None)
        return {
            topic.name
            for topic in answer.topics
            if topic.name and not topic.error_code and not topic.is_internal
        }

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the numbers of a topic's partitions; None if it is unknown or not read here."""
        found = self._running.cluster.partitions(topic)
        return set(found) if found is not None else None

    @property
    def _running(self) -> Client:
        if self._client is None or self._stopped:
            raise ConsumerNotStarted(
                "the consumer is stopped" if self._stopped else "the consumer is not started"
            )
        return self._client

    @property
    def _fetcher(self) -> Fetcher:
        if self._fetcher_ is None:
            raise ConsumerNotStarted("the consumer is not started")
        return self._fetcher_

    def _cursor(self, tp: TopicPartition) -> Cursor:
        cursor = self._fetcher.cursors.get(tp)
        if cursor is None:
            raise ValueError(f"{tp[0]}/{tp[1]} is not assigned to this consumer")
        return cursor

    def _all(self, partitions: Iterable[TopicPartition]) -> list[Cursor]:
        return [self._cursor(tp) for tp in partitions] or list(self._fetcher.cursors.values())

    async def _look_up(
        self, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
        raise NotImplementedError

    async def _seek_by_time(self, partitions: Iterable[TopicPartition], timestamp: int) -> None:
        cursors = self._all(partitions)
        for cursor in cursors:
            self._in_hand.pop(cursor.tp, None)
            self._fetcher.seek_by_time(cursor, timestamp)
        for cursor in cursors:
            await self.position(cursor.tp)

    async def _list(
        self, wanted: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, offsets.ListedOffset]:
        return await offsets.list_offsets(
            self._running,
            {TopicPartition(*tp): timestamp for tp, timestamp in wanted.items()},
            isolation_level=self._options.isolation_level,
            timeout_s=self._timeout_s,
        )

    async def _edges(
        self, partitions: Iterable[TopicPartition], timestamp: int
    ) -> dict[TopicPartition, int]:
        found = await self._list(dict.fromkeys(partitions, timestamp))
        return {tp: one.offset for tp, one in found.items()}
