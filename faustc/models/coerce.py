"""From what a serializer gives to what an annotation says: functions made once per type.

JSON has no sets, tuples, enums or models, so these are always rebuilt. A
datetime is read from text where `isodates` or `coerce` is set, a Decimal where
`decimals` or `coerce` is; other types are converted only under `coerce`, and
within a collection only where the value fits, since Faust does not touch those.
"""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Union

from . import foreign
from .registry import maybe_model, named_model
from .scalars import SCALARS, Convert, decimal, exact_bool, to_bool
from .tags import Tag, tagged

_NO_TEXT = (str, bytes, bytearray)
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_SETS = {set: set, abc.Set: set, abc.MutableSet: set, frozenset: frozenset}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


@dataclass(frozen=True)
class Rules:
    """Which conversions a model wants; exact: nothing that does not fit is let through."""

    coerce: bool = False
    exact: bool = False
    isodates: bool = False
    decimals: bool = False
    polymorphic: bool = False
    coercions: Mapping[Any, Convert] = field(default_factory=dict)
    date_parser: Callable[[Any], datetime] | None = None

    def strict(self) -> Rules:
        """Return the same with coerce, for values that have to fit."""
        return replace(self, coerce=True, exact=True)


def converter(typ: Any, rules: Rules) -> Convert | None:
    """Return the function that makes a value fit typ, or None if values stay as they are.

    The function raises TypeError or ValueError. None passes, except for a
    plain type under coerce.
    """
    typ = _bare(typ)
    for wanted, handler in rules.coercions.items():
        if typ is wanted or (
            _are_types(wanted) and isinstance(typ, type) and issubclass(typ, wanted)
        ):
            return _unless(wanted, handler)
    if typ is None or typ is types.NoneType:
        return _nothing if rules.coerce else None
    origin = typing.get_origin(typ)
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(typ), rules)
    if origin is Literal:
        return _literal(typing.get_args(typ)) if rules.coerce else None
    kind = origin or typ
    if not isinstance(kind, type):
        return None
    if getattr(kind, "__is_model__", False):
        return _model(kind, rules)
    if issubclass(kind, Tag):
        return _tag(kind, typing.get_args(typ), rules)
    found = foreign.converter(typ, lambda inner: converter(inner, rules.strict()))
    if found is not None:
        return found
    if kind in _LISTS:
        return _list(typing.get_args(typ), rules)
    if kind in _SETS:
        return _set(_SETS[kind], typing.get_args(typ), rules)
    if kind is tuple:
        return _tuple(typing.get_args(typ), rules)
    if kind in _MAPPINGS:
        return _mapping(typing.get_args(typ), rules)
    return _plain(kind, rules)


_WRAPPERS = (typing.Annotated, typing.Final, typing.Required, typing.NotRequired)


def _bare(typ: Any) -> Any:
    """Take off Annotated, NewType, Final and the like; a TypeVar is its bound."""
    while True:
        if hasattr(typ, "__supertype__"):
            typ = typ.__supertype__
        elif typing.get_origin(typ) in _WRAPPERS:
            typ = typing.get_args(typ)[0]
        elif isinstance(typ, typing.TypeVar):
            typ = typ.__bound__ or Any
        else:
            return typ


def reachable(typ: Any) -> tuple[set[Any], set[Any]]:
    """Return the models and the tags that an annotation names, however deep."""
    models: set[Any] = set()
    tags: set[Any] = set()
    waiting = [typ]
    while waiting:
        one = _bare(waiting.pop())
        waiting += typing.get_args(one)
        kind = typing.get_origin(one) or one
        if isinstance(kind, type) and hasattr(kind, "_options"):  # ModelT itself has none
            models.add(kind)
        elif isinstance(kind, type) and issubclass(kind, Tag):
            tags.add(kind)
    return models, tags


def is_optional(typ: Any) -> bool:
    """Say whether typ allows None."""
    typ = _bare(typ)
    if typing.get_origin(typ) in (Union, types.UnionType):
        return types.NoneType in typing.get_args(typ)
    return typ is None or typ is types.NoneType


def without_none(typ: Any) -> Any:
    """Return typ less its None, when one type is left."""
    typ = _bare(typ)
    if typing.get_origin(typ) in (Union, types.UnionType):
        rest = [one for one in typing.get_args(typ) if one is not types.NoneType]
        return _bare(rest[0]) if len(rest) == 1 else typ
    return typ


def _are_types(wanted: Any) -> bool:
    return all(
        isinstance(one, type) for one in (wanted if isinstance(wanted, tuple) else (wanted,))
    )


def _unless(wanted: Any, handler: Convert) -> Convert:
    def convert(value: Any) -> Any:
        return value if value is None or isinstance(value, wanted) else handler(value)

    return convert


def _tag(tag: Any, args: tuple[Any, ...], rules: Rules) -> Convert:
    inner = converter(args[0], rules) if args else None

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, Tag):
            return value
        return tagged(tag, value if inner is None else inner(value))

    return convert


def _item(typ: Any, rules: Rules) -> Convert | None:
    """Return the converter of what is inside of a collection."""
    convert = converter(typ, rules)
    if convert is None or rules.exact or without_none(typ) not in SCALARS:
        return convert
    made = convert

    def where_it_fits(value: Any) -> Any:
        try:
            return made(value)
        except (TypeError, ValueError):
            return value

    return where_it_fits


def _nothing(value: Any) -> None:
    if value is not None:
        raise TypeError(f"None is wanted, not {value!r}")


def _literal(allowed: tuple[Any, ...]) -> Convert:
    def convert(value: Any) -> Any:
        for one in allowed:
            if value == one and type(value) is type(one):
                return value
        raise ValueError(f"{value!r} is not one of {', '.join(map(repr, allowed))}")

    return convert


