"""What the values of fields become: dates, decimals, enums, collections, coercion, validation."""

# ruff: noqa: UP006, UP007, UP035 -- the older spellings of types have to work as well
from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Dict, List, Literal, NamedTuple, NewType, Set, Tuple, Union
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faustc.exceptions import ValidationError
from faustc.models import FieldDescriptor, Record, field_for_type
from faustc.models.coerce import Rules, converter
from faustc.models.fields import (
    BooleanField,
    BytesField,
    DatetimeField,
    DecimalField,
    FloatField,
    IntegerField,
    StringField,
)
from faustc.models.tags import Secret


class Grade(int):
    pass


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int = 0


class Item(Record):
    id: int


UserId = NewType("UserId", int)
UID = UUID("12345678123456781234567812345678")
WHEN = datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def convert(typ, value, **rules):
    function = converter(typ, Rules(**rules))
    return value if function is None else function(value)


@pytest.mark.parametrize(
    ("typ", "value", "expected"),
    [
        (Item, {"id": 1}, Item(1)),
        (Item | None, None, None),
        (Item | None, {"id": 1}, Item(1)),
        (list[Item], [{"id": 1}], [Item(1)]),
        (List[Item], ({"id": 1},), [Item(1)]),
        (Sequence[Item], [{"id": 1}], [Item(1)]),
        (dict[str, Item], {"a": {"id": 1}}, {"a": Item(1)}),
        (Dict[str, List[Item]], {"a": [{"id": 1}]}, {"a": [Item(1)]}),
        (Mapping[str, Item], {"a": {"id": 1}}, {"a": Item(1)}),
        (set, [1, 1], {1}),
        (Set[str], ["a"], {"a"}),
        (frozenset[Item], [{"id": 1}], frozenset({Item(1)})),
        (tuple, [1, 2], (1, 2)),
        (tuple[Item, ...], [{"id": 1}], (Item(1),)),
        (Tuple[int, Item], [1, {"id": 2}], (1, Item(2))),
        (Color, "red", Color.RED),
        (Color, Color.RED, Color.RED),
        (list[Color], ["red", "blue"], [Color.RED, Color.BLUE]),
        (Point, [1, 2], Point(1, 2)),
        (Point, {"x": 1}, Point(1, 0)),
        (Annotated[Item, "note"], {"id": 1}, Item(1)),
        (Item | int, {"id": 1}, Item(1)),
        (Item | int, 3, 3),
        (Union[str, list[Item]], [{"id": 1}], [Item(1)]),
        # Without coerce a plain type is not touched.
        (int, "3", "3"),
        (str, 3, 3),
        (datetime, "2020-01-01", "2020-01-01"),
        (Decimal, "1.5", "1.5"),
        (list[int], ["3"], ["3"]),
        (Literal["a"], "b", "b"),
        (Any, "x", "x"),
    ],
)
def test_what_json_lacks_is_rebuilt_and_nothing_else(typ, value, expected):
    found = convert(typ, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("typ", "value", "expected"),
    [
        (int, "3", 3),
        (int, b"3", 3),
        (int, 3.7, 3),
        (float, "1.5", 1.5),
        (float, 1, 1.0),
        (str, 3, "3"),
        (str, b"x", "x"),
        (bytes, "x", b"x"),
        (bool, "true", True),
        (bool, 0, False),
        (bool, "False", False),
        (bool, "yes", True),
        (UUID, str(UID), UID),
        (Decimal, "1.50", Decimal("1.50")),
        (Decimal, 1.1, Decimal("1.1")),
        (datetime, "2020-01-02T03:04:05.000678Z", WHEN),
        (
            datetime,
            "2020-01-02T03:04:05+02:00",
            datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        ),
        (date, "2020-01-02", date(2020, 1, 2)),
        (time, "03:04", time(3, 4)),
        (UserId, "3", 3),
        (int | None, None, None),
        (int | None, "3", 3),
        (int | str, "3", "3"),
        (int | UUID, str(UID), UID),
        (list, (1,), [1]),
        (dict[int, float], {"1": "2"}, {1: 2.0}),
        (Literal["a", 1], 1, 1),
        (type(None), None, None),
    ],
)
def test_coerce_makes_a_value_its_type(typ, value, expected):
    found = convert(typ, value, coerce=True)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("typ", "value"),
    [
        (int, "x"),
        (int, None),
        (str, None),
        (bytes, 3),
        (UUID, "x"),
        (Decimal, "x"),
        (Decimal, "nan"),
        (Decimal, "9" * 1001),
        (Decimal, True),
        (datetime, "yesterday"),
        (datetime, 3),
        (Color, "green"),
        (Literal["a", 1], True),
        (Literal["a"], "b"),
        (tuple[int, int], [1]),
        (Point, [1, 2, 3]),
        (list[int], "12"),
        (dict, [1]),
        (int | UUID, "x"),
        (type(None), 0),
        (set[int], 3),
    ],
)
def test_what_cannot_be_coerced_is_refused(typ, value):
    with pytest.raises((TypeError, ValueError)):
        convert(typ, value, coerce=True)


