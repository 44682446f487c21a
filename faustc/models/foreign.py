"""Types that are no models of ours: dataclasses, TypedDicts, msgspec's Structs, pydantic's models.

They may be fields of a model, or a topic's value_type and key_type. For each
type the functions are made once. msgspec and pydantic are imported only for a
type of theirs, so whoever uses them has them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Union

from .. import jsonable
from .compiled import conversion, converted, function
from .scalars import Convert

#: Makes the converter of a type that is found inside of another.
Inner = Callable[[Any], Convert | None]


def is_struct(typ: Any) -> bool:
    """Say whether typ is a msgspec.Struct."""
    return isinstance(typ, type) and hasattr(typ, "__struct_fields__")


def is_pydantic(typ: Any) -> bool:
    """Say whether typ is a model or a dataclass of pydantic."""
    return isinstance(typ, type) and "__pydantic_validator__" in dir(typ)


def is_foreign(typ: Any) -> bool:
    """Say whether typ is one of the types of this module, or a Generic of them."""
    kind = typing.get_origin(typ) or typ
    return (
        is_struct(kind)
        or is_pydantic(kind)
        or typing.is_typeddict(kind)
        or (isinstance(kind, type) and dataclasses.is_dataclass(kind))
    )


def converter(typ: Any, inner: Inner) -> Convert | None:
    """Return what makes a mapping into typ; None if typ is none of these types.

    The function raises TypeError or ValueError for data that does not fit.
    """
    kind = typing.get_origin(typ) or typ
    if not is_foreign(kind):
        return None
    if is_struct(kind):
        return _struct(typ, kind)
    if is_pydantic(kind):
        return _pydantic(kind)
    make = _typed_dict if typing.is_typeddict(kind) else _dataclass
    return _made_at_first_use(lambda: make(kind, inner))


def json_decoder(typ: Any) -> Callable[[bytes], Any] | None:
    """Return what reads typ straight from JSON text; None where there is nothing of the kind."""
    if is_struct(typing.get_origin(typ) or typ) or _all_structs(typ):
        import msgspec

        return msgspec.json.Decoder(typ).decode
    if is_pydantic(typ) and hasattr(typ, "model_validate_json"):
        return typ.model_validate_json  # type: ignore[no-any-return]
    return None


def json_encoder(typ: Any) -> Callable[[Any], bytes] | None:
    """Return what writes instances of typ straight as JSON text, or None."""
    if is_struct(typ):
        import msgspec

        return msgspec.json.Encoder(enc_hook=jsonable.simplify).encode
    if is_pydantic(typ) and hasattr(typ, "model_dump_json"):
        return lambda value: value.model_dump_json(by_alias=True).encode()
    return None


def _all_structs(typ: Any) -> bool:
    """Say whether typ is a union of Structs: msgspec tells them apart by their tags."""
    if typing.get_origin(typ) not in (Union, types.UnionType):
        return False
    kinds = [one for one in typing.get_args(typ) if one is not types.NoneType]
    return len(kinds) > 1 and all(is_struct(typing.get_origin(one) or one) for one in kinds)


def _struct(typ: Any, kind: type) -> Convert:
    import msgspec

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, kind):
            return value
        try:
            return msgspec.convert(value, typ)
        except msgspec.ValidationError as exc:
            raise ValueError(str(exc)) from exc

    return convert


def _pydantic(kind: Any) -> Convert:
    validate: Convert | None = getattr(kind, "model_validate", None)
    if validate is None:
        from pydantic import TypeAdapter

        validate = TypeAdapter(kind).validate_python
    check = validate

    def convert(value: Any) -> Any:
        return value if value is None or isinstance(value, kind) else check(value)

    return convert


def _made_at_first_use(make: Callable[[], Convert]) -> Convert:
    """Put off reading the annotations: they may name what is defined further down, or itself."""
    made: list[Convert] = []

    def convert(value: Any) -> Any:
        if not made:
            made.append(make())
        return made[0](value)

    return convert


def _dataclass(kind: Any, inner: Inner) -> Convert:
    hints = typing.get_type_hints(kind, include_extras=True)
    scope, names = _scope(kind), {}
    needed, given, arguments = [], [], []
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        name = field.name
        names[name] = inner(hints[name])
        conversion(name, names[name], scope)
        value = converted(name, f"v_{name}", scope)
        if field.default is not dataclasses.MISSING:
            scope[f"__d_{name}"] = field.default
            given.append(f"v_{name} = data.get({name!r}, __missing)")
            value = f"__d_{name} if v_{name} is __missing else {value}"
        elif field.default_factory is not dataclasses.MISSING:
            scope[f"__d_{name}"] = field.default_factory
            given.append(f"v_{name} = data.get({name!r}, __missing)")
            value = f"__d_{name}() if v_{name} is __missing else {value}"
        else:
            needed.append(f"v_{name} = data[{name!r}]")
        arguments.append(f"{name}={value}" if field.kw_only else value)
    scope["__names"] = names
    return _function(needed, [*given, f"return __kind({', '.join(arguments)})"], scope)


def _typed_dict(kind: Any, inner: Inner) -> Convert:
    hints = typing.get_type_hints(kind, include_extras=True)
    scope = _scope(kind)
    names = scope["__names"] = {name: inner(typ) for name, typ in hints.items()}
    needed, changes = [], ["data = __dict(data)"]
    # A key need not be an identifier, so variables have numbers.
    for number, (name, convert) in enumerate(names.items()):
        conversion(str(number), convert, scope)
        variable = f"v_{number}"
        value = converted(str(number), variable, scope)
        if name in kind.__required_keys__:
            needed.append(f"{variable} = data[{name!r}]")
            if value != variable:
                changes.append(f"data[{name!r}] = {value}")
        elif value != variable:
            changes.append(f"{variable} = data.get({name!r}, __missing)")
            changes.append(f"if {variable} is not __missing: data[{name!r}] = {value}")
    return _function(needed, [*changes, "return data"], scope)


def _scope(kind: type) -> dict[str, Any]:
    instances = () if typing.is_typeddict(kind) else kind
    return {
        "__kind": kind,
        "__dict": dict,
        "__missing": object(),
        "__refused": _refused,
        "__as_it_is": lambda value: value is None or isinstance(value, instances),
    }


def _function(needed: list[str], rest: list[str], scope: dict[str, Any]) -> Convert:
    """Compile the function that reads a mapping, and says which field it is that does not fit."""
    body = [
        "if data.__class__ is not __dict and __as_it_is(data):",
        "    return data",
        "try:",
        *(f"    {line}" for line in [*needed, *rest]),
        "except (TypeError, ValueError, KeyError, AttributeError) as __exc:",
        "    raise __refused(__kind, __names, data, __exc) from __exc",
    ]
    return function("convert", ["data"], body, scope)  # type: ignore[no-any-return]


def _refused(
    kind: Any, names: Mapping[str, Convert | None], data: Any, exc: Exception
) -> Exception:
    """Return the error for data that was refused: what it lacks, or the field that does not fit."""
    if not isinstance(data, Mapping):
        return TypeError(f"{kind.__name__} is made of a mapping, not {type(data).__name__}")
    lacking = [repr(name) for name in _required(kind) if name not in data]
    if lacking:
        plural = "s" if len(lacking) > 1 else ""
        return TypeError(f"{kind.__name__} lacks the required field{plural} {', '.join(lacking)}")
    for name, convert in names.items():
        if convert is not None and name in data:
            try:
                convert(data[name])
            except (TypeError, ValueError) as found:
                return ValueError(f"{kind.__name__}.{name}: {found}")
    fits_not = isinstance(exc, TypeError | ValueError)
    return exc if fits_not else ValueError(f"{kind.__name__}: {exc!r}")


def _required(kind: Any) -> list[str]:
    if typing.is_typeddict(kind):
        return [name for name in typing.get_type_hints(kind) if name in kind.__required_keys__]
    missing = dataclasses.MISSING
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is missing and field.default_factory is missing
    ]
