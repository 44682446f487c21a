"""Each option of a model's class, by itself.

Models are defined within the tests: what one option needs is no matter to the others.
"""

from datetime import datetime
from decimal import Decimal

import pytest

from faustc.exceptions import ValidationError
from faustc.models import Record, maybe_model

WHEN = datetime(2026, 1, 2, 3, 4, 5)


def test_serializer_is_the_codec_of_the_model():
    class Point(Record, serializer="json|binary", include_metadata=False):
        x: int

    assert Point(1).dumps() == b"eyJ4IjoxfQ=="
    assert Point.loads(b"eyJ4IjoxfQ==") == Point(1)
    assert Point(1).dumps(serializer="json") == b'{"x":1}'


def test_namespace_is_what_data_calls_the_model():
    class Point(Record, namespace="com.example.Point"):
        x: int

    assert Point(1).to_representation() == {"x": 1, "__faust": {"ns": "com.example.Point"}}
    assert maybe_model({"x": 1, "__faust": {"ns": "com.example.Point"}}) == Point(1)


def test_include_metadata_says_whether_the_namespace_is_written():
    class Point(Record, include_metadata=False):
        x: int

    assert Point(1).dumps() == b'{"x":1}'


def test_isodates_reads_datetimes_from_text():
    class Event(Record, isodates=True):
        when: datetime
        count: int

    made = Event.loads(b'{"when": "2026-01-02T03:04:05", "count": "3"}')
    assert (made.when, made.count) == (WHEN, "3")


def test_decimals_reads_decimals_from_text():
    class Order(Record, decimals=True):
        price: Decimal
        count: int

    made = Order.loads(b'{"price": "1.50", "count": "3"}')
    assert (made.price, made.count) == (Decimal("1.50"), "3")


def test_coerce_makes_every_value_its_type():
    class Order(Record, coerce=True):
        count: int
        when: datetime
        name: str | None

    made = Order.from_data({"count": "3", "when": WHEN.isoformat(), "name": None})
    assert (made.count, made.when, made.name) == (3, WHEN, None)
    with pytest.raises(ValidationError, match=r"Order\.count"):
        Order("three", WHEN)


def test_coercions_read_types_that_faustc_does_not_know():
    class Celsius:
        def __init__(self, degrees):
            self.degrees = degrees

    class Base(Record, coercions={Celsius: Celsius}, abstract=True):
        pass

    class Reading(Base):
        value: Celsius
        more: list[Celsius]

    made = Reading.from_data({"value": 3, "more": [4]})
    assert (made.value.degrees, made.more[0].degrees) == (3, 4)


def test_polymorphic_fields_take_the_class_that_the_data_names():
    class Asset(Record):
        url: str

    class Video(Asset):
        seconds: float

    class Article(Record, polymorphic_fields=True):
        assets: list[Asset]

    made = Article([Asset("a"), Video("b", 2.0)])
    assert Article.loads(made.dumps()) == made


@pytest.mark.parametrize("option", ["polymorphic_fields", "allow_blessed_key"])
def test_a_class_may_let_the_data_name_a_subclass(option):
    class Event(Record, **{option: True}):
        at: int

    class Click(Event):
        x: int

    assert Event.loads(Click(1, 2).dumps()) == Click(1, 2)


def test_validation_checks_each_instance_and_coerces():
    class Person(Record, validation=True):
        age: int

    assert Person("42").age == 42
    for make in (lambda: Person("old"), lambda: Person.from_data({"age": "old"})):
        with pytest.raises(ValidationError, match=r"Person\.age"):
            make()


def test_date_parser_reads_dates_of_another_format():
    def german(text):
        return datetime.strptime(text, "%d.%m.%Y")

    class Bill(Record, coerce=True, date_parser=german):
        due: datetime
        paid: list[datetime]

    made = Bill.from_data({"due": "02.01.2026", "paid": ["03.01.2026"]})
    assert (made.due, made.paid) == (datetime(2026, 1, 2), [datetime(2026, 1, 3)])


def test_an_abstract_model_is_a_base_and_nothing_else():
    class Base(Record, abstract=True):
        created: float | None = None

    class Account(Base):
        id: str

    with pytest.raises(NotImplementedError, match="Base is abstract"):
        Base()
    assert Account("x", created=1.0).created == 1.0


def test_lazy_creation_waits_for_make_final():
    class Late(Record, lazy_creation=True):
        x: int

    assert Late._pending_finalizers
    assert Late._options.fields == {}
    Late.make_final()
    assert Late._pending_finalizers is None
    assert Late(1).x == 1
