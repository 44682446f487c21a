"""Channels whose keys and values become bytes: what topics have in common with others of yours."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

from faustc.channels import Channel
from faustc.exceptions import DecodeError, ImproperlyConfigured, KeyDecodeError, ValueDecodeError
from faustc.messages import headers_list
from faustc.serializers import Schema
from faustc.serializers.codecs import raw as RAW  # noqa: N812 - a constant, as codecs go
from faustc.types import HeadersArg

__all__ = ["SerializedChannel", "Whole", "decoded", "in_hand_of"]

Decoder = Callable[[Any], Any]

# Schemas given with single messages that are kept, made for their channel.
SCHEMAS_KEPT = 64


class Whole:
    """Decodes a whole message where a reader hands over its bytes: it is the one in its hand."""

    __slots__ = ("_reader", "of")

    def __init__(self, reader: Any, of: Decoder) -> None:
        # A stream that nobody holds any more is to go at once: no cycle with its decoders.
        self._reader = weakref.ref(reader)
        self.of = of

    def __call__(self, data: Any) -> Any:
        reader = self._reader()
        assert reader is not None
        return self.of(reader.in_hand)


def decoded(decode: Decoder, message: Any, data: Any) -> Any:
    """Decode the key or value of a message that is perhaps in nobody's hand any more."""
    return decode.of(message) if isinstance(decode, Whole) else decode(data)


def in_hand_of(decode: Decoder, reader: Any) -> Decoder:
    """Return a decoder for what another reader has in hand."""
    return Whole(reader, decode.of) if isinstance(decode, Whole) else decode


class SerializedChannel(Channel):
    """A channel with a schema: keys and values are bytes where they are kept."""

    def __init__(
        self,
        app: Any,
        *,
        schema: Schema | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        allow_empty: bool | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        own = self._own_schema(
            schema,
            options.get("name") or "",
            key_type=key_type,
            value_type=value_type,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            allow_empty=allow_empty or None,
        )
        super().__init__(app, schema=own, **options)
        self.key_serializer = own.key_serializer
        self.value_serializer = own.value_serializer
        self.allow_empty = own.allow_empty
        self._encoders: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
        self._schemas: dict[int, tuple[Schema, Schema]] = {}  # of single messages: given, made

    def _own_schema(self, schema: Schema | None, name: str, **given: Any) -> Schema:
        given = {option: value for option, value in given.items() if value is not None}
        if schema is None:
            made: Schema = self.app.conf.Schema(**given)
            schema = made
        elif given:
            schema = copy.copy(schema)
            schema.update(**given)
        return schema.for_topic(name)

    @property
    def in_memory(self) -> bool:
        """Whether it is a clone that reads a queue of events."""
        return self._given_queue is not None

    def decoders(self, envelopes: Any = None) -> tuple[Decoder, Decoder]:
        """Return what makes keys and values of bytes, put together once for this topic.

        envelopes: what may stand around values (see Registry.value_decoder). Raises
        ImproperlyConfigured if the schema wants whole messages.
        """
        if not self.schema.reads_plainly:
            raise ImproperlyConfigured(
                f"{type(self.schema).__name__} reads whole messages: use topic.message_decoders()"
            )
        registry = self.app.serializers
        return (
            registry.key_decoder(self.key_type, self.key_serializer, allow_empty=True),
            registry.value_decoder(
                self.value_type,
                self.value_serializer,
                allow_empty=self.allow_empty,
                envelopes=envelopes,
            ),
        )

    def message_decoders(self) -> tuple[Decoder, Decoder]:
        """Return what makes the key and the value of a whole message; raise DecodeError."""
        schema, app = self.schema, self.app
        if schema.reads_plainly:
            return super().message_decoders()
        return (
            _guarded(lambda message: schema.loads_key(app, message), KeyDecodeError),
            _guarded(lambda message: schema.loads_value(app, message), ValueDecodeError),
        )

    def decoders_for(self, reader: Any, envelopes: Any = None) -> tuple[Decoder, Decoder]:
        """Return the decoders of one reader; a schema may want the message in its hand."""
        if self.in_memory:  # what comes out of a queue was decoded before
            return Channel.decoders(self, envelopes)
        if self.schema.reads_plainly:
            return self.decoders(envelopes)
        key_of, value_of = self.message_decoders()
        opened = value_of if envelopes is None else lambda m: envelopes.sent(value_of(m))
        return Whole(reader, key_of), Whole(reader, opened)

    def encoders(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return what makes bytes of keys and values, put together once for this topic."""
        if self._encoders is None:
            registry = self.app.serializers
            self._encoders = (
                registry.key_encoder(self.key_type, self.key_serializer),
                registry.value_encoder(self.value_type, self.value_serializer),
            )
        return self._encoders

    def _encode(
        self, key: Any, value: Any, key_serializer: Any, value_serializer: Any
    ) -> tuple[bytes | None, bytes | None]:
        encode_key, encode_value = self._encoders or self.encoders()
        registry = self.app.serializers
        if key_serializer is not None:
            encode_key = registry.key_encoder(self.key_type, key_serializer)
        if value_serializer is not None:
            encode_value = registry.value_encoder(self.value_type, value_serializer)
        return encode_key(key), encode_value(value)

    def encode(
        self,
        key: Any,
        value: Any,
        headers: HeadersArg = None,
        schema: Schema | None = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
    ) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]] | None]:
        """Return a message's key, value and headers as `send` would send them."""
        opened: Any = self.prepare_headers(headers)
        raw_key, opened = self.prepare_key(key, key_serializer, schema, opened)
        raw_value, opened = self.prepare_value(value, value_serializer, schema, opened)
        return raw_key, raw_value, headers_list(opened)

    def prepare_key(
        self, key: Any, key_serializer: Any, schema: Schema | None = None, headers: Any = None
    ) -> tuple[Any, Any]:
        """Encode a key; return it with the headers to send.

        Bytes with the serializer "raw" are sent as they are, whatever the schema.
        """
        if _as_it_is(key, key_serializer):
            return key, headers
        chosen = self._schema_of(schema)
        return chosen.dumps_key(self.app, key, serializer=key_serializer, headers=headers)

    def prepare_value(
        self, value: Any, value_serializer: Any, schema: Schema | None = None, headers: Any = None
    ) -> tuple[Any, Any]:
        """Encode a value; see prepare_key."""
        if _as_it_is(value, value_serializer):
            return value, headers
        chosen = self._schema_of(schema)
        return chosen.dumps_value(self.app, value, serializer=value_serializer, headers=headers)

    def _schema_of(self, schema: Schema | None) -> Schema:
        """Return the schema of one message: its own, made for this topic, or the topic's."""
        if schema is None or schema is self.schema:
            return self.schema
        given, bound = self._schemas.get(id(schema), (None, schema))
        if given is not schema:
            bound = schema.for_topic(self.name)
            if len(self._schemas) >= SCHEMAS_KEPT:
                self._schemas.clear()
            self._schemas[id(schema)] = schema, bound
        return bound


def _as_it_is(data: Any, serializer: Any) -> bool:
    """Say whether who sends asked for these very bytes."""
    return serializer is not None and (
        (serializer == "raw" or serializer is RAW) and (data is None or isinstance(data, bytes))
    )


def _guarded(decode: Decoder, failure: type[DecodeError]) -> Decoder:
    """Let whatever a schema of the application's raises be a DecodeError."""

    def decode_message(message: Any) -> Any:
        try:
            return decode(message)
        except (DecodeError, MemoryError):
            raise
        except Exception as exc:
            raise failure(f"{type(exc).__name__}: {exc}") from exc

    return decode_message
