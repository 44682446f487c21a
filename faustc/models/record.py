"""Record: the model that users write, a class whose annotations are its fields."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType, SimpleNamespace
from typing import Any, ClassVar, Self, dataclass_transform

from .. import codecs
from ..codecs import CodecArg
from ..exceptions import ValidationError
from . import codegen
from .coerce import Rules, is_optional
from .fields import FieldDescriptor, field_for_type
from .registry import BLESSED_KEY, named_model, registry

#: Classes whose annotations name something that is not there yet, and what defines them.
_unfinished: dict[Any, Callable[[Mapping[str, Any]], None]] = {}


@dataclass
class ModelOptions:
    """What a model class was declared with, and what follows from its fields."""

    serializer: CodecArg = None
    namespace: str = ""
    include_metadata: bool = True
    isodates: bool = False
    decimals: bool = False
    coerce: bool = False
    validation: bool = False
    polymorphic_fields: bool = False
    allow_blessed_key: bool = False
    date_parser: Callable[[Any], datetime] | None = None
    coercions: dict[Any, Callable[[Any], Any]] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    descriptors: dict[str, FieldDescriptor[Any]] = field(default_factory=dict)

    @property
    def fieldset(self) -> frozenset[str]:
        """The names of all fields."""
        return frozenset(self.fields)

    @property
    def fieldpos(self) -> dict[int, str]:
        """The names of all fields by position."""
        return dict(enumerate(self.fields))

    @property
    def optionalset(self) -> frozenset[str]:
        """The names of the fields that need not be given."""
        return frozenset(name for name, one in self.descriptors.items() if not one.required)

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of those fields."""
        return {name: one.default for name, one in self.descriptors.items() if not one.required}

    def rules(self) -> Rules:
        """Return how values are converted."""
        return Rules(
            coerce=self.coerce,
            isodates=self.isodates,
            decimals=self.decimals,
            polymorphic=self.polymorphic_fields,
            coercions=self.coercions,
            date_parser=self.date_parser,
        )


