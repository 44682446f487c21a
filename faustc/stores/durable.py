"""State on disk, whatever binding writes it: the layout, the bound on batches, damage.

All keys of users begin with `k`, so that none can collide with ours, which begin with `!`: those
are in front of them, and an iteration that starts at `k` never sees them.

    !identity   JSON: format, topic and partition of the changelog, and its topic id if known
    !position   offset and wall clock in milliseconds, 8 bytes each, big endian
    k<key>      value

The position is in the same batch of the database as the last of the values it stands for. Large
changes take several batches, since a binding holds the GIL while it writes one: a crash between
two leaves values that are newer than the position, which the changelog then repeats.
"""

from __future__ import annotations

import atexit
import json
import logging
import shutil
import struct
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from faustc.exceptions import CorruptFrame, StoreDamaged, StoreError
from faustc.stores.base import Changes, Store, apply_batch
from faustc.stores.damage import is_of_surroundings, marked, set_aside
from faustc.stores.damage import mark as mark_damaged
from faustc.types import TopicPartition

__all__ = ["Database", "DurableStore", "WriteBatch"]

logger = logging.getLogger(__name__)

FORMAT = 1
USER = b"k"
IDENTITY = b"!identity"
POSITION = b"!position"
_POSITION = struct.Struct(">qq")

# One batch of the database: as many changes and about as many bytes as are written in a
# millisecond or two, for which nobody else has the GIL.
MAX_BATCH_CHANGES = 1000
MAX_BATCH_BYTES = 1 << 20

# Every open one: a binding may abort the process if it ends while an iterator is alive.
_OPEN: weakref.WeakSet[DurableStore] = weakref.WeakSet()


class WriteBatch(NamedTuple):
    """A batch that is being made: what to call to put and to delete, and what to write."""

    batch: Any
    put: Callable[[bytes, bytes], Any]
    delete: Callable[[bytes], Any]


