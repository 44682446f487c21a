"""Signals: told to whoever connected, for one app, for one class of apps, or for all of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from faustc.exceptions import ImproperlyConfigured

__all__ = ["Signal", "SyncSignal"]


class _Signal:
    """What both kinds share.

    `App.on_x.connect(fun)` hears every app, `MyApp.on_x.connect(fun)` those of a
    subclass, `app.on_x.connect(fun)` that one. A receiver gets the sender
    first, then what the signal says, then `signal=`; it has to accept further keywords.
    """

    def __init__(self, doc: str = "", *, name: str = "") -> None:
        self.__doc__ = doc
        self.name = name
        self._receivers: list[tuple[Callable[..., Any] | weakref.ref[Any], bool, Any]] = []
        self._above: _Signal | None = None
        self._below: weakref.WeakSet[_Signal] = weakref.WeakSet()
        self._watcher: Callable[[], None] | None = None
        self._owner: type | None = None
        self._sender: weakref.ref[Any] | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name
        self._owner = owner

    def __get__(self, instance: Any, owner: type) -> Any:
        """Return the signal of a class, or of an instance; each is made when it is asked for."""
        if self._owner is None or (instance is None and owner is self._owner):
            return self
        where = owner if instance is None else instance
        found = vars(where).get(self.name)
        if found is None:
            found = type(self)(self.__doc__ or "", name=self.name)
            if instance is None:
                # What stands between: connecting to a class is heard by those below it only.
                found._above = next(
                    getattr(base, self.name)
                    for base in owner.__mro__[1:]
                    if hasattr(base, self.name)
                )
                found._owner = owner
                setattr(owner, self.name, found)
            else:
                found._above = getattr(owner, self.name)
                found._sender = weakref.ref(instance)
                found = vars(instance).setdefault(self.name, found)  # two threads get the same
            if found._above is not None:
                found._above._below.add(found)
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self._receivers)} receivers>"

    def connect(
        self, fun: Callable[..., Any] | None = None, *, weak: bool = False, sender: Any = None
    ) -> Any:
        """Call fun whenever the signal is sent; also a decorator, with and without arguments.

        weak: only while somebody else holds it. sender: only for that one.
        """
        if fun is None:
            return lambda given: self.connect(given, weak=weak, sender=sender)
        if not callable(fun):
            raise ImproperlyConfigured(f"{self.name}.connect: {fun!r} cannot be called")
        held: Any = fun
        if weak:
            held = weakref.WeakMethod(fun) if hasattr(fun, "__self__") else weakref.ref(fun)
        self._receivers.append((held, weak, sender))
        self._changed()
        return fun

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call watcher whenever somebody connects to this signal, or to one of its classes."""
        self._watcher = watcher

    def _changed(self) -> None:
        if self._watcher is not None:
            self._watcher()
        for signal in list(self._below):
            signal._changed()

    def disconnect(
        self, fun: Callable[..., Any], *, weak: bool = False, sender: Any = None
    ) -> None:
        """Call fun no more; with a sender, no more for that one."""
        self._receivers = [
            entry
            for entry in self._receivers
            if (entry[0]() if entry[1] else entry[0]) != fun
            or (sender is not None and entry[2] is not sender)
        ]

    def connected(self) -> bool:
        """Say whether anybody listens: to this one or to those of its classes."""
        signal: _Signal | None = self
        while signal is not None:
            if signal._receivers:
                return True
            signal = signal._above
        return False

    def _heard_by(
        self, args: tuple[Any, ...]
    ) -> tuple[Any, tuple[Any, ...], list[Callable[..., Any]]]:
        """Return the sender, what it says, and who is to be told; those of the classes first."""
        if self._sender is not None:
            sender = self._sender()
        elif args:
            sender, *rest = args
            args = tuple(rest)
        else:
            raise TypeError(f"{self.name}.send() of a class takes the sender first")
        levels: list[_Signal] = []
        signal: _Signal | None = self
        while signal is not None:
            levels.insert(0, signal)
            signal = signal._above
        found = []
        for level in levels:
            for held, weak, wanted in level._receivers:
                fun = held() if weak else held
                if fun is not None and (wanted is None or wanted is sender):
                    found.append(fun)
        return sender, args, found


class SyncSignal(_Signal):
    """A signal whose receivers are plain functions, called at once."""

    def send(self, *args: Any, **options: Any) -> None:
        """Call every receiver; one that raises ends it, and what it raised comes through."""
        sender, args, found = self._heard_by(args)
        for fun in found:
            fun(sender, *args, signal=self, **options)

    __call__ = send


class Signal(_Signal):
    """A signal whose receivers are coroutine functions or plain ones."""

    async def send(self, *args: Any, **options: Any) -> None:
        """Call every receiver in turn, and await those that are coroutine functions."""
        sender, args, found = self._heard_by(args)
        for fun in found:
            result = fun(sender, *args, signal=self, **options)
            if isawaitable(result):
                await result

    __call__ = send