@dataclass_transform(
    order_default=True,
    field_specifiers=(FieldDescriptor,),
)
class Record:
    """A model: fields by annotation, made from keywords or from data, written as a mapping.

    ::

        class Withdrawal(faust.Record, serializer="json"):
            account_id: str
            amount: float = 0.0

    Options are arguments of the class: see `__init_subclass__`; subclasses
    inherit them. `Withdrawal.amount` is the field's descriptor. An annotation
    that cannot be read yet (a model defined further down) is read when the
    first instance is made.
    """

    __is_model__: ClassVar[bool] = True
    __is_abstract__: ClassVar[bool] = True

    _options: ClassVar[ModelOptions] = ModelOptions()
    _build: ClassVar[Callable[[Any], Any]]
    _model_init: ClassVar[Callable[..., None]]
    _lazy: ClassVar[bool]
    _own_fields: ClassVar[dict[str, FieldDescriptor[Any]]]

    def __init_subclass__(
        cls,
        serializer: CodecArg = None,
        namespace: str | None = None,
        include_metadata: bool | None = None,
        isodates: bool | None = None,
        abstract: bool = False,
        allow_blessed_key: bool | None = None,
        decimals: bool | None = None,
        coerce: bool | None = None,
        coercions: Mapping[Any, Callable[[Any], Any]] | None = None,
        polymorphic_fields: bool | None = None,
        validation: bool | None = None,
        date_parser: Callable[[Any], datetime] | None = None,
        lazy_creation: bool = False,
        **kwargs: Any,
    ) -> None:
        """Make a model of the class.

        serializer: codec of this model, before any topic's or app's.
        namespace: its name in the registry and in data (module.Class).
        include_metadata: write `{"__faust": {"ns": namespace}}` (True).
        isodates, decimals: read datetimes and Decimals from text.
        coerce: convert every value to its field's type.
        validation: check each new instance; implies coerce.
        polymorphic_fields, allow_blessed_key: data may name a subclass.
        abstract: a base class only. date_parser, coercions: own conversions.
        lazy_creation: wait for make_final().
        """
        super().__init_subclass__(**kwargs)
        given: dict[str, Any] = {
            "serializer": serializer,
            "include_metadata": include_metadata,
            "isodates": isodates,
            "allow_blessed_key": allow_blessed_key,
            "decimals": decimals,
            "coerce": True if validation else coerce,
            "polymorphic_fields": polymorphic_fields,
            "validation": validation,
            "date_parser": date_parser,
        }
        cls._options = replace(
            cls._options,
            namespace=namespace or f"{cls.__module__}.{cls.__qualname__}",
            coercions={**cls._options.coercions, **(coercions or {})},
            **{name: value for name, value in given.items() if value is not None},
        )
        cls.__is_abstract__ = abstract
        local = _names_around(sys._getframe(1))

        def finish(more: Mapping[str, Any]) -> None:
            cls._define({**local, **more, cls.__name__: cls})
            _unfinished.pop(cls, None)

        try:
            cls._lazy = lazy_creation
            if lazy_creation:
                _wait(cls, finish)
            else:
                finish({})
        except NameError:
            _wait(cls, finish)
        if not abstract:
            registry[cls._options.namespace] = cls
        for other in [one for one in _unfinished if one.__module__ == cls.__module__]:
            if not other.__dict__["_lazy"]:
                with suppress(NameError):
                    _unfinished[other]({cls.__name__: cls})

    @classmethod
    def make_final(cls) -> None:
        """Finish a class that waits: for this call (lazy_creation), or for a name.

        Raises NameError if the name is still unknown. Does nothing to any other class.
        """
        finish = _unfinished.get(cls)
        if finish is not None:
            finish({})

    @classmethod
    def _define(cls, local: Mapping[str, Any]) -> None:
        """Read the annotations, and compile the functions of the class."""
        own = _own_annotations(cls, local)
        _check_order(cls, own)
        options = cls._options
        inherited: dict[str, FieldDescriptor[Any]] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited.update(vars(base).get("_own_fields", {}))
        own_fields = {name: _described(cls, name, typ, inherited) for name, typ in own.items()}
        fields = {
            name: one.attached(cls, name, one.type, required=one.required, default=one.default)
            for name, one in {**inherited, **own_fields}.items()
        }
        for name, one in inherited.items():
            if name not in own and name in vars(cls):  # a new default, without annotation
                default = vars(cls)[name]
                fields[name] = one.attached(cls, name, one.type, required=False, default=default)
        rules = options.rules()
        for name, one in fields.items():
            one.compile(rules)
            setattr(cls, name, one)
        cls._own_fields = own_fields
        cls._options = replace(
            options, fields={name: one.type for name, one in fields.items()}, descriptors=fields
        )
        cls._compile(fields)

    @classmethod
    def _compile(cls, fields: Mapping[str, FieldDescriptor[Any]]) -> None:
        cls._model_init = codegen.build_init(cls, fields)
        methods: dict[str, Any] = {
            "__init__": _abstract_init(cls) if cls.__is_abstract__ else cls._model_init,
            "asdict": codegen.build_asdict(fields),
            **codegen.build_comparisons(fields),
        }
        own_init = _is_users(cls, "__init__")
        for name, method in methods.items():
            if not _is_users(cls, name):
                method.__qualname__ = f"{cls.__qualname__}.{name}"
                method._generated = True
                setattr(cls, name, method)
        build = _build_through_init(cls) if own_init else codegen.build_from_data(cls, fields)
        options = cls._options
        if cls.__is_abstract__ or options.polymorphic_fields or options.allow_blessed_key:
            build = _build_named(cls, build)
        cls._build = staticmethod(build)

    # -- making

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Reached by super().__init__() in a class that has an __init__ of its own.
        type(self).make_final()
        type(self)._model_init(self, *args, **kwargs)

    @classmethod
    def from_data(cls, data: Any, *, preferred_type: Any = None) -> Self:
        """Make a model of a mapping; a model is handed back as it is.

        What the mapping has beyond the fields becomes attributes, which are not
        written again. Raises TypeError for a missing field, ValidationError for
        a value that does not fit.
        """
        if getattr(data, "__is_model__", False):
            return data  # type: ignore[no-any-return]
        return cls._build(data)  # type: ignore[no-any-return]

    @classmethod
    def loads(
        cls, s: bytes, *, default_serializer: CodecArg = None, serializer: CodecArg = None
    ) -> Self:
        """Make a model of bytes: by its own serializer, the given one, or JSON."""
        codec = cls._options.serializer or serializer or default_serializer or "json"
        return cls.from_data(codecs.loads(codec, s))

    def derive(self, *objects: Record, **fields: Any) -> Self:
        """Return a copy, changed by the fields of other models and then by keywords."""
        values = {name: getattr(self, name) for name in self._options.fields}
        for other in objects:
            values.update({name: getattr(other, name) for name in other._options.fields})
        return type(self)(**{**values, **fields})

    # -- writing

    def asdict(self) -> dict[str, Any]:
        """Return the fields as a dict; nested models stay models."""
        raise NotImplementedError  # replaced in each class

    def to_representation(self) -> dict[str, Any]:
        """Return the fields, and which model they are, as a dict."""
        payload = self.asdict()
        options = self._options
        if options.include_metadata:
            payload[BLESSED_KEY] = {"ns": options.namespace}
        return payload

    def __json__(self) -> Any:
        return self.to_representation()

    def dumps(self, *, serializer: CodecArg = None) -> bytes:
        """Return the model as bytes: by the given serializer, its own, or JSON."""
        codec = serializer or self._options.serializer or "json"
        return codecs.dumps(codec, self.to_representation())

    # -- checking

    def validate(self) -> list[ValidationError]:
        """Return what is wrong with the values of the fields."""
        return [
            error
            for name, one in self._options.descriptors.items()
            for error in one.validate_all(getattr(self, name))
        ]

    @property
    def validation_errors(self) -> list[ValidationError]:
        """What is wrong with the values of the fields."""
        return self.validate()

    def is_valid(self) -> bool:
        """Say whether nothing is."""
        return not self.validate()

    def validate_or_raise(self) -> None:
        """Raise the first ValidationError, if there is one."""
        errors = self.validate()
        if errors:
            raise errors[0]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"<{type(self).__name__}: {values}>"


