"""Sets in a table: each member is a record of its own, so that compaction keeps all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from pathlib import Path
from typing import Any, TypeVar

from faustc import jsonable
from faustc.exceptions import DecodeError, FaustError, NotReady
from faustc.stores.base import Changes, Store
from faustc.tables.coding import hashable
from faustc.tables.facets import Facet
from faustc.types import TopicPartition

__all__ = ["ChangeloggedSet", "Members", "SetStore"]

# A member is the key `[3, key, member]`. Faust has `[operation, key]`: add, discard, update.
MEMBER = 3
PREFIX = b"[3,"
ADD, DISCARD, UPDATE = 1, 2, 15
HERE = b"1"

T = TypeVar("T")


def row(raw_key: bytes, raw_member: bytes) -> bytes:
    """Return the key of a record that says that a set has a member."""
    return b"[3,%b,%b]" % (raw_key, raw_member)


class SetStore(Store):
    """A store of rows, which takes the changelogs of Faust's sets as well.

    Those are of operations; what they do to rows does not depend on what was before. `found`
    says whether there were any: then the rows are not in the changelog yet.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.found = False

    @property
    def tp(self) -> TopicPartition:  # type: ignore[override]
        return self.inner.tp

    @property
    def folder(self) -> Path | None:  # type: ignore[override]
        return self.inner.folder

    @property
    def topic_id(self) -> str | None:
        return self.inner.topic_id

    @topic_id.setter
    def topic_id(self, topic_id: str | None) -> None:
        self.inner.topic_id = topic_id

    @property
    def position(self) -> int | None:
        return self.inner.position

    def get(self, key: bytes) -> bytes | None:
        return self.inner.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self.inner.items()

    def __len__(self) -> int:
        return len(self.inner)

    def write(self, changes: Changes, position: int) -> None:
        self.inner.write(changes, position)

    def clear(self) -> None:
        self.inner.clear()

    def close(self) -> None:
        self.inner.close()

    def load(self, batches: Iterable[Any]) -> int:
        changes: dict[bytes, bytes | None] = {}
        count, position = 0, self.position
        for batch in batches:
            for message in batch.messages():
                count += 1
                key, value = message.key, message.value
                if key is None:
                    continue
                if key.startswith(PREFIX) and _is_row(key):
                    changes[key] = value
                elif value is not None:
                    self.found = True
                    changes.update(_rows(key, value))
            position = batch.next_offset
        if position is not None:
            self.write(changes, position)
        return count


def _is_row(key: bytes) -> bool:
    # `[3, "k"]` would be an operation of Faust's, and there is none of that number.
    return key.endswith(b"]")


