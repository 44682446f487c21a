"""The web server as the app sees it: its views, their addresses, and the answers they make."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faustc.exceptions import NotReady
from faustc.imports import did_you_mean, symbol_by_name
from faustc.service import Service
from faustc.web.exceptions import UnknownView
from faustc.web.views import View

__all__ = ["BlueprintManager", "Web"]

Handler = Callable[[Any], Awaitable[Any]]
_SEPARATOR = b"\r\n\r\n"


class BlueprintManager:
    """The blueprints that are registered when the server starts."""

    def __init__(self, initial: Iterable[tuple[str, Any]] = ()) -> None:
        self.applied = False
        self._enabled: list[tuple[str, Any]] = list(initial)

    def add(self, prefix: str, blueprint: Any) -> None:
        """Add a blueprint, or the path of one; raises NotReady once the server has started."""
        if self.applied:
            raise NotReady(
                f"the web server has its views already; add {blueprint!r} before it starts"
            )
        self._enabled.append((prefix, blueprint))

    def apply(self, web: Web) -> None:
        """Register them all, once."""
        if not self.applied:
            self.applied = True
            for prefix, given in self._enabled:
                blueprint = symbol_by_name(given)
                blueprint.register(web.app, url_prefix=prefix)
                blueprint.init_webserver(web)


class Web(Service):
    """The web server of an app: `app.web`. A worker starts and stops it with the app.

    A driver (a subclass) listens, and makes the answers.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        self.views: dict[str, View] = {}
        self.reverse_names: dict[str, str] = {}
        self.routes: list[tuple[str, Handler, Mapping[str, Any] | None]] = []
        self.static_routes: list[tuple[str, Path, dict[str, Any]]] = []
        self.blueprints = BlueprintManager(self._built_in())
        self._serving = False
        super().__init__(**options)

    def _built_in(self) -> list[tuple[str, str]]:
        """Return our own pages: `/` says how the worker does, at length where statistics are on."""
        conf = self.app.conf
        index = "stats" if conf.web_stats_enabled else "production_index"
        pages = [("/", f"faustc.web.apps.{index}:blueprint")]
        if conf.web_router_enabled:
            pages.append(("/router", "faustc.web.apps.router:blueprint"))
        if conf.web_tables_enabled:
            pages.append(("/table", "faustc.web.apps.tables:blueprint"))
        return pages

    def init_server(self) -> None:
        """Register the blueprints, and tell the app."""
        self.blueprints.apply(self)
        self.app.on_webserver_init(self)

    # -- views -------------------------------------------------------------------------

    def add_view(
        self,
        view_cls: type[View],
        *,
        prefix: str = "",
        cors_options: Mapping[str, Any] | None = None,
    ) -> View:
        """Add a view class at its path; return the view."""
        view = view_cls(self.app, self)
        path = f"{prefix.rstrip('/')}/{view.view_path.lstrip('/')}"
        self.route(path, view, cors_options)
        self.views[path] = view
        self.reverse_names[view.view_name] = path
        return view

    def route(
        self, pattern: str, handler: Handler, cors_options: Mapping[str, Any] | None = None
    ) -> None:
        """Let a handler answer the requests to a path; raises NotReady once the server runs."""
        self._check_open(pattern)
        self.routes.append((pattern, handler, cors_options))

    def add_static(self, prefix: str, path: Path | str, **options: Any) -> None:
        """Serve the files of a folder below a path."""
        self._check_open(prefix)
        self.static_routes.append((prefix, Path(path), options))

    def _check_open(self, path: str) -> None:
        if self._serving:
            raise NotReady(f"the web server is running; add {path} before it starts")

    def url_for(self, view_name: str, **kwargs: Any) -> str:
        """Return the path of a view by its name; kwargs are the parts in braces.

        Raises UnknownView (a KeyError) for a name nobody has, TypeError for a part that is
        missing.
        """
        path = self.reverse_names.get(view_name)
        if path is None:
            hint = did_you_mean(view_name, self.reverse_names)
            raise UnknownView(f"there is no view with the name {view_name!r}{hint}")
        return _filled(path, kwargs)

    @property
    def url(self) -> str:
        """Where this worker's pages are for others: canonical_url if set, else host and port."""
        conf = self.app.conf
        if conf.is_set("canonical_url"):
            url: str = conf.canonical_url
            return url if "://" in url else f"http://{url}:{conf.web_port}"
        scheme = "https" if conf.web_ssl_context is not None else "http"
        host = conf.web_host if conf.is_set("web_host") else _reachable(conf)
        return f"{scheme}://{host}:{conf.web_port}"

    @property
    def address(self) -> str:
        """Where it listens, for people: a URL, or unix:///path."""
        conf = self.app.conf
        if conf.web_transport.scheme == "unix":
            return str(conf.web_transport)
        scheme = "https" if conf.web_ssl_context is not None else "http"
        host = f"[{conf.web_bind}]" if ":" in conf.web_bind else conf.web_bind
        return f"{scheme}://{host}:{conf.web_port}"

    # -- answers as bytes, for the cache -------------------------------------------------

    def _response_to_bytes(self, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        return _SEPARATOR.join([str(status).encode(), b"\r\n".join(lines), body])

    def _bytes_to_response(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        status, _, rest = data.partition(_SEPARATOR)
        head, _, body = rest.partition(_SEPARATOR)
        pairs = (line.decode("latin-1").split(": ", 1) for line in head.split(b"\r\n") if line)
        return int(status), dict(pairs), body


def _reachable(conf: Any) -> str:
    """Return the name that pages are reached by: who listens on loopback only has no other."""
    loopback = ("127.0.0.1", "::1", "localhost")
    return "localhost" if conf.web_bind in loopback else str(conf.web_host)


def _filled(path: str, parts: Mapping[str, Any]) -> str:
    """Put the parts into `{name}` and `{name:regex}` of a path, quoted."""
    names = _names_of(path)
    missing = [name for _, _, name in names if name not in parts]
    unknown = sorted(set(parts) - {name for _, _, name in names})
    if missing or unknown:
        what = f"lacks {missing}" if missing else f"has no {unknown}"
        raise TypeError(f"the path {path} {what}")
    done, at = "", 0
    for begin, end, name in names:
        done += path[at:begin] + quote(str(parts[name]), safe="")
        at = end
    return done + path[at:]


def _names_of(path: str) -> list[tuple[int, int, str]]:
    """Find what is in braces (a regular expression in there may have braces of its own)."""
    found, depth, begin = [], 0, 0
    for at, char in enumerate(path):
        if char == "{":
            begin = at if depth == 0 else begin
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                name = path[begin + 1 : at].partition(":")[0]
                found.append((begin, at + 1, name))
    return found
