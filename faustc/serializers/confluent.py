"""Schemas kept in a registry: Avro and JSON Schema, as Confluent's serializers have them.

A payload is a zero byte, the id of its schema in four bytes, and the value. Schemas are
looked up once, before the message that needs them is decoded, while the event loop
does other things; a message waits as long as its registry is away.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from enum import Enum
from io import BytesIO
from typing import Any

from .. import jsonable
from ..codecs import CodecArg
from ..exceptions import (
    DecodeError,
    DecodeLater,
    ImproperlyConfigured,
    KeyDecodeError,
    NotReady,
    SchemaRegistryError,
    ValueDecodeError,
)
from ..models.record import Record
from .derived import avro_schema_of, json_schema_of
from .registry import fitting
from .schema_registry import SchemaRegistry, StoredSchema
from .schemas import HasSerializers, Schema, Stored

__all__ = ["AvroSchema", "JSONSchema", "RegistrySchema"]

Subject = Callable[[str, str], str]


def topic_name_strategy(topic: str, part: str) -> str:
    """Return the subject that Confluent's serializers use by default: `orders-value`."""
    return f"{topic}-{part}"


class RegistrySchema(Schema):
    """A schema whose values, and keys if key_schema is given, are those of a schema registry.

    registry is a SchemaRegistry or its URL. value_schema and key_schema say how to write:
    the schema's text, or as a dict, or a Record it is derived from. Without value_schema
    it is derived from value_type if that is a Record; else the topic can only be read.
    auto_register=False: the schema has to be in the registry already. subject(topic,
    "key" or "value") names what it is registered under, by default `<topic>-<part>`.
    Keys without key_schema are as in any Schema.
    """

    #: What the registry calls this type of schema.
    schema_type = ""

    def __init__(
        self,
        registry: SchemaRegistry | str,
        *,
        key_schema: Any = None,
        value_schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: CodecArg = None,
        allow_empty: bool | None = None,
        auto_register: bool = True,
        subject: Subject = topic_name_strategy,
    ) -> None:
        self.registry = SchemaRegistry(registry) if isinstance(registry, str) else registry
        self.auto_register = auto_register
        self.subject = subject
        self.topic = ""
        self._given = {"key": key_schema, "value": value_schema}
        self._parts: dict[str, _Part] = {}
        super().__init__(
            key_type=key_type,
            value_type=value_type,
            key_serializer=key_serializer,
            allow_empty=allow_empty,
        )

    def update(self, **changed: Any) -> None:
        """Change what is given; a value's serializer is the registry's schema."""
        if changed.get("value_serializer") is not None:
            raise ImproperlyConfigured(
                f"{type(self).__name__} is the serializer of values; value_serializer= is none"
            )
        super().update(**changed)
        self.value_serializer = None
        self._make_parts()

    def _make_parts(self) -> None:
        given = dict(self._given)
        if given["value"] is None and _is_record(self.value_type):
            given["value"] = self.value_type
        self._parts = {
            part: _Part(self._text(schema) if schema is not None else None, self._parse)
            for part, schema in given.items()
            if part == "value" or schema is not None
        }

    def _text(self, schema: Any) -> str:
        if _is_record(schema):
            schema = self._derive(schema)
        return schema if isinstance(schema, str) else json.dumps(schema, separators=(",", ":"))

    def for_topic(self, name: str) -> RegistrySchema:
        """Return this schema for a topic, whose name is in the subjects."""
        if name == self.topic:
            return self
        made = copy.copy(self)
        made.topic = name
        made._make_parts()
        return made

    async def ready(self) -> None:
        """See to it that the registry has what is written; raises SchemaRegistryError."""
        for name, part in self._parts.items():
            if part.written is not None and part.prefix is None:
                subject = self.subject(self.topic, name)
                schema_id = await self.registry.register(
                    subject, self.schema_type, part.written, new=self.auto_register
                )
                part.prefix = b"\0" + schema_id.to_bytes(4, "big")

    # -- what the types of schemas do

    def _derive(self, model: type[Record]) -> Any:
        raise NotImplementedError

    def _parse(self, stored: StoredSchema) -> Any:
        """Prepare a schema for the two below."""
        raise NotImplementedError

    def _encode(self, schema: Any, value: Any) -> bytes:
        raise NotImplementedError

    def _decode(self, written: Any, expected: Any, payload: bytes) -> Any:
        """Read a payload written with one schema; expected is ours, or None."""
        raise NotImplementedError

    # -- reading

    def loads_key(
        self,
        app: HasSerializers,
        message: Stored,
        *,
        loads: Callable[..., Any] | None = None,
        serializer: CodecArg = None,
    ) -> Any:
        """Decode the key of a message; raise KeyDecodeError, or DecodeLater."""
        if "key" not in self._parts or serializer is not None:
            return super().loads_key(app, message, loads=loads, serializer=serializer)
        return self._loads("key", self.key_type, message.key, KeyDecodeError)

    def loads_value(
        self,
        app: HasSerializers,
        message: Stored,
        *,
        loads: Callable[..., Any] | None = None,
        serializer: CodecArg = None,
    ) -> Any:
        """Decode the value of a message; raise ValueDecodeError, or DecodeLater."""
        if serializer is not None:
            return super().loads_value(app, message, loads=loads, serializer=serializer)
        if message.value is None and _is_record(self.value_type) and not self.allow_empty:
            raise ValueDecodeError(f"the value is null, and {self.value_type.__name__} is wanted")
        return self._loads("value", self.value_type, message.value, ValueDecodeError)

    def _loads(self, name: str, typ: Any, data: bytes | None, failure: type[DecodeError]) -> Any:
        if data is None:
            return None
        if len(data) < 5 or data[0] != 0:
            raise failure(
                f"the {name} {data[:16]!r} was not written with a schema registry: "
                "it does not begin with a zero byte and an id"
            )
        part = self._parts[name]
        schema_id = int.from_bytes(data[1:5], "big")
        written = part.parsed.get(schema_id)
        if written is None:
            written = part.parsed[schema_id] = self._known(name, schema_id, failure)
        try:
            payload = self._decode(written, part.expected, data[5:])
            fit = part.fit(typ)
            return payload if fit is None else fit(payload)
        except MemoryError:
            raise
        except Exception as exc:
            raise failure(f"the {name} does not fit schema {schema_id}: {exc}") from exc

    def _known(self, name: str, schema_id: int, failure: type[DecodeError]) -> Any:
        try:
            stored = self.registry.known(schema_id)
        except SchemaRegistryError as exc:
            raise failure(f"the {name} has schema {schema_id}: {exc}") from exc
        if stored is None:
            raise DecodeLater(
                f"schema {schema_id} is not known yet", lambda: self.registry.learn(schema_id)
            )
        if stored.type != self.schema_type:
            raise failure(
                f"the {name} has schema {schema_id}, of type {stored.type}: "
                f"{type(self).__name__} reads {self.schema_type}"
            )
        try:
            return self._parse(stored)
        except Exception as exc:
            raise failure(f"the {name} has schema {schema_id}, which is wrong: {exc}") from exc

    # -- writing

    def dumps_key(
        self, app: HasSerializers, key: Any, *, serializer: CodecArg = None, headers: Any = None
    ) -> tuple[bytes | None, Any]:
        """Encode a key; return it with the headers to send."""
        if "key" not in self._parts or serializer is not None:
            return super().dumps_key(app, key, serializer=serializer, headers=headers)
        return self._dumps("key", key), self.on_dumps_key_prepare_headers(key, headers)

    def dumps_value(
        self, app: HasSerializers, value: Any, *, serializer: CodecArg = None, headers: Any = None
    ) -> tuple[bytes | None, Any]:
        """Encode a value; return it with the headers to send."""
        if serializer is not None:
            return super().dumps_value(app, value, serializer=serializer, headers=headers)
        return self._dumps("value", value), self.on_dumps_value_prepare_headers(value, headers)

    def _dumps(self, name: str, value: Any) -> bytes | None:
        if value is None:
            return None
        part = self._parts[name]
        if part.written is None:
            raise ImproperlyConfigured(
                f"topic {self.topic}: nobody said how {name}s are written; give "
                f"{type(self).__name__} a {name}_schema, or a Record as {name}_type"
            )
        if part.prefix is None:
            raise NotReady(
                f"topic {self.topic}: the registry was not asked for the id of its schema yet; "
                "await topic.declare() before send_soon()"
            )
        return part.prefix + self._encode(part.expected, value)


