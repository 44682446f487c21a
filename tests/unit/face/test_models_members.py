"""What instances, classes and descriptors of models have, as Faust's guide lists it.

Models are defined within the tests, so that each test rests on its own feature.
"""

# ruff: noqa: UP006, UP035, UP045 -- the older spellings of types have to work as well
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import ClassVar, Dict, Generic, List, Literal, NamedTuple, Optional, Set, Tuple, TypeVar

import pytest

import faustc.models
from faustc import jsonable
from faustc.exceptions import SecurityError, ValidationError
from faustc.models import Record, fields
from faustc.models.tags import Personal, Secret, Sensitive, allow_protected_vars

T = TypeVar("T")


class Color(Enum):
    RED = "red"


class Place(NamedTuple):
    x: int
    y: int


def test_a_model_is_made_from_positions_and_keywords_and_nothing_else():
    class Point(Record):
        x: int
        y: int = 0

    assert Point(1, 2) == Point(y=2, x=1) == Point(1, y=2)
    assert Point(1).y == 0
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"z": 3})):
        with pytest.raises(TypeError, match="Point"):
            Point(*args, **kwargs)


def test_a_model_is_written_as_a_dict_with_and_without_its_name():
    class Inner(Record, include_metadata=False):
        x: int

    class Outer(Record, namespace="outer"):
        inner: Inner

    made = Outer(Inner(1))
    assert made.asdict() == {"inner": Inner(1)}
    assert made.to_representation() == {"inner": Inner(1), "__faust": {"ns": "outer"}}
    assert made.__json__() == made.to_representation()
    assert jsonable.dumps([made]) == b'[{"inner":{"x":1},"__faust":{"ns":"outer"}}]'


def test_bytes_and_back():
    class Point(Record, include_metadata=False):
        x: int

    assert Point(1).dumps() == b'{"x":1}'
    written = Point(1).dumps(serializer="json|binary")
    assert Point.loads(written, serializer="json|binary") == Point(1)
    with pytest.warns(DeprecationWarning, match="serializer"):
        assert Point.loads(b'{"x": 1}', default_serializer="json") == Point(1)


def test_models_compare_show_and_hash_and_what_the_user_writes_is_kept():
    class Point(Record):
        x: int
        y: int

    class Odd(Record):
        x: int

        def __init__(self, x):
            self.x = x + 1

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 7

    assert Point(1, 2) == Point(1, 2) != Point(1, 3)
    assert Point(1, 2) < Point(1, 3) <= Point(1, 3)
    assert Point(2, 0) > Point(1, 3) >= Point(1, 3)
    assert len({Point(1, 2), Point(1, 2)}) == 1
    assert repr(Point(1, 2)) == "<Point: x=1, y=2>"
    assert (Odd(1).x, Odd(1) == Odd(2), hash(Odd(1))) == (2, True, 7)
    with pytest.raises(TypeError):
        Point(1, 2) < 3  # noqa: B015


def test_a_field_of_the_class_describes_itself():
    class Account(Record):
        id: str
        balance: float = 1.5

    class Order(Record):
        account: Account

    field = Account.balance
    assert (field.ident, field.required, field.default, field.type, field.model) == (
        "Account.balance",
        False,
        1.5,
        float,
        Account,
    )
    assert Account.id.required
    order = Order(Account("x"))
    assert Account.id.getattr(order.account) == Order.account.id.getattr(order) == "x"


def test_every_model_is_found_by_its_name():
    class Point(Record, namespace="a.test.Point"):
        x: int

    assert faustc.models.registry["a.test.Point"] is Point


def test_options_describe_the_model():
    class Account(Record, coercions={complex: complex}):
        id: str
        token: Secret[str]
        phone: Sensitive[str] | None
        email: Personal[str] | None = None

    options = Account._options
    assert list(options.fields) == ["id", "token", "phone", "email"]
    assert options.fieldset == {"id", "token", "phone", "email"}
    assert options.fieldpos == {0: "id", 1: "token", 2: "phone", 3: "email"}
    assert options.descriptors["id"] is vars(Account)["id"]
    assert options.optionalset == {"phone", "email"}
    assert options.defaults == {"phone": None, "email": None}
    assert options.coercions == {complex: complex}
    assert options.tagged_fields == {"token", "phone", "email"}
    assert options.secret_fields == {"token"}
    assert options.sensitive_fields == {"phone"}
    assert options.personal_fields == {"email"}
    assert options.has_tagged_fields
    assert options.has_secret_fields
    assert options.has_sensitive_fields
    assert options.has_personal_fields


def test_nested_types_are_rebuilt():
    class Item(Record):
        id: int

    class All(Record, coerce=True):
        one: Item
        many: List[Item]
        some: Set[Item]
        pair: Tuple[int, Item]
        by_name: Dict[str, Item]
        by_more: Mapping[str, List[Item]]
        maybe: Optional[Item]
        either: Item | Color
        side: Literal["buy", "sell"]
        place: Place
        color: Color

    item = Item(1)
    made = All(
        one=item,
        many=[item],
        some={item},
        pair=(1, item),
        by_name={"a": item},
        by_more={"a": [item]},
        maybe=item,
        either=Color.RED,
        side="buy",
        place=Place(1, 2),
        color=Color.RED,
    )
    assert All.loads(made.dumps()) == made
    with pytest.raises(ValidationError, match=r"All\.side"):
        made.side = "hold"


