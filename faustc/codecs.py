"""Codecs: between Python values and bytes, by name, and joined by `|`.

`json|gzip` writes JSON and compresses it; reading goes the other way. A codec
knows nothing of models, keys or settings: `serializers.Registry` does.
"""

from __future__ import annotations

import base64
import gzip
import pickle
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

from . import jsonable, unpickling
from .exceptions import ImproperlyConfigured, SecurityWarning
from .imports import did_you_mean
from .unpickling import allow_pickle, forbid_pickle

__all__ = [
    "Binary",
    "Codec",
    "CodecArg",
    "Pickle",
    "allow_pickle",
    "codecs",
    "dumps",
    "forbid_pickle",
    "get_codec",
    "json",
    "loads",
    "pickle_codec",
    "raw",
    "register",
]

#: A compressed value may not unpack to more than this.
MAX_DECOMPRESSED = 128 * 1024 * 1024

ENTRY_POINTS = "faust.codecs"


class Codec:
    """One way to turn a value into bytes, and those after it.

    A subclass defines `_dumps` and `_loads`. Keyword arguments are kept in
    `kwargs`, and go to the clones.
    """

    #: Whether bytes from a stranger can make it run code.
    unsafe = False

    def __init__(self, children: tuple[Codec, ...] | None = None, **kwargs: Any) -> None:
        self.children = tuple(children or ())
        self.nodes: tuple[Codec, ...] = (self, *self.children)
        self.kwargs = kwargs

    def _dumps(self, obj: Any) -> Any:
        """Turn a value into bytes; for the first codec of a chain any value, then bytes."""
        raise NotImplementedError(f"{type(self).__name__} defines no _dumps")

    def _loads(self, data: bytes) -> Any:
        """Turn bytes back; raise any exception if they are not what they should be."""
        raise NotImplementedError(f"{type(self).__name__} defines no _loads")

    def dumps(self, obj: Any) -> bytes:
        """Encode through this codec and then those after it."""
        for node in self.nodes:
            obj = node._dumps(obj)
        return obj  # type: ignore[no-any-return]

    def loads(self, data: bytes) -> Any:
        """Decode through the chain, last codec first."""
        for node in reversed(self.nodes):
            data = node._loads(data)
        return data

    def clone(self, *children: Codec) -> Codec:
        """Return a copy with more codecs at its end."""
        return type(self)(children=self.children + children, **self.kwargs)

    def __or__(self, other: object) -> Codec:
        if not isinstance(other, Codec):
            return NotImplemented
        return self.clone(*other.nodes)

    def check(self) -> None:
        """Raise ImproperlyConfigured if what it needs is not installed; when it is named."""

    def loader(self) -> Callable[[bytes], Any]:
        """Return the shortest function that does what loads does."""
        plain = not self.children and type(self).loads is Codec.loads
        return self._loads if plain else self.loads

    def dumper(self) -> Callable[[Any], bytes]:
        """Return the shortest function that does what dumps does."""
        plain = not self.children and type(self).dumps is Codec.dumps
        return self._dumps if plain else self.dumps

    def __repr__(self) -> str:
        return " | ".join(f"{type(node).__name__}()" for node in self.nodes)


CodecArg = Codec | str | None


class Raw(Codec):
    """Bytes as they are; a str in UTF-8, a number as its digits."""

    def _dumps(self, obj: Any) -> bytes:
        if isinstance(obj, bytes):
            return obj
        if isinstance(obj, str):
            return obj.encode()
        if isinstance(obj, bytearray | memoryview):
            return bytes(obj)
        if isinstance(obj, int | float) and not isinstance(obj, bool):
            return repr(obj).encode()
        raise TypeError(f"the raw codec takes bytes, str or a number, not {type(obj).__name__}")

    def _loads(self, data: bytes) -> bytes:
        return data


class Json(Codec):
    """JSON in UTF-8; see `jsonable` for what it can write."""

    _dumps = staticmethod(jsonable.dumps)
    _loads = staticmethod(jsonable.loads)  # type: ignore[assignment] # as quick as can be


class Pickle(Codec):
    """Python's pickle, of plain values and of classes that were allowed by name.

    allowed are more classes, or their dotted names, than `allow_pickle` was told of.
    Whatever else the bytes ask for is refused, so who writes to the topic cannot have
    code run where it is read.
    """

    def __init__(
        self,
        children: tuple[Codec, ...] | None = None,
        *,
        allowed: tuple[type | str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(children, allowed=allowed, **kwargs)
        self._allowed = frozenset(map(unpickling.dotted, allowed))

    def _dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, protocol=5)

    def _loads(self, data: bytes) -> Any:
        return unpickling.load(data, self._allowed)


class UnrestrictedPickle(Codec):
    """Python's pickle. Whoever can write to the topic can run code where it is read."""

    unsafe = True

    def _dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, protocol=5)

    def _loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class Yaml(Codec):
    """YAML of plain values, by PyYAML; what has no YAML is written as its JSON would be."""

    def check(self) -> None:
        """Raise ImproperlyConfigured if PyYAML is not installed."""
        if find_spec("yaml") is None:
            raise ImproperlyConfigured("the codec 'yaml' needs PyYAML: pip install 'faustc[yaml]'")

    def _dumps(self, obj: Any) -> bytes:
        text: bytes = _yaml()[0](obj)
        return text

    def _loads(self, data: bytes) -> Any:
        return _yaml()[1](data)