def _rows(key: bytes, value: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Return what an operation of Faust's does; raises DecodeError for what is none."""
    try:
        operation, inner = jsonable.loads(key)
        content = jsonable.loads(value)
        if operation == UPDATE:
            added, removed = content
        elif operation in (ADD, DISCARD):
            added, removed = ([content], []) if operation == ADD else ([], [content])
        else:
            raise ValueError(f"no operation {operation!r}")
    except (ValueError, TypeError) as exc:
        raise DecodeError(f"{key[:80]!r} is no change of a set: {exc}") from exc
    raw = jsonable.dumps(inner)
    for member in added:
        yield row(raw, jsonable.dumps(member)), HERE
    for member in removed:
        yield row(raw, jsonable.dumps(member)), None


class Members:
    """The sets of one shard, in memory: by the bytes of their keys."""

    def __init__(self, table: Any, facet: Facet) -> None:
        self._table = table
        self._facet = facet
        self._edition: int | None = None
        self._sets: dict[bytes, set[Any]] = {}

    def all(self) -> dict[bytes, set[Any]]:
        """Return every set that is not empty."""
        if self._edition != self._facet.shard.edition:
            self._edition = self._facet.shard.edition
            self._sets = {}
            for raw, _ in self._facet.shard.items():
                key, member = self._table.split(raw)
                self._sets.setdefault(self._table._raw(key), set()).add(member)
        return self._sets

    def change(self, key: Any, raw: bytes, added: Iterable[Any], removed: Iterable[Any]) -> None:
        """Add members to a set, and take others out."""
        table, shard, sets = self._table, self._facet.shard, self.all()
        members = sets.get(raw)
        if members is None:
            members = sets[raw] = set()
        for member in added:
            shard.set(row(raw, table.encode_member(member)), HERE)
            members.add(member)
        for member in removed:
            shard.set(row(raw, table.encode_member(member)), None)
            members.discard(member)
        if not members:
            del sets[raw]
        elif self._facet.expiry is not None:
            self._facet.expiry.note(raw, key)
        table._count(key, members)

    def write_all(self) -> None:
        """Have every member sent to the changelog: until now it has other records of them."""
        for raw, _ in list(self._facet.shard.items()):
            self._facet.shard.set(raw, HERE)


class ChangeloggedSet(MutableSet[T]):
    """The set of one key: a set as any other, whose changes are those of the table."""

    __slots__ = ("_facet", "_raw", "_table", "key")

    def __init__(self, table: Any, facet: Facet, key: Any, raw: bytes) -> None:
        self._table = table
        self._facet = facet
        self.key = key
        self._raw = raw

    @property
    def data(self) -> frozenset[T]:
        """The members, as they are now."""
        return frozenset(self._members)

    @property
    def _members(self) -> set[T]:
        return self._facet.sets.all().get(self._raw) or set()

    def _change(self, added: Iterable[Any], removed: Iterable[Any]) -> None:
        facet = self._table._to_write(self._raw)
        if facet is not self._facet:
            raise NotReady(
                f"table {self._table.name}: the set of {self.key!r} was taken from partition "
                f"{self._facet.shard.partition}, and the event in hand is of another: "
                "look it up anew"
            )
        members = self._members
        new = [member for member in added if member not in members]
        gone = [member for member in removed if member in members]
        if new or gone:
            facet.sets.change(self.key, self._raw, new, gone)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._members!r}>"

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return set(it)  # what operators make is a plain set

    def add(self, value: T) -> None:
        """Add a member."""
        self._change((value,), ())

    def discard(self, value: T) -> None:
        """Take a member out, if it is one."""
        self._change((), (value,))

    def pop(self) -> T:
        """Take out some member and return it; raises KeyError if there is none."""
        for member in self:
            self.discard(member)
            return member
        raise KeyError(f"the set of {self.key!r} is empty")

    def clear(self) -> None:
        """Take out all members."""
        self._change((), list(self._members))

    def update(self, *others: Iterable[T]) -> None:
        """Add all members of others."""
        self._change(set().union(*others), ())

    def difference_update(self, *others: Iterable[T]) -> None:
        """Take out the members of others."""
        self._change((), set().union(*others))

    def intersection_update(self, *others: Iterable[T]) -> None:
        """Keep what all others have, too."""
        members = self._members
        self._change((), members - members.intersection(*others))

    def symmetric_difference_update(self, other: Iterable[T]) -> None:
        """Keep what one of the two has, and not both."""
        members, others = self._members, set(other)
        self._change(others - members, others & members)

    def union(self, *others: Iterable[T]) -> set[T]:
        """Return a set of what is in this one or in others."""
        return self._members.union(*others)

    def intersection(self, *others: Iterable[T]) -> set[T]:
        """Return a set of what all have."""
        return self._members.intersection(*others)

    def difference(self, *others: Iterable[T]) -> set[T]:
        """Return a set of what the others have not."""
        return self._members.difference(*others)

    def symmetric_difference(self, other: Iterable[T]) -> set[T]:
        """Return a set of what one of the two has, and not both."""
        return self._members.symmetric_difference(other)

    def issubset(self, other: Iterable[Any]) -> bool:
        """Say whether the other has all of it."""
        return self._members.issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Say whether it has all of the other."""
        return self._members.issuperset(other)

    def copy(self) -> set[T]:
        """Return a set of its own."""
        return set(self._members)

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def __iand__(self, other: Any) -> Any:  # type: ignore[misc]
        self.intersection_update(other)
        return self

    def __isub__(self, other: Any) -> Any:  # type: ignore[misc]
        self.difference_update(list(other))
        return self

    def __ixor__(self, other: Any) -> Any:  # type: ignore[misc]
        self.symmetric_difference_update(other)
        return self


def split(raw: bytes) -> tuple[Any, Any]:
    """Return the key and the member that a row is about, as JSON has them."""
    try:
        kind, key, member = jsonable.loads(raw)
    except ValueError as exc:
        raise FaustError(f"{raw[:80]!r} is no member of a set") from exc
    assert kind == MEMBER
    return key, hashable(member)
