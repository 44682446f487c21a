"""Whether a store is what its changelog says: by one fingerprint, and key by key where not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from faustc.clock import monotonic
from faustc.exceptions import KafkaTimeout
from faustc.stores.base import Store, apply_batch
from faustc.stores.fingerprint import fingerprint

__all__ = ["Verdict", "compare"]

POLL_MS = 250
# A changelog that gives nothing for so long is given up.
SILENCE_S = 30.0


class Verdict(NamedTuple):
    """What came out for one store.

    keys is how many the changelog has; differing are those of which the store, once it has read
    on to the changelog's end, would have another value, or none, or one too many. fault is
    why the two cannot be compared.
    """

    keys: int
    position: int | None
    end: int
    differing: list[bytes]
    fault: str = ""

    @property
    def equal(self) -> bool:
        """Whether they are the same."""
        return not self.differing and not self.fault


async def compare(store: Store, consumer: Any) -> Verdict:
    """Compare a store with its changelog, which a started consumer without a group reads.

    A store may be behind: what it has not read yet is put on top of it, as a worker would. All of
    the partition is in memory meanwhile. Raises KafkaTimeout if the changelog falls silent.
    """
    tp = store.tp
    first = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.high_watermarks([tp]))[tp]
    position = store.position
    if position is not None and position > end:
        return Verdict(0, position, end, [], "it is ahead of its changelog")
    if not store.may_be_of(consumer.topic_id(tp.topic)):
        return Verdict(0, position, end, [], "its changelog was deleted, and created again")
    begin = first if position is None else position
    said: dict[bytes, bytes] = {}
    unread: dict[bytes, bytes | None] = {}
    consumer.assign([tp])
    consumer.seek(tp, first)
    give_up = monotonic() + SILENCE_S
    while (reached := consumer.known_position(tp)) is None or reached < end:
        fetched = await consumer.getbatches(timeout_ms=POLL_MS)
        for batch in fetched.get(tp, ()):
            give_up = monotonic() + SILENCE_S
            _read(batch, begin, said, unread)
        if monotonic() >= give_up:
            raise KafkaTimeout(
                f"{tp.topic}/{tp.partition}: nothing came for {SILENCE_S:g} s, at offset {reached} "
                f"of {end}"
            )
    ours = {key: value for key, value in store.items() if key not in unread}
    ours.update((key, value) for key, value in unread.items() if value is not None)
    differing = (
        [] if fingerprint(ours.items()) == fingerprint(said.items()) else [*_differing(ours, said)]
    )
    return Verdict(len(said), position, end, differing)


def _read(
    batch: Any, begin: int, said: dict[bytes, bytes], unread: dict[bytes, bytes | None]
) -> None:
    """Take a batch into what the changelog says, and what of it is from `begin` on into unread."""
    if batch.next_offset > begin:
        for message in batch.messages():
            if message.key is not None and message.offset >= begin:
                unread[message.key] = message.value
    apply_batch(batch, said)


def _differing(ours: dict[bytes, bytes], said: dict[bytes, bytes]) -> Iterator[bytes]:
    for key in ours.keys() | said.keys():
        if ours.get(key) != said.get(key):
            yield key
