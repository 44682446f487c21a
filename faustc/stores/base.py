"""What a store is: the state of one partition of one table, as bytes.

A table's changes reach its store in batches, each with the position in the changelog that it
brings the store to, and only once the changelog has them: a store never holds what its
changelog lacks, and a position never claims more than the store holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from faustc.types import TopicPartition

__all__ = ["Store", "apply_batch"]

Changes = Mapping[bytes, bytes | None]


class Store(ABC):
    """The state of one partition of one table; used from the app's event loop only.

    tp is the partition of the changelog. folder is where a durable store keeps its files; it
    need not exist yet, and nobody else uses it. options are the table's `options`: one that
    means nothing here raises ImproperlyConfigured.

    A custom store is a subclass that the `store` URL names by its dotted path:
    `store="myproj.stores.Mine://"`. `faustc.testing.stores` has the tests that any store passes.
    """

    #: Whether what it holds is there again after a restart. One that is not is filled from the
    #: start of its changelog each time, and is given no folder.
    durable: ClassVar[bool] = False

    #: The id that the cluster gave the changelog, where somebody noted it; a durable store
    #: remembers it. A changelog that was deleted and created again has another one.
    topic_id: str | None = None

    #: When the position was last written, in seconds since 1970, if the store knows. A changelog
    #: forgets deletions after a while, so one that was away for longer is filled anew.
    written_at: float | None = None

    def __init__(self, tp: TopicPartition, folder: Path | None, options: Mapping[str, Any]) -> None:
        self.tp = tp
        self.folder = folder

    @property
    @abstractmethod
    def position(self) -> int | None:
        """The offset of the first changelog record that is not in here; None for a new store."""

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if it has none."""

    @abstractmethod
    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all pairs as they are when it begins, in any order.

        Writes do not disturb it, and it may be left before its end. One that is alive at
        `close` does no harm, nor need it go on.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Return how many keys there are; this may look at all of them."""

    @abstractmethod
    def write(self, changes: Changes, position: int) -> None:
        """Take values (None: the key goes) and the position they lead to.

        A crash in the middle leaves values of before or of after, and the position moves
        with the last of them: what is repeated from there on gives the same values again.
        """

    @abstractmethod
    def clear(self) -> None:
        """Forget everything, position and topic_id included."""

    def may_be_of(self, topic_id: str | None) -> bool:
        """Say whether it is of the changelog with this id, as far as both ids are known."""
        return topic_id is None or self.topic_id in (None, topic_id)

    def load(self, batches: Iterable[Any]) -> int:
        """Take records of the changelog as they were fetched; return how many.

        The position becomes the next offset of the last batch. What it does is
        what `write` would, done with the batches' records; a store that can do it faster does.
        Raises CorruptFrame; what came before the corrupt batch may be in here by then.
        """
        changes: dict[bytes, bytes | None] = {}
        count, position = 0, self.position
        for batch in batches:
            count += apply_batch(batch, changes, keep_deleted=True)
            position = batch.next_offset
        if position is not None:
            self.write(changes, position)
        return count

    def close(self) -> None:  # noqa: B027  (many have nothing to let go of)
        """Let go of files; nothing is called after this."""


def apply_batch(
    batch: Any, target: dict[bytes, Any], *, prefix: bytes = b"", keep_deleted: bool = False
) -> int:
    """Put a fetched batch's values into target by prefix + key; return how many records it has.

    A record without a key changes nothing; one without a value takes its key away, or with
    keep_deleted puts None there. Batches that can do it themselves (ours) make no messages.
    """
    fast = getattr(batch, "apply_to", None)
    if fast is not None:
        count: int = fast(target, prefix=prefix, keep_deleted=keep_deleted)
        return count
    messages = batch.messages()
    for message in messages:
        if message.key is None:
            continue
        if message.value is not None or keep_deleted:
            target[prefix + message.key] = message.value
        else:
            target.pop(prefix + message.key, None)
    return len(messages)
