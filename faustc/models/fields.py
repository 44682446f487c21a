"""Field descriptors: what `Model.field` gives, and how a field's value is validated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar

from ..exceptions import ValidationError
from .coerce import Rules, converter, is_optional, reachable, without_none
from .scalars import Convert, decimal, to_bool, to_bytes, to_float, to_int, to_str
from .tags import Tag, tag_of, tagged

__all__ = [
    "TYPE_TO_FIELD",
    "BooleanField",
    "BytesField",
    "CharField",
    "DatetimeField",
    "DecimalField",
    "FieldDescriptor",
    "FloatField",
    "IntegerField",
    "NumberField",
    "StringField",
    "field_for_type",
]

T = TypeVar("T")


class FieldDescriptor(Generic[T]):
    """One field of a model, seen from its class: `Account.balance`.

    Given as a default in the class body it says more about the field::

        side: str = StringField(max_length=4, input_name="Side")

    field, type, model, parent: filled in by the model. required: whether it has
    to be given; default: what it is if not. input_name, output_name: its name
    in data that comes in and goes out, if not its own. coerce: convert values
    (as the model has it). exclude: read it, and do not write it. date_parser:
    makes datetimes of text. tag: `Secret`, `Sensitive` or `Personal` of
    `models.tags`. Other keywords are kept in `options`.

    A subclass may override `validate` (yield `self.validation_error(reason)`)
    and `prepare_value`, which then converts the values of its fields alone.
    Instances hold their values in `__dict__`, so reading a field does not pass
    through here.
    """

    #: Values are converted when they come in, never when they are read.
    lazy_coercion = False
    tag: type[Tag[Any]] | None

    def __init__(
        self,
        *,
        field: str | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
        type: Any = None,
        model: Any = None,
        required: bool = True,
        default: T | None = None,
        parent: FieldDescriptor[Any] | None = None,
        coerce: bool | None = None,
        exclude: bool | None = None,
        date_parser: Callable[[Any], datetime] | None = None,
        tag: Any = None,
        **options: Any,
    ) -> None:
        self.field: str = field or ""
        self._input_name = input_name
        self._output_name = output_name
        self.type = type
        self.model = model
        self.required = required and default is None
        self.default = default
        self.parent = parent
        self.coerce = coerce
        self.exclude = bool(exclude)
        self.date_parser = date_parser
        self.tag = tag_of(tag)[0]
        self.options = options
        #: The models that the field's type names, however deep, and the tags.
        self.related_models: set[Any] = set()
        self.related_tags: set[Any] = set()
        self._convert: Convert | None = None
        self._strict: Convert | None = None

    @property
    def input_name(self) -> str:
        """The field's name in data that comes in."""
        return self._input_name or self.field

    @property
    def output_name(self) -> str:
        """The field's name in data that goes out."""
        return self._output_name or self.input_name

    @property
    def ident(self) -> str:
        """The field and its model, as in Account.balance."""
        return self.field if self.model is None else f"{self.model.__name__}.{self.field}"

    def clone(self, **changes: Any) -> Self:
        """Return a copy with some of what `as_dict` has changed; TypeError for anything else."""
        unknown = changes.keys() - self.as_dict().keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        mine = copy.copy(self)
        mine.options = dict(self.options)
        for name, value in changes.items():
            if name in mine.options:
                mine.options[name] = value
            setattr(mine, f"_{name}" if name in ("input_name", "output_name") else name, value)
        return mine

    def as_dict(self) -> dict[str, Any]:
        """Return what the descriptor was made with."""
        names = ("field", "input_name", "output_name", "type", "model", "required", "default")
        more = ("parent", "coerce", "exclude", "date_parser", "tag")
        return {**{name: getattr(self, name) for name in names + more}, **self.options}

    def attached(self, model: Any, field: str, type: Any, *, required: bool, default: Any) -> Self:
        """Return a copy that belongs to a model."""
        return self.clone(model=model, field=field, type=type, required=required, default=default)

    def compile(self, rules: Rules) -> None:
        """Make the functions that convert this field's values, for the rules of its model."""
        if self.coerce is not None:
            rules = replace(rules, coerce=self.coerce)
        if self.date_parser is not None:
            rules = replace(rules, date_parser=self.date_parser)
        self.coerce = rules.coerce
        self.date_parser = rules.date_parser
        tag, typ = tag_of(without_none(self.type))
        if tag is None:
            typ = self.type
        else:
            self.tag = tag
        if self.prepares:
            # What its own prepare_value makes of a value is not ours to know.
            self._convert = self._strict = converter(typ, replace(rules, coerce=False))
        else:
            self._convert = converter(typ, rules)
            self._strict = converter(typ, rules.strict())
        self.related_models, self.related_tags = reachable(self.type)

    @property
    def prepares(self) -> bool:
        """Whether prepare_value is a user's own."""
        return type(self).prepare_value not in _PREPARE_VALUES

    def conversion(self) -> Convert | None:
        """Return what every value passes through on its way in; None: nothing to do."""
        return self.to_python if self.prepares else self._convert

    def to_python(self, value: Any) -> Any:
        """Make a value from outside fit the field; raise TypeError or ValueError."""
        if self._convert is not None:
            value = self._convert(value)
        # What is prepared by our own fields is converted by then.
        ours = self._convert is not None and not self.prepares
        return value if ours else self.prepare_value(value)

    def tagged(self, value: Any) -> Any:
        """Return a value with the tag of the field; raise SecurityError if it has another."""
        return value if self.tag is None else tagged(self.tag, value, self.field)

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> T | None:
        """Change a value before it is stored; to be overridden."""
        return value  # type: ignore[no-any-return]

    def should_coerce(self, value: Any, coerce: bool | None = None) -> bool:
        """Say whether prepare_value is to convert this value."""
        wanted = self.coerce if coerce is None else coerce
        return bool(wanted) and (self.required or value is not None)

    def validate_all(self, value: Any) -> Iterable[ValidationError]:
        """Yield what is wrong with a value: its type, then what `validate` finds."""
        if isinstance(value, Tag):
            value = value._value
        if value is None and not is_optional(self.type):
            if self.required:
                yield self.validation_error(f"{self.field} is required, got None")
            return
        try:
            if self._strict is not None:
                value = self._strict(value)
            if self.prepares:
                value = self.prepare_value(value, coerce=not self.coerce)
        except (TypeError, ValueError) as exc:
            reason = self.shown(str(exc))
            yield self.validation_error(f"{self.field} is not correct type for {self}: {reason}")
            return
        except Exception as exc:  # noqa: BLE001 -- a mistake of the field is no matter to the other fields
            reason = self.shown(f"{value!r}: {exc!r}")
            yield self.validation_error(f"{self.field} got internal error for value {reason}")
            return
        if value is not None:
            yield from self.validate(value)

    def shown(self, reason: str) -> str:
        """Return a text that quotes a value, unless the field is tagged."""
        tag = self.tag or next(iter(self.related_tags), None)
        return reason if tag is None else f"the value is {tag.__name__}, so it is not shown"

    def validate(self, value: T) -> Iterable[ValidationError]:
        """Yield what is wrong with a value of the right type; to be overridden."""
        return ()

    def validation_error(self, reason: str) -> ValidationError:
        """Make an error that knows this field."""
        return ValidationError(reason, field=self)

    def getattr(self, obj: Any) -> T:
        """Return this field of a model, through the fields above it (`Order.account.id`)."""
        return attrgetter(self.path)(obj)  # type: ignore[no-any-return]

    @property
    def path(self) -> str:
        """The way from a model to the field, as in account.id."""
        return f"{self.parent.path}.{self.field}" if self.parent else self.field

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            inner = without_none(self.__dict__.get("type"))
            found = getattr(inner, name, None) if hasattr(inner, "__is_model__") else None
            if isinstance(found, FieldDescriptor):
                child = copy.copy(found)
                child.parent = self
                return child
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        # Only reached where the instance has no value of its own.
        if instance is None:
            return self
        raise AttributeError(f"{self.ident} was never set")

    def __repr__(self) -> str:
        default = "" if self.required else f" = {self.default!r}"
        name = getattr(self.type, "__name__", self.type)
        return f"<{type(self).__name__}: {self.ident}: {name}{default}>"