def _wait(cls: Any, finish: Callable[[Mapping[str, Any]], None]) -> None:
    """Let the first use of a class finish it."""

    def build(data: Any) -> Any:
        cls.make_final()
        return cls._build(data)

    _unfinished[cls] = finish
    cls._build = staticmethod(build)
    if not _is_users(cls, "__init__"):
        cls.__init__ = _init_when_final


def _init_when_final(self: Any, *args: Any, **kwargs: Any) -> None:
    type(self).make_final()
    type(self).__init__(self, *args, **kwargs)


_init_when_final._generated = True  # type: ignore[attr-defined]


def _abstract_init(cls: Any) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        raise NotImplementedError(f"{cls.__name__} is abstract: make one of its subclasses")

    return __init__


def _is_users(cls: Any, name: str) -> bool:
    """Say whether a method was written by the user, in the class or a base below Record."""
    for base in cls.__mro__:
        if base in (Record, object):
            return False
        if name in vars(base):
            return not getattr(vars(base)[name], "_generated", False)
    return False


def _names_around(frame: FrameType | None) -> dict[str, Any]:
    """Return the local names where a class is being defined, if that is in a function."""
    while frame is not None and frame.f_code.co_name in ("__init_subclass__", "__new__"):
        frame = frame.f_back
    names: dict[str, Any] = {}
    while frame is not None and frame.f_locals is not frame.f_globals:
        names = {**frame.f_locals, **names}
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            break  # a function; the frames below it are its callers, not its surroundings
        frame = frame.f_back
    return names


def _own_annotations(cls: Any, local: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of the fields declared in the class itself; NameError if one is unknown."""
    shim = SimpleNamespace(__annotations__=inspect.get_annotations(cls))
    module = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    hints = typing.get_type_hints(shim, module, dict(local), include_extras=True)
    return {
        name: typ
        for name, typ in hints.items()
        if typ is not ClassVar and typing.get_origin(typ) is not ClassVar
    }


def _check_order(cls: Any, own: Mapping[str, Any]) -> None:
    """Refuse a required field after one with a default, as dataclasses do."""
    before = ""
    for name in own:
        value = vars(cls).get(name, _NOTHING)
        needed = value.required if isinstance(value, FieldDescriptor) else value is _NOTHING
        if needed and before:
            raise TypeError(
                f"{cls.__name__}: field {name!r} without a default follows {before!r} with one"
            )
        if not needed:
            before = name


_NOTHING: Any = object()


def _described(
    cls: Any, name: str, typ: Any, inherited: Mapping[str, FieldDescriptor[Any]]
) -> FieldDescriptor[Any]:
    """Return the descriptor of one field: the user's own, or the one for its type."""
    value = vars(cls).get(name, _NOTHING)
    if isinstance(value, FieldDescriptor):
        required = value.required and not is_optional(typ)
        return value.attached(cls, name, typ, required=required, default=value.default)
    required = value is _NOTHING and not is_optional(typ)
    default = None if value is _NOTHING else value
    return field_for_type(typ)().attached(cls, name, typ, required=required, default=default)


def _build_through_init(cls: Any) -> Callable[[Any], Any]:
    """Make models by the user's own `__init__`, given the fields that data has."""

    def build(data: Any) -> Any:
        fields = cls._options.descriptors
        try:
            given = {n: data[f.input_name] for n, f in fields.items() if f.input_name in data}
        except TypeError:
            raise codegen.missing(cls, data) from None
        self = cls(**given)
        codegen.keep_extra(self, data)
        return self

    return build


def _build_named(cls: Any, build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let data name a subclass, one that is in the registry; an abstract class needs that."""

    def choose(data: Any) -> Any:
        found = named_model(data)
        if found is not None and found is not cls and issubclass(found, cls):
            return found._build(data)
        if cls.__is_abstract__:
            raise TypeError(
                f"{cls.__name__} is abstract, and the data names no subclass of it that is known"
            )
        return build(data)

    return choose


Record._build = staticmethod(_build_named(Record, lambda data: data))
