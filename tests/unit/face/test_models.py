"""Records: made from keywords and from data, written as mappings, found by their namespace."""

import copy
import inspect
import json
import pickle
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Optional, TypeVar

import pytest

from faustc.exceptions import ValidationError
from faustc.models import FieldDescriptor, Record, maybe_model, registry


class Account(Record, serializer="json"):
    id: str
    balance: float = 0.0


class Order(Record, namespace="shop.Order"):
    account: Account
    items: list[Account]
    note: Optional[str]  # noqa: UP045 -- the older spelling has to work as well
    tags: list = []  # noqa: RUF012


# -- making


def test_a_record_is_made_from_positions_and_keywords():
    assert Account("x", 3.0) == Account(id="x", balance=3.0)
    assert Account("x").balance == 0.0
    assert str(inspect.signature(Account)) == "(id, balance=None)"


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "missing 1 required positional argument: 'id'"),
        (("x",), {"amount": 3}, "unexpected keyword argument 'amount'"),
        (("x", 1.0, 2), {}, "positional arguments"),
        (("x",), {"id": "y"}, "multiple values"),
    ],
)
def test_wrong_arguments_are_a_type_error_that_names_the_model(args, kwargs, reason):
    with pytest.raises(TypeError, match=reason) as caught:
        Account(*args, **kwargs)
    assert "Account" in str(caught.value)


def test_required_fields_come_first_though_a_base_has_defaults():
    class Savings(Account):
        rate: float
        bank: str = "b"

    made = Savings("x", 0.1)
    assert (made.id, made.rate, made.balance, made.bank) == ("x", 0.1, 0.0, "b")
    assert list(Savings._options.fields) == ["id", "balance", "rate", "bank"]


def test_a_required_field_after_one_with_a_default_is_refused():
    with pytest.raises(TypeError, match="'b' without a default follows 'a'"):

        class Wrong(Record):
            a: int = 1
            b: int


def test_an_optional_field_needs_no_default():
    made = Order(account=Account("x"), items=[])
    assert made.note is None
    assert Order._options.optionalset == {"note", "tags"}
    assert Order._options.defaults == {"note": None, "tags": []}


def test_none_for_a_field_with_a_default_means_the_default():
    assert Account("x", None).balance == 0.0
    assert Account.from_data({"id": "x", "balance": None}).balance == 0.0


def test_mutable_defaults_are_not_shared():
    one, other = (Order.from_data({"account": {"id": "x"}, "items": []}) for _ in range(2))
    one.tags.append(1)
    assert other.tags == []
    assert Order(Account("x"), []).tags == []


def test_class_variables_properties_and_methods_are_no_fields():
    class Point(Record):
        limit: ClassVar[int] = 3
        x: int

        @property
        def double(self):
            return self.x * 2

        def triple(self):
            return self.x * 3

    point = Point(2)
    assert list(Point._options.fields) == ["x"]
    assert (point.double, point.triple(), Point.limit) == (4, 6, 3)


def test_post_init_runs_however_the_record_is_made():
    class Point(Record):
        x: int

        def __post_init__(self):
            self.seen = self.x

    assert Point(1).seen == Point.from_data({"x": 1}).seen == 1


def test_a_constructor_of_the_user_s_own_is_kept_and_used_for_data():
    class Point(Record):
        x: int
        y: int = 0

        def __init__(self, x, y=None):
            super().__init__(x=x, y=y)
            self.sum = self.x + self.y

    class Colored(Point):
        pass

    for cls in (Point, Colored):
        assert cls(1, 2).sum == 3
        assert cls.from_data({"x": 1, "z": 5}).sum == 1
        assert cls.from_data({"x": 1, "z": 5}).z == 5
    with pytest.raises(TypeError, match="x"):
        Point.from_data({})
    with pytest.raises(TypeError, match="mapping"):
        Point.from_data(3)


def test_a_comparison_of_the_user_s_own_is_kept():
    class Point(Record):
        x: int

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 7

    assert Point(1) == Point(2)
    assert hash(Point(1)) == 7


@pytest.mark.parametrize(
    "name", ["cls", "self_", "data", "exc", "v", "get", "new", "copy", "blame"]
)
def test_any_name_will_do_for_a_field(name):
    made = type("Odd", (Record,), {"__annotations__": {name: set[int], "c_" + name: int}})
    assert getattr(made(**{name: [1], "c_" + name: 1}), name) == {1}
    assert getattr(made.from_data({name: [1], "c_" + name: 1}), name) == {1}
    with pytest.raises(ValidationError, match=rf"Odd\.{name}: several values"):
        made(**{name: 3, "c_" + name: 1})


def test_derive_makes_a_changed_copy():
    account = Account("x", 1.0)
    other = Account("y", 2.0)
    assert account.derive(balance=5.0) == Account("x", 5.0)
    assert account.derive(other, balance=5.0) == Account("y", 5.0)
    assert account == Account("x", 1.0)
    order = Order(account, [other], "n")
    assert order.derive(note=None).items == [other]


