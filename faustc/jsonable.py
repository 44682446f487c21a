"""JSON text, by orjson where it is installed and the standard library where not.

Beyond JSON's own types it writes datetimes, dates and times (ISO 8601),
Decimal and UUID (as strings, so that nothing is lost), Enum (its value), sets,
deques and tuples (arrays), dataclasses, msgspec's Structs and pydantic's models
(by their aliases, as they are read), UTF-8 bytes (a string), and anything with a
`__json__` method, models among them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Set
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]


def loads_portable(data: bytes | str) -> Any:
    """Parse JSON text by the standard library, as strictly as orjson; raise ValueError."""
    text = data if isinstance(data, str) else data.decode()
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"there is no {name} in JSON")


#: Parse JSON text; raise ValueError if it is none.
loads: Callable[[bytes], Any] = loads_portable if orjson is None else orjson.loads


def dumps(obj: Any) -> bytes:
    """Write obj as JSON in UTF-8, without spaces; raise TypeError for what has no JSON form."""
    if orjson is not None:
        try:
            return orjson.dumps(obj, simplify)
        except TypeError:
            # It refuses keys that are not strings and integers beyond 64 bits,
            # which JSON allows; anything else fails below as well, by its own name.
            pass
    return dumps_portable(obj)


def dumps_portable(obj: Any) -> bytes:
    """Write the same text by the standard library alone."""
    try:
        text = json.dumps(
            obj, default=simplify, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except ValueError:
        # NaN and the infinities have no JSON; they become null, as orjson has it.
        text = json.dumps(
            _without_nan(obj),
            default=lambda one: _without_nan(simplify(one)),
            ensure_ascii=False,
            separators=(",", ":"),
        )
    return text.encode()


def simplify(obj: Any) -> Any:
    """Return something nearer to JSON in place of obj; raise TypeError if there is nothing."""
    to_json = getattr(obj, "__json__", None)
    if to_json is not None:
        return to_json()
    if isinstance(obj, date | time):
        return obj.isoformat()
    if isinstance(obj, Enum):
        return obj.value
    if isinstance(obj, Set | deque | tuple):
        return list(obj)
    if isinstance(obj, Mapping):
        return dict(obj)
    if isinstance(obj, bytes):
        return obj.decode()
    if isinstance(obj, Decimal) or type(obj).__name__ == "UUID":
        return str(obj)
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    if hasattr(type(obj), "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(obj, enc_hook=simplify)
    if hasattr(type(obj), "model_dump"):
        return obj.model_dump(mode="json", by_alias=True)
    raise TypeError(f"there is no JSON for a {type(obj).__name__}: {obj!r}")


def _without_nan(obj: Any) -> Any:
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, dict):
        return {key: _without_nan(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_without_nan(value) for value in obj]
    return obj
