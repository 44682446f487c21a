"""TypeExpression: the conversion that an annotation means, by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .coerce import Rules, converter

__all__ = ["TypeExpression"]


class TypeExpression:
    """A type, and what values of it are made of.

    user_types: handlers for types of your own, as a model's `coercions`;
    date_parser: reads datetimes (ISO 8601). Datetimes and Decimals are read from
    text, models and collections are rebuilt, anything else stays as it is.
    """

    def __init__(
        self,
        expression: Any,
        *,
        user_types: Mapping[Any, Callable[[Any], Any]] | None = None,
        date_parser: Callable[[Any], datetime] | None = None,
    ) -> None:
        self.type = expression
        self._rules = Rules(
            isodates=True, decimals=True, coercions=user_types or {}, date_parser=date_parser
        )

    def as_function(self) -> Callable[[Any], Any]:
        """Return the function that converts a value; TypeError or ValueError if it does not fit."""
        return converter(self.type, self._rules) or _as_it_is


def _as_it_is(value: Any) -> Any:
    return value