# -- comparing


def test_records_compare_by_class_and_fields():
    assert Account("x", 1.0) == Account("x", 1.0)
    assert Account("x", 1.0) != Account("x", 2.0)
    assert Account("a") < Account("b") <= Account("b")
    assert Account("b") > Account("a") >= Account("a")
    assert len({Account("x"), Account("x"), Account("y")}) == 2

    class Other(Record):
        id: str
        balance: float = 0.0

    assert Account("x") != Other("x")
    with pytest.raises(TypeError):
        Account("x") < Other("x")  # noqa: B015


def test_a_record_shows_its_fields():
    assert repr(Account("x", 1.0)) == "<Account: id='x', balance=1.0>"


def test_records_are_copied_and_pickled():
    order = Order(Account("x"), [Account("y")], "n", ["t"])
    for same in (copy.copy(order), copy.deepcopy(order), pickle.loads(pickle.dumps(order))):
        assert same == order


# -- data


def test_data_becomes_a_record_nested_models_included():
    order = Order.from_data({"account": {"id": "x"}, "items": [{"id": "y"}, Account("z")]})
    assert order == Order(Account("x"), [Account("y"), Account("z")])
    assert Order.from_data(order) is order


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "Order lacks the required fields 'account', 'items'"),
        ({"account": {"id": 1}}, "Order lacks the required field 'items'"),
        ({"account": {}, "items": []}, r"Order.account: Account lacks the required field 'id'"),
        ({"account": "x", "items": []}, "Account is made of a mapping, not str"),
        ({"account": {"id": 1}, "items": "ab"}, "Order.items: several values are wanted"),
        ({"account": {"id": 1}, "items": 3}, "Order.items: several values are wanted"),
        ([1], "Order is made of a mapping, not list"),
        (None, "Order is made of a mapping, not NoneType"),
        ("x", "Order is made of a mapping, not str"),
    ],
)
def test_data_that_does_not_fit_names_the_field(data, reason):
    with pytest.raises((TypeError, ValidationError), match=reason):
        Order.from_data(data)


def test_unknown_keys_become_attributes_that_are_not_written():
    account = Account.from_data({"id": "x", "color": "red", "__faust": {"ns": "y"}})
    assert account.color == "red"
    assert account.asdict() == {"id": "x", "balance": 0.0}
    assert not hasattr(account, "__faust")


def test_data_cannot_replace_what_the_class_has():
    account = Account.from_data({"id": "x", "asdict": 1, "__class__": 2, "_build": 3, "dumps": 4})
    assert account.asdict() == {"id": "x", "balance": 0.0}
    assert type(account) is Account
    assert account.dumps()


def test_self_reference_and_generics():
    T = TypeVar("T")

    class Box(Record, Generic[T]):
        content: T

    class Holder(Record):
        box: Box[int]

    assert Holder.from_data({"box": {"content": 3}}).box.content == 3


# -- writing


def test_a_record_is_written_with_its_namespace():
    account = Account("x", 1.0)
    metadata = {"ns": f"{__name__}.Account"}
    assert account.asdict() == {"id": "x", "balance": 1.0}
    assert account.to_representation() == {"id": "x", "balance": 1.0, "__faust": metadata}
    assert json.loads(account.dumps()) == account.to_representation()


def test_nested_models_are_written_with_theirs():
    order = Order(Account("x"), [Account("y")])
    assert order.asdict()["account"] is order.account
    written = json.loads(order.dumps())
    assert written["account"]["__faust"]["ns"] == f"{__name__}.Account"
    assert written["__faust"] == {"ns": "shop.Order"}
    assert Order.loads(order.dumps()) == order


def test_metadata_can_be_left_out_and_subclasses_inherit_that():
    class Plain(Record, include_metadata=False):
        x: int

    class More(Plain):
        y: int

    assert json.loads(More(1, 2).dumps()) == {"x": 1, "y": 2}


def test_the_serializer_of_the_call_the_model_or_json():
    class Zipped(Record, serializer="json|gzip"):
        x: int

    made = Zipped(1)
    assert made.dumps()[:2] == b"\x1f\x8b"
    assert Zipped.loads(made.dumps()) == made
    assert json.loads(made.dumps(serializer="json"))["x"] == 1
    assert Order._options.serializer is None
    assert Order.loads(b'{"account": {"id": "x"}, "items": []}').account.id == "x"


# -- namespaces


def test_every_model_is_in_the_registry_but_abstract_ones():
    class Base(Record, abstract=True):
        x: int

    assert registry[f"{__name__}.Account"] is Account
    assert registry["shop.Order"] is Order
    assert Base not in registry.values()


