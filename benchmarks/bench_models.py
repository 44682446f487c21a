"""Models: nanoseconds per message of six fields, 100 bytes of JSON.

"read" goes from bytes through the decoder of a topic to an object, as a stream
does it; "create" makes one from keywords; "write" goes from an object to bytes
through the topic's encoder. By itself: the library alone, without a topic. With
faust-streaming installed beside faustc (in an environment of its own) its Record
is measured as well. Run it with `python -m benchmarks models`.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import orjson
import pydantic
import pyperf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import faustc

DATA: dict[str, Any] = {
    "id": 12345678,
    "user": "george",
    "city": "Riga",
    "amount": 1523.25,
    "active": True,
    "note": "0123456789abcde",
}
VALUE = orjson.dumps(DATA)
COUNT = 1000


class Plain(faustc.Record, include_metadata=False):
    id: int
    user: str
    city: str
    amount: float
    active: bool
    note: str


class Coerced(Plain, coerce=True):
    pass


class Defaults(faustc.Record):
    id: int
    user: str
    city: str
    amount: float = 0.0
    active: bool = True
    note: str | None = None


class Struct(msgspec.Struct):
    id: int
    user: str
    city: str
    amount: float
    active: bool
    note: str


class Pydantic(pydantic.BaseModel):
    id: int
    user: str
    city: str
    amount: float
    active: bool
    note: str


@dataclasses.dataclass
class Data:
    id: int
    user: str
    city: str
    amount: float
    active: bool
    note: str


class Typed(TypedDict):
    id: int
    user: str
    city: str
    amount: float
    active: bool
    note: str


def each(rounds: int, call: Callable[[Any], Any], value: Any) -> float:
    """Call once a message; the loop costs some 10 ns a round, shown as "loop alone"."""
    messages = range(COUNT)
    started = time.process_time()
    for _ in range(rounds):
        for _ in messages:
            call(value)
    return time.process_time() - started


def created(rounds: int, cls: Callable[..., Any]) -> float:
    messages = range(COUNT)
    started = time.process_time()
    for _ in range(rounds):
        for n in messages:
            cls(
                id=n,
                user="george",
                city="Riga",
                amount=1523.25,
                active=True,
                note="0123456789abcde",
            )
    return time.process_time() - started


def read(rounds: int, decode: Callable[[bytes], Any]) -> float:
    """Read a message and look at three of its fields."""
    messages = range(COUNT)
    started = time.process_time()
    for _ in range(rounds):
        for _ in messages:
            it = decode(VALUE)
            it.id, it.amount, it.note  # noqa: B018
    return time.process_time() - started


def main() -> None:
    runner = pyperf.Runner()
    app = faustc.App("bench", broker="kafka://localhost:1")

    def bench(name: str, timed: Any, *args: Any) -> None:
        runner.bench_time_func(name, timed, *args, inner_loops=COUNT)

    bench("loop alone", each, bool, None)
    bench("orjson to a dict", each, orjson.loads, VALUE)
    types = {
        "Record": Plain,
        "Record, defaults": Defaults,
        "Record, coerce": Coerced,
        "msgspec.Struct": Struct,
        "pydantic": Pydantic,
        "dataclass": Data,
        "TypedDict": Typed,
        "no type": None,
    }
    for name, typ in types.items():
        topic = app.topic(f"t{name}", value_type=typ)
        decode = topic.decoders()[1]
        bench(f"read, {name}", each, decode, VALUE)
        if name.startswith("Record"):
            named = orjson.dumps({**DATA, "__faust": {"ns": "shop.Order"}})
            bench(f"read, {name}, with its name", each, decode, named)
            bench(f"read and look at three fields, {name}", read, decode)
    bench("read, msgspec.Struct by itself", each, msgspec.json.Decoder(Struct).decode, VALUE)
    bench("read, pydantic by itself", each, Pydantic.model_validate_json, VALUE)
    for name in (
        "Record",
        "Record, defaults",
        "Record, coerce",
        "msgspec.Struct",
        "pydantic",
        "dataclass",
    ):
        bench(f"create, {name}", created, types[name])
        encode = app.serializers.value_encoder(types[name])
        bench(f"write, {name}", each, encode, types[name](**DATA))  # type: ignore[misc]
    if find_spec("faust"):
        _faust(bench)


def _faust(bench: Callable[..., None]) -> None:
    given, sys.argv = sys.argv, sys.argv[:1]  # its import looks for options of its own there
    import faust  # type: ignore[import-not-found]

    sys.argv = given

    class Streaming(faust.Record, include_metadata=False):  # type: ignore[misc]
        id: int
        user: str
        city: str
        amount: float
        active: bool
        note: str

    app = faust.App("bench-faust", broker="kafka://localhost:1")
    loads, dumps = app.serializers.loads_value, app.serializers.dumps_value

    def decode(value: bytes) -> Any:
        return loads(Streaming, value, serializer="json")

    bench("read, faust-streaming's Record", each, decode, VALUE)
    bench("read and look at three fields, faust-streaming's Record", read, decode)
    bench("create, faust-streaming's Record", created, Streaming)

    def encode(value: Any) -> Any:
        return dumps(Streaming, value, serializer="json")

    bench("write, faust-streaming's Record", each, encode, Streaming(**DATA))


if __name__ == "__main__":
    main()
