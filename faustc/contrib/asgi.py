"""An app and a web framework (FastAPI, Starlette, Django) in one process, on one event loop.

Either the web server runs and starts the app::

    api = FastAPI(lifespan=faust_lifespan(app))

or a worker runs and serves the framework's application, in place of its own web server::

    serve_asgi(app, api)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from faustc.exceptions import ImproperlyConfigured, NotReady
from faustc.service import Service

__all__ = [
    "AsgiService",
    "FaustLifespanMiddleware",
    "LoopMismatch",
    "bind_to_running_loop",
    "faust_app_running",
    "faust_lifespan",
    "serve_asgi",
]


class LoopMismatch(ImproperlyConfigured):
    """The app lives on another event loop than the running one."""


def bind_to_running_loop(app: Any) -> asyncio.AbstractEventLoop:
    """Let an app live on the running loop; return that.

    An app takes the loop it is started on by itself. This is for being told early:
    raises LoopMismatch if it is alive on another.
    """
    loop = asyncio.get_running_loop()
    try:
        app.runner.home.settle(loop)
    except NotReady as exc:
        raise LoopMismatch(
            f"app {app.conf.id} is running on another event loop: start it in the "
            "lifespan of the web application, and nowhere else"
        ) from exc
    return loop


@asynccontextmanager
async def faust_app_running(
    app: Any,
    *,
    finalize: bool = True,
    discover: bool | None = None,
    stop_timeout: float | None = None,
) -> AsyncIterator[Any]:
    """Start an app on the running loop, and stop it at the end, if it was not running already.

    discover: look for decorators first; by default if the setting autodiscover says
    so. stop_timeout: seconds after which TimeoutError is raised; the app goes on stopping.
    """
    bind_to_running_loop(app)
    if finalize:
        app.finalize()
    if discover if discover is not None else app.conf.autodiscover:
        app.discover()
    started = await app.maybe_start()
    try:
        yield app
    finally:
        if started:
            async with asyncio.timeout(stop_timeout):
                await app.stop()


def faust_lifespan(
    app: Any, *, opentelemetry: bool | None = None, **options: Any
) -> Callable[..., AbstractAsyncContextManager[None]]:
    """Return a lifespan for FastAPI or Starlette that runs an app; see faust_app_running.

    opentelemetry is Faust's switch for instrumenting the web application; True is
    refused, since there is no such integration here.
    """
    if opentelemetry:
        raise ImproperlyConfigured(
            "faust_lifespan(opentelemetry=True): instrument the web application yourself"
        )

    @asynccontextmanager
    async def lifespan(*_: Any) -> AsyncIterator[None]:
        async with faust_app_running(app, **options):
            yield  # nothing: Starlette would take it for state

    return lifespan


class FaustLifespanMiddleware:
    """Wraps an ASGI application that has no lifespan, such as Django's, and runs an app in it.

    What the wrapped one would do at its start and end is not called; where it has a
    lifespan of its own, use faust_lifespan or faust_app_running there.
    """

    def __init__(self, asgi_app: Any, faust_app: Any, **options: Any) -> None:
        self.asgi_app = asgi_app
        self.faust_app = faust_app
        self.faust_options = options

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "lifespan":
            await self.asgi_app(scope, receive, send)
            return
        phase = "startup"
        try:
            await receive()
            async with faust_app_running(self.faust_app, **self.faust_options):
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as exc:  # noqa: BLE001 - the server is told, and says it
            await send({"type": f"lifespan.{phase}.failed", "message": str(exc)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


class AsgiService(Service):
    """Serves an ASGI application by uvicorn, on the loop of its worker; see serve_asgi.

    What is not given is the class's, or the setting web_bind or web_port of faust_app.
    port 0 takes any that is free; `port` is that one once it is started.
    """

    asgi_app: Any = None
    faust_app: Any = None
    host: str | None = None
    port: int | None = None
    uvicorn_options: Mapping[str, Any] = {}
    #: Seconds that requests have to finish when it stops.
    server_shutdown_timeout: float = 10.0

    def __init__(
        self,
        asgi_app: Any = None,
        *,
        host: str | None = None,
        port: int | None = None,
        uvicorn_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.asgi_app = asgi_app if asgi_app is not None else self.asgi_app
        if self.asgi_app is None:
            raise ImproperlyConfigured("AsgiService needs an ASGI application")
        conf = None if self.faust_app is None else self.faust_app.conf
        self.host = host or self.host or ("0.0.0.0" if conf is None else conf.web_bind)
        if port is None:
            port = self.port
        self.port = port if port is not None else (8000 if conf is None else conf.web_port)
        if uvicorn_options is not None:
            self.uvicorn_options = uvicorn_options
        self._server: Any = None
        self._serving: asyncio.Task[None] | None = None
        super().__init__(**options)

    @property
    def label(self) -> str:
        return f"{type(self).__name__}: http://{self.host}:{self.port}"

    async def on_start(self) -> None:
        """Serve; return once the port is bound. Raises what uvicorn cannot do as NotReady."""
        self._server = self._make_server()
        serving = self._serving = self.add_future(self._serve(), name="uvicorn")
        while not self._server.started:
            if serving is not None and serving.done():
                raise NotReady(f"{self.label} cannot be served; uvicorn said why")
            await asyncio.sleep(0.01)
        for listening in self._server.servers:
            for socket in listening.sockets:
                self.port = socket.getsockname()[1]

    async def _serve(self) -> None:
        try:
            await self._server.serve()
        except SystemExit as exc:  # how uvicorn says that it cannot bind
            raise NotReady(f"{self.label} cannot be served; uvicorn said why") from exc

    def _make_server(self) -> Any:
        try:
            import uvicorn
        except ImportError:
            raise ImproperlyConfigured("serve_asgi needs uvicorn: pip install uvicorn") from None
        options: dict[str, Any] = {"loop": "none", "lifespan": "on", "log_config": None}
        options |= self.uvicorn_options
        assert self.host is not None
        assert self.port is not None
        server = uvicorn.Server(
            uvicorn.Config(self.asgi_app, host=self.host, port=self.port, **options)
        )
        # Signals are the worker's: two owners would each stop a part.
        server.capture_signals = _no_signals  # type: ignore[method-assign]
        return server

    async def on_stop(self) -> None:
        """Let requests under way finish, and the framework's own lifespan end."""
        if self._server is not None:
            self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait({self._serving}, timeout=self.server_shutdown_timeout)


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield


def serve_asgi(
    app: Any,
    asgi_app: Any,
    *,
    host: str | None = None,
    port: int | None = None,
    **uvicorn_options: Any,
) -> type[AsgiService]:
    """Serve an ASGI application with an app, in place of the app's own web server.

    It begins once the app runs, unless the setting web_enabled is off; by default at
    web_bind and web_port. `@app.page` is not served then. Returns the service's class.
    """
    attributes = {
        "asgi_app": asgi_app,
        "faust_app": app,
        "host": host,
        "port": port,
        "uvicorn_options": uvicorn_options,
    }
    cls: type[AsgiService] = type("FaustAsgiService", (AsgiService,), attributes)
    app.web_server(cls)
    return cls