def test_maybe_model_makes_what_the_data_names():
    account = Account("x", 1.0)
    assert maybe_model(account.to_representation()) == account
    for other in (3, "x", None, [], {"__faust": 3}, {"__faust": {"ns": ["x"]}}, {"id": "x"}):
        assert maybe_model(other) is other


@pytest.mark.parametrize("ns", ["os.system", "builtins.dict", "nobody.Knows"])
def test_data_never_chooses_a_class_outside_the_registry(ns):
    data = {"id": "x", "__faust": {"ns": ns}}
    assert maybe_model(data) is data
    assert type(Account.from_data(data)) is Account
    with pytest.raises(TypeError, match="names no subclass"):
        Record.from_data(data)


def test_data_does_not_choose_another_class_unless_allowed():
    class Gold(Account):
        extra: int = 0

    data = Gold("x", 1.0, 2).to_representation()
    assert type(Account.from_data(data)) is Account
    assert type(Record.from_data(data)) is Gold
    assert type(maybe_model(data)) is Gold


@pytest.mark.parametrize("option", ["allow_blessed_key", "polymorphic_fields"])
def test_a_model_may_allow_data_to_name_a_subclass_and_nothing_else(option):
    class Event(Record, **{option: True}):
        at: int

    class Click(Event):
        x: int

    data = Click(1, 2).to_representation()
    assert Event.from_data(data) == Click(1, 2)
    assert type(Event.from_data({"at": 1, "__faust": {"ns": f"{__name__}.Account"}})) is Event
    assert type(Event.from_data({"at": 1})) is Event


def test_polymorphic_fields_take_what_the_data_names():
    class Attribute(Record, abstract=True):
        pass

    class Login(Attribute):
        when: float

    class Email(Attribute):
        address: str

    class User(Record, polymorphic_fields=True):
        attributes: list[Attribute]
        main: Attribute | None

    user = User([Login(1.0), Email("a@b")], Email("c@d"))
    assert User.loads(user.dumps()) == user
    with pytest.raises(ValidationError, match="abstract"):
        User.from_data({"attributes": [{"when": 1.0}]})


def test_an_abstract_model_is_not_made():
    class Base(Record, abstract=True):
        x: int

    class Real(Base):
        y: int

    with pytest.raises(NotImplementedError, match="Base is abstract"):
        Base(1)
    assert Real(1, 2).asdict() == {"x": 1, "y": 2}
    assert Base.from_data(Real(1, 2).to_representation()) == Real(1, 2)


def test_a_record_may_be_an_abc():
    class Shape(Record, ABC, abstract=True):
        @abstractmethod
        def area(self): ...

    class Square(Shape):
        side: int

        def area(self):
            return self.side**2

    assert Square(3).area() == 9


# -- classes that wait


def test_lazy_creation_waits_for_make_final():
    class Lazy(Record, lazy_creation=True):
        x: int

    assert Lazy._options.fields == {}
    Lazy.make_final()
    assert list(Lazy._options.fields) == ["x"]
    assert Lazy(3).x == 3
    Lazy.make_final()


def test_a_model_defined_further_down_is_found_when_it_comes():
    class Early(Record):
        later: "Later"
        many: list["Later"] = []  # noqa: RUF012

    class Later(Record):
        x: int

    assert isinstance(Early.later, FieldDescriptor)
    made = Early.from_data({"later": {"x": 1}, "many": [{"x": 2}]})
    assert made == Early(Later(1), [Later(2)])


def test_a_name_that_never_comes_is_a_name_error_at_first_use():
    class Early(Record):
        later: "NeverDefined"  # noqa: F821

    for use in (lambda: Early(1), lambda: Early.from_data({"later": {}}), Early.make_final):
        with pytest.raises(NameError, match="NeverDefined"):
            use()


# -- descriptors


def test_a_field_of_the_class_is_its_descriptor():
    assert Account.balance.field == "balance"
    assert Account.balance.ident == "Account.balance"
    assert (Account.balance.required, Account.balance.default) == (False, 0.0)
    assert (Account.id.required, Account.id.type, Account.id.model) == (True, str, Account)
    assert Account.balance.getattr(Account("x", 3.0)) == 3.0
    assert repr(Account.balance) == "<FloatField: Account.balance: float = 0.0>"


def test_a_field_of_a_field_is_reached_through_both():
    order = Order(Account("x", 2.0), [])
    assert Order.account.balance.getattr(order) == 2.0
    assert Order.account.balance.path == "account.balance"
    assert Account.balance.parent is None
    with pytest.raises(AttributeError):
        Order.account.nothing  # noqa: B018


def test_a_subclass_has_descriptors_of_its_own():
    class Gold(Account):
        balance = 5.0

    assert Gold.id.model is Gold
    assert Account.id.model is Account
    assert Gold("x").balance == 5.0
    assert Account("x").balance == 0.0
