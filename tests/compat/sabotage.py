"""Takes a feature away, so that one can see whether a test notices.

A symbol is `module:Class.attribute`, or `module:Class.method(parameter)`: then
the method fails only when it is given that parameter.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

_SYMBOL = re.compile(r"(?P<module>[\w.]+):(?P<path>[\w.]+)(?:\((?P<parameter>\w+)\))?")
_hits = 0


class NotThere(Exception):
    """A symbol that names nothing."""


class TakenAway(Exception):
    """What a feature raises once it is taken away."""


class Place(NamedTuple):
    """Where a symbol is: the object that has it, its name there, itself."""

    owner: Any
    name: str
    value: Any
    parameter: str | None


def hits() -> int:
    """Return how often something that was taken away was asked for."""
    return _hits


def find(symbol: str) -> Place:
    """Look a symbol up; raises NotThere, saying what is missing."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise NotThere(
            f"{symbol!r} is no symbol: module:Class.name or module:Class.name(parameter)"
        )
    try:
        owner: Any = importlib.import_module(match["module"])
    except ImportError as exc:
        raise NotThere(f"{symbol}: {exc}") from exc
    *path, name = match["path"].split(".")
    for step in path:
        owner = _attribute(owner, step, symbol)
    value = _attribute(owner, name, symbol)
    if match["parameter"] is not None:
        target = value.__init__ if inspect.isclass(value) else value
        if isinstance(target, staticmethod | classmethod):
            target = target.__func__
        try:
            known = inspect.signature(target).parameters
        except (TypeError, ValueError) as exc:
            raise NotThere(f"{symbol}: {name} has no signature") from exc
        open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
        if match["parameter"] not in known and not open_ended:
            raise NotThere(f"{symbol}: {name} has no parameter {match['parameter']}")
    return Place(owner, name, value, match["parameter"])


def _attribute(owner: Any, name: str, symbol: str) -> Any:
    if inspect.isclass(owner):
        for base in owner.__mro__:
            if name in vars(base):
                return vars(base)[name]
        found = getattr(owner, "__annotations__", {})
        if name in found:
            raise NotThere(f"{symbol}: {name} is only declared; name what sets it")
    try:
        return getattr(owner, name)
    except AttributeError:
        raise NotThere(f"{symbol}: there is no {name}") from None


def take_away(symbol: str) -> bool:
    """Make a symbol raise wherever it is known by now; True if each use of it is noticed."""
    place = find(symbol)
    owner, name, value, parameter = place
    if inspect.isclass(value) and not isinstance(owner, type):
        _take_class_away(value, symbol, parameter)
        return True
    if inspect.isfunction(value):
        _replace(owner, name, value, _failing(value, symbol, parameter))
        return True
    if isinstance(value, classmethod | staticmethod):
        failing = _failing(value.__func__, symbol, parameter)
        setattr(owner, name, type(value)(failing))
        return True
    if inspect.isclass(value):
        _take_class_away(value, symbol, parameter)
        return True
    if inspect.isclass(owner):  # a property, a descriptor, a plain value
        setattr(
            owner, name, property(lambda self: _fail(symbol), lambda self, value: _fail(symbol))
        )
        return True
    delattr(owner, name)  # a value in a module: whoever wants it gets AttributeError
    return False


def _take_class_away(cls: type, symbol: str, parameter: str | None) -> None:
    if issubclass(cls, tuple) or not inspect.isfunction(cls.__init__):
        failing = _failing(lambda cls, *args, **kwargs: None, symbol, None)
        cls.__new__ = staticmethod(failing)  # type: ignore[method-assign,assignment]
    else:
        cls.__init__ = _failing(cls.__init__, symbol, parameter)  # type: ignore[misc]


def _replace(owner: Any, name: str, value: Any, failing: Any) -> None:
    """Put it in the place of the function, under whatever names modules imported it."""
    setattr(owner, name, failing)
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or module is owner:
            continue
        for known, found in list(vars(module).items()):
            if found is value:
                setattr(module, known, failing)


def _failing(function: Callable[..., Any], symbol: str, parameter: str | None) -> Any:
    if parameter is None:

        @functools.wraps(function)
        def fail(*args: Any, **kwargs: Any) -> Any:
            return _fail(symbol)

        return fail
    signature = inspect.signature(function)

    @functools.wraps(function)
    def fail_with(*args: Any, **kwargs: Any) -> Any:
        given = dict(kwargs)
        try:
            given |= signature.bind(*args, **kwargs).arguments
        except TypeError:
            pass  # the function itself says what is wrong with the call
        if parameter in given:
            return _fail(symbol)
        return function(*args, **kwargs)

    return fail_with


def _fail(symbol: str) -> Any:
    global _hits
    _hits += 1
    raise TakenAway(symbol)
