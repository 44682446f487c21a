"""Codecs, the registry of an app, and schemas: bytes out, values in, errors that say what to do."""

import base64
import gzip
import pickle
import subprocess
import sys
import zlib
from collections import Counter, OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from types import SimpleNamespace
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faustc import jsonable
from faustc.exceptions import (
    ImproperlyConfigured,
    KeyDecodeError,
    SecurityWarning,
    ValueDecodeError,
)
from faustc.models import Record
from faustc.serializers import Registry, Schema, codecs
from faustc.serializers.codecs import Codec, get_codec


class Account(Record):
    id: str
    balance: float = 0.0


class Zipped(Record, serializer="json|gzip"):
    id: str


class Color(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Pair(NamedTuple):
    x: int
    y: int


@dataclass
class Plain:
    x: int


# -- JSON

WRITTEN = [
    ({"a": [1, 2.5, None, True, "æ"]}, '{"a":[1,2.5,null,true,"æ"]}'),
    (datetime(2020, 1, 2, 3, 4, 5, 678), '"2020-01-02T03:04:05.000678"'),
    (datetime(2020, 1, 2, tzinfo=UTC), '"2020-01-02T00:00:00+00:00"'),
    (date(2020, 1, 2), '"2020-01-02"'),
    (time(1, 2), '"01:02:00"'),
    (Decimal("1.10"), '"1.10"'),
    (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (Color.RED, '"red"'),
    (Number.ONE, "1"),
    ({1}, "[1]"),
    (frozenset([1]), "[1]"),
    (deque([1]), "[1]"),
    ((1, 2), "[1,2]"),
    (Pair(1, 2), "[1,2]"),
    (OrderedDict(a=1), '{"a":1}'),
    (b"text", '"text"'),
    (Plain(1), '{"x":1}'),
    ({1: 2, None: 3, False: 4}, '{"1":2,"null":3,"false":4}'),
    (2**70, "1180591620717411303424"),
    ({"x": float("nan"), "y": [float("inf")]}, '{"x":null,"y":[null]}'),
    ({"when": {Decimal(1)}}, '{"when":["1"]}'),
    (Account("x"), f'{{"id":"x","balance":0.0,"__faust":{{"ns":"{__name__}.Account"}}}}'),
    ([Account("x")], f'[{{"id":"x","balance":0.0,"__faust":{{"ns":"{__name__}.Account"}}}}]'),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
@pytest.mark.parametrize("dumps", [jsonable.dumps, jsonable.dumps_portable])
def test_json_is_the_same_with_and_without_orjson(dumps, value, text):
    assert dumps(value).decode() == text


@pytest.mark.parametrize("dumps", [jsonable.dumps, jsonable.dumps_portable])
@pytest.mark.parametrize("value", [object(), b"\xff", {"x": {object()}}, lambda: None])
def test_what_has_no_json_is_refused(dumps, value):
    with pytest.raises((TypeError, ValueError)):
        dumps(value)


READ = [b"1", b'"\xc3\xa6"', b'{"a":[1,2.5,null,true]}', "3", b" [1] "]
NO_JSON = [
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b"{",
    b"",
    b"\xff",
    b"'a'",
    b"1 2",
    "1".encode("utf-16"),
]


@pytest.mark.parametrize("loads", [jsonable.loads, jsonable.loads_portable])
def test_json_is_read_as_strictly_with_and_without_orjson(loads):
    assert [loads(text) for text in READ] == [1, "æ", {"a": [1, 2.5, None, True]}, 3, [1]]
    for text in NO_JSON:
        with pytest.raises(ValueError):  # noqa: PT011 - each says what it likes
            loads(text)


def test_without_orjson_the_standard_library_does_it():
    code = (
        "import sys; sys.modules['orjson'] = None\n"
        "from faustc.serializers import codecs\n"
        "print(codecs.loads('json', codecs.dumps('json', {'a': {1}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "{'a': [1]}", done.stderr


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
)


@given(json_values, st.sampled_from(["json", "json|gzip", "json|zlib|binary", "json|binary|gzip"]))
def test_every_chain_gives_back_what_it_was_given(value, chain):
    assert codecs.loads(chain, codecs.dumps(chain, value)) == value


# -- codecs


def test_the_codecs_that_are_always_there():
    assert set(codecs.codecs) >= {"raw", "json", "pickle", "binary", "gzip", "zlib"}


@pytest.mark.parametrize(
    ("value", "sent"),
    [(b"x", b"x"), ("æ", "æ".encode()), (bytearray(b"x"), b"x"), (3, b"3"), (1.5, b"1.5")],
)
def test_raw_sends_bytes_text_and_digits(value, sent):
    assert codecs.dumps("raw", value) == codecs.dumps(None, value) == sent
    assert codecs.loads("raw", b"x") == b"x"


@pytest.mark.parametrize("value", [{"a": 1}, None, True, [1]])
def test_raw_sends_nothing_else(value):
    with pytest.raises(TypeError, match="raw codec takes"):
        codecs.dumps("raw", value)


def test_compressed_values_are_what_others_read():
    assert gzip.decompress(codecs.dumps("raw|gzip", b"x")) == b"x"
    assert zlib.decompress(codecs.dumps("raw|zlib", "x")) == b"x"
    assert codecs.loads("gzip", gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    with pytest.raises(TypeError, match=r"json\|gzip"):
        codecs.dumps("gzip", {"a": 1})


@pytest.mark.parametrize("name", ["gzip", "zlib"])
def test_a_bomb_stops_at_the_limit(name, monkeypatch):
    monkeypatch.setattr("faustc.codecs.MAX_DECOMPRESSED", 1000)
    assert len(codecs.loads(name, codecs.dumps(name, bytes(1000)))) == 1000
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        codecs.loads(name, codecs.dumps(name, bytes(1001)))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        codecs.loads("gzip", gzip.compress(bytes(600)) * 2)


@pytest.mark.parametrize("name", ["gzip", "zlib"])
def test_every_truncation_of_a_compressed_value_is_an_error(name):
    data = codecs.dumps(name, b"some text, some text")
    for end in range(len(data)):
        with pytest.raises((ValueError, zlib.error)):
            codecs.loads(name, data[:end])


PICKLED = [
    {"a": [1, 2.5, None, True, "æ", b"x", bytearray(b"y"), 1 + 2j, 2**70]},
    {1, frozenset([2]), (3,)},
    OrderedDict(a=Counter("aab"), b=deque([1], maxlen=3)),
    [datetime(2020, 1, 2, tzinfo=UTC), date(2020, 1, 2), time(1, 2), timedelta(seconds=1)],
    [Decimal("1.10"), Fraction(1, 3), UUID(int=7)],
]


@pytest.mark.parametrize("value", PICKLED, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("name", ["pickle", "pickle_restricted", "pickle|gzip"])
def test_pickle_brings_plain_values(name, value):
    assert codecs.loads(name, codecs.dumps(name, value)) == value


def test_pickle_is_base64_as_faust_writes_it():
    assert codecs.loads("pickle", base64.b64encode(pickle.dumps({"a": 1}, protocol=2))) == {"a": 1}
    assert pickle.loads(base64.b64decode(codecs.dumps("pickle", {"a": 1}))) == {"a": 1}


class Runs:
    def __reduce__(self):
        return subprocess.run, (["false"],)


HOSTILE = {
    "a function": pickle.dumps(Runs(), protocol=5),
    "by its name alone": b"cos\nsystem\n(S'false'\ntR.",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "memory": b"cbuiltins\nbytearray\n(I2000000000\ntR.",
    "a method of an allowed class": b"\x80\x04\x8c\x08builtins\x8c\x0cstr.__class__\x93.",
    "an attribute of an allowed class": (b"\x80\x02cuuid\nUUID\n(N}X\x03\x00\x00\x00hexK\x01stb."),
    "a claim of much memory": b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",
    "a persistent id": b"P1\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "nothing": b"",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_pickle_refuses_what_could_run_code_or_change_classes(what):
    with pytest.raises(pickle.UnpicklingError):
        codecs.loads("pickle", base64.b64encode(HOSTILE[what]))
    assert isinstance(UUID.hex, property)


def test_pickle_is_widened_by_name():
    class Local:
        pass

    data = codecs.dumps("pickle", [Plain(1), Color.RED])
    with pytest.raises(pickle.UnpicklingError, match=r"allow_pickle\('.*\.Plain'\)"):
        codecs.loads("pickle", data)
    own = codecs.Pickle(allowed=(Plain, f"{__name__}.Color")) | codecs.Binary()
    assert own.loads(data) == [Plain(1), Color.RED]
    own = own | codecs.codecs["gzip"]  # it keeps what it allows
    assert own.loads(gzip.compress(data)) == [Plain(1), Color.RED]
    codecs.allow_pickle(Plain, f"{__name__}.Color")
    try:
        assert codecs.loads("pickle", data) == [Plain(1), Color.RED]
    finally:
        codecs.forbid_pickle(Plain, f"{__name__}.Color")
    with pytest.raises(pickle.UnpicklingError):
        codecs.loads("pickle", data)


def test_unrestricted_pickle_warns_each_time_it_is_named():
    for _ in range(2):
        with pytest.warns(SecurityWarning, match="'pickle_unrestricted'"):
            codec = get_codec("pickle_unrestricted")
    assert codec.loads(codec.dumps(Plain(1))) == Plain(1)
    with pytest.warns(SecurityWarning, match=r"json\|pickle_unrestricted"):
        get_codec("json|pickle_unrestricted")


# -- YAML


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ({"b": [1, 2.5, None, True, "æ"], "a": {}}, None),
        (datetime(2020, 1, 2, 3, 4, 5), None),
        ({"d": Decimal("1.10"), "u": UUID(int=1)}, {"d": "1.10", "u": str(UUID(int=1))}),
        ([Color.RED, deque([1])], ["red", [1]]),
        (Plain(1), {"x": 1}),
    ],
)
def test_yaml_brings_plain_values(value, back):
    data = codecs.dumps("yaml", value)
    assert codecs.loads("yaml", data) == (value if back is None else back)
    assert codecs.loads("yaml|gzip", codecs.dumps("yaml|gzip", value)) is not None


def test_yaml_makes_no_objects():
    with pytest.raises(Exception, match="could not determine a constructor"):
        codecs.loads("yaml", b"!!python/object/apply:os.system ['false']")


def test_records_travel_as_yaml():
    class InYaml(Record, serializer="yaml"):
        id: str
        when: datetime

    value = InYaml("a", datetime(2020, 1, 2))
    registry = Registry()
    data = registry.dumps_value(InYaml, value)
    assert data.startswith(b"id: a\n")
    assert registry.loads_value(InYaml, data) == value


def test_without_pyyaml_the_codec_says_what_is_missing():
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from faustc.serializers import codecs\n"
        "codecs.get_codec('yaml|gzip')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ImproperlyConfigured" in done.stderr
    assert "pip install 'faustc[yaml]'" in done.stderr


# -- codecs of others

PLUGIN = """
from faustc.serializers.codecs import Binary, Codec

class Upper(Codec):
    def _dumps(self, obj):
        return obj.upper()
    def _loads(self, data):
        return data.lower()

def upper():
    return Upper() | Binary()

made = Upper()
"""


def test_entry_points_bring_codecs(tmp_path):
    (tmp_path / "shouting.py").write_text(PLUGIN)
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[faust.codecs]\nupper = shouting:upper\nupper_class = shouting:Upper\n"
        "upper_made = shouting:made\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from faustc.serializers import codecs\n"
        "print(codecs.dumps('upper', b'x'), codecs.dumps('upper_class', b'x'), "
        "codecs.loads('upper_made|gzip', codecs.dumps('upper_made|gzip', b'x')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "b'WA==' b'X' b'x'\n", done.stderr


def test_an_unknown_codec_names_the_nearest():
    with pytest.raises(ImproperlyConfigured, match="did you mean 'json'"):
        get_codec("jsn")
    with pytest.raises(ImproperlyConfigured, match="known: binary, gzip"):
        get_codec("json|nothing")


class Reversed(Codec):
    def _dumps(self, obj):
        return obj[::-1]

    def _loads(self, data):
        return data[::-1]


def test_a_codec_of_one_s_own_is_registered_and_joined():
    codecs.register("reversed", Reversed())
    try:
        assert codecs.dumps("json|reversed", [1, 2]) == b"]2,1["
        assert codecs.loads("json|reversed", b"]2,1[") == [1, 2]
        joined = codecs.json | Reversed() | codecs.codecs["gzip"]
        assert joined.loads(joined.dumps({"a": 1})) == {"a": 1}
        assert [type(node).__name__ for node in joined.nodes] == ["Json", "Reversed", "Gzip"]
        codecs.register("reversed", codecs.raw)
        assert codecs.dumps("json|reversed", [1, 2]) == b"[1,2]"
    finally:
        del codecs.codecs["reversed"]
        codecs.register("raw", codecs.raw)
    for name in ("", "a|b"):
        with pytest.raises(ImproperlyConfigured):
            codecs.register(name, Reversed())


def test_a_codec_keeps_its_arguments_when_joined():
    class Shifted(Codec):
        def _dumps(self, obj):
            return bytes(byte + self.kwargs["by"] for byte in obj)

    assert (Shifted(by=1) | codecs.raw).dumps(b"a") == b"b"
    with pytest.raises(NotImplementedError, match="Shifted defines no _loads"):
        Shifted(by=1).loads(b"a")
    with pytest.raises(TypeError):
        Shifted(by=1) | "json"


# -- the registry: reading

ACCOUNT = Account("x", 1.0)


@pytest.mark.parametrize(
    ("typ", "serializer", "data", "value"),
    [
        (Account, None, ACCOUNT.dumps(), ACCOUNT),
        (Account, "json|gzip", ACCOUNT.dumps(serializer="json|gzip"), ACCOUNT),
        (Zipped, None, Zipped("x").dumps(), Zipped("x")),
        (Zipped, "json", Zipped("x").dumps(serializer="json"), Zipped("x")),
        (Record, None, ACCOUNT.dumps(), ACCOUNT),
        (None, None, ACCOUNT.dumps(), ACCOUNT),
        (None, None, b'{"a": 1}', {"a": 1}),
        (None, None, b'{"a": 1, "__faust": {"ns": "x"}}', {"a": 1, "__faust": {"ns": "x"}}),
        (None, "raw", b"x", b"x"),
        (bytes, None, b"x", b"x"),
        (bytes, "json", b'"x"', b"x"),
        (str, None, b'"x"', "x"),
        (str, "raw", "æ".encode(), "æ"),
        (int, None, b"3", 3),
        (int, "raw", b"3", 3),
        (float, "raw", b"1.5", 1.5),
        (Decimal, "raw", b"1.50", Decimal("1.50")),
        (Color, "raw", b"red", Color.RED),
        (datetime, None, b'"2020-01-02"', datetime(2020, 1, 2)),
        (dict, None, b'{"a": 1}', {"a": 1}),
        (list[Account], None, b'[{"id": "x", "balance": 1.0}]', [ACCOUNT]),
        (int | None, None, b"null", None),
        (str, None, None, None),
        (None, None, None, None),
    ],
)
def test_keys_and_values_are_read(typ, serializer, data, value):
    registry = Registry()
    for read in (
        registry.loads_key(typ, data, serializer=serializer),
        registry.loads_value(typ, data, serializer=serializer),
        registry.key_decoder(typ, serializer)(data),
        registry.value_decoder(typ, serializer)(data),
    ):
        assert read == value
        assert type(read) is type(value)


@pytest.mark.parametrize(
    ("typ", "serializer", "data", "reason"),
    [
        (Account, None, b"{}", "does not fit Account: Account lacks the required field 'id'"),
        (Account, None, None, "is null, and Account is wanted"),
        (Account, None, b"3", "does not fit Account: Account is made of a mapping, not int"),
        (int, None, b'"x"', "does not fit int"),
        (str, "raw", b"\xff", "does not fit str"),
        (None, "json", b"nonsense", "does not decode as 'json'"),
        (None, "json|gzip", b"nonsense", r"does not decode as 'json\|gzip'"),
        (None, "binary", b"!", "does not decode as 'binary'"),
    ],
)
def test_what_does_not_decode_is_an_error_of_ours_with_its_cause(typ, serializer, data, reason):
    registry = Registry()
    with pytest.raises(KeyDecodeError, match=f"the key {reason}"):
        registry.loads_key(typ, data, serializer=serializer)
    with pytest.raises(ValueDecodeError, match=f"the value {reason}") as caught:
        registry.value_decoder(typ, serializer)(data)
    assert (caught.value.__cause__ is None) == (data is None)


@pytest.mark.parametrize("what", ["key", "value"])
def test_what_does_not_decode_under_a_serializer_that_nobody_set_names_the_setting(what):
    with pytest.raises((KeyDecodeError, ValueDecodeError)) as caught:
        getattr(Registry(), f"loads_{what}")(None, b"user-17 and a long tail of text")
    said = str(caught.value)
    assert said.startswith(f"the {what} b'user-17 and a long tail '... is not JSON")
    assert "Nobody set a serializer" in said
    assert f"App(..., {what}_serializer='raw')" in said
    assert f"app.topic(..., {what}_serializer='raw')" in said
    assert f"{what}_type=bytes" in said


def test_a_serializer_that_somebody_set_is_not_called_nobody_s():
    for decoder in (
        Registry("json", "json").key_decoder(),
        Registry(value_serializer="json").value_decoder(),
        Registry().value_decoder(None, "json"),
    ):
        with pytest.raises((KeyDecodeError, ValueDecodeError)) as caught:
            decoder(b"nonsense")
        assert "Nobody" not in str(caught.value)


def test_a_null_value_is_none_where_it_may_be_empty():
    assert Registry().value_decoder(Account, allow_empty=True)(None) is None


def test_an_unknown_serializer_is_found_out_before_the_first_message():
    with pytest.raises(ImproperlyConfigured, match="no codec 'jsn'"):
        Registry("jsn").key_decoder()
    with pytest.raises(ImproperlyConfigured, match="no codec 'jsn'"):
        Registry().value_encoder(None, "jsn")


def test_a_model_that_reads_data_its_own_way_is_asked():
    class Mine(Record):
        x: int

        @classmethod
        def from_data(cls, data, *, preferred_type=None):
            return cls(data["y"] + 1)

    assert Registry().loads_value(Mine, b'{"y": 1}') == Mine(2)


def test_a_subclass_of_the_registry_is_asked_for_every_message():
    class Loud(Registry):
        def loads_value(self, typ, value, *, serializer=None):
            return (typ, value, serializer)

        def dumps_key(self, typ, key, *, serializer=None, skip=(bytes,)):
            return b"key"

    registry = Loud()
    assert registry.value_decoder(str, "raw")(b"x") == (str, b"x", "raw")
    assert registry.value_decoder(str, "raw", allow_empty=True)(None) is None
    assert registry.key_encoder()("x") == b"key"
    assert registry.key_decoder()(b"1") == 1


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_a_decode_error(data):
    registry = Registry()
    for typ in (None, Account, int, list[Account]):
        for serializer in (None, "json|gzip", "binary|zlib", "raw"):
            with suppress(ValueDecodeError):
                registry.value_decoder(typ, serializer)(data)


# -- the registry: writing


@pytest.mark.parametrize(
    ("typ", "serializer", "value", "data"),
    [
        (None, None, {"a": 1}, b'{"a":1}'),
        (None, None, "x", b'"x"'),
        (None, None, b"x", b"x"),
        (None, "json", b"x", b"x"),
        (None, "raw", "x", b"x"),
        (int, "raw", 3, b"3"),
        (bytes, None, "x", b"x"),
        (str, None, "x", b'"x"'),
        (None, None, None, None),
        (Account, "raw", None, None),
        (None, None, ACCOUNT, ACCOUNT.dumps()),
        (Account, "json|gzip", ACCOUNT, ACCOUNT.dumps(serializer="json|gzip")),
        (None, "json", Zipped("x"), Zipped("x").dumps()),
    ],
)
def test_keys_and_values_are_written(typ, serializer, value, data):
    registry = Registry()
    for written in (
        registry.dumps_key(typ, value, serializer=serializer),
        registry.dumps_value(typ, value, serializer=serializer),
        registry.key_encoder(typ, serializer)(value),
        registry.value_encoder(typ, serializer)(value),
    ):
        assert written == data


def test_the_defaults_are_the_app_s():
    registry = Registry(key_serializer="raw", value_serializer="json|gzip")
    assert registry.dumps_key(None, "x") == b"x"
    assert registry.loads_key(None, b"x") == b"x"
    assert registry.loads_value(None, registry.dumps_value(None, [1])) == [1]
    assert (Registry().key_serializer, Registry().value_serializer) == ("json", "json")


def test_types_to_skip_are_sent_as_they_are():
    assert Registry().dumps_value(None, "x", skip=(bytes, str)) == "x"


# -- schemas


class App:
    def __init__(self):
        self.serializers = Registry()

    def create_event(self, key, value, headers, message):
        return key, value, headers, message.offset


def message(key, value, **headers):
    return SimpleNamespace(topic="t", partition=1, offset=7, key=key, value=value, headers=headers)


def test_a_schema_brings_the_serializer_of_its_model_along():
    schema = Schema(value_type=Zipped, key_serializer="raw")
    assert (schema.key_serializer, schema.value_serializer) == ("raw", "json|gzip")
    schema.update(value_serializer="json", key_type=str)
    assert (schema.key_type, schema.value_type, schema.value_serializer) == (str, Zipped, "json")
    assert (
        repr(Schema(key_type=str)) == "<Schema: key str (*default*), value *default* (*default*)>"
    )


def test_a_schema_reads_and_writes():
    app, schema = App(), Schema(key_type=str, key_serializer="raw", value_type=Account)
    headers = [("a", b"1")]
    key, sent = schema.dumps_key(app, "k", headers=headers)
    value, _ = schema.dumps_value(app, ACCOUNT, headers=headers)
    assert (key, sent) == (b"k", headers)
    stored = message(key, value)
    assert (schema.loads_key(app, stored), schema.loads_value(app, stored)) == ("k", ACCOUNT)
    assert schema.key_decoder(app)(key) == "k"
    assert schema.value_decoder(app)(value) == ACCOUNT


async def test_a_schema_makes_events_and_tells_what_does_not_decode_and_where():
    app, schema, seen = App(), Schema(value_type=int), []

    async def on_error(exc, where):
        seen.append((type(exc), where.offset, str(exc).endswith("(t/1 offset 7)")))

    decode = schema.compile(app, on_key_decode_error=on_error, on_value_decode_error=on_error)
    assert await decode(message(b"1", b"2", a=1)) == (1, 2, {"a": 1}, 7)
    assert await decode(message(b"x", b"2")) is None
    assert await decode(message(b"1", b'"x"')) is None
    assert seen == [(KeyDecodeError, 7, True), (ValueDecodeError, 7, True)]
    with pytest.raises(ValueDecodeError):
        await schema.decode(app, message(b"1", b'"x"'), propagate=True)
    assert await schema.decode(app, message(b"x", b"2")) is None


def test_an_empty_value_is_an_error_unless_allowed():
    app = App()
    with pytest.raises(ValueDecodeError):
        Schema(value_type=Account).loads_value(app, message(None, None))
    schema = Schema(value_type=Account, allow_empty=True)
    assert schema.loads_value(app, message(None, None)) is None
    assert schema.value_decoder(app)(None) is None


def test_a_schema_that_looks_at_headers_is_asked_for_every_message():
    class ByHeader(Schema):
        def loads_value(self, app, message, *, loads=None, serializer=None):
            return super().loads_value(app, message, serializer=message.headers["codec"])

        def on_dumps_value_prepare_headers(self, value, headers):
            return {**(headers or {}), "codec": "raw"}

    app, schema = App(), ByHeader()
    assert schema.value_decoder(app) is None
    assert schema.key_decoder(app) is not None
    assert schema.loads_value(app, message(None, b"x", codec="raw")) == b"x"
    assert schema.dumps_value(app, b"x", headers=None) == (b"x", {"codec": "raw"})


# -- Faust's names


def test_json_under_faust_s_name():
    from faustc.utils import json as faust_json

    class Own:
        def __json__(self):
            return {"own": 1}

    value = {"d": Decimal("1.10"), "t": datetime(2020, 1, 2), "o": Own(), "u": UUID(int=1)}
    text = faust_json.dumps(value)
    assert isinstance(text, str)
    assert faust_json.loads(text) == {
        "d": "1.10",
        "t": "2020-01-02T00:00:00",
        "o": {"own": 1},
        "u": str(UUID(int=1)),
    }
    assert faust_json.loads(faust_json.dumps(value, indent=2)) == faust_json.loads(text)
    assert faust_json.loads(b"1.5", parse_float=Decimal) == Decimal("1.5")
    assert faust_json.str_to_decimal("1.50") == Decimal("1.50")
    for wrong in ("NaN", "Infinity", "x", "1" * 1001):
        with pytest.raises(ValueError, match=r"no decimal|no finite|longer"):
            faust_json.str_to_decimal(wrong)


def test_the_registry_knows_what_a_model_is():
    assert issubclass(Account, Registry().Model)
    assert isinstance(ACCOUNT, Registry().Model)
