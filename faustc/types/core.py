"""Headers and names, as every layer hands them around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = [
    "HeadersArg",
    "K",
    "NamePattern",
    "OpenHeadersArg",
    "V",
    "merge_headers",
    "prepare_headers",
]

#: A key, as the application has it.
K = Any
#: A value, as the application has it.
V = Any
#: Headers as they are given: a mapping, or pairs where names may repeat.
HeadersArg = Mapping[str, Any] | Sequence[tuple[str, Any]] | None
#: Headers that may be added to.
OpenHeadersArg = dict[str, Any] | list[tuple[str, Any]]


class NamePattern(Protocol):
    """Chooses topics by name: a compiled regular expression, or what stands for several.

    match gives None for a name that is not meant.
    """

    def match(self, name: str, /) -> Any: ...


def prepare_headers(headers: HeadersArg) -> OpenHeadersArg:
    """Return a copy of headers, text in UTF-8: a dict of a mapping, a list of pairs."""
    if headers is None:
        return {}
    items = getattr(headers, "items", None)
    if items is not None:
        return {name: _bytes(value) for name, value in items()}
    pairs: Any = headers
    return [(name, _bytes(value)) for name, value in pairs]


def merge_headers(target: HeadersArg, source: Mapping[str, Any] | None) -> OpenHeadersArg:
    """Return headers with those of source added; target may be None, and stays as it is."""
    merged = prepare_headers(target)
    more = prepare_headers(source)
    assert isinstance(more, dict)
    if isinstance(merged, dict):
        merged.update(more)
    else:
        merged.extend(more.items())
    return merged


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value
