"""Blueprints: views that belong together, to be registered with an app, or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from faustc.web.cache import Cache
from faustc.web.views import View

__all__ = ["Blueprint"]


class FutureRoute(NamedTuple):
    """A view that is to be registered."""

    uri: str
    name: str
    handler: Any
    base: type[View]
    cors_options: Mapping[str, Any] | None


class FutureStaticRoute(NamedTuple):
    """A folder that is to be served."""

    uri: str
    file_or_directory: Path
    name: str


class Blueprint:
    """Views under a name of their own, which a view is called by as `blueprint:view`."""

    view_name_separator = ":"

    def __init__(self, name: str, *, url_prefix: str | None = None) -> None:
        self.name = name
        self.url_prefix = url_prefix
        self.routes: list[FutureRoute] = []
        self.static_routes: list[FutureStaticRoute] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def route(
        self,
        uri: str,
        *,
        name: str | None = None,
        cors_options: Mapping[str, Any] | None = None,
        base: type[View] = View,
    ) -> Callable[[Any], Any]:
        """Add the decorated function or View class at a path below the prefix."""

        def add(handler: Any) -> Any:
            label = name or handler.__name__
            self.routes.append(FutureRoute(uri, label, handler, base, cors_options))
            return handler

        return add

    def static(self, uri: str, file_or_directory: str | Path, *, name: str | None = None) -> None:
        """Serve a folder, or a file, at a path below the prefix."""
        label = f"{self.name}.{name or 'static'}"
        self.static_routes.append(FutureStaticRoute(uri, Path(file_or_directory), label))

    def cache(
        self,
        timeout: Any = None,
        include_headers: bool = False,
        key_prefix: str | None = None,
        backend: Any = None,
    ) -> Cache:
        """Return a cache whose `view()` decorates the methods of views."""
        prefix = self.name if key_prefix is None else key_prefix
        return Cache(timeout, include_headers, prefix, backend)

    def register(self, app: Any, *, url_prefix: str | None = None) -> None:
        """Add the views to an app, at this prefix or the blueprint's own."""
        prefix = url_prefix or self.url_prefix or ""
        for route in self.routes:
            app.page(
                _joined(prefix, route.uri),
                base=route.base,
                name=f"{self.name}{self.view_name_separator}{route.name}",
                cors_options=route.cors_options,
            )(route.handler)
        for static in self.static_routes:
            app.web.add_static(_joined(prefix, static.uri), static.file_or_directory)

    def init_webserver(self, web: Any) -> None:
        """Be told that the web server is about to start."""
        self.on_webserver_init(web)

    def on_webserver_init(self, web: Any) -> None:
        """Run before the web server starts; override as needed."""


def _joined(prefix: str, uri: str) -> str:
    return f"{prefix.rstrip('/')}/{uri.lstrip('/')}"