class _Part:
    """Keys or values: how they are written, and the schemas they were found to have."""

    def __init__(self, written: str | None, parse: Callable[[StoredSchema], Any]) -> None:
        self.written = written
        self.expected: Any = None
        if written is not None:
            try:
                self.expected = parse(StoredSchema("", written))
            except Exception as exc:
                raise ImproperlyConfigured(f"no schema: {written[:200]}: {exc}") from exc
        self.prefix: bytes | None = None
        self.parsed: dict[int, Any] = {}
        self._fits: dict[Any, Callable[[Any], Any] | None] = {}

    def fit(self, typ: Any) -> Callable[[Any], Any] | None:
        """Return what makes a payload fit a type, None for nothing."""
        if typ not in self._fits:
            self._fits[typ] = fitting(typ)
        return self._fits[typ]


class AvroSchema(RegistrySchema):
    """Avro, by fastavro: `pip install 'faustc[avro]'`. See RegistrySchema."""

    schema_type = "AVRO"

    def __init__(self, registry: SchemaRegistry | str, **options: Any) -> None:
        try:
            import fastavro
        except ImportError as exc:
            raise ImproperlyConfigured(
                "AvroSchema needs fastavro: pip install 'faustc[avro]'"
            ) from exc
        self._avro = fastavro
        super().__init__(registry, **options)

    def _derive(self, model: type[Record]) -> Any:
        return avro_schema_of(model)

    def _parse(self, stored: StoredSchema) -> Any:
        named: dict[str, Any] = {}
        for reference in _depth_first(stored):
            self._avro.parse_schema(json.loads(reference.text), named)
        return self._avro.parse_schema(json.loads(stored.text), named, expand=bool(named))

    def _encode(self, schema: Any, value: Any) -> bytes:
        out = BytesIO()
        self._avro.schemaless_writer(out, schema, _plain(value))
        return out.getvalue()

    def _decode(self, written: Any, expected: Any, payload: bytes) -> Any:
        return self._avro.schemaless_reader(BytesIO(payload), written, expected)


class JSONSchema(RegistrySchema):
    """JSON whose schema is in a registry. See RegistrySchema.

    Values are read by value_type; the schema's own rules are for others to check.
    """

    schema_type = "JSON"

    def _derive(self, model: type[Record]) -> Any:
        return json_schema_of(model)

    def _parse(self, stored: StoredSchema) -> Any:
        return json.loads(stored.text)

    def _encode(self, schema: Any, value: Any) -> bytes:
        return jsonable.dumps(_plain(value))

    def _decode(self, written: Any, expected: Any, payload: bytes) -> Any:
        return jsonable.loads(payload)


def _is_record(typ: Any) -> bool:
    return isinstance(typ, type) and issubclass(typ, Record)


def _depth_first(stored: StoredSchema) -> list[StoredSchema]:
    found: list[StoredSchema] = []
    for reference in stored.references:
        for one in (*_depth_first(reference), reference):
            if one not in found:
                found.append(one)
    return found


def _plain(value: Any) -> Any:
    """Return a value without models: their fields, by the names they are sent by."""
    if isinstance(value, Record):
        fields = value.to_representation()
        return {name: _plain(one) for name, one in fields.items() if name != "__faust"}
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value
