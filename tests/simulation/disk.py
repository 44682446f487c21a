"""A durable store on a disk that is a dictionary: a kill tears its last write, and it stays."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faustc.stores.base import Changes, Store
from faustc.types import TopicPartition
from tests.simulation.lives import LIFE

__all__ = ["Disk", "SimStore"]


class _Files:
    """What is on the disk of one store."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.position: int | None = None
        self.topic_id: str | None = None


class Disk:
    """The disk of all workers of one run, and who looks at what is written to it."""

    #: The one of the run that is under way: stores are made by their class's path.
    current: Disk

    def __init__(self, on_write: Callable[[TopicPartition, Changes, int], None]) -> None:
        self.files: dict[str, _Files] = {}
        self.open: list[SimStore] = []
        self.on_write = on_write

    def crash(self, life: Any, chance: random.Random) -> None:
        """Leave what a life wrote as a kill would: its last write as it may be half way."""
        for store in [store for store in self.open if store.life is life]:
            if chance.random() < 0.5:
                store.tear(chance)
            self.open.remove(store)


class SimStore(Store):
    """A store on `Disk.current`."""

    durable = True

    def __init__(self, tp: TopicPartition, folder: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(tp, folder, options)
        assert folder is not None
        self.life = LIFE.get()
        self._disk = Disk.current
        self._files = self._disk.files.setdefault(str(folder), _Files())
        self._before: tuple[dict[bytes, bytes | None], int | None] | None = None
        self._disk.open.append(self)

    @property
    def topic_id(self) -> str | None:  # type: ignore[override]
        return self._files.topic_id

    @topic_id.setter
    def topic_id(self, value: str | None) -> None:
        if self._alive:
            self._files.topic_id = value

    @property
    def _alive(self) -> bool:
        return self.life is None or not self.life.dead

    @property
    def position(self) -> int | None:
        return self._files.position

    def get(self, key: bytes) -> bytes | None:
        return self._files.data.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        yield from list(self._files.data.items())

    def __len__(self) -> int:
        return len(self._files.data)

    def write(self, changes: Changes, position: int) -> None:
        if not self._alive:
            return
        self._disk.on_write(self.tp, changes, position)
        data = self._files.data
        self._before = {key: data.get(key) for key in changes}, self._files.position
        for key, value in changes.items():
            self._put(key, value)
        self._files.position = position

    def _put(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._files.data.pop(key, None)
        else:
            self._files.data[key] = value

    def tear(self, chance: random.Random) -> None:
        """Undo some of the last write, its position first of all."""
        if self._before is not None:
            before, self._files.position = self._before
            for key, value in before.items():
                if chance.random() < 0.5:
                    self._put(key, value)

    def clear(self) -> None:
        if self._alive:
            self._files.data.clear()
            self._files.position = self._files.topic_id = self._before = None

    def close(self) -> None:
        if self in self._disk.open:
            self._disk.open.remove(self)
