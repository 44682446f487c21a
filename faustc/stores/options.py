"""The `options` of a table whose store is a RocksDB: what is set, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.imports import did_you_mean

__all__ = ["DEFAULT_BLOCK_CACHE_SIZE", "NAMES", "as_given", "set_all"]

#: Faust's names.
NAMES = (
    "max_open_files",
    "write_buffer_size",
    "max_write_buffer_number",
    "target_file_size_base",
    "block_cache_size",
    "block_cache_compressed_size",
    "bloom_filter_size",
    "ttl",
    "extra",
)
# RocksDB's own 64 MiB, twice, are for one database; a worker has one per table and partition.
DEFAULT_WRITE_BUFFER_SIZE = 4 << 20
DEFAULT_MAX_WRITE_BUFFER_NUMBER = 3
DEFAULT_BLOCK_CACHE_SIZE = 8 << 20

# What no driver can do, and why.
_REFUSED = {
    "block_cache_compressed_size": (
        "RocksDB has no cache of compressed blocks since version 8; leave it out, and give "
        "block_cache_size what it had"
    ),
    "ttl": (
        "RocksDB would drop by its own clock what the changelog still has, and the table would "
        "differ from one that is filled anew; use a windowed table with `expires`"
    ),
    "read_only": (
        "each worker keeps a copy of its own; give it a tabledir of its own, and read the table"
    ),
}


def as_given(options: Mapping[str, Any], scheme: str) -> dict[str, Any]:
    """Return the options with defaults, those of `extra` beside the others.

    None means the default, as in Faust. Raises ImproperlyConfigured for what nobody can honour.
    """
    given: dict[str, Any] = {
        "write_buffer_size": DEFAULT_WRITE_BUFFER_SIZE,
        "max_write_buffer_number": DEFAULT_MAX_WRITE_BUFFER_NUMBER,
    }
    extra = options.get("extra")
    if extra is not None and not isinstance(extra, Mapping):
        raise ImproperlyConfigured(
            f"{scheme} option extra: a mapping of names to values, not {extra!r}"
        )
    given.update((name, value) for name, value in (extra or {}).items())
    for name, value in options.items():
        if name != "extra" and value is not None:
            given[name] = value
    for name, why in _REFUSED.items():
        if given.get(name):
            raise ImproperlyConfigured(f"{scheme} option {name}: {why}")
        given.pop(name, None)
    return given


def set_all(target: Any, given: Mapping[str, Any], scheme: str) -> None:
    """Call the binding's setter of each option; raise ImproperlyConfigured if there is none."""
    for name, value in given.items():
        setter = getattr(target, f"set_{name}", None) or getattr(target, name, None)
        if not callable(setter) or name.startswith("_"):
            known = {m.removeprefix("set_") for m in dir(target) if not m.startswith("_")}
            known |= set(NAMES)
            raise ImproperlyConfigured(
                f"{scheme} has no option {name!r}{did_you_mean(name, known)} "
                f"(there are: {', '.join(sorted(known - set(_REFUSED)))})"
            )
        arguments = value if isinstance(value, (list, tuple)) else (value,)
        try:
            setter(*arguments)
        except (TypeError, OverflowError, ValueError) as exc:
            raise ImproperlyConfigured(f"{scheme} option {name}={value!r}: {exc}") from exc
