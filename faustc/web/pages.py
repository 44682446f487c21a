"""What an app has to do with the web: its pages, its server, and its client."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from faustc.exceptions import ImproperlyConfigured
from faustc.imports import plugin, symbol_by_name

if TYPE_CHECKING:
    from faustc.web.views import View

__all__ = ["Pages"]

Fun = TypeVar("Fun", bound=Callable[..., Any])


class Pages:
    """The part of an app that is about the web."""

    conf: Any
    client_only: bool
    _made: Callable[[str, Callable[[], Any]], Any]
    #: Whether its start begins with that of its web server, as in a worker.
    serves_web = False

    def __init__(self, **options: Any) -> None:
        self.pages: list[tuple[type[View], Mapping[str, Any] | None]] = []
        super().__init__(**options)

    @property
    def web(self) -> Any:
        """The web server, with the views that are there by now (see faustc.web)."""
        return self._made("_web", self._make_web)

    @web.setter
    def web(self, web: Any) -> None:
        self.__dict__["_web"] = web

    def _make_web(self) -> Any:
        scheme = self.conf.web.scheme
        path = "faustc.web.server:AiohttpWeb" if scheme == "aiohttp" else scheme
        driver = plugin("faust.web.drivers", scheme) or symbol_by_name(path)
        web = driver(self)
        for view, cors_options in self.pages:
            web.add_view(view, cors_options=cors_options)
        return web

    @property
    def cache(self) -> Any:
        """Where answers of views are kept."""
        from faustc.web.cache import backend_of

        return self._made("_cache", lambda: backend_of(self, self.conf.cache))

    @cache.setter
    def cache(self, cache: Any) -> None:
        self.__dict__["_cache"] = cache

    @property
    def http_client(self) -> Any:
        """An aiohttp.ClientSession, for requests to others; closed when the app stops."""
        return self._made("_http_client", lambda: self.conf.HttpClient())

    @http_client.setter
    def http_client(self, client: Any) -> None:
        self.__dict__["_http_client"] = client

    client_session = http_client  # Faust 1.0's name

    def page(
        self,
        path: str,
        *,
        base: type[View] | None = None,
        cors_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Callable[[Any], type[View]]:
        """Serve the decorated View class, or function of (view, request, **match), at a path.

        `{name}` in the path is a part that is given to the view. A function answers GET.
        """
        if not path.startswith("/"):
            raise ImproperlyConfigured(f"the path of a page begins with a slash, unlike {path!r}")

        def define(given: Any) -> type[View]:
            from faustc.web.views import View

            found: Any = given if inspect.isclass(given) else (base or View).from_handler(given)
            if not issubclass(found, View):
                raise ImproperlyConfigured(f"page {path}: {given!r} is no faustc.web.View")
            view: type[View] = found.at(path, name or found.__name__)
            self.pages.append((view, cors_options))
            if "_web" in self.__dict__:
                self.web.add_view(view, cors_options=cors_options)
            return view

        return define

    @property
    def router(self) -> Any:
        """Knows which worker has what (see faustc.web.router)."""
        return self._made("_router", lambda: self.conf.Router(self))

    @router.setter
    def router(self, router: Any) -> None:
        self.__dict__["_router"] = router

    def table_route(
        self,
        table: Any,
        shard_param: str | None = None,
        *,
        query_param: str | None = None,
        match_info: str | None = None,
        exact_key: str | None = None,
    ) -> Callable[[Fun], Fun]:
        """Let the decorated view be answered by the worker that has a key of a table.

        The key is a parameter of the query, a part of the path in braces, or always the same;
        shard_param is query_param by its old name. While no worker has it the answer is 503.
        """
        from faustc.web.router import routed

        return routed(
            lambda router, key, web, request: router.route_req(table.name, key, web, request),
            lambda: table.key_type,
            shard_param=shard_param,
            query_param=query_param,
            match_info=match_info,
            exact_key=exact_key,
        )

    def topic_route(
        self,
        topic: Any,
        shard_param: str | None = None,
        *,
        query_param: str | None = None,
        match_info: str | None = None,
        exact_key: str | None = None,
    ) -> Callable[[Fun], Fun]:
        """Let the decorated view be answered by the worker that reads a key of a topic.

        See table_route.
        """
        from faustc.web.router import routed

        return routed(
            lambda router, key, web, request: router.route_topic_req(topic, key, web, request),
            lambda: getattr(topic, "key_type", None),
            shard_param=shard_param,
            query_param=query_param,
            match_info=match_info,
            exact_key=exact_key,
        )

    def on_webserver_init(self, web: Any) -> None:
        """Run when the web server is about to start; override it to add to `web`."""

    async def _start_web(self) -> None:
        """Serve, if a worker wants it; whoever asks how that does is told while it starts, too."""
        if self.serves_web and self.conf.web_enabled and not self.client_only:
            await self.web.start()

    async def _stop_web(self) -> None:
        client = self.__dict__.pop("_http_client", None)
        if client is not None:
            await client.close()
        if "_web" in self.__dict__:
            await self.web.stop()
