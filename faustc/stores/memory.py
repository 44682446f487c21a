"""memory://: a dictionary, filled from the changelog at each start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.stores.base import Changes, Store, apply_batch
from faustc.types import TopicPartition

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """State in memory."""

    def __init__(self, tp: TopicPartition, folder: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(tp, folder, options)
        if options:
            raise ImproperlyConfigured(f"memory:// takes no options, not {', '.join(options)}")
        self._data: dict[bytes, bytes] = {}
        #: One for each iteration that is under way over this very dictionary.
        self._readers: set[object] = set()
        self._position: int | None = None

    @property
    def position(self) -> int | None:
        return self._position

    def get(self, key: bytes) -> bytes | None:
        return self._data.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        reader, readers = object(), self._readers
        readers.add(reader)
        try:
            yield from self._data.items()
        finally:
            readers.remove(reader)

    def __len__(self) -> int:
        return len(self._data)

    def write(self, changes: Changes, position: int) -> None:
        data = self._writable()
        for key, value in changes.items():
            if value is None:
                data.pop(key, None)
            else:
                data[key] = value
        self._position = position

    def load(self, batches: Iterable[Any]) -> int:
        data, count = self._writable(), 0
        for batch in batches:
            count += apply_batch(batch, data)
            self._position = batch.next_offset
        return count

    def clear(self) -> None:
        self._data, self._readers = {}, set()
        self._position = self.topic_id = None

    def close(self) -> None:
        self.clear()

    def _writable(self) -> dict[bytes, bytes]:
        """Return what may be written to: iterations under way keep what they began with."""
        if self._readers:
            self._data, self._readers = self._data.copy(), set()
        return self._data
