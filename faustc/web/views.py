"""Views: what answers the requests to one path."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, TypeVar

from faustc import exceptions as faults
from faustc.web import exceptions
from faustc.web.exceptions import WebError

__all__ = ["VERBS", "View", "gives_model", "takes_model"]

logger = logging.getLogger(__name__)

VERBS = ("head", "get", "post", "put", "patch", "delete", "options", "search")
Handler = Callable[..., Awaitable[Any]]
Fun = TypeVar("Fun", bound=Handler)
_bytes = bytes  # `bytes` is a method below


class View:
    """Answers the requests to one path: override the method of each verb that it takes.

    The parts of the path that are in braces are keyword arguments of those methods.
    What they raise of `faustc.web.exceptions` (also `View.NotFound` and so on) is the
    answer; anything else is logged, and the answer is 500 without details.
    """

    ServerError: ClassVar[type[WebError]] = exceptions.ServerError
    ValidationError: ClassVar[type[WebError]] = exceptions.ValidationError
    ParseError: ClassVar[type[WebError]] = exceptions.ParseError
    AuthenticationFailed: ClassVar[type[WebError]] = exceptions.AuthenticationFailed
    NotAuthenticated: ClassVar[type[WebError]] = exceptions.NotAuthenticated
    PermissionDenied: ClassVar[type[WebError]] = exceptions.PermissionDenied
    NotFound: ClassVar[type[WebError]] = exceptions.NotFound
    MethodNotAllowed: ClassVar[type[WebError]] = exceptions.MethodNotAllowed
    NotAcceptable: ClassVar[type[WebError]] = exceptions.NotAcceptable
    UnsupportedMediaType: ClassVar[type[WebError]] = exceptions.UnsupportedMediaType
    Throttled: ClassVar[type[WebError]] = exceptions.Throttled
    ServiceUnavailable: ClassVar[type[WebError]] = exceptions.ServiceUnavailable

    view_name: str = ""
    view_path: str = "/"
    cors_options: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def from_handler(cls, fun: Handler) -> type[View]:
        """Make a view class whose GET is a function of the view, the request and the match."""
        if not callable(fun):
            raise faults.ImproperlyConfigured(f"a view is a function or a View class, not {fun!r}")
        fields = {"get": fun, "__doc__": fun.__doc__, "__module__": fun.__module__}
        return type(fun.__name__, (cls,), fields)

    @classmethod
    def at(cls, path: str, name: str) -> type[View]:
        """Make of it the view at one path: a class may be at several."""
        fields = {"__doc__": cls.__doc__, "__module__": cls.__module__}
        view: type[View] = type(cls.__name__, (cls,), fields)
        view.view_name, view.view_path = name, path
        return view

    def __init__(self, app: Any, web: Any) -> None:
        self.app = app
        self.web = web
        self.methods: dict[str, Handler] = {verb: getattr(self, verb) for verb in VERBS}
        self.__post_init__()

    def __post_init__(self) -> None:
        """Run when the view is made; override as needed."""

    def get_methods(self) -> set[str]:
        """Return the verbs that it takes, in capitals."""
        own = {verb.upper() for verb in VERBS if getattr(type(self), verb) is not BASE[verb]}
        return own | ({"HEAD"} if "GET" in own else set())

    async def __call__(self, request: Any) -> Any:
        return await self.dispatch(request)

    async def dispatch(self, request: Any) -> Any:
        """Answer a request."""
        sensors = self.app.sensors
        state = sensors.on_web_request_start(self.app, request, view=self)
        response = None
        try:
            response = await self._answer(request)
        finally:
            sensors.on_web_request_end(self.app, request, response, state, view=self)
        return response

    async def _answer(self, request: Any) -> Any:
        try:
            handler = self.methods.get(request.method.lower())
            if handler is None:
                raise exceptions.MethodNotAllowed(f"Method {request.method} not allowed.")
            return await handler(request, **request.match_info)
        except WebError as exc:
            return await self.on_request_error(request, exc)
        except Exception as exc:
            if hasattr(exc, "status") and hasattr(exc, "headers"):
                raise  # an answer that is raised, of aiohttp itself
            logger.exception("%s %s: the view failed", request.method, request.path)
            return await self.on_request_error(request, exceptions.ServerError())

    async def on_request_error(self, request: Any, exc: WebError) -> Any:
        """Turn what a view raised into an answer; override it for answers of another form."""
        headers = None
        if exc.code == 405:
            headers = {"Allow": ", ".join(sorted(self.get_methods()))}
        return self.error(exc.code, exc.detail, headers=headers, **exc.extra_context)

    # -- verbs -------------------------------------------------------------------------

    async def head(self, *args: Any, **match: Any) -> Any:
        """Answer HEAD: as GET does, without the body."""
        return await self.methods["get"](*args, **match)

    async def get(self, *args: Any, **match: Any) -> Any:
        """Answer GET."""
        raise exceptions.MethodNotAllowed("Method GET not allowed.")

    async def post(self, *args: Any, **match: Any) -> Any:
        """Answer POST."""
        raise exceptions.MethodNotAllowed("Method POST not allowed.")

    async def put(self, *args: Any, **match: Any) -> Any:
        """Answer PUT."""
        raise exceptions.MethodNotAllowed("Method PUT not allowed.")

    async def patch(self, *args: Any, **match: Any) -> Any:
        """Answer PATCH."""
        raise exceptions.MethodNotAllowed("Method PATCH not allowed.")

    async def delete(self, *args: Any, **match: Any) -> Any:
        """Answer DELETE."""
        raise exceptions.MethodNotAllowed("Method DELETE not allowed.")

    async def options(self, *args: Any, **match: Any) -> Any:
        """Answer OPTIONS."""
        raise exceptions.MethodNotAllowed("Method OPTIONS not allowed.")

    async def search(self, *args: Any, **match: Any) -> Any:
        """Answer SEARCH."""
        raise exceptions.MethodNotAllowed("Method SEARCH not allowed.")

    # -- addresses ---------------------------------------------------------------------

    def path_for(self, view_name: str, **kwargs: Any) -> str:
        """Return the path of a view by its name; kwargs are the parts in braces."""
        path: str = self.web.url_for(view_name, **kwargs)
        return path

    def url_for(self, view_name: str, _base_url: Any = None, **kwargs: Any) -> str:
        """Return the whole address of a view, on this worker unless another base is given."""
        base = str(_base_url) if _base_url is not None else self.web.url
        return f"{base.rstrip('/')}/{self.path_for(view_name, **kwargs).lstrip('/')}"

    # -- answers -----------------------------------------------------------------------

    def text(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make an answer of text (text/plain)."""
        return self.web.text(
            value, content_type=content_type, status=status, reason=reason, headers=headers
        )

    def html(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make an answer of HTML."""
        return self.web.html(
            value, content_type=content_type, status=status, reason=reason, headers=headers
        )

    def json(
        self,
        value: Any,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make an answer of JSON, of anything that has a JSON form; models have."""
        return self.web.json(
            value, content_type=content_type, status=status, reason=reason, headers=headers
        )

    def bytes(
        self,
        value: _bytes,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make an answer of bytes (application/octet-stream)."""
        return self.web.bytes(
            value, content_type=content_type, status=status, reason=reason, headers=headers
        )

    def error(
        self,
        status: int,
        reason: str,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Any:
        """Make an answer that is an error, as JSON: `{"error": reason, **context}`."""
        return self.json({"error": reason, **context}, status=status, headers=headers)

    def notfound(self, reason: str = "Not Found", **context: Any) -> Any:
        """Make an answer of 404; `raise self.NotFound()` does it as well."""
        return self.error(404, reason, **context)

    def route(self, pattern: str, handler: Handler) -> Any:
        """Let a handler answer at another path; before the server starts."""
        self.web.route(pattern, handler)
        return handler

    async def read_request_content(self, request: Any) -> _bytes:
        """Return the body of a request, which is bounded (see `client_max_size`)."""
        body: _bytes = await self.web.read_request_content(request)
        return body

    def bytes_to_response(self, s: _bytes) -> Any:
        """Make an answer of what response_to_bytes made."""
        return self.web.bytes_to_response(s)

    def response_to_bytes(self, response: Any) -> _bytes:
        """Write an answer as bytes: status, headers, body."""
        data: _bytes = self.web.response_to_bytes(response)
        return data


BASE = {verb: getattr(View, verb) for verb in VERBS}


def takes_model(model: type[Any]) -> Callable[[Fun], Fun]:
    """Read the body as JSON of a model, and give that to the view after the request.

    A body that is no JSON is answered by 400, as is one that does not fit the model.
    """

    def decorate(fun: Fun) -> Fun:
        @wraps(fun)
        async def read(view: View, request: Any, *args: Any, **kwargs: Any) -> Any:
            body = await view.read_request_content(request)
            try:
                value = model.loads(body, serializer="json")
            except faults.DecodeError as exc:
                raise exceptions.ParseError(str(exc)) from exc
            except faults.ValidationError as exc:
                raise exceptions.ValidationError(str(exc)) from exc
            except (TypeError, ValueError) as exc:
                raise exceptions.ValidationError(f"{model.__name__}: {exc}") from exc
            return await fun(view, request, value, *args, **kwargs)

        return read  # type: ignore[return-value]

    return decorate


def gives_model(model: type[Any]) -> Callable[[Fun], Fun]:
    """Answer with JSON of the model (or list of models) that the view returns."""

    def decorate(fun: Fun) -> Fun:
        @wraps(fun)
        async def answer(view: View, request: Any, *args: Any, **kwargs: Any) -> Any:
            return view.json(await fun(view, request, *args, **kwargs))

        return answer  # type: ignore[return-value]

    return decorate
