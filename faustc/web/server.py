"""The web server on aiohttp. Nothing else of ours imports that, and it is not quick to import."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from aiohttp import web as aio
from aiohttp.typedefs import Middleware

from faustc.exceptions import ImproperlyConfigured
from faustc.jsonable import dumps
from faustc.version import __version__
from faustc.web.base import Web
from faustc.web.cors import ResourceOptions, answer_to, checked

__all__ = ["AiohttpWeb"]

logger = logging.getLogger(__name__)

# How large the body of a request may be, unless web_application_options says otherwise.
MAX_BODY_BYTES = 1024 * 1024
# How long requests that are being answered have to end when the server stops.
SHUTDOWN_S = 5.0

Headers = Mapping[str, str] | None


class AiohttpWeb(Web):
    """Serves the views by aiohttp, on the app's own loop, or with web_in_thread on one of its own.

    Views on a loop of their own may send to topics and ask agents, and must not await
    anything else that belongs to the app's loop.
    """

    driver_version = "aiohttp"

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._runner: aio.AppRunner | None = None
        # With web_in_thread: the server's own loop, and the thread that runs it.
        self._far: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- answers -----------------------------------------------------------------------

    def text(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers = None,
    ) -> aio.Response:
        """Make an answer of text."""
        return aio.Response(
            text=value,
            content_type=content_type or "text/plain",
            status=status,
            reason=reason,
            headers=headers,
        )

    def html(self, value: str, *, content_type: str | None = None, **options: Any) -> aio.Response:
        """Make an answer of HTML."""
        return self.text(value, content_type=content_type or "text/html", **options)

    def json(self, value: Any, *, content_type: str | None = None, **options: Any) -> aio.Response:
        """Make an answer of JSON."""
        return self.bytes(dumps(value), content_type=content_type or "application/json", **options)

    def bytes(
        self,
        value: bytes,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers = None,
    ) -> aio.Response:
        """Make an answer of bytes."""
        return aio.Response(
            body=value,
            content_type=content_type or "application/octet-stream",
            status=status,
            reason=reason,
            headers=headers,
        )

    async def read_request_content(self, request: aio.Request) -> Any:
        """Return the body of a request; one that is too large is answered by 413."""
        return await request.read()

    def response_to_bytes(self, response: aio.Response) -> Any:
        """Write an answer as bytes."""
        own = ("content-length", "date")  # those of when it is sent
        kept = {k: v for k, v in response.headers.items() if k.lower() not in own}
        return self._response_to_bytes(response.status, kept, _body_of(response))

    def bytes_to_response(self, s: Any) -> aio.Response:
        """Make an answer of what response_to_bytes wrote."""
        status, headers, body = self._bytes_to_response(s)
        return aio.Response(body=body, status=status, headers=headers)

    # -- serving -----------------------------------------------------------------------

    async def wsgi(self) -> Any:
        """Return aiohttp's application with every view, for a server of your own (gunicorn)."""
        return self.application()

    def application(self) -> aio.Application:
        """Make aiohttp's application with every view; it belongs to the loop that runs it."""
        conf = self.app.conf
        self.init_server()
        given = {"client_max_size": MAX_BODY_BYTES, **conf.web_application_options}
        given["middlewares"] = [_as_json(self), *given.get("middlewares", ())]
        try:
            application = aio.Application(**given)
        except TypeError as exc:
            raise ImproperlyConfigured(f"setting web_application_options: {exc}") from exc
        everywhere = checked(conf.web_cors_options)
        seen: set[str] = set()
        for pattern, handler, cors in self.routes:
            if pattern in seen:
                continue  # the first counts: a page of the user's own before ours
            seen.add(pattern)
            allowed = {**everywhere, **checked(cors)}
            application.router.add_route("*", pattern, self._shared(handler, allowed))
        for prefix, path, options in self.static_routes:
            if path.is_file():
                application.router.add_get(prefix, partial(_file, path))
            else:
                application.router.add_static(prefix, path, **options)
        return application

    def _shared(
        self, handler: Callable[[Any], Awaitable[Any]], allowed: dict[str, ResourceOptions]
    ) -> Callable[[aio.Request], Awaitable[aio.StreamResponse]]:
        """Wrap a handler so that other sites' pages may ask, as far as they are allowed to."""

        async def handle(request: aio.Request) -> aio.StreamResponse:
            response: aio.StreamResponse = await handler(request)
            if not isinstance(response, aio.StreamResponse):
                raise ImproperlyConfigured(
                    f"{request.method} {request.path}: a view returns a response, as "
                    f"self.json(...) makes, not {response!r}"
                )
            return response

        if not allowed:
            return handle

        async def handle_shared(request: aio.Request) -> aio.StreamResponse:
            verbs = getattr(handler, "get_methods", lambda: {"GET", "HEAD"})()
            headers = answer_to(request.headers, allowed, verbs)
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                return aio.Response(status=200 if headers else 403, headers=headers)
            response = await handle(request)
            response.headers.update(headers)
            return response

        return handle_shared

    async def _set_up(self) -> None:
        """Listen. Raises ImproperlyConfigured if the port is taken or the address is not ours."""
        if self.app.conf.web_in_thread:
            self._far = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_run, args=(self._far,), name=f"{self.app.conf.id}.web", daemon=True
            )
            self._thread.start()
        await self._there(self._listen)

    async def _there(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await a coroutine function on the loop that the server lives on."""
        if self._far is None:
            await function()
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(), self._far))

    async def _listen(self) -> None:
        runner = aio.AppRunner(self.application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await self._site(runner).start()
        except OSError as exc:
            await runner.cleanup()
            raise ImproperlyConfigured(
                f"web server: cannot listen at {self.address}: {exc.strerror or exc}; choose "
                "another place with --web-port or --web-bind, or go --without-web"
            ) from exc
        self._runner = runner
        self._serving = True
        logger.info("Web server at %s", self.address)

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _site(self, runner: aio.AppRunner) -> aio.BaseSite:
        conf = self.app.conf
        transport = conf.web_transport
        if transport.scheme == "unix":
            path = "/" + transport.rest.lstrip("/")
            return aio.UnixSite(runner, path, ssl_context=conf.web_ssl_context)
        if transport.scheme != "tcp":
            raise ImproperlyConfigured(
                f"setting web_transport: tcp:// or unix:///path, not {transport}"
            )
        return aio.TCPSite(runner, conf.web_bind, conf.web_port, ssl_context=conf.web_ssl_context)

    @property
    def port(self) -> int | None:
        """The port it listens at, which tells more than web_port where that is 0."""
        addresses = self._runner.addresses if self._runner is not None else []
        return next((a[1] for a in addresses if isinstance(a, tuple)), None)

    @property
    def url(self) -> str:
        """Where this worker's pages are for others: canonical_url if set, else host and port."""
        said = super().url
        if self.port is not None and said.endswith(":0"):
            return f"{said.removesuffix(':0')}:{self.port}"
        return said

    @property
    def address(self) -> str:
        """Where it listens, for people: a URL, or unix:///path."""
        said = super().address
        if self.port is not None and self.app.conf.web_port == 0:
            return said.removesuffix(":0") + f":{self.port}"
        return said

    async def _tear_down(self) -> None:
        self._serving = False
        await self._there(self._close)
        far, self._far = self._far, None
        if far is not None and self._thread is not None:
            far.call_soon_threadsafe(far.stop)
            await asyncio.to_thread(self._thread.join)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _body_of(response: aio.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


async def _file(path: Any, request: aio.Request) -> aio.StreamResponse:
    return aio.FileResponse(path)


def _as_json(web: AiohttpWeb) -> Middleware:
    """Make a middleware that says aiohttp's own errors (404, 413...) as views say theirs."""

    @aio.middleware
    async def say(request: aio.Request, handler: Any) -> aio.StreamResponse:
        try:
            response: aio.StreamResponse = await handler(request)
        except aio.HTTPException as exc:
            default = exc.text == f"{exc.status}: {exc.reason}" or exc.status == 413
            if exc.status < 400 or not default:
                raise
            response = web.json({"error": exc.reason}, status=exc.status)
            if "Allow" in exc.headers:
                response.headers["Allow"] = exc.headers["Allow"]
        if not response.prepared:
            response.headers.setdefault("Server", f"faustc/{__version__}")
        return response

    return say
