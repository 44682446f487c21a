"""Settings as a page: each with its names, its kind, default, variable and meaning.

python -m faustc.setting_docs FILE writes the tables into a Markdown file, below
the line that is MARK; docs/settings.md is made that way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .setting_defaults import DEFAULTS
from .setting_table import Options
from .setting_types import ProcessingGuarantee, Setting
from .settings import FIXED, WITHOUT_EFFECT, Settings
from .version import __version__

__all__ = ["MARK", "document", "written"]

#: Below this line a page is made by `python -m faustc.setting_docs`.
MARK = "<!-- from here on made by `make settings` -->"

# By the first setting of each part of the table.
PARTS = {
    "autodiscover": "Common",
    "key_serializer": "Serialization",
    "topic_allow_declare": "Topics",
    "broker_consumer": "Brokers",
    "consumer_api_version": "The consumer",
    "producer_acks": "The producer",
    "table_cleanup_interval": "Tables",
    "recovery_consistency_check": "Streams",
    "worker_redirect_stdouts": "Worker",
    "web": "Web",
    "agent_supervisor": "Agents and replies",
    "Agent": "Classes that can be swapped",
}
# What a check takes, by its name.
KINDS = {
    "acks": "0, 1, -1, `all`",
    "anything_callable": "function, or its path",
    "api_version": "text",
    "broker": "URL, or several",
    "credentials": "credentials",
    "driver_url": "URL",
    "either": "word",
    "flag": "yes or no",
    "guarantee": "word",
    "items": "list",
    "log_level": "level",
    "mapping": "mapping",
    "one_of": "word",
    "packages": "yes or no, list, function",
    "path": "path",
    "seconds": "seconds",
    "serializer": "codec",
    "some_seconds": "seconds, above 0",
    "ssl_context": "`SSLContext`",
    "symbol": "class, or its path",
    "text": "text",
    "whole": "number",
    "zone": "`tzinfo`, or a name",
}
# What is worked out when it is asked for.
WORKED_OUT = {
    "loghandlers": "none",
    "broker_consumer": "`broker`",
    "broker_producer": "`broker`",
    "consumer_api_version": "`broker_api_version`",
    "producer_api_version": "`broker_api_version`",
    "producer_linger": "`producer_linger_ms`",
    "web_application_options": "none",
    "web_stats_enabled": "`debug`",
    "web_graph_enabled": "`debug`",
    "web_host": "the host's name",
    "canonical_url": "the host's name",
    "reply_to": "`reply_to_prefix` and a UUID",
}


def document(settings: type[Options] = Settings) -> str:
    """Return a Markdown table for each part of the settings; one's own are the last part."""
    parts: dict[str, list[str]] = {}
    title = ""
    for name, setting in settings.SETTINGS.items():  # type: ignore[attr-defined]
        if name not in Settings.SETTINGS:
            title = "More"
        title = PARTS.get(name, title)
        parts.setdefault(title, []).append(_row(name, setting))
    head = ["| Setting | Takes | Default | Variable | Meaning |", "|---|---|---|---|---|"]
    return "\n".join(
        "\n".join([f"## {title}\n", *head, *rows]) + "\n" for title, rows in parts.items()
    )


def _row(name: str, setting: Setting[Any]) -> str:
    cells = (
        ", ".join(f"`{one}`" for one in (name, *setting.aliases)),
        _kind(name, setting),
        _default(name, setting),
        ", ".join(_variables(setting)),
        " ".join(_meaning(name, setting)),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(name: str, setting: Setting[Any]) -> str:
    kind = KINDS.get(setting.check.__qualname__.split(".")[0], "")
    return "milliseconds" if kind == "number" and name.endswith("_ms") else kind


def _default(name: str, setting: Setting[Any]) -> str:
    if setting.derive is not None:
        return WORKED_OUT.get(name, "worked out")
    value: Any = setting.default
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, ProcessingGuarantee):
        value = value.value
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{shown.replace(__version__, 'VERSION')}`"


def _variables(setting: Setting[Any]) -> Iterator[str]:
    if setting.env:
        yield f"`{setting.env}`"
    if setting.process:
        yield f"`FAUST_{setting.process}`"


def _meaning(name: str, setting: Setting[Any]) -> Iterator[str]:
    yield setting.doc
    if name in DEFAULTS["faust-1.x"]:
        yield "Faust 1.x has another default."
    if name in WITHOUT_EFFECT:
        yield f"Changes nothing here: {WITHOUT_EFFECT[name]}."
    if name in FIXED:
        yield f"Cannot be another: {FIXED[name]}."


def written(page: str) -> str:
    """Return a page with its tables made anew. Raises ValueError if it has no MARK."""
    head, mark, _ = page.partition(MARK)
    if not mark:
        raise ValueError(f"the page lacks the line {MARK}")
    return f"{head}{mark}\n\n{document()}"


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(written(file.read_text(encoding="utf-8")), encoding="utf-8")
