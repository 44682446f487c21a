"""Python that is written for one type and compiled once: the pieces that are always the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .scalars import Convert, untouched


def function(name: str, arguments: list[str], body: list[str], scope: dict[str, Any]) -> Any:
    """Compile a function of lines of source, which find other values in the scope."""
    source = f"def {name}({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in body)
    found: dict[str, Any] = {}
    # The source is made of identifiers that Python has already accepted as
    # annotations, and of repr() of names; values come by the scope.
    exec(compile(source, "<faustc model>", "exec"), scope, found)
    return found[name]


def conversion(name: str, convert: Convert | None, scope: dict[str, Any]) -> None:
    """Put the conversion of a field into the scope, for `converted` to use."""
    if convert is not None:
        scope[f"__c_{name}"] = convert
        kind = untouched(convert)
        if kind is not None:
            scope[f"__k_{name}"] = kind


def converted(name: str, source: str, scope: Mapping[str, Any]) -> str:
    """Return the expression that converts a field's value, found in the variable source.

    What is of the right type already, most of what comes, costs no call.
    """
    if f"__c_{name}" not in scope:
        return source
    call = f"__c_{name}({source})"
    if f"__k_{name}" in scope:
        return f"({source} if {source}.__class__ is __k_{name} else {call})"
    return call
