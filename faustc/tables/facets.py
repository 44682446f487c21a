"""A shard as user code sees it: objects, of which the latest are kept as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from faustc.engine.shard import Shard

__all__ = ["MISSING", "Facet", "Kept"]

MISSING: Any = object()

# What an object takes beside its bytes, about: itself, and its place in a dictionary.
OBJECT_BYTES = 200
# How much larger than JSON what it says is in memory, about.
TIMES = 3


class Kept:
    """A dictionary within a bound: what was not asked for while half of it filled up goes."""

    __slots__ = ("cold", "hot", "limit", "used")

    def __init__(self, max_bytes: int) -> None:
        self.limit = max_bytes // 2
        self.hot: dict[Any, Any] = {}
        self.cold: dict[Any, Any] = {}
        self.used = 0

    def put(self, key: Any, value: Any, size: int) -> None:
        self.hot[key] = value
        self.used += size + OBJECT_BYTES
        if self.used > self.limit:
            self.hot, self.cold, self.used = {}, self.hot, 0

    def clear(self) -> None:
        self.hot, self.cold, self.used = {}, {}, 0


class Facet:
    """One shard: values as objects, found by the bytes of their keys.

    An object that was read or set is handed out again until it is not asked for any more,
    or until the shard changes other than through here.
    """

    __slots__ = ("decode", "edition", "expiry", "kept", "sets", "shard")

    def __init__(self, shard: Shard, decode: Callable[[bytes], Any], max_bytes: int) -> None:
        self.shard = shard
        self.decode = decode
        self.edition = shard.edition
        self.kept = Kept(max_bytes)
        self.expiry: Any = None  # of a windowed table: see faustc.tables.expiry
        self.sets: Any = None  # of a table of sets

    def _renew(self) -> None:
        self.edition = self.shard.edition
        self.kept.clear()

    def get(self, raw: bytes) -> Any:
        """Return the value of a key, MISSING if it has none."""
        if self.edition != self.shard.edition:
            self._renew()
        kept = self.kept
        value = kept.hot.get(raw, MISSING)
        if value is not MISSING:
            return value
        value = kept.cold.get(raw, MISSING)
        if value is not MISSING:
            kept.put(raw, value, len(raw))
            return value
        stored = self.shard.get(raw)
        if stored is None:
            return MISSING
        value = self.decode(stored)
        kept.put(raw, value, len(raw) + TIMES * len(stored))
        return value

    def has(self, raw: bytes) -> bool:
        """Say whether a key has a value."""
        if self.edition == self.shard.edition and raw in self.kept.hot:
            return True
        return self.shard.get(raw) is not None

    def set(self, raw: bytes, stored: bytes, value: Any) -> None:
        """Give a key a value, as bytes and as the object to hand out."""
        shard = self.shard
        if self.edition != shard.edition:
            self._renew()
        shard.set(raw, stored)
        self.kept.put(raw, value, len(raw) + TIMES * len(stored))

    def delete(self, raw: bytes) -> None:
        """Take a key away."""
        self.shard.set(raw, None)
        self._let_go(raw)

    def drop(self, raw: bytes) -> None:
        """Take a key away of which nobody needs to hear if it is new; see Shard.drop."""
        self.shard.drop(raw)
        self._let_go(raw)

    def _let_go(self, raw: bytes) -> None:
        self.kept.hot.pop(raw, None)
        self.kept.cold.pop(raw, None)

    def items(self) -> Iterator[tuple[bytes, Any]]:
        """Iterate over keys as bytes, and values as objects."""
        for raw, stored in self.shard.items():
            value = MISSING
            if self.edition == self.shard.edition:
                value = self.kept.hot.get(raw, MISSING)
            yield raw, self.decode(stored) if value is MISSING else value
