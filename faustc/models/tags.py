"""Tags: `phone: Sensitive[str]` keeps a value out of logs, messages and reprs.

| tag | as text | `get_value()` |
|---|---|---|
| `Secret[T]` | a mask | the value |
| `Sensitive[str]` | SecurityError | text that only the function which asked for it can use |
| `Personal[str]` | SecurityError | the same; the plain value within `allow_protected_vars()` |

A model that has such fields is written whole: what is guarded against is text
that people read, not the topic that the model is for.
"""

from __future__ import annotations

import sys
import typing
from collections import UserString
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar, cast

from ..exceptions import SecurityError

T = TypeVar("T")

_allowed: ContextVar[bool] = ContextVar("faustc_protected_vars_allowed", default=False)


@contextmanager
def allow_protected_vars() -> Iterator[None]:
    """Let protected text be used by any function until the block ends, in this task alone."""
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


class Tag(Generic[T]):
    """A value that its owner asked to keep out of sight; field is where it came from.

    Two are equal if they have the same tag and value.
    """

    is_secret: ClassVar[bool] = False
    is_sensitive: ClassVar[bool] = False
    is_personal: ClassVar[bool] = False

    def __init__(self, value: T, *, field: str | None = None) -> None:
        if isinstance(value, Tag):
            raise SecurityError(
                f"a {type(value).__name__} cannot be made a {type(self).__name__}: it is tagged"
            )
        self._value = value
        self.field = field

    def get_value(self) -> T:
        """Return the value itself."""
        return self._value

    def __json__(self) -> Any:
        """Return what a log in JSON may have of it: what str() gives."""
        return str(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.field}@{id(self):#x}>"


class OpaqueTag(Tag[T]):
    """A tag whose value has no text at all."""

    def __str__(self) -> str:
        raise SecurityError(f"{type(self).__name__} data of {self.field} was used as text")

    def __format__(self, spec: str) -> str:
        return str(self)


class TransparentTag(Tag[T]):
    """A tag that gives its text, or what stands for it."""

    def _prepare_value(self) -> Any:
        return self._value

    def __str__(self) -> str:
        return str(self._prepare_value())

    def __format__(self, spec: str) -> str:
        return format(self._prepare_value(), spec)


class Secret(TransparentTag[T]):
    """A value shown as a mask: passwords, tokens."""

    is_secret = True
    mask: str = "***********"

    def _prepare_value(self) -> str:
        return self.mask


class ProtectedText(UserString):
    """Text that only the function which asked for it can use, as a str; others get SecurityError.

    Hand on `str(text)`, or what was made of it, where it has to go further.
    """

    def __init__(self, value: Any, *, field: str | None = None, tag: str = "protected") -> None:
        self._value = value
        self._field = field
        self._tag = tag
        self._origin = _identity(_caller())

    @property
    def data(self) -> Any:  # type: ignore[override]
        """The text, for the methods of UserString and for the function that may have it."""
        if _allowed.get() or _identity(_caller()) == self._origin:
            return self._value
        raise SecurityError(
            f"{self._tag} data of {self._field} was used outside of the function that asked for it"
        )

    def __repr__(self) -> str:
        return f"<Protected {type(self._value).__name__}: {self._field}@{id(self):#x}>"

    # UserString hashes and compares through data; a class that compares has to say both.
    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


#: The name that Faust has for it.
_FrameLocal = ProtectedText


def _caller() -> FrameType | None:
    """Return the nearest frame that is neither ours nor UserString's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _INSIDE:
        frame = frame.f_back
    return frame


_INSIDE = (_caller.__code__.co_filename, UserString.upper.__code__.co_filename)


def _identity(frame: FrameType | None) -> tuple[int, str, str]:
    # A frame's address is used again after it is gone, so it is not enough.
    if frame is None:
        return 0, "", ""
    return id(frame), frame.f_code.co_filename, frame.f_code.co_name


class _Text(OpaqueTag[T]):
    FrameLocal: ClassVar[type[ProtectedText]] = ProtectedText

    def __class_getitem__(cls, typ: Any) -> Any:
        if isinstance(typ, type) and not issubclass(typ, str | bytes):
            raise TypeError(f"{cls.__name__} is for str and bytes, not {typ.__name__}")
        return super().__class_getitem__(typ)  # type: ignore[misc]

    def get_value(self) -> T:
        """Return the value as text that only the calling function can use."""
        tag = type(self).__name__.lower()
        return cast(T, self.FrameLocal(self._value, field=self.field, tag=tag))


class Sensitive(_Text[T]):
    """Text that may not be shown."""

    is_sensitive = True


class Personal(_Text[T]):
    """Text about a person, which may not be shown."""

    is_personal = True

    def get_value(self) -> T:
        """Return text for the calling function alone; within allow_protected_vars the value."""
        return self._value if _allowed.get() else super().get_value()


def tag_of(typ: Any) -> tuple[type[Tag[Any]] | None, Any]:
    """Return the tag of an annotation, and the annotation without it."""
    origin = typing.get_origin(typ) or typ
    if isinstance(origin, type) and issubclass(origin, Tag):
        args = typing.get_args(typ)
        return origin, args[0] if args else Any
    return None, typ


def tagged(tag: type[Tag[Any]], value: Any, field: str | None = None) -> Tag[Any]:
    """Tag a value, unless it has this very tag; raise SecurityError if it has another."""
    return value if type(value) is tag else tag(value, field=field)


def untagged(value: Any) -> Any:
    """Return the plain value of a tag, also within lists, sets, tuples and mappings."""
    if isinstance(value, Tag):
        return value._value
    if isinstance(value, dict):
        return {untagged(k): untagged(v) for k, v in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(untagged(one) for one in value)
    return value