class Cursor(Protocol):
    """What a database iterates with; closed by who asked for it."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    def close(self) -> None: ...


class Database(Protocol):
    """A database of one binding, open."""

    get: Callable[[bytes], bytes | None]
    write: Callable[[Any], Any]

    def batch(self) -> WriteBatch:
        """Begin a batch; `write` takes it, once."""

    def scan(self, start: bytes) -> Cursor:
        """Iterate in order over all pairs from a key on, as they are now."""

    def close(self) -> None:
        """Close it; all cursors are closed by now."""


class Binding:
    """What the databases of both bindings have in common."""

    def __init__(self, db: Any, batch_class: Any) -> None:
        self._db = db
        self._batch_class = batch_class
        self.get: Callable[[bytes], bytes | None] = db.get
        self.write: Callable[[Any], Any] = db.write

    def close(self) -> None:
        self._db.close()


class DurableStore(Store):
    """State in a database of a folder of its own; subclasses say how to open one.

    A folder whose content cannot be read, or is of another changelog, is set aside with one
    warning, and a new one begun. One that cannot be used for reasons around it (no space,
    no rights, too many open files) raises StoreError.
    """

    durable: ClassVar[bool] = True

    def __init__(self, tp: TopicPartition, folder: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(tp, folder, options)
        if folder is None:
            raise StoreError(f"the store of {tp.topic}/{tp.partition} needs a folder")
        self.path = folder
        self._options = self.make_options(options)
        self._cursors: set[Cursor] = set()
        self._position: int | None = None
        self._written_at_ms: int | None = None
        self._topic_id: str | None = None
        self._db: Database | None = None
        self._get: Callable[[bytes], bytes | None] = self._closed_get
        self._open()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    @classmethod
    @abstractmethod
    def binding_errors(cls) -> tuple[type[Exception], ...]:
        """Return what the binding raises."""

    @classmethod
    @abstractmethod
    def make_options(cls, options: Mapping[str, Any]) -> Any:
        """Return the binding's options; raises ImproperlyConfigured for what it cannot honour."""

    @classmethod
    @abstractmethod
    def open_database(cls, folder: Path, options: Any) -> Database:
        """Open the database in a folder, a new one if there is none; raises the binding's errors.

        options are what make_options returned; they may be used again.
        """

    # -- reading -----------------------------------------------------------------------

    @property
    def position(self) -> int | None:
        return self._position

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._get(USER + key)
        except self._errors as exc:
            raise self._failed("read", exc) from exc

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._opened().scan(USER)
        self._cursors.add(cursor)
        try:
            for key, value in cursor:
                yield key[1:], value
        except self._errors as exc:
            raise self._failed("read", exc) from exc
        finally:
            if cursor in self._cursors:
                self._cursors.remove(cursor)
                cursor.close()
        self._opened()  # closed under us: what we gave is not all

    def __len__(self) -> int:
        # Not the binding's own count, which takes a damaged block for the end.
        count = 0
        for _ in self.items():
            count += 1
        return count

    # -- writing -----------------------------------------------------------------------

    def write(self, changes: Changes, position: int) -> None:
        self._write(((USER + key, value) for key, value in changes.items()), position)

    def load(self, batches: Iterable[Any]) -> int:
        count = 0
        changes: dict[bytes, bytes | None] = {}
        position = self._position
        try:
            for batch in batches:
                count += apply_batch(batch, changes, prefix=USER, keep_deleted=True)
                position = batch.next_offset
                if len(changes) >= MAX_BATCH_CHANGES:
                    self._write(changes.items(), position)
                    changes = {}
        except CorruptFrame:
            # What came before it is good, and need not be fetched again.
            if position is not None:
                self._write(changes.items(), position)
            raise
        if position is not None:
            self._write(changes.items(), position)
        return count

    def clear(self) -> None:
        self.close()
        # Renamed first: a crash leaves no half of a database under its name.
        worthless = self.path.with_name(f"{self.path.name}.cleared")
        try:
            if worthless.exists():
                shutil.rmtree(worthless)
            self.path.rename(worthless)
            shutil.rmtree(worthless)
        except OSError as exc:
            raise StoreError(f"the store {self.path} cannot be emptied: {exc.strerror}") from exc
        self._create()

    @property
    def written_at(self) -> float | None:  # type: ignore[override]
        return None if self._written_at_ms is None else self._written_at_ms / 1000

    @property
    def topic_id(self) -> str | None:
        return self._topic_id

    @topic_id.setter
    def topic_id(self, topic_id: str | None) -> None:
        if topic_id != self._topic_id:
            self._topic_id = topic_id
            self._write_identity()

    def close(self) -> None:
        db, self._db = self._db, None
        if db is None:
            return
        _OPEN.discard(self)
        self._get = self._closed_get
        # Before the database: a binding may abort the process when it ends with one alive.
        while self._cursors:
            self._cursors.pop().close()
        db.close()

    def _write(self, changes: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Write changes by keys of ours, and with the last of them the position."""
        now_ms = time.time_ns() // 1_000_000
        last = (POSITION, _POSITION.pack(position, now_ms))
        rest = iter(chain(changes, [last]))
        while self._write_batch(rest):
            pass
        self._position, self._written_at_ms = position, now_ms

    def _write_batch(self, changes: Iterable[tuple[bytes, bytes | None]]) -> bool:
        """Write one batch of the first of these changes; return whether it is full."""
        db = self._opened()
        try:
            batch, put, delete = db.batch()
            size = 0
            full = False
            for count, (key, value) in enumerate(changes, 1):
                if value is None:
                    delete(key)
                else:
                    put(key, value)
                    size += len(value)
                if count == MAX_BATCH_CHANGES or size >= MAX_BATCH_BYTES:
                    full = True
                    break
            db.write(batch)
        except self._errors as exc:
            raise self._failed("write", exc) from exc
        return full

    # -- opening -----------------------------------------------------------------------

    def _open(self) -> None:
        self._errors = self.binding_errors()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if (reason := marked(self.path)) is not None:
            self._begin_anew(reason)
            return
        try:
            self._db = self.open_database(self.path, self._options)
        except self._errors as exc:
            if is_of_surroundings(exc):
                raise StoreError(f"the store {self.path} cannot be opened: {exc}") from exc
            self._begin_anew(str(exc))
            return
        self._ready()
        try:
            reason = self._read_state()
        except self._errors as exc:
            reason = str(exc)
        if reason is not None:
            self.close()
            self._begin_anew(reason)

    def _begin_anew(self, reason: str) -> None:
        aside = set_aside(self.path)
        logger.warning(
            "The store of %s/%d in %s cannot be used: %s. It was set aside as %s, and is filled "
            "anew from its changelog",
            *self.tp,
            self.path,
            reason,
            aside.name,
        )
        self._create()

    def _create(self) -> None:
        self._position = self._written_at_ms = self._topic_id = None
        try:
            self._db = self.open_database(self.path, self._options)
        except self._errors as exc:
            raise StoreError(f"the store {self.path} cannot be opened: {exc}") from exc
        self._ready()
        self._write_identity()

    def _ready(self) -> None:
        assert self._db is not None
        self._get = self._db.get
        _OPEN.add(self)

    def _read_state(self) -> str | None:
        """Read identity and position; return what is wrong with them."""
        db = self._opened()
        found = db.get(IDENTITY)
        if found is None:
            cursor = db.scan(b"")
            try:
                empty = next(iter(cursor), None) is None
            finally:
                cursor.close()
            if not empty:
                return "it was not made by faustc"
            self._write_identity()
            return None
        try:
            identity = json.loads(found)
            version, topic_id = identity["format"], identity.get("topic_id")
            owner = (identity["topic"], identity["partition"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return "it does not say what it is of"
        if version != FORMAT:
            return f"its format is {version!r}, ours is {FORMAT}"
        if owner != tuple(self.tp):
            return f"it is of {owner[0]}/{owner[1]}"
        self._topic_id = topic_id
        state = db.get(POSITION)
        if state is None:
            return None
        if len(state) != _POSITION.size:
            return f"its position has {len(state)} bytes, not {_POSITION.size}"
        self._position, self._written_at_ms = _POSITION.unpack(state)
        return None

    def _write_identity(self) -> None:
        identity = {
            "format": FORMAT,
            "topic": self.tp.topic,
            "partition": self.tp.partition,
            "topic_id": self._topic_id,
        }
        self._write_batch([(IDENTITY, json.dumps(identity).encode())])

    # -- trouble -----------------------------------------------------------------------

    def _opened(self) -> Database:
        if self._db is None:
            raise StoreError(f"the store {self.path} is closed")
        return self._db

    def _closed_get(self, key: bytes) -> bytes | None:
        raise StoreError(f"the store {self.path} is closed")

    def _failed(self, what: str, exc: Exception) -> StoreError:
        """Return what to raise; damage is noted in the folder, for who opens it next."""
        if is_of_surroundings(exc) or (what == "write" and "Corruption" not in str(exc)):
            return StoreError(f"the store {self.path}, cannot {what}: {exc}")
        # A table that was read to a damaged block would be read to it again after a restart.
        mark_damaged(self.path, str(exc))
        return StoreDamaged(
            f"the store {self.path} is damaged ({exc}): it is filled anew when it is next opened"
        )


def _close_all() -> None:
    for store in list(_OPEN):
        store.close()


atexit.register(_close_all)
