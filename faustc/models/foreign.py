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

Convert = Callable[[Any], Any]
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
    fields = [one for one in dataclasses.fields(kind) if one.init]
    converters = [(one.name, inner(hints[one.name])) for one in fields]
    required = {
        one.name
        for one in fields
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, kind):
            return value
        given = _mapping(value, kind)
        if not required <= given.keys():
            raise _lacks(kind, required, given)
        return kind(
            **{
                name: given[name] if one is None else _item(one, given[name], kind, name)
                for name, one in converters
                if name in given
            }
        )

    return convert


def _typed_dict(kind: Any, inner: Inner) -> Convert:
    hints = typing.get_type_hints(kind, include_extras=True)
    converters = [(name, one) for name, typ in hints.items() if (one := inner(typ)) is not None]
    required = frozenset(kind.__required_keys__)

    def convert(value: Any) -> Any:
        if value is None:
            return None
        given = _mapping(value, kind)
        if not required <= given.keys():
            raise _lacks(kind, required, given)
        made = dict(given)
        for name, one in converters:
            if name in made:
                made[name] = _item(one, made[name], kind, name)
        return made

    return convert


def _item(convert: Convert, value: Any, kind: type, name: str) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{kind.__name__}.{name}: {exc}") from exc


def _mapping(value: Any, kind: type) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{kind.__name__} is made of a mapping, not {type(value).__name__}")
    return value


def _lacks(kind: type, required: typing.AbstractSet[str], given: Mapping[str, Any]) -> Exception:
    names = [repr(name) for name in kind.__annotations__ if name in required - given.keys()]
    names += sorted(repr(name) for name in required - given.keys() if repr(name) not in names)
    plural = "s" if len(names) > 1 else ""
    return TypeError(f"{kind.__name__} lacks the required field{plural} {', '.join(names)}")
