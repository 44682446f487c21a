"""Names of things for logs, and attributes that are computed once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["cached_property", "canoname", "label", "qualname", "shortlabel", "shortname"]

T = TypeVar("T")


def qualname(obj: Any) -> str:
    """Return module and name of a class or function, of an object's class otherwise."""
    named = obj if hasattr(obj, "__qualname__") or hasattr(obj, "__name__") else type(obj)
    name = getattr(named, "__qualname__", None) or named.__name__
    return f"{named.__module__}.{name}"


def shortname(obj: Any) -> str:
    """Return qualname with the last part of the module only."""
    module, _, name = qualname(obj).rpartition(".")
    return f"{module.rpartition('.')[2]}.{name}"


def canoname(obj: Any, *, main_name: str | None = None) -> str:
    """Return qualname, with the real name of the module that runs as `__main__`."""
    name = qualname(obj)
    root, dot, rest = name.partition(".")
    if root != "__main__":
        return name
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (main_name or (spec.name if spec is not None else root)) + dot + rest


def label(obj: Any) -> str:
    """Return what something is called in logs: its label, its name, or its class."""
    return _label("label", obj)


def shortlabel(obj: Any) -> str:
    """Return a shorter name for logs: the shortlabel, the name, or the class."""
    return _label("shortlabel", obj)


def _label(attribute: str, obj: Any) -> str:
    if isinstance(obj, str):
        return obj
    given = getattr(obj, attribute, None)
    if isinstance(given, str):
        return given
    named = obj if hasattr(obj, "__name__") else type(obj)
    return str(getattr(named, "__qualname__", named.__name__))


class cached_property(Generic[T]):  # noqa: N801 - mode's name
    """An attribute that is computed when it is first read; it may be set and deleted.

    As a decorator, with `setter` and `deleter` like a property's: what the setter
    returns is what is kept.
    """

    def __init__(
        self,
        fget: Callable[[Any], T],
        fset: Callable[[Any, T], T] | None = None,
        fdel: Callable[[Any, T], None] | None = None,
        doc: str | None = None,
    ) -> None:
        self._get, self._set, self._del = fget, fset, fdel
        self.__doc__ = doc or fget.__doc__
        self.__name__ = fget.__name__
        self.__module__ = fget.__module__

    @overload
    def __get__(self, obj: None, owner: type | None = None) -> cached_property[T]: ...
    @overload
    def __get__(self, obj: Any, owner: type | None = None) -> T: ...
    def __get__(self, obj: Any, owner: type | None = None) -> T | cached_property[T]:
        if obj is None:
            return self
        kept = obj.__dict__
        if self.__name__ not in kept:
            kept[self.__name__] = self._get(obj)
        value: T = kept[self.__name__]
        return value

    def __set__(self, obj: Any, value: T) -> None:
        obj.__dict__[self.__name__] = value if self._set is None else self._set(obj, value)

    def __delete__(self, obj: Any) -> None:
        value = obj.__dict__.pop(self.__name__, None)
        if self._del is not None and value is not None:
            self._del(obj, value)

    def is_set(self, obj: Any) -> bool:
        """Say whether it has been computed, or set."""
        return self.__name__ in obj.__dict__

    def setter(self, fset: Callable[[Any, T], T]) -> cached_property[T]:
        """Keep what this returns when the attribute is set."""
        return type(self)(self._get, fset, self._del)

    def deleter(self, fdel: Callable[[Any, T], None]) -> cached_property[T]:
        """Call this when the attribute is deleted."""
        return type(self)(self._get, self._set, fdel)
