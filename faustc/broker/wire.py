"""Requests from bytes, answers to bytes, by kafka-python's structs.

The only importer of kafka-python in the broker. The client in `client/` writes
Fetch and Produce with its own Cython: each checks the other whenever they talk.

A request is untrusted: whatever its bytes are, reading it either works or raises
CorruptFrame. kafka-python's generated decoders never step backwards and fail past
the end, but they do not say that a string was cut short by it, so that is compared here.
"""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol

from faustc.exceptions import CorruptFrame

# Kafka's socket.request.max.bytes.
MAX_REQUEST_BYTES = 100 * 1024 * 1024
# What is no Produce is small; a struct costs some hundred bytes per byte that claims one.
MAX_CONTROL_BYTES = 8 * 1024 * 1024

PRODUCE = 0
API_VERSIONS = 18

_MALFORMED = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    AssertionError,
    NotImplementedError,
)
# The decoders read a varint for as long as the high bit is set, in time that grows
# with the square of the run. Text and blobs have runs too, far shorter than this.
_ENDLESS_VARINT = re.compile(rb"[\x80-\xff]{16384}")
# Stands for the record bytes of one partition while an answer is encoded: random, so
# that no stored message can hold it.
_PLACE = os.urandom(16)
_PLACE_FLEXIBLE = bytes([len(_PLACE) + 1]) + _PLACE
_PLACE_CLASSIC = struct.pack(">i", len(_PLACE)) + _PLACE
# Below this a copy is cheaper than one more write to a transport.
_JOIN_BYTES = 64 * 1024


class Api(NamedTuple):
    """An API that the broker serves: kafka-python's name for it, its key, its versions."""

    name: str
    key: int
    min: int
    max: int


class Header(NamedTuple):
    """What stands before every request; body_at is where the rest begins."""

    key: int
    version: int
    correlation_id: int
    client_id: str
    body_at: int


class Peer(Protocol):
    """Who sent a request, as far as a handler may care: a Session."""

    client_host: str
    # Free for handlers to keep what belongs to the connection, as SASL does.
    state: dict[str, Any]
    served: Mapping[int, Api]

    def close(self, reason: str) -> None:
        """Drop the connection, saying why in the log."""


class Call(NamedTuple):
    """One request on its way through a handler."""

    api: Api
    version: int
    correlation_id: int
    client_id: str
    request: Any
    session: Peer


class Answer(NamedTuple):
    """One framed answer, in pieces so that stored records need no copy."""

    pieces: list[bytes | bytearray | memoryview]


def read_header(frame: bytes) -> Header:
    """Return the header of a frame, up to its client id; raises CorruptFrame."""
    if len(frame) < 10:
        raise CorruptFrame(f"a request of {len(frame)} bytes")
    key, version, correlation_id, size = struct.unpack_from(">hhih", frame)
    at = 10
    if size > len(frame) - at:
        raise CorruptFrame(f"a client id of {size} bytes in a request of {len(frame)}")
    try:
        client_id = frame[at : at + max(size, 0)].decode()
    except UnicodeDecodeError as exc:
        raise CorruptFrame("the client id is not UTF-8") from exc
    return Header(key, version, correlation_id, client_id, at + max(size, 0))


def read_request(api: Api, header: Header, frame: bytes) -> Any:
    """Return the request struct in a frame whose version is served; raises CorruptFrame."""
    if api.key != PRODUCE:
        if len(frame) > MAX_CONTROL_BYTES:
            raise CorruptFrame(f"{api.name} of {len(frame)} bytes")
        if len(frame) > 16384 and _ENDLESS_VARINT.search(frame):
            raise CorruptFrame(f"{api.name} holds a number without end")
    cls = message(api.name, "Request")
    flexible = cls.flexible_version_q(header.version)
    try:
        at = header.body_at
        if flexible:
            at = _skip_tags(frame, at)
        decoder = cls._struct.compiled_decode_from(
            header.version, compact=flexible, tagged=flexible, data_class=cls
        )
        request, at = decoder(memoryview(frame), at)
        _refuse_nulls(request, _nulls(cls, header.version))
    except _MALFORMED as exc:
        raise CorruptFrame(f"{api.name} v{header.version}: {exc!r}") from exc
    # Bytes left over are ignored, as Kafka does: librdkafka's Metadata v13 has three.
    if at > len(frame):
        raise CorruptFrame(f"{api.name} v{header.version} takes {at} bytes of {len(frame)}")
    return request


def answer(call: Call, **fields: Any) -> Answer:
    """Return the framed answer to a call; nested structs may be dicts.

    Fields that the version does not have are left out.
    """
    return Answer([_encode(call, call.version, fields)])


def answer_in_version(call: Call, version: int, **fields: Any) -> Answer:
    """Answer in another version than was asked in, as ApiVersions must (KIP-511)."""
    return Answer([_encode(call, version, fields)])


