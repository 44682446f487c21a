"""Which shard of a table is meant: that of the event in hand, of a key, or whichever has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faustc._native.partition import partition_for
from faustc.engine.shard import Shard
from faustc.events import current_event, current_stream
from faustc.exceptions import NotReady, OutsideStream, PartitionsMismatch
from faustc.tables.facets import MISSING, Facet, Kept

__all__ = ["Routing", "message_in_hand"]

# Keys that are equal only if their bytes are: True is 1, and 1.0, and is written otherwise.
PLAIN_KEYS = frozenset({str, int, bytes})
# The part of a table's cache that is for the bytes of its keys.
KEYS_PART = 4


def message_in_hand() -> Any:
    """Return the message whose event the running task is at; None outside of streams."""
    reference: Any = current_stream.get()
    stream = reference() if reference is not None else None
    if stream is None:
        return None
    message = getattr(stream, "in_hand", None)
    if message is not None:
        return message
    event = current_event()  # a task that a body started has its event, and no stream
    return None if event is None else event.message


class Routing:
    """The part of a table that knows its shards, and which of them a key is looked up in.

    Within a stream that is the partition of the event in hand, for reading and writing.
    A table with use_partitioner, and a global one, goes by the key. Where no event is in
    hand, reading looks at every shard that is here.
    """

    app: Any
    name: str
    partitions: int | None
    use_partitioner: bool
    is_global: bool
    cache_bytes: int
    changelog_topic_name: Any

    def __init__(self) -> None:
        #: The shards that are whole, by partition. The engine keeps it.
        self.shards: dict[int, Shard] = {}
        self._by_partition: dict[int, Facet] = {}
        # By topic, those that have as many partitions as the table: each has _by_partition.
        self._facets: dict[Any, dict[int, Facet]] = {}
        self._raws = Kept(self.cache_bytes // KEYS_PART)
        self._coding: Any = None
        #: Whether shards are opened in memory as they are asked for: in tests of one agent.
        self.standing_alone = False

    @property
    def coding(self) -> Any:
        """How keys and values are bytes."""
        raise NotImplementedError

    # -- opened and closed ---------------------------------------------------------------

    def _open_facet(self, shard: Shard) -> Facet:
        local = 1 if self.partitions is None else max(1, self.partitions)
        share = self.cache_bytes * (KEYS_PART - 1) // KEYS_PART // local
        facet = Facet(shard, self.coding.decode_value, share)
        self._by_partition[shard.partition] = facet
        facet.expiry = self._new_expiry(facet)
        return facet

    def _new_expiry(self, facet: Facet) -> Any:
        """Make what lets windows expire; None without."""
        return None

    def _close_facet(self, shard: Shard) -> None:
        found = self._by_partition.get(shard.partition)
        if found is not None and found.shard is shard:
            del self._by_partition[shard.partition]

    def _all(self) -> list[Facet]:
        """Return every shard that is here."""
        if len(self._by_partition) < len(self.shards):
            for partition in list(self.shards):
                self._known(partition)
        return list(self._by_partition.values())

    def _known(self, partition: int) -> Facet | None:
        facet = self._by_partition.get(partition)
        if facet is None:
            shard = self.shards.get(partition)
            if shard is not None:
                return self._open_facet(shard)
            if self.standing_alone:
                return self.open_in_memory(partition)
        return facet

    def open_in_memory(self, partition: int) -> Facet:
        """Open a partition that no worker has."""
        raise NotImplementedError

    # -- keys --------------------------------------------------------------------------

    def _raw(self, key: Any) -> bytes:
        """Return the bytes of a key; those of the latest plain ones are known."""
        return self._known_bytes(key, "encode_key")

    def _known_bytes(self, key: Any, encode: str) -> bytes:
        """Return what a method of the coding makes of a key: it is always the same one."""
        if key.__class__ not in PLAIN_KEYS:
            return getattr(self.coding, encode)(key)  # type: ignore[no-any-return]
        raw: Any = self._raws.hot.get(key)
        if raw is None:
            raw = self._raws.cold.get(key)
            if raw is None:
                raw = getattr(self.coding, encode)(key)
            self._raws.put(key, raw, 2 * len(raw))
        return raw  # type: ignore[no-any-return]

    def _partition_of(self, raw: bytes) -> int:
        """Return the partition of a key that goes by its key."""
        partitions = self.partitions
        if partitions is None:
            if self.standing_alone:
                return 0
            raise NotReady(f"table {self.name}: the app is not started")
        chosen = self.app.conf.producer_partitioner
        if chosen is None:
            return partition_for(raw, partitions)
        found = self.app.producer.key_partition(self.changelog_topic_name, raw)
        return int(found.partition)

    def partition_for_key(self, key: Any) -> int | None:
        """Return where a key is written to now; None if the key decides, not the event in hand.

        Raises OutsideStream where there is no event, PartitionsMismatch for that of a topic
        that has not as many partitions.
        """
        if self.use_partitioner or self.is_global:
            return None
        return self._to_write(b"").shard.partition

    # -- where -------------------------------------------------------------------------

    def _here(self) -> Facet | None:
        """Return the shard of the event in hand; None if there is none, or the key decides.

        The quick way to it is inlined where tables are read and written.
        """
        if self.use_partitioner or self.is_global:
            return None
        message = message_in_hand()
        if message is None or message.partition < 0:
            return None
        topic, partition = message.topic, message.partition
        if topic not in self._facets:
            if not self._goes_with(topic):
                return None
            self._facets[topic] = self._by_partition
        facet = self._known(partition)
        if facet is None:
            raise NotReady(
                f"table {self.name}: partition {partition} is not here (any more): the event of "
                f"{topic} comes again where it is"
            )
        return facet

    def _goes_with(self, topic: Any) -> bool:
        """Say whether a topic is one that the app reads; raises PartitionsMismatch."""
        if self.standing_alone:
            return True
        count = self.app.runner.partitions_of(topic)
        if count is None:
            return False
        if self.partitions is not None and count != self.partitions:
            raise PartitionsMismatch(
                f"table {self.name} has {self.partitions} partitions ({self.changelog_topic_name}) "
                f"and topic {topic} has {count}: make one of them anew, group_by() the events "
                "into a topic with as many, or give the table use_partitioner=True"
            )
        return True

    def _facet_of(self, partition: int) -> Facet:
        facet = self._known(partition)
        if facet is None:
            raise self._not_here(f"partition {partition} is not at this worker")
        return facet

    def _to_write(self, raw: bytes) -> Facet:
        """Return the shard that a change goes to."""
        facet = self._here()
        if facet is not None:
            return facet
        if self.use_partitioner or self.is_global:
            return self._facet_of(self._partition_of(raw))
        raise self._outside()

    def _outside(self) -> OutsideStream:
        return OutsideStream(
            f"table {self.name}: cannot modify a table outside of stream iteration, where no event "
            "says which partition is meant; send a message to an agent that does it, or give the "
            "table use_partitioner=True"
        )

    def _to_read(self, raw: bytes) -> Iterator[Facet]:
        """Return the shards that may have a key, the likeliest first."""
        facet = self._here()
        if facet is not None:
            return iter((facet,))
        facets = self._all()
        if not facets:
            raise self._not_here("nothing of it is at this worker")
        if self.use_partitioner or self.is_global:
            first = self._known(self._partition_of(raw))
            if first is not None:
                return iter([first, *(one for one in facets if one is not first)])
        return iter(facets)

    def _find(self, raw: bytes) -> Any:
        """Return the value of a key wherever it is, MISSING if it has none."""
        for facet in self._to_read(raw):
            value = facet.get(raw)
            if value is not MISSING:
                return value
        self._missed()
        return MISSING

    def _missed(self) -> None:
        """Raise NotReady if what was not found may be in a shard that is being filled."""
        if self.app.runner.in_recovery and self._here() is None:
            raise NotReady(f"table {self.name} is being filled from its changelog")

    def _not_here(self, why: str) -> NotReady:
        if self.app.runner.in_recovery:
            return NotReady(f"table {self.name} is being filled from its changelog")
        if not self.app.started:
            return NotReady(f"table {self.name}: the app is not started")
        return NotReady(f"table {self.name}: {why}")