class BooleanField(FieldDescriptor[bool]):
    """True or False."""

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> bool | None:
        """Take anything for its truth, but the text "false"."""
        return to_bool(value) if self.should_coerce(value, coerce) else value

    def validate(self, value: Any) -> Iterable[ValidationError]:
        """Yield an error for what is no bool."""
        if not isinstance(value, bool):
            yield self.validation_error(f"{self.field} must be True or False, of type bool")


class NumberField(FieldDescriptor[T]):
    """A number, min_value and max_value included."""

    def __init__(self, *, max_value: Any = None, min_value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value
        self.min_value = min_value

    def validate(self, value: Any) -> Iterable[ValidationError]:
        """Yield an error for a number outside the range."""
        if self.max_value is not None and value > self.max_value:
            yield self.validation_error(f"{self.field} cannot be more than {self.max_value}")
        if self.min_value is not None and value < self.min_value:
            yield self.validation_error(f"{self.field} must be at least {self.min_value}")


class IntegerField(NumberField[int]):
    """An int."""

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> int | None:
        """Read an int."""
        return to_int(value) if self.should_coerce(value, coerce) else value


class FloatField(NumberField[float]):
    """A float."""

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> float | None:
        """Read a float."""
        return to_float(value) if self.should_coerce(value, coerce) else value


class DecimalField(NumberField[Decimal]):
    """A Decimal: max_digits before the point, max_decimal_places behind it."""

    def __init__(
        self,
        *,
        max_digits: int | None = None,
        max_decimal_places: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_digits = max_digits
        self.max_decimal_places = max_decimal_places

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> Decimal | None:
        """Read a Decimal from text or a number."""
        return decimal(value) if self.should_coerce(value, coerce) else value

    def validate(self, value: Decimal) -> Iterable[ValidationError]:
        """Yield an error for a number that is not finite, too long or out of range."""
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            yield self.validation_error(f"{self.field} is not a finite number: {value!r}")
            return
        places = max(0, -exponent)
        digits = max(0, len(value.as_tuple().digits) + exponent)
        if self.max_decimal_places is not None and places > self.max_decimal_places:
            yield self.validation_error(
                f"{self.field} must have at most {self.max_decimal_places} decimal places"
            )
        if self.max_digits is not None and digits > self.max_digits:
            yield self.validation_error(f"{self.field} must have at most {self.max_digits} digits")
        yield from super().validate(value)


class CharField(FieldDescriptor[T]):
    """Text or bytes of a bounded length; empty only if allow_blank."""

    def __init__(
        self,
        *,
        max_length: int | None = None,
        min_length: int | None = None,
        trim_whitespace: bool = False,
        allow_blank: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_length = max_length
        self.min_length = min_length
        self.trim_whitespace = trim_whitespace
        self.allow_blank = allow_blank

    def compile(self, rules: Rules) -> None:
        """Trim text on its way in, if asked to."""
        super().compile(rules)
        if self.trim_whitespace and not self.prepares:
            self._convert = self._trim_after(self._convert)
            self._strict = self._trim_after(self._strict)

    def _trim_after(self, convert: Convert | None) -> Convert:
        return lambda value: self._trimmed(value if convert is None else convert(value))

    def _trimmed(self, value: Any) -> Any:
        return value.strip() if self.trim_whitespace and isinstance(value, str | bytes) else value

    def validate(self, value: Any) -> Iterable[ValidationError]:
        """Yield an error for a length out of bounds."""
        if not value and not self.allow_blank:
            yield self.validation_error(f"{self.field} cannot be left blank")
        if self.min_length is not None and len(value) < self.min_length:
            yield self.validation_error(
                f"{self.field} must have at least {self.min_length} characters"
            )
        if self.max_length is not None and len(value) > self.max_length:
            yield self.validation_error(
                f"{self.field} must be at most {self.max_length} characters"
            )


class StringField(CharField[str]):
    """A str."""

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> str | None:
        """Make text of a value, and trim it if asked to."""
        return self._trimmed(to_str(value) if self.should_coerce(value, coerce) else value)  # type: ignore[no-any-return]


class BytesField(CharField[bytes]):
    """Bytes; text is encoded by `encoding` with `errors` (utf-8, strict)."""

    def __init__(self, *, encoding: str = "utf-8", errors: str = "strict", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoding = encoding
        self.errors = errors

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> bytes | None:
        """Encode text, and trim it if asked to."""
        if self.should_coerce(value, coerce):
            value = to_bytes(value, self.encoding, self.errors)
        return self._trimmed(value)  # type: ignore[no-any-return]

    def compile(self, rules: Rules) -> None:
        """Encode text before anything else looks at it."""
        super().compile(rules)
        if self.coerce and not self.prepares:
            self._convert = self._encoded(self._convert)
        self._strict = self._encoded(self._strict)

    def _encoded(self, convert: Convert | None) -> Convert:
        def encode(value: Any) -> Any:
            if isinstance(value, str):
                value = value.encode(self.encoding, self.errors)
            return value if convert is None else convert(value)

        return encode


class DatetimeField(FieldDescriptor[datetime]):
    """A datetime, read by date_parser (ISO 8601 unless given)."""

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> datetime | None:
        """Read a datetime from text, or from what date_parser takes."""
        if value is None or isinstance(value, datetime) or not self.should_coerce(value, coerce):
            return value  # type: ignore[no-any-return]
        parse: Callable[[Any], datetime] = self.date_parser or datetime.fromisoformat
        return parse(value)


_PREPARE_VALUES = {
    one.prepare_value
    for one in (
        FieldDescriptor,
        BooleanField,
        IntegerField,
        FloatField,
        DecimalField,
        StringField,
        BytesField,
        DatetimeField,
    )
}

#: The descriptor of each type that has one of its own.
TYPE_TO_FIELD: dict[Any, type[FieldDescriptor[Any]]] = {
    bool: BooleanField,
    int: IntegerField,
    float: FloatField,
    Decimal: DecimalField,
    str: StringField,
    bytes: BytesField,
    datetime: DatetimeField,
}


def field_for_type(typ: Any) -> tuple[type[FieldDescriptor[Any]], type[Tag[Any]] | None]:
    """Return the descriptor class for an annotation, and its tag, if it has one."""
    typ = without_none(typ)
    tag, inner = tag_of(typ)
    if tag is not None:
        return field_for_type(inner)[0], tag
    for kind in getattr(inner, "__mro__", ()):
        if kind in TYPE_TO_FIELD:
            return TYPE_TO_FIELD[kind], None
    return FieldDescriptor, None
