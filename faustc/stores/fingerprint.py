"""One number for all that a store holds: two that hold the same have the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xxhash import xxh3_128_intdigest

from faustc.stores.base import apply_batch

__all__ = ["fingerprint", "fingerprint_of_changelog"]

MASK = (1 << 128) - 1


def fingerprint(pairs: Iterable[tuple[bytes, bytes]]) -> int:
    """Return a number of 128 bits for keys and values, such as `store.items()`, in any order.

    Each pair is hashed by itself, the key's length first, so that no byte can move from a key
    to its value unseen; the hashes are added up.
    """
    total = 0
    for key, value in pairs:
        total += xxh3_128_intdigest(len(key).to_bytes(8, "big") + key + value)
    return total & MASK


def fingerprint_of_changelog(batches: Iterable[Any]) -> int:
    """Return the fingerprint of a store into which these fetched batches were loaded."""
    state: dict[bytes, bytes] = {}
    for batch in batches:
        apply_batch(batch, state)
    return fingerprint(state.items())
