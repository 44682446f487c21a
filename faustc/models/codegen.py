"""The functions of a model, written for its fields and compiled once per class.

Nothing here loops over fields at run time: for `class Point(Record): x: int;
y: int = 0` the function that makes a model from data reads ::

    def build(data):
        try:
            v_x = data['x']
            get = data.get
        except (KeyError, TypeError, AttributeError):
            raise __missing(__cls, data) from None
        v_y = get('y')
        self = __new(__cls)
        self.x = v_x
        self.y = __d_y if v_y is None else v_y
        if (__count(data) - ('__faust' in data) != 2 or v_y is None) and not __known(data):
            __keep_extra(self, data)
        return self

A null for a field with a default means the default, as Faust has it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ..exceptions import ValidationError
from .compiled import conversion, converted, function
from .fields import FieldDescriptor
from .registry import BLESSED_KEY

Fields = Mapping[str, FieldDescriptor[Any]]


def build_init(cls: Any, fields: Fields) -> Callable[..., None]:
    """Write `__init__`: required fields first, in order, then those with a default."""
    scope = _scope(cls, fields)
    required = [name for name, field in fields.items() if field.required]
    optional = [name for name, field in fields.items() if not field.required]
    arguments = ["__self", *required, *(f"{name}=None" for name in optional)]
    body, store = _storing(fields, "__self")
    setters = [store(n, _value(n, n, field, scope)) for n, field in fields.items()]
    given = "{" + ", ".join(f"{name!r}: {name}" for name in fields) + "}"
    body += _guarded(setters, fields, scope, given)
    body += _closing(cls, "__self")
    init: Callable[..., None] = function("__init__", arguments, body or ["pass"], scope)
    return init


def build_from_data(cls: Any, fields: Fields) -> Callable[[Any], Any]:
    """Write the function that makes a model of a mapping; see the top of this file."""
    scope = _scope(cls, fields)
    names = [field.input_name for field in fields.values()]
    scope["__known"] = frozenset([*names, BLESSED_KEY]).issuperset
    optional = [name for name, field in fields.items() if not field.required]
    body = ["try:"]
    body += [f"    v_{n} = data[{f.input_name!r}]" for n, f in fields.items() if f.required]
    body.append("    get = data.get")
    body.append("except (KeyError, TypeError, AttributeError):")
    body.append("    raise __missing(__cls, data) from None")
    body += [f"v_{name} = get({fields[name].input_name!r})" for name in optional]
    # A field that is not there may hide one too many from the count.
    surely = "".join(f" or v_{name} is None" for name in optional)
    count = f"__count(data) - ({BLESSED_KEY!r} in data) != {len(set(names))}"
    body.append("self = __new(__cls)")
    before, store = _storing(fields, "self")
    body += before
    setters = [store(n, _value(n, f"v_{n}", field, scope)) for n, field in fields.items()]
    body += _guarded(setters, fields, scope, "__by_field(__cls, data)")
    body.append(f"if ({count}{surely}) and not __known(data):")
    body.append("    __keep_extra(self, data)")
    body += _closing(cls, "self")
    body.append("return self")
    build: Callable[[Any], Any] = function("build", ["data"], body, scope)
    return build


def build_asdict(fields: Fields, *, prepared: bool) -> Callable[[Any], dict[str, Any]]:
    """Write `asdict`: a dict of the fields that are not excluded, nested models as they are.

    prepared: it goes through `_prepare_dict`, which the class overrides.
    """
    items = ", ".join(f"{f.output_name!r}: self.{n}" for n, f in fields.items() if not f.exclude)
    made = f"self._prepare_dict({{{items}}})" if prepared else f"{{{items}}}"
    asdict: Callable[[Any], dict[str, Any]] = function("asdict", ["self"], [f"return {made}"], {})
    return asdict


def build_setattr(cls: Any, fields: Fields) -> Callable[[Any, str, Any], None] | None:
    """Make the `__setattr__` of a class some of whose fields convert what is assigned to them.

    None if there is no such field: assigning then costs nothing. Construction
    goes past it.
    """
    converted = {name: field for name, field in fields.items() if _converts_later(field)}
    if not converted:
        return None
    convert = {name: field.conversion() for name, field in converted.items()}
    store = object.__setattr__

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        field = converted.get(name)
        if field is not None:
            change = convert[name]
            if change is not None and (value is not None or field.required):
                try:
                    value = change(value)
                except (TypeError, ValueError) as exc:
                    cause = None if field.tag or field.related_tags else exc
                    raise blame(cls, {name: value}, exc) from cause
            value = field.tagged(value)
        store(self, name, value)

    return __setattr__


def build_comparisons(fields: Fields) -> dict[str, Callable[..., Any]]:
    """Write hash and comparisons, by their names without underscores: by fields, in one class."""

    def values(owner: str) -> str:
        return "(" + "".join(f"{owner}.{name}, " for name in fields) + ")"

    methods = {"hash": function("__hash__", ["self"], [f"return hash({values('self')})"], {})}
    for name, operator in _OPERATORS.items():
        body = [
            "if other.__class__ is self.__class__:",
            f"    return {values('self')} {operator} {values('other')}",
            "return NotImplemented",
        ]
        methods[name] = function(f"__{name}__", ["self", "other"], body, {})
    return methods


_OPERATORS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def _scope(cls: Any, fields: Fields) -> dict[str, Any]:
    scope: dict[str, Any] = {
        # Names that no field can have: Python mangles those with two underscores.
        "__cls": cls,
        "__new": object.__new__,
        "__count": len,
        "__missing": missing,
        "__blame": blame,
        "__by_field": by_field,
        "__keep_extra": keep_extra,
        "__copy": copy.deepcopy,
    }
    for name, field in fields.items():
        conversion(name, field.conversion(), scope)
        if field.tag is not None:
            scope[f"__t_{name}"] = field.tagged
        if not field.required and field.default is not None:
            scope[f"__d_{name}"] = field.default
    return scope


def _converts_later(field: FieldDescriptor[Any]) -> bool:
    """Say whether a field does something to a value that is assigned to it."""
    own = field.conversion() is not None and (field.coerce or field.prepares)
    return own or field.tag is not None


def _storing(fields: Fields, owner: str) -> tuple[list[str], Callable[[str, str], str]]:
    """Return what stores a field: an attribute, or past the class's own `__setattr__`."""
    if not any(_converts_later(field) for field in fields.values()):
        return [], lambda name, value: f"{owner}.{name} = {value}"
    return [f"__fields = {owner}.__dict__"], lambda name, value: f"__fields[{name!r}] = {value}"