@cache
def _yaml() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Return what writes and what reads YAML; the import costs too much for who has none."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # the same value twice is written twice, as in JSON

    def simplified(dumper: yaml.SafeDumper, obj: Any) -> Any:
        return dumper.represent_data(jsonable.simplify(obj))

    Dumper.add_multi_representer(object, simplified)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def dumps(obj: Any) -> bytes:
        text = yaml.dump(obj, Dumper=Dumper, allow_unicode=True, sort_keys=False)
        return str(text).encode()

    return dumps, lambda data: yaml.load(data, loader)


class Binary(Codec):
    """Base64."""

    def _dumps(self, obj: Any) -> bytes:
        return base64.b64encode(obj.encode() if isinstance(obj, str) else obj)

    def _loads(self, data: bytes) -> bytes:
        return base64.b64decode(data, validate=True)


class Gzip(Codec):
    """gzip; the same bytes for the same value, since no time is stored."""

    def _dumps(self, obj: Any) -> bytes:
        return gzip.compress(_as_bytes(obj), mtime=0)

    def _loads(self, data: bytes) -> bytes:
        return _inflate(data, wbits=31)


class Zlib(Codec):
    """zlib's own format."""

    def _dumps(self, obj: Any) -> bytes:
        return zlib.compress(_as_bytes(obj))

    def _loads(self, data: bytes) -> bytes:
        return _inflate(data, wbits=15)


def _as_bytes(obj: Any) -> bytes:
    if isinstance(obj, str):
        return obj.encode()
    if isinstance(obj, bytes | bytearray | memoryview):
        return bytes(obj)
    raise TypeError(
        f"only bytes can be compressed, not {type(obj).__name__}; name a codec before, "
        "as in 'json|gzip'"
    )


def _inflate(data: bytes, wbits: int) -> bytes:
    """Decompress, members one after another (gzip allows it), up to MAX_DECOMPRESSED bytes."""
    out: list[bytes] = []
    left = MAX_DECOMPRESSED
    while data or not out:
        unpacker = zlib.decompressobj(wbits)
        part = unpacker.decompress(data, left + 1)  # one more, to see that there is more
        left -= len(part)
        if left < 0:
            raise ValueError(f"it decompresses to more than {MAX_DECOMPRESSED} bytes")
        if not unpacker.eof:
            raise ValueError("compressed data is cut short")
        out.append(part)
        data = unpacker.unused_data
    return b"".join(out)


raw = Raw()
json = Json()
pickle_codec = Pickle() | Binary()  # base64, as Faust has it

#: Every codec by name. Register with `register`.
codecs: dict[str, Codec] = {
    "raw": raw,
    "json": json,
    "pickle": pickle_codec,
    "pickle_restricted": pickle_codec,
    "pickle_unrestricted": UnrestrictedPickle() | Binary(),
    "yaml": Yaml(),
    "binary": Binary(),
    "gzip": Gzip(),
    "zlib": Zlib(),
}

_chains: dict[str, Codec] = {}


def register(name: str, codec: Codec) -> None:
    """Make codec known by name, in place of any that had it."""
    if not name or "|" in name:
        raise ImproperlyConfigured(f"{name!r} is no name for a codec")
    codecs[name] = codec
    _chains.clear()


def get_codec(name_or_codec: CodecArg) -> Codec:
    """Find a codec by name, or by several joined by `|`; None is raw.

    Raises ImproperlyConfigured for a name that nobody registered, or whose library is
    not installed. Naming pickle_unrestricted warns with SecurityWarning.
    """
    if name_or_codec is None:
        return raw
    if not isinstance(name_or_codec, str):
        return name_or_codec
    found = _chains.get(name_or_codec)
    if found is None:
        first, *rest = (_named(part.strip()) for part in name_or_codec.split("|"))
        found = first
        for other in rest:
            found = found | other
        for node in found.nodes:
            node.check()
        if any(node.unsafe for node in found.nodes):
            warnings.warn(
                f"the codec {name_or_codec!r} lets anyone who can write to the topic run code here",
                SecurityWarning,
                stacklevel=2,
            )
        else:
            _chains[name_or_codec] = found
    return found


def _named(name: str) -> Codec:
    if name not in codecs:
        _load_entry_points(name)
    try:
        return codecs[name]
    except KeyError:
        raise ImproperlyConfigured(
            f"there is no codec {name!r}{did_you_mean(name, codecs)} "
            f"(known: {', '.join(sorted(codecs))})"
        ) from None


def _load_entry_points(name: str) -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        found = point.load()
        # Faust's own documentation has a function, others a class or the codec itself.
        register(name, found if isinstance(found, Codec) else found())


def dumps(codec: CodecArg, obj: Any) -> bytes:
    """Encode by a codec or its name."""
    return get_codec(codec).dumps(obj)


def loads(codec: CodecArg, data: bytes) -> Any:
    """Decode by a codec or its name."""
    return get_codec(codec).loads(data)
