"""Sets of defaults: those of Faust's guide, and those of Faust 1.x where it went another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .exceptions import ImproperlyConfigured
from .imports import did_you_mean
from .urls import BrokerURL

__all__ = ["DEFAULTS", "of", "use"]

Default = Callable[[Any], Any]  # of the Settings that are asked

#: By name, what differs from the table of settings.
DEFAULTS: dict[str, Mapping[str, Default]] = {
    "faust-1.0": {},
    "faust-1.x": {
        "broker": lambda conf: BrokerURL("kafka://localhost:9092"),
        "key_serializer": lambda conf: "raw",
        "commit_interval": lambda conf: 2.8,
        "canonical_url": lambda conf: f"http://{conf.web_host}:{conf.web_port}",
    },
}
_in_use = "faust-1.0"


def of(name: str | None) -> Mapping[str, Default]:
    """Return a set of defaults; without a name that of the process.

    Raises ImproperlyConfigured for a name that is none.
    """
    name = _in_use if name is None else name
    if name not in DEFAULTS:
        raise ImproperlyConfigured(
            f"defaults={name!r}: there is {', '.join(DEFAULTS)}{did_you_mean(str(name), DEFAULTS)}"
        )
    return DEFAULTS[name]


def use(name: str) -> None:
    """Let settings that are made from now on have these defaults unless they say otherwise.

    Raises ImproperlyConfigured for a name that is none.
    """
    global _in_use
    of(name)
    _in_use = name
