"""The functions of a model, written for its fields and compiled once per class.

Nothing here loops over fields at run time: for `class Point(Record): x: int;
y: int = 0` the function that makes a model from data reads ::

    def build(data):
        try:
            v_x = data['x']
            get = data.get
        except (KeyError, TypeError, AttributeError):
            raise __missing(__cls, data) from None
        self = __new(__cls)
        self.x = v_x
        v = get('y')
        self.y = __d_y if v is None else v
        if not __known(data):
            __keep_extra(self, data)
        return self

A null for a field with a default means the default, as Faust has it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ..exceptions import ValidationError
from .fields import FieldDescriptor
from .registry import BLESSED_KEY

Fields = Mapping[str, FieldDescriptor[Any]]


def build_init(cls: Any, fields: Fields) -> Callable[..., None]:
    """Write `__init__`: required fields first, in order, then those with a default."""
    scope = _scope(cls, fields)
    required = [name for name, field in fields.items() if field.required]
    optional = [name for name, field in fields.items() if not field.required]
    arguments = ["__self", *required, *(f"{name}=None" for name in optional)]
    body: list[str] = []
    if any(f"__c_{name}" in scope for name in fields):
        body.append("try:")
        body.extend(f"    {_assign(name, name, field, scope)}" for name, field in fields.items())
        body.append("except (TypeError, ValueError) as __exc:")
        given = ", ".join(f"{name!r}: {name}" for name in fields)
        body.append(f"    raise __blame(__cls, {{{given}}}, __exc) from __exc")
    else:
        body.extend(_assign(name, name, field, scope) for name, field in fields.items())
    body.extend(_closing(cls, "__self"))
    init: Callable[..., None] = _compile("__init__", arguments, body or ["pass"], scope)
    return init


def build_from_data(cls: Any, fields: Fields) -> Callable[[Any], Any]:
    """Write the function that makes a model of a mapping; see the top of this file."""
    scope = _scope(cls, fields)
    scope["__known"] = frozenset([*(f.input_name for f in fields.values()), BLESSED_KEY]).issuperset
    required = {name: field for name, field in fields.items() if field.required}
    body = ["try:"]
    body.extend(f"    v_{name} = data[{field.input_name!r}]" for name, field in required.items())
    body.append("    get = data.get")
    body.append("except (KeyError, TypeError, AttributeError):")
    body.append("    raise __missing(__cls, data) from None")
    body.append("self = __new(__cls)")
    setters = []
    for name, field in fields.items():
        if field.required:
            setters.append(_assign(name, f"v_{name}", field, scope, "self"))
        else:
            setters.append(f"v = get({field.input_name!r})")
            setters.append(_assign(name, "v", field, scope, "self"))
    if any(f"__c_{name}" in scope for name in fields):
        body.append("try:")
        body.extend(f"    {line}" for line in setters)
        body.append("except (TypeError, ValueError) as exc:")
        body.append("    raise __blame(__cls, __by_field(__cls, data), exc) from exc")
    else:
        body.extend(setters)
    body += ["if not __known(data):", "    __keep_extra(self, data)"]
    body.extend(_closing(cls, "self"))
    body.append("return self")
    build: Callable[[Any], Any] = _compile("build", ["data"], body, scope)
    return build


def build_asdict(fields: Fields) -> Callable[[Any], dict[str, Any]]:
    """Write `asdict`: a dict of the fields that are not excluded, nested models as they are."""
    items = ", ".join(f"{f.output_name!r}: self.{n}" for n, f in fields.items() if not f.exclude)
    asdict: Callable[[Any], dict[str, Any]] = _compile(
        "asdict", ["self"], [f"return {{{items}}}"], {}
    )
    return asdict


def build_comparisons(fields: Fields) -> dict[str, Callable[..., Any]]:
    """Write hash and comparisons: by the tuple of fields, within one class."""

    def values(owner: str) -> str:
        return "(" + "".join(f"{owner}.{name}, " for name in fields) + ")"

    methods = {"__hash__": _compile("__hash__", ["self"], [f"return hash({values('self')})"], {})}
    for name, operator in _OPERATORS.items():
        body = [
            "if other.__class__ is self.__class__:",
            f"    return {values('self')} {operator} {values('other')}",
            "return NotImplemented",
        ]
        methods[name] = _compile(name, ["self", "other"], body, {})
    return methods


_OPERATORS = {
    "__eq__": "==",
    "__ne__": "!=",
    "__lt__": "<",
    "__le__": "<=",
    "__gt__": ">",
    "__ge__": ">=",
}


def _scope(cls: Any, fields: Fields) -> dict[str, Any]:
    scope: dict[str, Any] = {
        # Names that no field can have: Python mangles those with two underscores.
        "__cls": cls,
        "__new": object.__new__,
        "__missing": missing,
        "__blame": blame,
        "__by_field": by_field,
        "__keep_extra": keep_extra,
        "__copy": copy.deepcopy,
    }
    for name, field in fields.items():
        convert = field.conversion()
        if convert is not None:
            scope[f"__c_{name}"] = convert
        if not field.required and field.default is not None:
            scope[f"__d_{name}"] = field.default
    return scope


def _assign(
    name: str,
    source: str,
    field: FieldDescriptor[Any],
    scope: Mapping[str, Any],
    owner: str = "__self",
) -> str:
    value = f"__c_{name}({source})" if f"__c_{name}" in scope else source
    if not field.required:
        default = "None"
        if field.default is not None:
            shared = not isinstance(field.default, list | dict | set)
            default = f"__d_{name}" if shared else f"__copy(__d_{name})"
        if default != "None" or value != source:
            value = f"{default} if {source} is None else {value}"
    return f"{owner}.{name} = {value}"


def _closing(cls: Any, owner: str) -> list[str]:
    lines = []
    if hasattr(cls, "__post_init__"):
        lines.append(f"{owner}.__post_init__()")
    if cls._options.validation:
        lines.append(f"{owner}.validate_or_raise()")
    return lines


def _compile(name: str, arguments: list[str], body: list[str], scope: dict[str, Any]) -> Any:
    source = f"def {name}({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in body)
    found: dict[str, Any] = {}
    # The source is made of identifiers that Python has already accepted as
    # annotations, and of repr() of names; values come by the scope.
    exec(compile(source, "<faustc model>", "exec"), scope, found)
    return found[name]


# -- what the compiled functions call when something is unusual


def missing(cls: Any, data: Any) -> Exception:
    """Return the error for data that lacks required fields, or is no mapping."""
    if not isinstance(data, Mapping):
        return TypeError(f"{cls.__name__} is made of a mapping, not {type(data).__name__}")
    names = [
        repr(field.input_name)
        for field in cls._options.descriptors.values()
        if field.required and field.input_name not in data
    ]
    plural = "s" if len(names) > 1 else ""
    return TypeError(f"{cls.__name__} lacks the required field{plural} {', '.join(names)}")


def by_field(cls: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data under the names of fields."""
    return {n: data.get(f.input_name) for n, f in cls._options.descriptors.items()}


def blame(cls: Any, values: Mapping[str, Any], exc: Exception) -> Exception:
    """Return the error for a value that a conversion refused, naming its field."""
    for name, field in cls._options.descriptors.items():
        convert = field.conversion()
        if convert is None or (values[name] is None and not field.required):
            continue
        try:
            convert(values[name])
        except (TypeError, ValueError) as found:
            return ValidationError(f"{cls.__name__}.{name}: {found}", field=field)
    return exc


def keep_extra(self: Any, data: Mapping[str, Any]) -> None:
    """Keep what data has beyond the fields as attributes, as Faust does.

    Never in place of something the class has: data may not replace a method.
    """
    cls = type(self)
    known = {field.input_name for field in cls._options.descriptors.values()}
    for name, value in data.items():
        if name in known or not isinstance(name, str) or name.startswith("__"):
            continue
        if not hasattr(cls, name):
            self.__dict__[name] = value
