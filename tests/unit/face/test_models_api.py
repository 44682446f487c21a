"""What else Faust's models can do: hooks, names, conversion on assignment, introspection."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

import pytest

import faustc as faust
from faustc import types
from faustc.exceptions import FaustError, ValidationError
from faustc.models import Model, ModelOptions, Record, registry
from faustc.models.base import maybe_model
from faustc.models.fields import (
    BooleanField,
    BytesField,
    DatetimeField,
    DecimalField,
    FieldDescriptor,
    FloatField,
    IntegerField,
    StringField,
)
from faustc.models.tags import Secret
from faustc.models.typing import TypeExpression


class Account(Record):
    id: str
    balance: float = 0.0


# -- assigning


class Strict(Record, coerce=True):
    count: int
    when: datetime | None
    note: str | None = None


def test_a_coercing_model_converts_what_is_assigned():
    made = Strict("3", None)
    made.count = "4"
    made.when = "2026-01-02"
    made.other = "5"
    assert (made.count, made.when, made.other) == (4, datetime(2026, 1, 2), "5")
    made.when = None
    assert made.when is None
    with pytest.raises(ValidationError, match=r"Strict\.count: .*'x'"):
        made.count = "x"
    assert made.count == 4


def test_one_field_may_coerce_by_itself():
    class Loose(Record):
        yes: int = IntegerField(coerce=True)
        no: int

    made = Loose("1", "2")
    assert (made.yes, made.no) == (1, "2")
    made.yes = made.no = "3"
    assert (made.yes, made.no) == (3, "3")


def test_a_model_that_does_not_coerce_has_plain_attributes():
    class Off(Strict, coerce=False):
        pass

    made = Off("3", None)
    made.count = "4"
    assert made.count == "4"
    assert Account.__setattr__ is object.__setattr__


def test_a_setattr_of_the_user_s_own_is_kept():
    class Seen(Record, coerce=True):
        x: int

        def __setattr__(self, name, value):
            super().__setattr__(name, ("seen", value))

    made = Seen("1")
    made.y = 2
    assert made.y == ("seen", 2)


def test_coercion_within_collections_is_for_what_fits():
    class Many(Record, coerce=True):
        counts: list[int]
        by_number: dict[int, float]

    made = Many.from_data({"counts": ["1", "x", None], "by_number": {"1": "2", "A": "3"}})
    assert made.counts == [1, "x", None]
    assert made.by_number == {1: 2.0, "A": 3.0}
    assert [error.field.field for error in made.validate()] == ["counts", "by_number"]


# -- hooks


def test_prepare_dict_changes_what_is_written():
    class Quote(Record, include_metadata=False):
        ask: float | None = None
        bid: float | None = None

        def _prepare_dict(self, payload):
            return {name: value for name, value in payload.items() if value is not None}

    assert Quote(bid=2.0).asdict() == {"bid": 2.0}
    assert Quote(ask=1.0).dumps() == b'{"ask":1.0}'


def test_asdict_may_not_be_overridden():
    with pytest.raises(RuntimeError, match=r"Wrong\.asdict .*_prepare_dict"):

        class Wrong(Record):
            def asdict(self):
                return {}


def test_what_is_generated_can_be_called_where_it_is_overridden():
    class Point(Record):
        x: int

        def __init__(self, x, **kwargs):
            self._model_init(x * 2, **kwargs)

        def __eq__(self, other):
            return not self._model_eq(other)

        def __hash__(self):
            return self._model_hash() + 1

    assert Point(1).x == 2
    assert Point(1) == Point(2)
    assert hash(Point(1)) == hash((2,)) + 1
    with pytest.raises(TypeError, match="y"):
        Point(1, y=3)


def test_humanize_is_what_repr_shows():
    class Card(Record):
        number: str

        def _humanize(self):
            return f"ends in {self.number[-2:]}"

    assert repr(Card("1234")) == "<Card: ends in 34>"


def test_repr_has_the_fields_in_their_order_and_then_the_rest():
    made = Account.from_data({"more": 1, "balance": 2.0, "id": "x"})
    assert repr(made) == "<Account: id='x', balance=2.0, more=1>"


def test_extra_data_is_kept_though_a_field_with_a_default_is_missing():
    assert Account.from_data({"id": "x", "more": 1}).more == 1
    assert vars(Account.from_data({"id": "x", "__faust": {"ns": "x"}})) == {
        "id": "x",
        "balance": 0.0,
    }


def test_a_class_options_adds_to_the_options():
    class Configured(Record, isodates=True):
        when: datetime

        class Options:
            include_metadata = False
            isodates = False
            color = "red"

    assert Configured._options.color == "red"
    assert Configured._options.isodates  # an argument goes before
    assert Configured(datetime(2026, 1, 2)).dumps() == b'{"when":"2026-01-02T00:00:00"}'
    assert not hasattr(Configured, "Options")

    class Sub(Configured):
        pass

    assert Sub._options.color == "red"


def test_default_serializer_still_works_and_warns():
    with pytest.warns(DeprecationWarning, match="serializer"):
        assert Account.loads(b'{"id": "x"}', default_serializer="json") == Account("x")
    with warnings.catch_warnings(action="error"):
        assert Account.loads(b'{"id": "x"}', serializer="json") == Account("x")


def test_class_variables_are_no_fields_though_annotations_are_text():
    class Point(Record):
        limit: ClassVar[int] = 3
        x: int

    assert list(Point._options.fields) == ["x"]


# -- names


def test_models_are_known_by_their_base_and_by_their_options():
    assert isinstance(Account("x"), types.ModelT)
    assert issubclass(Account, Model)
    options = Account._options
    assert isinstance(options, ModelOptions)
    assert options.namespace == f"{__name__}.Account"
    assert options.fields == {"id": str, "balance": float}
    assert options.fieldset == {"id", "balance"}
    assert options.fieldpos == {0: "id", 1: "balance"}
    assert options.optionalset == {"balance"}
    assert options.defaults == {"balance": 0.0}
    assert options.descriptors["id"] == Account.id
    assert options.coercions == {}
    assert registry[options.namespace] is Account


def test_a_field_may_be_any_model_at_all():
    class Envelope(Record):
        value: types.ModelT

    made = Envelope.loads(Envelope(Account("x")).dumps())
    assert made.value == Account("x")
    assert Envelope.from_data({"value": 3}).value == 3


def test_a_script_gives_its_models_the_names_that_importing_it_would(tmp_path):
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    code = "import faustc\nclass A(faustc.Record):\n    x: int\nprint(A._options.namespace)\n"
    (package / "orders.py").write_text(code)
    for args in ([str(package / "orders.py")], ["-m", "shop.orders"]):
        done = subprocess.run(
            [sys.executable, *args], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == "shop.orders.A", done.stderr


def test_maybe_model_needs_a_name_that_is_known():
    data = {"id": "x", "balance": 1.0, "__faust": {"ns": Account._options.namespace}}
    assert maybe_model(data) == Account("x", 1.0)
    assert maybe_model({"__faust": {"ns": "os.system"}}) == {"__faust": {"ns": "os.system"}}
    assert maybe_model("x") == "x"


def test_an_annotation_can_be_converted_by_itself():
    convert = TypeExpression(dict[str, list[Account] | None]).as_function()
    assert convert({"a": [{"id": "x"}], "b": None}) == {"a": [Account("x")], "b": None}
    assert TypeExpression(Decimal).as_function()("1.50") == Decimal("1.50")
    assert TypeExpression(int).as_function()("1") == "1"
    parse = TypeExpression(datetime, date_parser=datetime.fromtimestamp).as_function()
    assert parse(0) == datetime.fromtimestamp(0)
    own = TypeExpression(complex, user_types={complex: complex}).as_function()
    assert own("1j") == 1j


# -- descriptors by themselves


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (BooleanField(coerce=True), "", False),
        (BooleanField(coerce=True), "false", False),
        (BooleanField(coerce=True), 999, True),
        (IntegerField(coerce=True), "3", 3),
        (FloatField(coerce=True), "3.5", 3.5),
        (DecimalField(coerce=True), "3.50", Decimal("3.50")),
        (StringField(coerce=True), 3, "3"),
        (StringField(coerce=True, trim_whitespace=True), "  a ", "a"),
        (BytesField(coerce=True, encoding="latin1"), "é", b"\xe9"),
        (BytesField(coerce=True, trim_whitespace=True), "  fo o ", b"fo o"),
        (DatetimeField(coerce=True), "2026-01-02", datetime(2026, 1, 2)),
        (DatetimeField(coerce=True, date_parser=datetime.fromtimestamp), 0, None),
        (IntegerField(coerce=False), "3", "3"),
        (IntegerField(coerce=True, required=False), None, None),
    ],
)
def test_prepare_value_converts_if_the_field_coerces(field, value, expected):
    if field.date_parser is not None:
        expected = datetime.fromtimestamp(0)
    assert field.prepare_value(value) == expected
    assert field.to_python(value) == expected
    plain = field.prepare_value(value, coerce=False)
    assert plain == (value.strip() if getattr(field, "trim_whitespace", False) else value)


def test_a_field_can_build_on_the_conversion_of_its_base():
    class Money(IntegerField):
        def prepare_value(self, value, *, coerce=None):
            if isinstance(value, str):
                value = value.removesuffix(" EUR")
            return super().prepare_value(value, coerce=coerce)

    class Bill(Record, coerce=True):
        amount: int = Money(min_value=1)

    made = Bill("12 EUR")
    assert made.amount == Bill.from_data({"amount": "12 EUR"}).amount == 12
    assert made.is_valid()
    made.amount = "0 EUR"
    assert "at least 1" in str(made.validation_errors[0])


def test_a_mistake_in_a_field_is_one_validation_error():
    class Broken(FieldDescriptor[str]):
        def prepare_value(self, value, *, coerce=None):
            if coerce:
                raise RuntimeError("my mistake")
            return value

    class Holder(Record):
        it: str = Broken()
        other: int

    errors = Holder("x", "y").validate()
    assert "RuntimeError('my mistake')" in str(errors[0])
    assert errors[1].field.field == "other"


def test_descriptors_are_cloned():
    field = DecimalField(max_digits=3, max_decimal_places=4, default=Decimal(1), tag=Secret[str])
    other = field.clone(field="price", default=None, input_name="p")
    assert (other.max_digits, other.max_decimal_places) == (3, 4)
    assert (other.field, other.input_name, other.output_name, other.default) == (
        "price",
        "p",
        "p",
        None,
    )
    assert field.default == 1
    assert other.tag is Secret
    assert other.as_dict()["required"] is False
    with pytest.raises(TypeError, match="DecimalField has no color"):
        field.clone(color="red")


def test_options_of_a_field_s_own_are_kept():
    field = FieldDescriptor(choices=["a"], field="x")
    assert field.options == field.clone().options == {"choices": ["a"]}
    assert field.clone(choices=["b"]).options == {"choices": ["b"]}
    assert field.as_dict()["choices"] == ["a"]


def test_a_descriptor_says_what_it_is():
    class Order(Record):
        account: Account
        note: str | None = "none"

    assert Order.note.ident == "Order.note"
    assert (Order.note.required, Order.note.default) == (False, "none")
    assert Order.note.type == str | None
    assert Order.note.model is Order
    assert Order.account.related_models == {Account}
    made = Order(Account("x"))
    assert Order.account.id.getattr(made) == "x"
    assert Order.account.id.ident == "Account.id"
    assert repr(Order.note) == "<StringField: Order.note: str | None = 'none'>"


def test_errors_are_value_errors_that_know_their_field():
    error = ValidationError("wrong", field=Account.id)
    assert (error.reason, error.field) == ("wrong", Account.id)
    assert isinstance(error, ValueError)
    assert isinstance(error, FaustError)
    assert "wrong" in repr(error)


def test_the_face_hands_on_the_record():
    assert faust.Record is Record
