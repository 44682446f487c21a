"""Reading pickle from strangers: plain values, and instances of classes that were allowed."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

__all__ = ["allow_pickle", "dotted", "forbid_pickle", "load"]

# Not bytes and bytearray: called with a number they take as many bytes of memory. Values of
# theirs need no class.
ALLOWED = {
    *(f"builtins.{cls.__name__}" for cls in (dict, list, set, frozenset, tuple, str)),
    *(f"builtins.{cls.__name__}" for cls in (int, float, bool, complex)),
    *(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "deque", "Counter")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    "decimal.Decimal",
    "fractions.Fraction",
    "uuid.UUID",
    "uuid.SafeUUID",
}


def allow_pickle(*classes: type | str) -> None:
    """Let the codec "pickle" make instances of these, given as classes or dotted names."""
    ALLOWED.update(map(dotted, classes))


def forbid_pickle(*classes: type | str) -> None:
    """Take back what allow_pickle allowed."""
    ALLOWED.difference_update(map(dotted, classes))


def dotted(cls: type | str) -> str:
    """Return the dotted name of a class."""
    return cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"


def load(data: bytes, allowed: frozenset[str]) -> Any:
    """Return what data holds, instances of ALLOWED and of allowed among it.

    Raises pickle.UnpicklingError for anything else, and for what is no pickle.
    """
    try:
        return _Unpickler(data, allowed).load()
    except (pickle.UnpicklingError, MemoryError):
        raise
    except Exception as exc:
        raise pickle.UnpicklingError(f"it is no pickle: {exc!r}") from exc


# The one in Python, since the one in C has no hook where attributes are set.
_Base: Any = pickle._Unpickler


class _Unpickler(_Base):  # type: ignore[misc]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Base.dispatch)

    def __init__(self, data: bytes, allowed: frozenset[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._size = len(data)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted not in ALLOWED and wanted not in self._allowed:
            raise pickle.UnpicklingError(
                f"it asks for {wanted}, which is not allowed; if your producers send that, "
                f"codecs.allow_pickle({wanted!r})"
            )
        return super().find_class(module, name)

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):
            raise pickle.UnpicklingError(f"it sets attributes of the class {self.stack[-2]!r}")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        # The size is the sender's claim: nothing is allocated for it.
        (size,) = struct.unpack("<Q", self.read(8))
        if size > self._size:
            raise pickle.UnpicklingError(f"it claims {size} bytes and has {self._size} in all")
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
