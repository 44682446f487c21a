"""Mappings that applications made with mode's help."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

__all__ = ["AttributeDict", "DictAttribute", "FastUserDict", "LRUCache", "force_mapping"]

K = TypeVar("K")
V = TypeVar("V")


class FastUserDict(MutableMapping[K, V]):
    """A mapping over `self.data`."""

    data: MutableMapping[K, V]

    def __init__(self, *args: Any, **items: Any) -> None:
        self.data = dict(*args, **items)

    def __getitem__(self, key: K) -> V:
        missing: Any = getattr(self, "__missing__", None)
        if missing is not None and key not in self.data:
            found: V = missing(key)
            return found
        return self.data[key]

    def __setitem__(self, key: K, value: V) -> None:
        self.data[key] = value

    def __delitem__(self, key: K) -> None:
        del self.data[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return repr(self.data)


class LRUCache(FastUserDict[K, V]):
    """A mapping of at most limit items, which forgets what was not used for longest."""

    def __init__(self, limit: int | None = None, **_: Any) -> None:
        self.limit = limit
        self.data: OrderedDict[K, V] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        value = self.data[key]
        self.data.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self.data[key] = value
        self.data.move_to_end(key)
        while self.limit and len(self.data) > self.limit:
            self.data.popitem(last=False)

    def incr(self, key: K, delta: int = 1) -> int:
        """Add to a number, kept as text."""
        number = int(str(self[key])) + delta
        self[key] = str(number)  # type: ignore[assignment] # mode keeps text, too
        return number


class AttributeDict(dict[str, V]):
    """A dict whose items are attributes, too."""

    def __getattr__(self, name: str) -> V:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: V) -> None:
        self[name] = value


class DictAttribute(MutableMapping[str, Any]):
    """The attributes of an object as a mapping."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __delitem__(self, key: str) -> None:
        delattr(self.obj, key)

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self.obj))

    def __len__(self) -> int:
        return len(vars(self.obj))


def force_mapping(m: Any) -> Mapping[str, Any]:
    """Return a mapping of an object's attributes, and a mapping as it is."""
    return m if isinstance(m, Mapping) else DictAttribute(m)
