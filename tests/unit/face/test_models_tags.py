"""Tagged fields: what they hold is not shown, and is written all the same."""

import copy
import logging
import pickle
import traceback

import orjson
import pytest

from faustc.exceptions import SecurityError, ValidationError, ValueDecodeError
from faustc.models import Record
from faustc.models.fields import StringField
from faustc.models.tags import Personal, Secret, Sensitive, Tag, allow_protected_vars
from faustc.serializers import Registry

PHONE = "631-342-3412"


class User(Record, include_metadata=False):
    name: str
    password: Secret[str]
    phone: Sensitive[str] | None = None
    email: Personal[str] | None = None


class Group(Record, include_metadata=False):
    title: str
    users: list[User]
    keys: list[Secret[str]]


def a_user():
    return User("ann", "hunter2", PHONE, "a@example.org")


def test_a_secret_is_shown_as_a_mask(caplog):
    user = a_user()
    assert str(user.password) == f"{user.password}" == Secret.mask
    logging.getLogger("x").critical("password %s of %r", user.password, user)
    assert "hunter2" not in caplog.text
    assert Secret.mask in caplog.text
    assert user.password.get_value() == "hunter2"


@pytest.mark.parametrize("field", ["phone", "email"])
def test_sensitive_and_personal_text_is_not_shown_at_all(field):
    value = getattr(a_user(), field)
    for show in (str, "{}".format, "%s".__mod__, "{:>20}".format):
        with pytest.raises(SecurityError, match=field):
            show(value)


def test_no_repr_shows_a_value():
    user = a_user()
    shown = repr(user) + repr(user.phone.get_value()) + repr(user.email.get_value())
    for value in ("hunter2", PHONE, "a@example.org"):
        assert value not in shown
    assert "name='ann', password=<Secret: password@" in shown


@pytest.mark.parametrize("field", ["phone", "email"])
def test_protected_text_is_for_the_function_that_asked_for_it(field):
    user = a_user()
    expected = {"phone": PHONE, "email": "a@example.org"}[field]
    text = getattr(user, field).get_value()
    assert text == expected
    assert str(text) == f"{text}" == expected
    assert text.upper() == expected.upper()

    def other(given):
        return given.upper()

    with pytest.raises(SecurityError, match=field):
        other(text)
    assert other(str(text)) == expected.upper()
    with allow_protected_vars():
        assert other(getattr(user, field).get_value()) == expected.upper()
    with pytest.raises(SecurityError):
        other(text)


def test_personal_is_a_plain_value_where_it_is_allowed():
    with allow_protected_vars():
        assert type(a_user().email.get_value()) is str


def test_a_tagged_record_is_written_whole_and_read_back():
    user = a_user()
    data = {"name": "ann", "password": "hunter2", "phone": PHONE, "email": "a@example.org"}
    assert orjson.loads(user.dumps()) == data
    assert User.loads(user.dumps()) == user
    group = Group("g", [user], ["k1", "k2"])
    registry = Registry()
    wire = registry.value_encoder(Group)(group)
    assert orjson.loads(wire) == {"title": "g", "users": [data], "keys": ["k1", "k2"]}
    assert registry.value_decoder(Group)(wire) == group
    assert [str(key) for key in group.keys] == [Secret.mask] * 2


def test_a_tag_by_itself_is_json_only_as_far_as_it_is_text():
    registry = Registry()
    assert registry.dumps_value(None, {"p": a_user().password}) == (
        b'{"p":"%s"}' % Secret.mask.encode()
    )
    with pytest.raises(SecurityError):
        registry.dumps_value(None, {"p": a_user().phone})


def test_none_is_tagged_too_so_that_get_value_is_always_there():
    user = User("bob", "x")
    assert user.phone.get_value() == None  # noqa: E711 -- it is protected text
    assert user.email._value is None
    assert orjson.loads(user.dumps())["phone"] is None


def test_what_is_assigned_is_tagged():
    user = a_user()
    user.password = "other"
    assert repr(user.password).startswith("<Secret: password@")
    assert user.derive(name="bob").password == user.password
    with pytest.raises(SecurityError):
        user.password = user.phone


def test_tags_compare_and_copy_by_value():
    user = a_user()
    for same in (a_user(), copy.deepcopy(user), pickle.loads(pickle.dumps(user))):
        assert same == user
        assert hash(same) == hash(user)
    assert user.derive(password="x") != user
    assert Secret("x") != Sensitive("x")


def test_a_value_is_tagged_once():
    with pytest.raises(SecurityError):
        Sensitive[str](Secret[str]("x"))


@pytest.mark.parametrize("tag", [Sensitive, Personal])
def test_sensitive_and_personal_are_for_text(tag):
    with pytest.raises(TypeError, match="str and bytes, not int"):
        tag[int]


def test_errors_do_not_quote_tagged_values():
    class Vault(Record, coerce=True):
        pin: Secret[int]
        pins: list[Secret[int]] | None = None

    assert Vault("123").pin.get_value() == 123
    for make in (
        lambda: Vault("topsecret"),
        lambda: Vault.from_data({"pin": 1, "pins": 7}),
        lambda: setattr(Vault(1), "pin", "topsecret"),
    ):
        with pytest.raises(ValidationError, match="not shown") as caught:
            make()
        frames = traceback.format_exception(caught.value)
        assert "topsecret" not in "".join(one for one in frames if "  File" not in one)
    with pytest.raises(ValueDecodeError) as undecodable:
        Registry().value_decoder(Vault)(b'{"pin": "topsecret"}')
    assert "topsecret" not in str(undecodable.value)


def test_values_are_validated_beneath_the_tag():
    class Login(Record, validation=True):
        password: Secret[str] = StringField(min_length=8)

    assert Login("long enough").is_valid()
    with pytest.raises(ValidationError, match="at least 8"):
        Login("short")


def test_a_descriptor_may_have_the_tag():
    class Login(Record):
        password: str = StringField(tag=Secret)

    assert str(Login("x").password) == Secret.mask
    assert Login._options.secret_fields == {"password"}


def test_the_options_tell_which_fields_are_tagged():
    options = User._options
    assert options.secret_fields == {"password"}
    assert options.sensitive_fields == {"phone"}
    assert options.personal_fields == {"email"}
    assert options.tagged_fields == {"password", "phone", "email"}
    # A field that holds tagged models, or tags in a collection, counts as well.
    assert Group._options.secret_fields == {"users", "keys"}
    assert Group._options.has_personal_fields
    assert Group._options.has_sensitive_fields
    assert not Group._options.fieldset - {"title", "users", "keys"}

    class Plain(Record):
        x: int

    assert not Plain._options.has_tagged_fields
    assert not Plain._options.has_secret_fields
    assert User.password.tag is Secret
    assert issubclass(User.password.tag, Tag)
