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

__all__ = ["Store"]

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
        """Iterate over all pairs, in any order; a write ends the iteration with an error or not.

        Close it, or go through to its end, before the store is closed.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Return how many keys there are; this may look at all of them."""

    @abstractmethod
    def write(self, changes: Changes, position: int) -> None:
        """Take values (None: the key goes) and the position they lead to: all, or nothing."""

    @abstractmethod
    def clear(self) -> None:
        """Forget everything, the position included."""

    def load(self, batches: Iterable[Any]) -> int:
        """Take records of the changelog as they were fetched; return how many.

        The position becomes the next offset of the last batch. What it does is
        what `write` would, done with the batches' records; a store that can do it faster does.
        """
        changes: dict[bytes, bytes | None] = {}
        count, position = 0, self.position or 0
        for batch in batches:
            for message in batch.messages():
                count += 1
                if message.key is not None:
                    changes[message.key] = message.value
            position = batch.next_offset
        self.write(changes, position)
        return count

    def close(self) -> None:  # noqa: B027  (many have nothing to let go of)
        """Let go of files; nothing is called after this."""
