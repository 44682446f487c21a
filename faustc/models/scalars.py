"""Single values: text, numbers and the like, made what an annotation says."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

Convert = Callable[[Any], Any]

#: Longest text that is read as a Decimal: longer ones take quadratic time.
DECIMAL_MAX_CHARS = 1000


def decimal(value: Any) -> Decimal | None:
    """Read a finite Decimal from its text or a number; None stays None."""
    if value is None or isinstance(value, Decimal):
        return value
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(f"a decimal number is wanted, not {value!r}")
    text = str(value)
    if len(text) > DECIMAL_MAX_CHARS:
        raise ValueError(f"{len(text)} characters are too many for a decimal number")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


def to_int(value: Any) -> int:
    """Read an int."""
    return value if type(value) is int else int(value)


def to_float(value: Any) -> float:
    """Read a float."""
    return value if type(value) is float else float(value)


def to_str(value: Any) -> str:
    """Read text: bytes are UTF-8, anything but None is what str() gives."""
    if isinstance(value, str):
        return value
    if value is None:
        raise TypeError("text is wanted, not None")
    return value.decode() if isinstance(value, bytes) else str(value)


def to_bytes(value: Any, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    """Read bytes: text is encoded."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(encoding, errors)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"bytes are wanted, not {value!r}")


def to_bool(value: Any) -> bool:
    """Read a bool: "true" and "false" as they say, anything else by its truth."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(text, str) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return bool(value)


def exact_bool(value: Any) -> bool:
    """Read a bool from one, from 0 and 1, and from "true" and "false"; TypeError for the rest."""
    if value in (0, 1) or (isinstance(value, str | bytes) and value.lower() in _BOOL_TEXTS):
        return to_bool(value)
    raise TypeError(f"True or False is wanted, not {value!r}")


_BOOL_TEXTS = ("true", "false", b"true", b"false")


def to_uuid(value: Any) -> UUID:
    """Read a UUID from its text."""
    return value if isinstance(value, UUID) else UUID(to_str(value))


#: What reads a value of each type.
SCALARS: dict[type, Convert] = {
    int: to_int,
    float: to_float,
    str: to_str,
    bytes: to_bytes,
    bool: to_bool,
    UUID: to_uuid,
}

_AS_THEY_ARE = {read: kind for kind, read in SCALARS.items()} | {exact_bool: bool}


def untouched(convert: Convert | None) -> type | None:
    """Return the type whose instances a function of this module hands back as they are."""
    return None if convert is None else _AS_THEY_ARE.get(convert)
