"""CORS: which pages of other sites may ask, and what they may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faustc.exceptions import ImproperlyConfigured

__all__ = ["ResourceOptions", "answer_to", "checked"]

ANY = "*"


@dataclass(frozen=True)
class ResourceOptions:
    """What the pages of one origin may do.

    expose_headers, allow_headers and allow_methods are lists of names, or "*" for
    whichever are asked for. max_age is how many seconds a browser may remember it.
    """

    allow_credentials: bool = False
    expose_headers: Any = ()
    allow_headers: Any = ()
    max_age: int | None = None
    allow_methods: Any = None


def checked(options: Mapping[str, Any] | None) -> dict[str, ResourceOptions]:
    """Return the options by origin; raises ImproperlyConfigured."""
    found = {}
    for origin, given in (options or {}).items():
        if isinstance(given, Mapping):
            try:
                given = ResourceOptions(**given)
            except TypeError as exc:
                raise ImproperlyConfigured(f"CORS options of {origin}: {exc}") from exc
        if not isinstance(given, ResourceOptions):
            raise ImproperlyConfigured(
                f"CORS options of {origin}: a ResourceOptions or a mapping, not {given!r}"
            )
        found[origin] = given
    return found


def answer_to(
    headers: Mapping[str, str], options: Mapping[str, ResourceOptions], verbs: set[str]
) -> dict[str, str]:
    """Return the headers that answer a request of another site's page; none if it may not."""
    origin = headers.get("Origin")
    granted = options.get(origin or "") or options.get(ANY)
    if origin is None or granted is None:
        return {}
    found = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    if granted.allow_credentials:
        found["Access-Control-Allow-Credentials"] = "true"
    wanted = headers.get("Access-Control-Request-Method")
    if wanted is None:
        exposed = granted.expose_headers
        if exposed:
            found["Access-Control-Expose-Headers"] = _listed(exposed, ANY)
        return found
    allowed = granted.allow_methods
    methods = verbs if allowed in (None, ANY) else {str(one).upper() for one in allowed}
    if wanted.upper() not in methods:
        return {}
    found["Access-Control-Allow-Methods"] = ",".join(sorted(methods))
    asked = headers.get("Access-Control-Request-Headers", "")
    if granted.allow_headers and asked:
        found["Access-Control-Allow-Headers"] = _listed(granted.allow_headers, asked)
    if granted.max_age is not None:
        found["Access-Control-Max-Age"] = str(granted.max_age)
    return found


def _listed(names: Any, instead: str) -> str:
    return instead if names == ANY else ",".join(names)
