"""Types that are no models of ours, as fields and as a topic's value_type and key_type."""

import dataclasses
import gzip
import sys
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Generic, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest

import faustc as faust
from faustc.exceptions import KeyDecodeError, ValidationError, ValueDecodeError
from faustc.models.foreign import converter
from faustc.serializers import Registry

T = TypeVar("T")
WHEN = datetime(2026, 1, 2, 3, 4, 5)
UID = UUID("12345678-1234-5678-1234-567812345678")


class Side(Enum):
    BUY = "buy"


class Struct(msgspec.Struct):
    id: int
    when: datetime
    more: list["Struct"] = []


class Tagged(msgspec.Struct, tag=True):
    id: int


class Other(msgspec.Struct, tag=True):
    id: int


class Box(msgspec.Struct, Generic[T]):
    it: T


class Holder(msgspec.Struct):
    record: "Account"


class Pydantic(pydantic.BaseModel):
    id: int = pydantic.Field(alias="ID", gt=0)
    when: datetime


@pydantic.dataclasses.dataclass
class PydanticData:
    id: int
    when: datetime


@dataclasses.dataclass
class Data:
    id: int
    when: datetime
    side: Side = Side.BUY
    price: Decimal | None = None
    more: list["Data"] = dataclasses.field(default_factory=list)
    seen: int = dataclasses.field(default=0, init=False)


class Typed(TypedDict):
    id: int
    when: datetime
    uid: NotRequired[UUID]


class Account(faust.Record):
    id: str


CASES = [
    (Struct, Struct(1, WHEN, [Struct(2, WHEN)])),
    (Box[int], Box(3)),
    (Tagged | Other, Other(1)),
    (list[Struct], [Struct(1, WHEN)]),
    (Struct | None, Struct(1, WHEN)),
    (Pydantic, Pydantic(ID=1, when=WHEN)),
    (PydanticData, PydanticData(1, WHEN)),
    (Data, Data(1, WHEN, Side.BUY, Decimal("1.50"), [Data(2, WHEN)])),
    (dict[str, Data], {"a": Data(1, WHEN)}),
    (Typed, {"id": 1, "when": WHEN, "uid": UID}),
    (Typed, {"id": 1, "when": WHEN}),
]


@pytest.mark.parametrize("serializer", [None, "json", "json|gzip"])
@pytest.mark.parametrize(("typ", "value"), CASES)
def test_a_value_comes_back_as_it_was_sent(typ, value, serializer):
    registry = Registry()
    data = registry.value_encoder(typ, serializer)(value)
    found = registry.value_decoder(typ, serializer)(data)
    assert found == value
    assert type(found) is type(value)
    assert registry.key_decoder(typ, serializer)(data) == value


@pytest.mark.parametrize(("typ", "value"), CASES)
def test_what_is_sent_is_the_plain_json_of_the_value(typ, value):
    # A type that the topic does not know is written the same.
    assert Registry().value_encoder(typ)(value) == Registry().value_encoder(None)(value)


@pytest.mark.parametrize(
    ("typ", "data", "reason"),
    [
        (Struct, b'{"id": "x", "when": "2026-01-02T03:04:05"}', r"does not fit Struct: .*`int`"),
        (Struct, b"3", "does not fit Struct"),
        (Struct, b"{", "not JSON"),
        (Pydantic, b'{"ID": 0, "when": "2026-01-02T03:04:05"}', "does not fit Pydantic: .*ID"),
        (PydanticData, b'{"id": 1}', "does not fit PydanticData: .*when"),
        (Data, b'{"id": 1}', "does not fit Data: Data lacks the required field 'when'"),
        (Data, b'{"id": "x", "when": "2026-01-02T03:04:05"}', r"Data\.id: .*'x'"),
        (Data, b"[1]", "Data is made of a mapping, not list"),
        (Typed, b"{}", "Typed lacks the required fields 'id', 'when'"),
        (Typed, b'{"id": 1, "when": "x"}', r"Typed\.when"),
    ],
)
def test_what_does_not_fit_is_a_decode_error_that_says_why(typ, data, reason):
    with pytest.raises(ValueDecodeError, match=f"(?s){reason}"):
        Registry().value_decoder(typ)(data)
    with pytest.raises(KeyDecodeError, match=f"(?s){reason}"):
        Registry().key_decoder(typ)(data)


@pytest.mark.parametrize("typ", [Struct, Pydantic, Data, Typed])
def test_null_is_refused_unless_it_is_allowed(typ):
    with pytest.raises(ValueDecodeError, match=f"the value is null, and {typ.__name__} is wanted"):
        Registry().value_decoder(typ)(None)
    assert Registry().value_decoder(typ, allow_empty=True)(None) is None


def test_they_are_read_from_codecs_that_are_no_json():
    registry = Registry()
    with pytest.warns(Warning, match="pickle"):
        encode = registry.value_encoder(Struct, "pickle_unrestricted")
    with pytest.warns(Warning, match="pickle"):
        decode = registry.value_decoder(Struct, "pickle_unrestricted")
    assert decode(encode(Struct(1, WHEN))) == Struct(1, WHEN)
    text = b'{"ID": 1, "when": "2026-01-02T03:04:05"}'
    found = registry.value_decoder(Pydantic, "json|gzip")(gzip.compress(text))
    assert found == Pydantic(ID=1, when=WHEN)


def test_they_may_be_fields_of_a_record():
    class Order(faust.Record):
        struct: Struct
        data: Data
        typed: Typed
        pydantic: Pydantic
        more: list[Data] | None = None

    typed = {"id": 1, "when": WHEN}
    made = Order(Struct(1, WHEN), Data(1, WHEN), typed, Pydantic(ID=1, when=WHEN), [Data(2, WHEN)])
    assert Order.loads(made.dumps()) == made
    with pytest.raises(ValidationError, match=r"Order\.data: Data lacks .* 'when'"):
        Order.from_data({**made.asdict(), "data": {"id": 1}})


def test_a_record_may_be_a_field_of_theirs():
    assert Registry().value_encoder(Holder)(Holder(Account("x"))) == (
        b'{"record":{"id":"x","__faust":{"ns":"%s.Account"}}}' % __name__.encode()
    )


def test_functions_are_made_once_for_a_type():
    registry = Registry()
    assert registry.value_decoder(Data) is registry.value_decoder(Data)
    read = []

    def inner(typ):
        read.append(typ)

    convert = converter(Typed, inner)
    assert read == []  # the annotations are read when the first value comes
    for _ in range(2):
        convert({"id": 1, "when": WHEN})
    assert len(read) == 3


def test_neither_library_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    registry = Registry()
    for typ, value in ((Data, Data(1, WHEN)), (Typed, {"id": 1, "when": WHEN})):
        assert registry.value_decoder(typ)(registry.value_encoder(typ)(value)) == value


@pytest.mark.parametrize(("typ", "value"), [CASES[0], CASES[5], CASES[7], CASES[9]])
async def test_agents_are_given_them(typ, value):
    app = faust.App("foreign", broker="kafka://localhost:1")
    topic = app.topic("things", key_type=typ, value_type=typ)
    seen = []

    @app.agent(topic)
    async def read(stream):
        async for key, found in stream.items():
            seen.append((key, found))

    async with app.test_context() as t:
        await t.send(topic, value, value)
        await t.settled()
    assert seen == [(value, value)]