def test_properties_class_variables_inheritance_and_generics():
    class Base(Record):
        limit: ClassVar[int] = 3
        x: int

        @property
        def double(self):
            return self.x * 2

    class Box(Base, Generic[T]):
        it: T

    assert list(Box._options.fields) == ["x", "it"]
    made = Box(2, "y")
    assert (made.double, made.limit, made.it) == (4, 3, "y")


def test_a_descriptor_takes_all_of_its_arguments():
    parent = fields.FieldDescriptor(field="order")
    made = fields.FieldDescriptor(
        field="price",
        input_name="p",
        output_name="q",
        type=float,
        model=Record,
        required=False,
        default=1.0,
        parent=parent,
        coerce=True,
        exclude=True,
        date_parser=datetime.fromisoformat,
        tag=Secret,
        choices=["a"],
    )
    assert made.as_dict() == {
        "field": "price",
        "input_name": "p",
        "output_name": "q",
        "type": float,
        "model": Record,
        "required": False,
        "default": 1.0,
        "parent": parent,
        "coerce": True,
        "exclude": True,
        "date_parser": datetime.fromisoformat,
        "tag": Secret,
        "choices": ["a"],
    }
    assert (made.ident, made.path) == ("Record.price", "order.price")


def test_number_fields_check_their_range():
    class Order(Record, validation=True):
        paid: bool = fields.BooleanField()
        count: int = fields.IntegerField(min_value=1, max_value=9)
        ratio: float = fields.FloatField(max_value=1.0)
        total: int = fields.NumberField(min_value=0)

    assert Order(True, 1, 0.5, 0).is_valid()
    for values in (("x", 1, 0.5, 0), (True, 0, 0.5, 0), (True, 10, 0.5, 0)):
        with pytest.raises(ValidationError):
            Order(*values)
    for values in ((True, 1, 1.5, 0), (True, 1, 0.5, -1)):
        with pytest.raises(ValidationError):
            Order(*values)


def test_decimal_fields_check_their_digits():
    class Order(Record, validation=True):
        price: Decimal = fields.DecimalField(max_digits=3, max_decimal_places=2)

    assert Order("999.99").price == Decimal("999.99")
    for price in ("1000", "1.001", "NaN"):
        with pytest.raises(ValidationError, match="price"):
            Order(price)


def test_text_fields_check_their_length():
    class Message(Record, validation=True):
        name: str = fields.StringField(max_length=5, min_length=2, trim_whitespace=True)
        note: str = fields.StringField(allow_blank=True)
        data: bytes = fields.BytesField(max_length=2, encoding="latin1", errors="ignore")

    made = Message("  bob  ", "", "é\u20ac")
    assert (made.name, made.note, made.data) == ("bob", "", b"\xe9")
    for values in (("b", "", "a"), ("bobbie", "", "a"), ("bob", "", "abc"), ("bob", "", "")):
        with pytest.raises(ValidationError):
            Message(*values)


def test_a_datetime_field_may_have_a_parser_of_its_own():
    class Bill(Record, coerce=True):
        made: datetime
        due: datetime = fields.DatetimeField(
            date_parser=lambda text: datetime.strptime(text, "%d.%m.%Y")
        )

    made = Bill.from_data({"made": "2026-01-02", "due": "03.01.2026"})
    assert (made.made, made.due) == (datetime(2026, 1, 2), datetime(2026, 1, 3))


def test_a_field_may_have_another_name_outside():
    class Parameter(Record, include_metadata=False):
        location: str = fields.StringField(input_name="in")
        kind: str = fields.StringField(input_name="type", output_name="class")

    made = Parameter.from_data({"in": "query", "type": "int"})
    assert (made.location, made.kind) == ("query", "int")
    assert made.dumps() == b'{"in":"query","class":"int"}'


def test_an_excluded_field_is_read_and_not_written():
    class Order(Record, include_metadata=False):
        price: float
        user: str = fields.StringField(exclude=True)

    made = Order.from_data({"price": 1.5, "user": "x"})
    assert made.user == "x"
    assert made.asdict() == {"price": 1.5}
    assert made.dumps() == b'{"price":1.5}'


def test_field_for_type_tells_the_descriptor_of_a_type():
    assert fields.field_for_type(int) == (fields.IntegerField, None)
    assert fields.field_for_type(Optional[datetime]) == (fields.DatetimeField, None)
    assert fields.field_for_type(list) == (fields.FieldDescriptor, None)
    assert fields.field_for_type(Secret[str]) == (fields.StringField, Secret)


def test_tagged_values_are_not_shown():
    class User(Record):
        password: Secret[str]
        phone: Sensitive[str]
        email: Personal[str]

    user = User("hunter2", "631", "a@b")
    assert f"{user.password}" == Secret.mask
    assert user.password.get_value() == "hunter2"
    for value in (user.phone, user.email):
        with pytest.raises(SecurityError):
            str(value)
    with allow_protected_vars():
        assert user.email.get_value() == "a@b"
        assert [str(user.phone.get_value())] == ["631"]
    for text in ("hunter2", "631", "a@b"):
        assert text not in repr(user)
