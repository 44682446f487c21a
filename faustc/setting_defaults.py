"""Sets of defaults: those of Faust's guide, and those of Faust 1.x where it went another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .exceptions import ImproperlyConfigured
from .imports import did_you_mean
from .urls import URL, BrokerURL

__all__ = ["DEFAULTS", "of", "use"]

Default = Callable[[Any], Any]  # of the Settings that are asked

#: By name, what differs from the table of settings.
DEFAULTS: dict[str, Mapping[str, Default]] = {
    "faust-1.0": {},
    "faust-1.x": {
        "broker": lambda conf: BrokerURL("kafka://localhost:9092"),
        "key_serializer": lambda conf: "raw",
        "commit_interval": lambda conf: 2.8,
        "canonical_url": lambda conf: URL(f"http://{conf.web_host}:{conf.web_port}"),
    },
}
#: What Faust 1.x calls settings that the guide has under another name.
RENAMED = {
    "client_id": "broker_client_id",
    "commit_interval": "broker_commit_interval",
    "create_reply_topic": "reply_create_topic",
    "num_standby_replicas": "table_standby_replicas",
    "default_partitions": "topic_partitions",
    "replication_factor": "topic_replication_factor",
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


def is_late(defaults: Mapping[str, Default]) -> bool:
    """Say whether a broker's scheme is looked at only when the app starts, as Faust 1.x does."""
    return defaults is DEFAULTS["faust-1.x"]


def renamed(defaults: Mapping[str, Default], name: str) -> str | None:
    """Return what Faust 1.x says of a setting's old name, None if it says nothing."""
    if name not in RENAMED or defaults is not DEFAULTS["faust-1.x"]:
        return None
    return f"setting {name} is called {RENAMED[name]} since Faust 1.9; both work here"


def use(name: str) -> None:
    """Let settings that are made from now on have these defaults unless they say otherwise.

    Raises ImproperlyConfigured for a name that is none.
    """
    global _in_use
    of(name)
    _in_use = name
