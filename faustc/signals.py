"""Signals: told to whoever connected, for one app or for all of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

__all__ = ["Signal"]


class Signal:
    """A signal of a class and of each of its instances.

    `App.on_x.connect(fun)` hears every app, `app.on_x.connect(fun)` that one.
    Handlers get the sender first and must accept further keywords.
    """

    def __init__(self, doc: str = "") -> None:
        self.__doc__ = doc
        self.name = ""
        self._handlers: list[tuple[Callable[..., Any] | weakref.ref[Any], bool, Any]] = []
        self._parent: Signal | None = None
        self._sender: Any = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Signal:
        if instance is None:
            return self
        own = Signal(self.__doc__ or "")
        own.name, own._parent, own._sender = self.name, self, weakref.ref(instance)
        kept: Signal = instance.__dict__.setdefault(self.name, own)  # found before us from now on
        return kept

    def connect(
        self, fun: Callable[..., Any] | None = None, *, weak: bool = False, sender: Any = None
    ) -> Any:
        """Call fun whenever the signal is sent; also works as a decorator."""
        if fun is None:
            return lambda given: self.connect(given, weak=weak, sender=sender)
        held: Any = fun
        if weak:
            held = weakref.WeakMethod(fun) if hasattr(fun, "__self__") else weakref.ref(fun)
        self._handlers.append((held, weak, sender))
        return fun

    def disconnect(self, fun: Callable[..., Any], *, sender: Any = None) -> None:
        """Call fun no more."""
        self._handlers = [
            entry for entry in self._handlers if (entry[0]() if entry[1] else entry[0]) != fun
        ]

    def receivers(self) -> list[Callable[..., Any]]:
        """Return who is to be called, those of the class first."""
        sender = self._sender() if self._sender is not None else None
        found = []
        for signal in (self._parent, self):
            for held, weak, wanted in signal._handlers if signal is not None else ():
                fun = held() if weak else held
                if fun is not None and (wanted is None or wanted is sender):
                    found.append(fun)
        return found

    def send(self, *args: Any, **options: Any) -> None:
        """Call every handler now; for signals whose handlers are plain functions."""
        sender = self._sender() if self._sender is not None else None
        for fun in self.receivers():
            fun(sender, *args, signal=self, **options)

    async def asend(self, *args: Any, **options: Any) -> None:
        """Call every handler, and await those that are coroutine functions."""
        sender = self._sender() if self._sender is not None else None
        for fun in self.receivers():
            result = fun(sender, *args, signal=self, **options)
            if isawaitable(result):
                await result
