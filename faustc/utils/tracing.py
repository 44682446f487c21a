"""The current span of a trace, by OpenTracing's interface; without a tracer nothing is traced."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

__all__ = ["current_span", "noop_span", "set_current_span"]

_current: ContextVar[Any] = ContextVar("current_span", default=None)


class _NoopSpan:
    """A span that keeps nothing."""

    def __enter__(self) -> _NoopSpan:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self


def current_span() -> Any:
    """Return the span of this context, or None."""
    return _current.get()


def set_current_span(span: Any) -> None:
    """Make a span that of this context."""
    _current.set(span)


def noop_span() -> Any:
    """Return a span that keeps nothing."""
    return _NoopSpan()
