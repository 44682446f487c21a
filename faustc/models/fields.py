"""Field descriptors: what `Model.field` gives, and how a field's value is validated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar

from ..exceptions import ValidationError
from .coerce import Convert, Rules, converter, is_optional, without_none

T = TypeVar("T")


class FieldDescriptor(Generic[T]):
    """One field of a model, seen from its class: `Account.balance`.

    Given as a default in the class body it says more about the field; a
    subclass may override `validate` (yield `self.validation_error(reason)`) and
    `prepare_value`. Instances hold their values in `__dict__`, so reading and
    writing a field does not pass through here, and a value is converted when
    the model is made, not when it is assigned.
    """

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
        self.options = options
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
        return f"{self.model.__name__}.{self.field}"

    def attached(self, model: Any, field: str, type: Any, *, required: bool, default: Any) -> Self:
        """Return a copy that belongs to a model."""
        mine = copy.copy(self)
        mine.model, mine.field, mine.type = model, field, type
        mine.required, mine.default = required, default
        return mine

    def compile(self, rules: Rules) -> None:
        """Make the functions that convert this field's values, for the rules of its model."""
        if self.coerce is not None:
            rules = Rules(**{**vars(rules), "coerce": self.coerce})
        if self.date_parser is not None:
            rules = Rules(**{**vars(rules), "date_parser": self.date_parser})
        self._convert = converter(self.type, rules)
        self._strict = converter(self.type, rules.strict())
        self.coerce = rules.coerce

    def conversion(self) -> Convert | None:
        """Return what every value passes through on its way in; None: nothing to do."""
        prepared = type(self).prepare_value is not FieldDescriptor.prepare_value
        return self.to_python if prepared else self._convert

    def to_python(self, value: Any) -> Any:
        """Make a value from outside fit the field; raise TypeError or ValueError."""
        if self._convert is not None:
            value = self._convert(value)
        return self.prepare_value(value)

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> T | None:
        """Change a value before it is stored; to be overridden."""
        return value  # type: ignore[no-any-return]

    def should_coerce(self, value: Any, coerce: bool | None = None) -> bool:
        """Say whether prepare_value is to convert this value."""
        wanted = self.coerce if coerce is None else coerce
        return bool(wanted) and (self.required or value is not None)

    def validate_all(self, value: Any) -> Iterable[ValidationError]:
        """Yield what is wrong with a value: its type, then what `validate` finds."""
        if value is None and not is_optional(self.type):
            if self.required:
                yield self.validation_error(f"{self.field} is required, got None")
            return
        try:
            if self._strict is not None:
                value = self._strict(value)
            value = self.prepare_value(value, coerce=True)
        except (TypeError, ValueError) as exc:
            yield self.validation_error(f"{self.field} is not correct type for {self}: {exc}")
            return
        if value is not None:
            yield from self.validate(value)

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

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
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


class FloatField(NumberField[float]):
    """A float."""


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

    def conversion(self) -> Convert | None:
        """Pass values through prepare_value only if it has something to do."""
        own = type(self).prepare_value is not CharField.prepare_value
        return self.to_python if own or self.trim_whitespace else self._convert

    def prepare_value(self, value: Any, *, coerce: bool | None = None) -> T | None:
        """Trim whitespace, if asked to."""
        if self.trim_whitespace and isinstance(value, str | bytes):
            return value.strip()  # type: ignore[return-value]
        return value  # type: ignore[no-any-return]

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


class BytesField(CharField[bytes]):
    """Bytes; text is encoded by `encoding` with `errors` (utf-8, strict)."""

    def __init__(self, *, encoding: str = "utf-8", errors: str = "strict", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoding = encoding
        self.errors = errors

    def compile(self, rules: Rules) -> None:
        """Encode text before anything else looks at it."""
        super().compile(rules)
        if self.coerce:
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


_FIELDS: dict[Any, type[FieldDescriptor[Any]]] = {
    bool: BooleanField,
    int: IntegerField,
    float: FloatField,
    Decimal: DecimalField,
    str: StringField,
    bytes: BytesField,
    datetime: DatetimeField,
}


def field_for_type(typ: Any) -> type[FieldDescriptor[Any]]:
    """Return the descriptor class for an annotation."""
    return _FIELDS.get(without_none(typ), FieldDescriptor)