def answer_with_records(
    call: Call, records: list[bytes | memoryview | None], **fields: Any
) -> Answer:
    """Answer a Fetch: each field made by `place(records)` is filled in, in order.

    What a partition's records are is not copied: the struct is encoded with a mark
    in their place, then cut there.
    """
    encoded = _encode(call, call.version, fields)
    filled = [data for data in records if data]
    if not filled:
        return Answer([encoded])
    flexible = message(call.api.name, "Response").flexible_version_q(call.version)
    parts = bytes(encoded).split(_PLACE_FLEXIBLE if flexible else _PLACE_CLASSIC)
    if len(parts) != len(filled) + 1:
        raise AssertionError("the marks in an answer are not as many as its records")
    pieces: list[bytes | bytearray | memoryview] = []
    size = sum(map(len, parts)) - 4
    for head, data in zip(parts, filled, strict=False):
        prefix = _uvarint(len(data) + 1) if flexible else struct.pack(">i", len(data))
        size += len(prefix) + len(data)
        pieces += [head + prefix, data]
    pieces.append(parts[-1])
    pieces[0] = struct.pack(">i", size) + pieces[0][4:]
    if size < _JOIN_BYTES:
        return Answer([b"".join(pieces)])
    return Answer(pieces)


def place(records: bytes | memoryview | None) -> bytes:
    """Return what stands for records in the fields given to answer_with_records."""
    return _PLACE if records else b""


def version_range(name: str) -> tuple[int, int]:
    """Return the versions that kafka-python has a schema for."""
    low, high = message(name, "Request").valid_versions
    return int(low), int(high)


def _encode(call: Call, version: int, fields: Mapping[str, Any]) -> bytearray:
    response = _build(message(call.api.name, "Response"), version, fields)
    response.with_header(call.correlation_id)
    encoded: bytearray = response.encode(header=True, framed=True)
    return encoded


def _build(cls: Any, version: int, fields: Mapping[str, Any]) -> Any:
    schemas = cls._struct.fields
    made = cls(version=version)
    for name, value in fields.items():
        schema = schemas[name]
        if not schema.for_version_q(version):
            continue
        if isinstance(value, dict):
            value = _build(schema.data_class, version, value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            value = [_build(schema.data_class, version, item) for item in value]
        setattr(made, name, value)
    return made


class _Field(NamedTuple):
    """A field that can be null on the wire: whether it may be, and what is below it."""

    name: str
    may_be_null: bool
    is_array: bool
    below: tuple[_Field, ...]


@cache
def _nulls(cls: Any, version: int) -> tuple[_Field, ...]:
    """Return the fields to look at for nulls; kafka-python's decoders let any of them be null."""
    return _nulls_below(cls._struct, version)


def _nulls_below(struct_field: Any, version: int) -> tuple[_Field, ...]:
    found = []
    for field in struct_field.untagged_fields(version):
        below: tuple[_Field, ...] = ()
        is_array = field.is_array()
        if field.is_struct_array():
            below = _nulls_below(field.array_of, version)
        elif field.is_struct():
            below = _nulls_below(field, version)
        elif not is_array and field.type_str not in ("string", "bytes", "records"):
            continue
        found.append(_Field(field.name, field.nullable_for_version_q(version), is_array, below))
    return tuple(found)


def _refuse_nulls(value: Any, fields: tuple[_Field, ...]) -> None:
    for name, may_be_null, is_array, below in fields:
        found = getattr(value, name)
        if found is None:
            if not may_be_null:
                raise ValueError(f"{name} is null")
        elif not is_array:
            _refuse_nulls(found, below)
        elif below:
            for item in found:
                _refuse_nulls(item, below)
        elif None in found:
            raise ValueError(f"null in {name}")


def _skip_tags(frame: bytes, at: int) -> int:
    """Return where the tagged fields of a request header end."""
    count, at = _read_uvarint(frame, at)
    for _ in range(count):
        _, at = _read_uvarint(frame, at)
        size, at = _read_uvarint(frame, at)
        at += size
    return at


def _read_uvarint(frame: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a varint of more than 5 bytes")


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def load(names: Iterable[str]) -> None:
    """Import kafka-python and make the classes of these APIs, before the first client waits."""
    for name in names:
        message(name, "Request")
        message(name, "Response")


@cache
def _modules() -> tuple[Any, ...]:
    """Import kafka-python, which takes a quarter of a second: when a broker starts, no sooner."""
    with warnings.catch_warnings():
        # its schemas are read with a function that Python 3.11 calls deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        from kafka.protocol import admin, consumer, metadata, producer, sasl
    return metadata, consumer, producer, admin, sasl


@cache
def message(name: str, kind: str) -> Any:
    """Return kafka-python's class of a Request or Response; LookupError if it has none."""
    for module in _modules():
        found = getattr(module, name + kind, None)
        if found is not None:
            return found
    raise LookupError(f"kafka-python has no {name}{kind}")
