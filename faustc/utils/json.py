"""JSON, where Faust's users look for it; `faustc.jsonable` says what it writes."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from faustc import jsonable

__all__ = ["JSONEncoder", "dumps", "loads", "str_to_decimal"]

#: Digits of a decimal that are read from a string of others.
DECIMAL_MAXLEN = 1000


class JSONEncoder(json.JSONEncoder):
    """For `json.dumps(value, cls=JSONEncoder)`: writes what our own `dumps` does."""

    def default(self, o: Any) -> Any:
        """Return something nearer to JSON; raise TypeError if there is nothing."""
        return jsonable.simplify(o)


def dumps(obj: Any, **options: Any) -> str:
    """Write obj as JSON text; options are those of the standard library's json.dumps."""
    if options:
        return json.dumps(obj, **{"cls": JSONEncoder, **options})
    return jsonable.dumps(obj).decode()


def loads(text: str | bytes, **options: Any) -> Any:
    """Parse JSON text; options are those of the standard library's json.loads."""
    if options:
        return json.loads(text, **options)
    return jsonable.loads(text.encode() if isinstance(text, str) else text)


def str_to_decimal(s: str | None, maxlen: int = DECIMAL_MAXLEN) -> Decimal | None:
    """Return a number, that is finite, as a Decimal; None stays None.

    Raises ValueError for one of more than maxlen characters, or that is none.
    """
    if s is None:
        return None
    if len(s) > maxlen:
        raise ValueError(f"a decimal of {len(s)} characters is longer than {maxlen}")
    try:
        value = Decimal(s)
    except InvalidOperation as exc:
        raise ValueError(f"{s[:40]!r} is no decimal number") from exc
    if not value.is_finite():
        raise ValueError(f"{s!r} is no finite number")
    return value