def _value(name: str, source: str, field: FieldDescriptor[Any], scope: Mapping[str, Any]) -> str:
    value = converted(name, source, scope)
    if not field.required:
        default = "None"
        if field.default is not None:
            shared = not isinstance(field.default, list | dict | set)
            default = f"__d_{name}" if shared else f"__copy(__d_{name})"
        if default != "None" or value != source:
            value = f"{default} if {source} is None else {value}"
    return value if field.tag is None else f"__t_{name}({value})"


def _guarded(
    setters: list[str], fields: Fields, scope: Mapping[str, Any], values: str
) -> list[str]:
    """Let what a conversion refuses be told with the name of its field."""
    if not any(f"__c_{name}" in scope for name in fields):
        return setters
    # What a conversion says may quote a value that is not to be shown.
    hidden = any(field.tag or field.related_tags for field in fields.values())
    return [
        "try:",
        *(f"    {line}" for line in setters),
        "except (TypeError, ValueError) as __exc:",
        f"    raise __blame(__cls, {values}, __exc) from {'None' if hidden else '__exc'}",
    ]


def _closing(cls: Any, owner: str) -> list[str]:
    lines = []
    if hasattr(cls, "__post_init__"):
        lines.append(f"{owner}.__post_init__()")
    if cls._options.validation:
        lines.append(f"{owner}.validate_or_raise()")
    return lines


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
        value = values.get(name)
        if convert is None or name not in values or (value is None and not field.required):
            continue
        try:
            convert(value)
        except (TypeError, ValueError) as found:
            reason = field.shown(str(found))
            return ValidationError(f"{cls.__name__}.{name}: {reason}", field=field)
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
