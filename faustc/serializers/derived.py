"""Schemas of other languages that follow from a Record: Avro's, and JSON Schema."""

from __future__ import annotations

import collections.abc
import types
import typing
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Union, get_args, get_origin
from uuid import UUID

from ..exceptions import ImproperlyConfigured
from ..models.record import Record

__all__ = ["avro_schema_of", "json_schema_of"]

AVRO: dict[Any, Any] = {
    str: "string",
    bytes: "bytes",
    bool: "boolean",
    int: "long",
    float: "double",
    datetime: {"type": "long", "logicalType": "timestamp-micros"},
    date: {"type": "int", "logicalType": "date"},
    time: {"type": "long", "logicalType": "time-micros"},
    UUID: {"type": "string", "logicalType": "uuid"},
    type(None): "null",
}
JSON: dict[Any, Any] = {
    str: {"type": "string"},
    bytes: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": "string"},
    type(None): {"type": "null"},
    Any: {},
    dict: {"type": "object"},
    list: {"type": "array"},
}
LISTS = (list, set, frozenset, tuple, collections.abc.Sequence, collections.abc.Set)
MAPS = (dict, collections.abc.Mapping)


def avro_schema_of(model: type[Record]) -> dict[str, Any]:
    """Return the Avro schema of a model: fields by name, those with a default with that.

    Raises ImproperlyConfigured for a type that has no Avro; give the schema then.
    """
    return _avro_record(model, set())


def _avro_record(model: type[Record], seen: set[str]) -> dict[str, Any]:
    namespace, _, name = model._options.namespace.replace("<locals>.", "").rpartition(".")
    name = name or model.__name__
    seen.add(f"{namespace}.{name}")
    fields = []
    for field, typ, has_default, default in _fields(model):
        schema = _avro(model, field, typ, seen)
        described = {"name": field, "type": schema}
        if has_default and isinstance(default, str | bool | int | float | type(None)):
            if default is None and isinstance(schema, list):
                # The default of a union is of its first branch.
                described["type"] = ["null", *(one for one in schema if one != "null")]
            described["default"] = default
        fields.append(described)
    made: dict[str, Any] = {"type": "record", "name": name}
    if namespace:
        made["namespace"] = namespace
    return {**made, "fields": fields}


def _avro(model: type[Record], field: str, typ: Any, seen: set[str]) -> Any:
    if typ in AVRO:
        return AVRO[typ]
    origin, args = get_origin(typ), get_args(typ)
    if origin in (Union, types.UnionType):
        return [_avro(model, field, one, seen) for one in args]
    if origin in LISTS and args:
        return {"type": "array", "items": _avro(model, field, args[0], seen)}
    if origin in MAPS and args[:1] == (str,):
        return {"type": "map", "values": _avro(model, field, args[1], seen)}
    if isinstance(typ, type) and issubclass(typ, Record):
        full = typ._options.namespace.replace("<locals>.", "")
        return full if full in seen else _avro_record(typ, seen)
    if isinstance(typ, type) and issubclass(typ, Enum):
        values = [one.value for one in typ]
        if all(isinstance(value, str) and value.isidentifier() for value in values):
            if typ.__qualname__ in seen:
                return typ.__name__
            seen.add(typ.__qualname__)
            return {"type": "enum", "name": typ.__name__, "symbols": values}
    raise _none(model, field, typ, "Avro")


def json_schema_of(model: type[Record]) -> dict[str, Any]:
    """Return the JSON Schema of a model; more fields than it has are allowed.

    Raises ImproperlyConfigured for a type that has none; give the schema then.
    """
    definitions: dict[str, Any] = {}
    made = _json_record(model, definitions)
    made = {"$schema": "http://json-schema.org/draft-07/schema#", **made}
    others = {name: one for name, one in definitions.items() if name != model.__name__}
    return {**made, "definitions": others} if others else made


def _json_record(model: type[Record], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    made = {
        "title": model.__name__,
        "type": "object",
        "properties": properties,
        "required": required,
    }
    definitions[model.__name__] = made
    for field, typ, has_default, _ in _fields(model):
        properties[field] = _json(model, field, typ, definitions)
        if not has_default:
            required.append(field)
    return made


def _json(model: type[Record], field: str, typ: Any, definitions: dict[str, Any]) -> Any:
    try:
        if typ in JSON:
            return JSON[typ]
    except TypeError:
        pass  # not hashable, so none of those
    origin, args = get_origin(typ), get_args(typ)
    if origin in (Union, types.UnionType):
        return {"oneOf": [_json(model, field, one, definitions) for one in args]}
    if origin in LISTS and args:
        return {"type": "array", "items": _json(model, field, args[0], definitions)}
    if origin in MAPS:
        values = _json(model, field, args[1], definitions)
        return {"type": "object", "additionalProperties": values}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if isinstance(typ, type) and issubclass(typ, Record):
        if typ.__name__ not in definitions:
            _json_record(typ, definitions)
        return {"$ref": f"#/definitions/{typ.__name__}"}
    if isinstance(typ, type) and issubclass(typ, Enum):
        return {"enum": [one.value for one in typ]}
    raise _none(model, field, typ, "JSON Schema")


def _fields(model: type[Record]) -> list[tuple[str, Any, bool, Any]]:
    """Return the fields as they are sent: name, type, whether there is a default, and which."""
    model.make_final()
    options = model._options
    return [
        (field.output_name, field.type, name in options.defaults, options.defaults.get(name))
        for name, field in options.descriptors.items()
    ]


def _none(model: type[Record], field: str, typ: Any, language: str) -> ImproperlyConfigured:
    shown = getattr(typ, "__name__", typ)
    return ImproperlyConfigured(
        f"no {language} schema follows from {model.__name__}.{field}, of type {shown}: "
        "give the schema as value_schema="
    )
