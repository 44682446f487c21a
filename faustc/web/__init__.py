"""Views over HTTP. Names are imported when they are first used: aiohttp is slow to import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from faustc.web.base import Web
    from faustc.web.blueprints import Blueprint
    from faustc.web.cors import ResourceOptions
    from faustc.web.views import View, gives_model, takes_model

__all__ = [
    "Blueprint",
    "Request",
    "ResourceOptions",
    "Response",
    "View",
    "Web",
    "gives_model",
    "takes_model",
]

_PLACES = {
    "Blueprint": "faustc.web.blueprints",
    "Request": "aiohttp.web",
    "ResourceOptions": "faustc.web.cors",
    "Response": "aiohttp.web",
    "View": "faustc.web.views",
    "Web": "faustc.web.base",
    "gives_model": "faustc.web.views",
    "takes_model": "faustc.web.views",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'faustc.web' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(place), name)
    return value
