"""What a view raises to answer with an error: each has an HTTP status, and is sent as JSON."""

from __future__ import annotations

from typing import Any

from faustc.exceptions import FaustError, ImproperlyConfigured

__all__ = [
    "AuthenticationFailed",
    "CacheUnavailable",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotAuthenticated",
    "NotFound",
    "ParseError",
    "PermissionDenied",
    "ServerError",
    "ServiceUnavailable",
    "Throttled",
    "UnknownView",
    "UnsupportedMediaType",
    "ValidationError",
    "WebError",
]


class WebError(FaustError):
    """An answer that is an error: status `code`, body `{"error": detail, **extra_context}`."""

    code: int = 500
    detail: str = "Error."

    def __init__(
        self, detail: str | None = None, *, code: int | None = None, **extra_context: Any
    ) -> None:
        self.detail = self.detail if detail is None else detail
        self.code = self.code if code is None else int(code)
        self.extra_context = extra_context
        super().__init__(f"{self.code} {self.detail}")


class ServerError(WebError):
    """500: something went wrong here."""

    code = 500
    detail = "Internal server error."


class ValidationError(WebError):
    """400: what was sent does not fit."""

    code = 400
    detail = "Invalid input."


class ParseError(WebError):
    """400: what was sent cannot be read."""

    code = 400
    detail = "Malformed request."


class AuthenticationFailed(WebError):
    """401: who asks is not who they say."""

    code = 401
    detail = "Incorrect authentication credentials."


class NotAuthenticated(WebError):
    """401: who asks has to say who they are."""

    code = 401
    detail = "Authentication credentials were not provided."


class PermissionDenied(WebError):
    """403: who asks may not have it."""

    code = 403
    detail = "You do not have permission to perform this action."


class NotFound(WebError):
    """404: there is no such thing."""

    code = 404
    detail = "Not found."


class MethodNotAllowed(WebError):
    """405: not by this verb."""

    code = 405
    detail = "Method not allowed."


class NotAcceptable(WebError):
    """406: not in a form that the client takes."""

    code = 406
    detail = "Could not satisfy the request Accept header."


class UnsupportedMediaType(WebError):
    """415: what was sent is in a form that is not read here."""

    code = 415
    detail = "Unsupported media type in request."


class Throttled(WebError):
    """429: too often."""

    code = 429
    detail = "Request was throttled."


class ServiceUnavailable(WebError):
    """503: not now."""

    code = 503
    detail = "Service unavailable. Try again later."


class CacheUnavailable(ServiceUnavailable):
    """503: the cache of views cannot be reached."""

    detail = "The cache is unavailable."


class UnknownView(ImproperlyConfigured, KeyError):
    """There is no view of that name."""

    def __str__(self) -> str:
        return str(self.args[0])
