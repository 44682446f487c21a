"""Record: the model that users write, a class whose annotations are its fields."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, dataclass_transform

from ..codecs import CodecArg
from ..exceptions import ImproperlyConfigured
from . import codegen
from .base import Model
from .definition import check_order, described, names_around, namespace_of, own_annotations
from .fields import FieldDescriptor
from .registry import BLESSED_KEY, named_model, registry

#: Classes whose annotations name something that is not there yet, and what defines them.
_unfinished: dict[Any, Callable[[Mapping[str, Any]], None]] = {}


@dataclass_transform(
    order_default=True,
    field_specifiers=(FieldDescriptor,),
)
class Record(Model):
    """A model: fields by annotation, made from keywords or from data, written as a mapping.

    ::

        class Withdrawal(faust.Record, serializer="json"):
            account_id: str
            amount: float = 0.0

    Options are arguments of the class: see `__init_subclass__`; subclasses
    inherit them. `Withdrawal.amount` is the field's descriptor. An annotation
    that cannot be read yet (a model defined further down) is read when the
    first instance is made.

    `__init__`, `__repr__`, `__hash__` and the comparisons may be overridden (what
    is generated stays as `_model_init`, `_model_eq` and so on), `__post_init__`
    runs after every construction, and `_prepare_dict` changes what `asdict` gives.
    """

    _model_init: ClassVar[Callable[..., None]]
    _lazy: ClassVar[bool]
    _own_fields: ClassVar[dict[str, FieldDescriptor[Any]]]
    #: What is left to be done for this class; None once it is complete.
    _pending_finalizers: ClassVar[list[Callable[..., None]] | None] = None

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
        coerce: convert every value to its field's type, when the model is made
        and when a field is assigned.
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
        options = cls._options.clone_defaults()
        if "Options" in vars(cls):
            own = {n: v for n, v in vars(vars(cls)["Options"]).items() if not n.startswith("__")}
            vars(options).update(own)
            del cls.Options  # type: ignore[attr-defined]
        vars(options).update({name: value for name, value in given.items() if value is not None})
        options.namespace = namespace or namespace_of(cls)
        options.coercions = {**options.coercions, **(coercions or {})}
        cls._options = options
        cls.__is_abstract__ = abstract
        local = names_around(sys._getframe(1))

        def finish(more: Mapping[str, Any]) -> None:
            cls._define({**local, **more, cls.__name__: cls})
            _unfinished.pop(cls, None)
            cls._pending_finalizers = None

        try:
            cls._lazy = lazy_creation
            if lazy_creation:
                _wait(cls, finish)
            else:
                finish({})
        except NameError:
            _wait(cls, finish)
        if not abstract:
            registry[options.namespace] = cls
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
        own = own_annotations(cls, local)
        check_order(cls, own)
        if "asdict" in vars(cls):
            raise NotOverridable(
                f"{cls.__name__}.asdict is what serialization rests on: override _prepare_dict "
                "(it gets the dict and returns another) or to_representation"
            )
        inherited: dict[str, FieldDescriptor[Any]] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited.update(vars(base).get("_own_fields", {}))
        own_fields = {name: described(cls, name, typ) for name, typ in own.items()}
        fields = {
            name: one.attached(cls, name, one.type, required=one.required, default=one.default)
            for name, one in {**inherited, **own_fields}.items()
        }
        for name, one in inherited.items():
            if name not in own and name in vars(cls):  # a new default, without annotation
                default = vars(cls)[name]
                fields[name] = one.attached(cls, name, one.type, required=False, default=default)
        rules = cls._options.rules()
        for name, one in fields.items():
            one.compile(rules)
            setattr(cls, name, one)
        cls._own_fields = own_fields
        cls._options.describe(fields)
        cls._compile(fields)

    @classmethod
    def _compile(cls, fields: Mapping[str, FieldDescriptor[Any]]) -> None:
        made = {
            "init": codegen.build_init(cls, fields),
            **codegen.build_comparisons(fields),
        }
        assign = codegen.build_setattr(cls, fields)
        if assign is not None:
            made["setattr"] = assign
        elif not is_users(cls, "__setattr__"):
            # A base may convert what is assigned where this class does not.
            cls.__setattr__ = object.__setattr__  # type: ignore[method-assign]
        for short, method in made.items():
            name = f"__{short}__"
            method.__qualname__ = f"{cls.__qualname__}.{name}"
            method._generated = True  # type: ignore[attr-defined]
            setattr(cls, f"_model_{short}", method)
            if not is_users(cls, name):
                setattr(cls, name, method)
        if cls.__is_abstract__ and not is_users(cls, "__init__"):
            cls.__init__ = _abstract_init  # type: ignore[method-assign]
        prepared = cls._prepare_dict is not Record._prepare_dict
        setattr(cls, "asdict", codegen.build_asdict(fields, prepared=prepared))  # noqa: B010
        own_init = is_users(cls, "__init__")
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

    # -- writing

    def asdict(self) -> dict[str, Any]:
        """Return the fields as a dict; nested models stay models."""
        raise NotImplementedError  # replaced in each class

    def _prepare_dict(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return what asdict gives, made of the fields; to be overridden."""
        return payload

    def to_representation(self) -> dict[str, Any]:
        """Return the fields, and which model they are, as a dict."""
        payload = self.asdict()
        options = self._options
        if options.include_metadata:
            payload[BLESSED_KEY] = {"ns": options.namespace}
        return payload


class NotOverridable(ImproperlyConfigured, RuntimeError):
    """A model overrides what its other methods rest on."""


def _wait(cls: Any, finish: Callable[[Mapping[str, Any]], None]) -> None:
    """Let the first use of a class finish it."""

    def build(data: Any) -> Any:
        cls.make_final()
        return cls._build(data)

    _unfinished[cls] = finish
    cls._pending_finalizers = [finish]
    cls._build = staticmethod(build)
    if not is_users(cls, "__init__"):
        cls.__init__ = _init_when_final


def _init_when_final(self: Any, *args: Any, **kwargs: Any) -> None:
    type(self).make_final()
    type(self).__init__(self, *args, **kwargs)


def _abstract_init(self: Any, *args: Any, **kwargs: Any) -> None:
    raise NotImplementedError(f"{type(self).__name__} is abstract: make one of its subclasses")


for _function in (_init_when_final, _abstract_init):
    _function._generated = True  # type: ignore[attr-defined]


def is_users(cls: Any, name: str) -> bool:
    """Say whether a method was written by the user, in the class or a base below Record."""
    for base in cls.__mro__:
        if base in (Record, object):
            return False
        if name in vars(base):
            return not getattr(vars(base)[name], "_generated", False)
    return False


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
