"""Where Faust's and mode's modules are here, if not under the same name in our package."""

from __future__ import annotations

__all__ = ["PLACES", "ROOTS"]

ROOTS = {"faust": "faustc", "mode": "faustc.compat.mode"}

_TYPES = (
    *("agents", "app", "assignor", "auth", "channels", "codecs", "enums", "events", "fixups"),
    *("joins", "router", "sensors", "serializers", "stores", "streams", "tables", "topics"),
    *("transports", "web", "windows"),
)

PLACES = {
    "faust.agents.actor": "faustc.actors",
    "faust.agents.agent": "faustc.agents",
    "faust.agents.models": "faustc.reqrep",
    "faust.agents.replies": "faustc.replies",
    "faust.app.base": "faustc.app",
    "faust.serializers._fickling": "faustc.unpickling",
    "faust.transport": "faustc.engine.transport",
    "faust.transport.base": "faustc.engine.transport",
    "faust.transport.consumer": "faustc.client.consumer",
    "faust.transport.producer": "faustc.client.producer",
    "faust.types.settings": "faustc.settings",
    "faust.types.settings.params": "faustc.setting_types",
    "faust.types.settings.settings": "faustc.settings",
    **{f"faust.types.{name}": "faustc.types" for name in _TYPES},
    "mode.services": "faustc.service",
    "mode.signals": "faustc.signals",
    "mode.supervisors": "faustc.supervisors",
    "mode.timers": "faustc.timers",
    "mode.utils.imports": "faustc.imports",
    "mode.worker": "faustc.worker",
}
