"""Spans around what an app does, where it was given a tracer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["Traced"]


class Traced:
    """The part of an app that is about tracing.

    A tracer has `trace(name=..., **context)`, which returns a context manager, as
    OpenTracing's spans are. Without one nothing is done at all.
    """

    tracer: Any = None

    def trace(
        self, name: str, trace_enabled: bool = True, **extra_context: Any
    ) -> AbstractContextManager[Any]:
        """Return a context manager that is a span of this name, or does nothing."""
        if self.tracer is None or not trace_enabled:
            return nullcontext()
        span: AbstractContextManager[Any] = self.tracer.trace(name=name, **extra_context)
        return span

    def traced(
        self,
        fun: Callable[..., Any],
        name: str | None = None,
        sample_rate: float = 1.0,
        **context: Any,
    ) -> Callable[..., Any]:
        """Wrap a function, plain or coroutine, so that each call is a span."""
        operation = name or f"{fun.__module__}.{fun.__qualname__}"

        def span() -> AbstractContextManager[Any]:
            return self.trace(operation, sample_rate=sample_rate, **context)

        if inspect.iscoroutinefunction(fun):

            @functools.wraps(fun)
            async def awaited(*args: Any, **options: Any) -> Any:
                with span():
                    return await fun(*args, **options)

            return awaited

        @functools.wraps(fun)
        def called(*args: Any, **options: Any) -> Any:
            with span():
                return fun(*args, **options)

        return called
