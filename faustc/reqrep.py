"""Requests to agents and their replies as they are on the wire: Faust's own, and one more.

A request is a message to an agent's topic that says where the reply goes, in two
headers, or (use_reply_headers=False) in an envelope around its value. The reply is
a `ReqRepResponse` on that topic. An agent that raises answers with a `ReqRepError`,
but only who sent `TAKES_ERRORS` along: Faust's clients would take it for a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from faustc import jsonable
from faustc.models.record import Record
from faustc.models.registry import maybe_model, named_model

__all__ = [
    "CORRELATION_ID",
    "REPLY_TO",
    "TAKES_ERRORS",
    "Envelopes",
    "ReqRepError",
    "ReqRepRequest",
    "ReqRepResponse",
    "Request",
    "error_to",
    "request_headers",
    "request_in",
    "response_to",
]

REPLY_TO = "Faust-Ag-ReplyTo"
CORRELATION_ID = "Faust-Ag-CorrelationId"
#: Of ours, in requests: whoever asks understands a ReqRepError.
TAKES_ERRORS = "Faustc-Ag-TakesErrors"

Headers = Sequence[tuple[str, bytes | None]]


class ReqRepRequest(Record, serializer="json", namespace="@ReqRepRequest", polymorphic_fields=True):
    """A value in an envelope that says where its reply goes."""

    value: Any
    reply_to: str
    correlation_id: str


class ModelReqRepRequest(ReqRepRequest, namespace="faust.agents.models.ModelReqRepRequest"):
    """The same around a model: Faust gives it a name of its own."""


class ReqRepResponse(
    Record, serializer="json", namespace="@ReqRepResponse", polymorphic_fields=True
):
    """A reply: the key of the request's event, what was yielded, and to which request."""

    key: Any
    value: Any
    correlation_id: str


class ModelReqRepResponse(ReqRepResponse, namespace="faust.agents.models.ModelReqRepResponse"):
    """The same with a model in it."""


class ReqRepError(ReqRepResponse, namespace="@ReqRepError"):
    """The agent raised: value has its name, and the type and text (detail) of the exception."""


class Request(NamedTuple):
    """What a message says of the reply to it."""

    reply_to: str
    correlation_id: str  # empty: not told
    takes_errors: bool


def request_headers(reply_to: str, correlation_id: str, *, takes_errors: bool) -> Headers:
    """Return the headers that make a message a request."""
    headers = [(REPLY_TO, reply_to.encode()), (CORRELATION_ID, correlation_id.encode())]
    return [*headers, (TAKES_ERRORS, b"1")] if takes_errors else headers


def enveloped(value: Any, reply_to: str, correlation_id: str) -> ReqRepRequest:
    """Return a value in its envelope."""
    cls = ModelReqRepRequest if isinstance(value, Record) else ReqRepRequest
    return cls(value=value, reply_to=reply_to, correlation_id=correlation_id)


def request_in(headers: Headers) -> Request | None:
    """Return what headers say of a reply, None if nothing."""
    reply_to = correlation_id = None
    takes_errors = False
    for name, value in headers:
        if name == REPLY_TO:
            reply_to = value
        elif name == CORRELATION_ID:
            correlation_id = value
        elif name == TAKES_ERRORS:
            takes_errors = True
    if not reply_to:
        return None
    return Request(_text(reply_to), _text(correlation_id or b""), takes_errors)


def _text(value: bytes) -> str:
    # What others wrote there may be anything; it is for them to read back.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Envelopes:
    """Opens the envelopes that come to one agent, and reads what is written on them.

    expected: they are looked for before anything else. If not, they are opened as
    well, at no cost to messages without one; only a type that anything fits
    (a model all of whose fields have defaults, say) would be given the envelope.
    """

    def __init__(self, *, expected: bool) -> None:
        self.expected = expected
        #: Whether any has come.
        self.seen = False

    def around(
        self, fit: Callable[[Any], Any] | None
    ) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
        """See faustc.serializers.registry.Envelopes."""
        if fit is None:
            return self.opened, None
        if fit is maybe_model:
            return self._maybe_model, None
        if not self.expected:
            return fit, self.opened
        return lambda payload: fit(self.opened(payload)), None

    def opened(self, payload: Any) -> Any:
        """Return the value in an envelope; anything else as it is."""
        model = named_model(payload)
        if model is None or not issubclass(model, ReqRepRequest):
            return payload
        self.seen = True
        return payload["value"]

    def sent(self, value: Any) -> Any:
        """Return the value in an envelope that was sent as it is, through a channel in memory."""
        if isinstance(value, ReqRepRequest):
            self.seen = True
            return value.value
        return value

    def _maybe_model(self, payload: Any) -> Any:
        # As quick as maybe_model for what names no model.
        model = named_model(payload)
        if model is None:
            return payload
        if issubclass(model, ReqRepRequest):
            self.seen = True
            return maybe_model(payload["value"])
        return model.from_data(payload)

    def request_in(self, value: Any, headers: Headers) -> Request | None:
        """Return what is written on the envelope that a message's value is, None if it is none."""
        if isinstance(value, bytes):
            try:
                value = jsonable.loads(value)
            except ValueError:
                return None
        if isinstance(value, ReqRepRequest):  # through a channel in memory
            value = value.to_representation()
        model = named_model(value)
        if model is None or not issubclass(model, ReqRepRequest):
            return None
        reply_to, correlation_id = value.get("reply_to"), value.get("correlation_id")
        if not isinstance(reply_to, str) or not reply_to:
            return None
        takes_errors = any(name == TAKES_ERRORS for name, _ in headers)
        return Request(reply_to, str(correlation_id or ""), takes_errors)


def response_to(request: Request, key: Any, value: Any) -> ReqRepResponse:
    """Return the reply that carries what was yielded."""
    cls = ModelReqRepResponse if isinstance(value, Record) else ReqRepResponse
    return cls(key=key, value=value, correlation_id=request.correlation_id)


def error_to(request: Request, agent: str, error: BaseException) -> ReqRepError:
    """Return the reply that says what an agent raised."""
    name = type(error).__name__
    description = {"agent": agent, "type": name, "detail": str(error)}
    return ReqRepError(key=None, value=description, correlation_id=request.correlation_id)


def value_in(response: ReqRepResponse) -> Any:
    """Return the value of a reply, a model if it names one that is known here."""
    return maybe_model(response.value)