def test_isodates_and_decimals_convert_those_alone():
    class Dated(Record, isodates=True, decimals=True):
        when: datetime
        price: Decimal
        count: int
        other: datetime | None

    data = {"when": WHEN.isoformat(), "price": "1.10", "count": "3"}
    made = Dated.from_data(data)
    assert (made.when, made.price, made.count, made.other) == (WHEN, Decimal("1.10"), "3", None)
    assert Dated.loads(made.dumps()) == made
    assert Dated(WHEN, Decimal(1), 1).when is WHEN
    with pytest.raises(ValidationError, match=r"Dated\.when: .*rubbish"):
        Dated.from_data({**data, "when": "rubbish"})


def test_a_date_parser_of_one_s_own():
    class Dated(Record, coerce=True, date_parser=lambda ms: datetime.fromtimestamp(ms / 1000, UTC)):
        when: datetime
        day: date

    made = Dated.from_data({"when": 1500, "day": "2020-01-02"})
    assert made.when == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)
    assert made.day == date(2020, 1, 2)


def test_coercions_are_for_types_that_we_do_not_know():
    class Celsius:
        def __init__(self, degrees):
            self.degrees = degrees

    class Reading(Record, coercions={Celsius: Celsius}):
        value: Celsius
        more: list[Celsius]

    class Sub(Reading):
        pass

    for cls in (Reading, Sub):
        made = cls.from_data({"value": 3, "more": [4]})
        assert (made.value.degrees, made.more[0].degrees) == (3, 4)
    kept = Celsius(1)
    assert Reading(kept, []).value is kept


def test_options_are_inherited_and_can_be_changed():
    class Base(Record, coerce=True, abstract=True):
        x: int

    class On(Base):
        pass

    class Off(Base, coerce=False):
        pass

    assert On("3").x == 3
    assert Off("3").x == "3"


# -- validation


class Person(Record, validation=True):
    name: str = StringField(max_length=5, min_length=2)
    age: int = IntegerField(min_value=0, max_value=150)
    nick: str | None


def test_a_valid_record_is_made_and_coerced():
    assert Person("Bob", "42").age == 42
    assert Person.from_data({"name": "Bob", "age": 1}).is_valid()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "B", "age": 1}, "name must have at least 2"),
        ({"name": "Bobbie", "age": 1}, "name must be at most 5"),
        ({"name": "", "age": 1}, "name cannot be left blank"),
        ({"name": "Bob", "age": -1}, "age must be at least 0"),
        ({"name": "Bob", "age": 151}, "age cannot be more than 150"),
        ({"name": "Bob", "age": "old"}, "Person.age: "),
        ({"name": None, "age": 1}, "Person.name: "),
    ],
)
def test_an_invalid_record_is_refused_from_keywords_and_from_data(values, reason):
    for make in (lambda: Person(**values), lambda: Person.from_data(values)):
        with pytest.raises(ValidationError, match=reason) as caught:
            make()
        assert isinstance(caught.value.field, FieldDescriptor)


def test_a_record_without_validation_can_be_asked():
    class Loose(Record):
        name: str = StringField(max_length=3)
        age: int

    made = Loose("long name", "x")
    errors = made.validate()
    assert [error.field.field for error in errors] == ["name", "age"]
    assert made.validation_errors[0].reason == "name must be at most 3 characters"
    assert not made.is_valid()
    with pytest.raises(ValidationError, match="at most 3"):
        made.validate_or_raise()
    assert Loose(None, 3).validate()[0].reason == "name is required, got None"
    assert Loose("abc", 3).is_valid()
    made.name, made.age = "abc", 3
    assert made.is_valid()


def test_a_field_type_of_one_s_own():
    class ChoiceField(FieldDescriptor[str]):
        def __init__(self, choices, **kwargs):
            self.choices = choices
            super().__init__(choices=choices, **kwargs)

        def validate(self, value):
            if value not in self.choices:
                yield self.validation_error(f"{self.field} must be one of {self.choices}")

        def prepare_value(self, value, *, coerce=None):
            return value.lower() if isinstance(value, str) else value

    class Shirt(Record, validation=True):
        size: str = ChoiceField(["s", "m"])

    class More(Shirt):
        color: str

    assert Shirt("S").size == "s"
    assert More.size.choices == ["s", "m"]
    for cls, values in ((Shirt, {"size": "xl"}), (More, {"size": "xl", "color": "red"})):
        with pytest.raises(ValidationError, match=r"size must be one of \['s', 'm'\]"):
            cls.from_data(values)