def _model(model: Any, rules: Rules) -> Convert:
    if not hasattr(model, "from_data"):  # ModelT: whatever model the data names
        return maybe_model
    polymorphic = rules.polymorphic

    def convert(value: Any) -> Any:
        if value is None or getattr(value, "__is_model__", False):
            return value
        if polymorphic:
            found = named_model(value)
            if found is not None and issubclass(found, model):
                return found.from_data(value)
        return model.from_data(value)

    return convert


def _union(args: tuple[Any, ...], rules: Rules) -> Convert | None:
    optional = types.NoneType in args
    kinds = [one for one in args if one is not types.NoneType]
    converters = [converter(one, rules) for one in kinds]
    if all(one is None for one in converters):
        return None
    if len(kinds) == 1:
        only = converters[0]
        assert only is not None
        return (lambda value: None if value is None else only(value)) if optional else only
    return _first_that_fits(kinds, converters, rules)


def _first_that_fits(kinds: list[Any], converters: list[Convert | None], rules: Rules) -> Convert:
    """Try a union's types: as it is, then the model that data names, then each in turn."""
    plain = tuple(
        kind
        for kind in (typing.get_origin(_bare(one)) or _bare(one) for one in kinds)
        if isinstance(kind, type)
        and kind not in _LISTS
        and kind not in _MAPPINGS
        # a TypedDict is a dict when it comes to isinstance, but must not be asked
        and not typing.is_typeddict(kind)
    )
    models = tuple(one for one in plain if getattr(one, "__is_model__", False))

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, plain):
            return value
        named = named_model(value) if models else None
        if named is not None and issubclass(named, models):
            return named.from_data(value)
        for one in converters:
            if one is None:
                continue
            try:
                return one(value)
            except (TypeError, ValueError):
                continue
        if rules.coerce and None not in converters:
            names = ", ".join(getattr(one, "__name__", str(one)) for one in kinds)
            raise TypeError(f"{value!r} fits none of {names}")
        return value

    return convert


def _items(value: Any) -> Any:
    if isinstance(value, _NO_TEXT) or not isinstance(value, abc.Iterable):
        raise TypeError(f"several values are wanted, not {value!r}")
    return value


def _list(args: tuple[Any, ...], rules: Rules) -> Convert | None:
    item = _item(args[0], rules) if args else None
    if item is not None:
        return lambda value: None if value is None else [item(one) for one in _items(value)]
    if not rules.coerce:
        return None
    return lambda value: value if value is None or type(value) is list else list(_items(value))


def _set(kind: type, args: tuple[Any, ...], rules: Rules) -> Convert:
    item = _item(args[0], rules) if args else None
    if item is not None:
        return lambda value: None if value is None else kind(item(one) for one in _items(value))
    return lambda value: value if value is None or type(value) is kind else kind(_items(value))


def _tuple(args: tuple[Any, ...], rules: Rules) -> Convert:
    if not args or (len(args) == 2 and args[1] is Ellipsis):
        item = _item(args[0], rules) if args else None
        if item is not None:
            return lambda value: (
                None if value is None else tuple(item(one) for one in _items(value))
            )
        return lambda value: value if value is None else tuple(_items(value))
    items = [_item(one, rules) for one in args] if args != ((),) else []

    def convert(value: Any) -> Any:
        if value is None:
            return None
        values = tuple(_items(value))
        if len(values) != len(items):
            raise ValueError(f"{len(items)} values are wanted, not {len(values)}")
        return tuple(
            one if item is None else item(one) for item, one in zip(items, values, strict=True)
        )

    return convert


def _mapping(args: tuple[Any, ...], rules: Rules) -> Convert | None:
    key = _item(args[0], rules) if args else None
    item = _item(args[1], rules) if args else None
    if key is None and item is None and not rules.coerce:
        return None

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, abc.Mapping):
            raise TypeError(f"a mapping is wanted, not {value!r}")
        if key is None and item is None:
            return value
        return {
            k if key is None else key(k): v if item is None else item(v) for k, v in value.items()
        }

    return convert


def _plain(kind: type, rules: Rules) -> Convert | None:
    if issubclass(kind, Enum):
        return lambda value: None if value is None else kind(value)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple(kind, rules)
    if kind in (datetime, date, time):
        return _when(kind, rules) if rules.isodates or rules.coerce else None
    if kind is Decimal:
        return decimal if rules.decimals or rules.coerce else None
    if kind is bool and rules.coerce:
        return to_bool if not rules.exact else exact_bool
    return SCALARS.get(kind) if rules.coerce else None


def _named_tuple(kind: Any, rules: Rules) -> Convert:
    hints = typing.get_type_hints(kind)
    items = {name: _item(hints.get(name, Any), rules) for name in kind._fields}

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, kind):
            return value
        if isinstance(value, abc.Mapping):
            given = dict(value)
        else:
            values = list(_items(value))
            if len(values) > len(items):
                raise ValueError(f"{len(items)} values are wanted, not {len(values)}")
            given = dict(zip(items, values, strict=False))
        return kind(
            **{name: item(one) if (item := items.get(name)) else one for name, one in given.items()}
        )

    return convert


def _when(kind: Any, rules: Rules) -> Convert:
    parse = rules.date_parser if rules.date_parser and kind is datetime else kind.fromisoformat

    def convert(value: Any) -> Any:
        if value is None and not rules.coerce:
            return None
        if isinstance(value, kind):
            return value
        if rules.date_parser is None and not isinstance(value, str):
            raise TypeError(f"a {kind.__name__} in ISO 8601 is wanted, not {value!r}")
        return parse(value)

    return convert