@pytest.mark.parametrize(
    ("field", "typ", "good", "bad"),
    [
        (
            DecimalField(max_digits=3, max_decimal_places=2),
            Decimal,
            ["999.99", "0.01"],
            ["1000", "1.001", "nan"],
        ),
        (DecimalField(max_value=5), Decimal, ["5"], ["5.1"]),
        (FloatField(min_value=0.5), float, [0.5], [0.4, "x"]),
        (IntegerField(max_value=0), int, [0, -1], [1]),
        (BytesField(max_length=2), bytes, [b"ab", "ab"], [b"abc", 3]),
        (StringField(trim_whitespace=True), str, [" a "], ["   ", ""]),
        (StringField(allow_blank=True), str, [""], []),
        (BooleanField(), bool, [True], ["x"]),
        (DatetimeField(), datetime, [WHEN, "2020-01-01T00:00"], ["x"]),
    ],
)
def test_fields_check_their_values(field, typ, good, bad):
    made = type("Made", (Record,), {"__annotations__": {"it": typ}, "it": field}, validation=True)
    for value in good:
        assert made(value).is_valid()
    for value in bad:
        with pytest.raises(ValidationError):
            made(value)


def test_a_field_may_have_other_names_outside():
    class Message(Record, include_metadata=False):
        from_: str = StringField(input_name="from", output_name="sender")
        to: str = StringField(input_name="to_whom")
        secret: int = IntegerField(exclude=True, default=0)

    made = Message.from_data({"from": "me", "to_whom": "you", "secret": 5})
    assert (made.from_, made.to, made.secret) == ("me", "you", 5)
    assert made.asdict() == {"sender": "me", "to_whom": "you"}
    assert Message("a", "b").derive(to="c").from_ == "a"
    assert not hasattr(made, "from")


@pytest.mark.parametrize(
    ("typ", "field"),
    [
        (int, (IntegerField, None)),
        (str | None, (StringField, None)),
        (list[int], (FieldDescriptor, None)),
        (bool, (BooleanField, None)),
        (Grade, (IntegerField, None)),
        (Secret[str], (StringField, Secret)),
        (Secret[int] | None, (IntegerField, Secret)),
    ],
)
def test_each_type_has_its_field_and_tag(typ, field):
    assert field_for_type(typ) == field


def test_a_default_may_be_given_in_the_field():
    class Made(Record):
        x: int = IntegerField(default=3)
        y: int = IntegerField(required=False)

    assert (Made().x, Made().y) == (3, None)


# -- a round trip through JSON loses nothing


class Everything(Record, isodates=True, decimals=True, coerce=True):
    number: int
    ratio: float
    text: str
    yes: bool
    when: datetime
    price: Decimal
    uid: UUID
    color: Color
    pair: tuple[int, str]
    names: set[str]
    point: Point
    items: list[Item]
    by_name: dict[str, Item]
    maybe: str | None


text = st.text(st.characters(exclude_categories=["Cs"]))
items = st.builds(Item, st.integers(-(2**63), 2**63 - 1))


@given(
    st.builds(
        Everything,
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
        st.booleans(),
        st.datetimes(timezones=st.just(UTC)),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.uuids(),
        st.sampled_from(Color),
        st.tuples(st.integers(0, 9), text),
        st.sets(text),
        st.builds(Point, st.integers(0, 9), st.integers(0, 9)),
        st.lists(items, max_size=3),
        st.dictionaries(text, items, max_size=3),
        st.none() | text,
    )
)
def test_a_record_survives_json(record):
    assert Everything.loads(record.dumps()) == record


def test_annotations_find_names_of_the_classes_and_the_function_around():
    class Inner(Record):
        x: int

    class Outer:
        class Deep(Record):
            x: int

        class Holder(Record):
            inner: Inner
            deep: Deep  # noqa: F821 -- a name of the class body

    made = Outer.Holder.from_data({"inner": {"x": 1}, "deep": {"x": 2}})
    assert (made.inner.x, made.deep.x) == (1, 2)


def test_other_dataclasses_are_written_as_mappings():
    @dataclasses.dataclass
    class Plain:
        x: int

    class Holder(Record, include_metadata=False):
        plain: Plain

    assert Holder(Plain(3)).dumps() == b'{"plain":{"x":3}}'
