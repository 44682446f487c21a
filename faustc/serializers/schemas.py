"""Schema: what the keys and values of one topic are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..codecs import CodecArg
from ..exceptions import DecodeError, KeyDecodeError
from ..models.record import Record
from .registry import Decoder, Registry


class Stored(Protocol):
    """What a schema needs of a message."""

    @property
    def topic(self) -> str | None: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Any: ...


class HasSerializers(Protocol):
    """What a schema needs of an app."""

    @property
    def serializers(self) -> Registry: ...

    def create_event(self, key: Any, value: Any, headers: Any, message: Any) -> Any: ...


OnDecodeError = Callable[[Exception, Any], Awaitable[None]]


async def _nothing_more(exc: Exception, message: Any) -> None:
    """Drop the error: the caller asked for no more."""


class Schema:
    """Types and serializers of keys and values; a subclass may read and write headers as well.

    A subclass that overrides loads_key or loads_value is asked for every
    message; otherwise a compiled decoder does the same without it.
    """

    def __init__(
        self,
        *,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        allow_empty: bool | None = None,
    ) -> None:
        self.key_type: Any = None
        self.value_type: Any = None
        self.key_serializer: CodecArg = None
        self.value_serializer: CodecArg = None
        self.allow_empty = False
        self.update(
            key_type=key_type,
            value_type=value_type,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            allow_empty=allow_empty,
        )

    def update(
        self,
        *,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        allow_empty: bool | None = None,
    ) -> None:
        """Change what is given; a model brings its serializer along where none is set."""
        if key_type is not None:
            self.key_type = key_type
        if value_type is not None:
            self.value_type = value_type
        if key_serializer is not None:
            self.key_serializer = key_serializer
        if value_serializer is not None:
            self.value_serializer = value_serializer
        if self.key_serializer is None:
            self.key_serializer = _model_serializer(key_type)
        if self.value_serializer is None:
            self.value_serializer = _model_serializer(value_type)
        if allow_empty is not None:
            self.allow_empty = allow_empty

    def for_topic(self, name: str) -> Schema:
        """Return the schema to be used for one topic: this one, unless it depends on that."""
        return self

    async def ready(self) -> None:
        """Prepare what writing needs, before the first message and again for each."""

    @property
    def reads_plainly(self) -> bool:
        """Whether keys and values are read by types and serializers alone."""
        return not self._overrides("loads_key", "loads_value")

    @property
    def writes_plainly(self) -> bool:
        """Whether keys and values are written by types and serializers alone."""
        return not self._overrides(
            "dumps_key",
            "dumps_value",
            "on_dumps_key_prepare_headers",
            "on_dumps_value_prepare_headers",
        )

    def _overrides(self, *names: str) -> bool:
        return any(getattr(type(self), name) is not getattr(Schema, name) for name in names)

    # -- reading

    def loads_key(
        self,
        app: HasSerializers,
        message: Stored,
        *,
        loads: Callable[..., Any] | None = None,
        serializer: CodecArg = None,
    ) -> Any:
        """Decode the key of a message; raise KeyDecodeError."""
        loads = loads or app.serializers.loads_key
        return loads(self.key_type, message.key, serializer=serializer or self.key_serializer)

    def loads_value(
        self,
        app: HasSerializers,
        message: Stored,
        *,
        loads: Callable[..., Any] | None = None,
        serializer: CodecArg = None,
    ) -> Any:
        """Decode the value of a message; raise ValueDecodeError."""
        if message.value is None and self.allow_empty:
            return None
        loads = loads or app.serializers.loads_value
        return loads(self.value_type, message.value, serializer=serializer or self.value_serializer)

    def key_decoder(self, app: HasSerializers) -> Decoder | None:
        """Return the function that decodes keys; None when loads_key has to be asked."""
        if type(self).loads_key is not Schema.loads_key:
            return None
        return app.serializers.key_decoder(self.key_type, self.key_serializer)

    def value_decoder(self, app: HasSerializers) -> Decoder | None:
        """Return the function that decodes values; None when loads_value has to be asked."""
        if type(self).loads_value is not Schema.loads_value:
            return None
        return app.serializers.value_decoder(
            self.value_type, self.value_serializer, allow_empty=self.allow_empty
        )

    async def decode(self, app: HasSerializers, message: Stored, *, propagate: bool = False) -> Any:
        """Make an event of one message; None when it does not decode and propagate is not set."""
        return await self.compile(app)(message, propagate=propagate)

    def compile(
        self,
        app: HasSerializers,
        *,
        on_key_decode_error: OnDecodeError = _nothing_more,
        on_value_decode_error: OnDecodeError = _nothing_more,
        default_propagate: bool = False,
    ) -> Callable[..., Awaitable[Any]]:
        """Return an async function that makes events of messages.

        A message that does not decode goes to one of the callbacks, and gives
        None; with propagate the error is raised instead.
        """

        async def decode(message: Stored, *, propagate: bool = default_propagate) -> Any:
            try:
                key = self.loads_key(app, message)
                value = self.loads_value(app, message)
            except DecodeError as exc:
                exc.at(message.topic, message.partition, message.offset)
                if propagate:
                    raise
                of_key = isinstance(exc, KeyDecodeError)
                await (on_key_decode_error if of_key else on_value_decode_error)(exc, message)
                return None
            return app.create_event(key, value, message.headers, message)

        return decode

    # -- writing

    def dumps_key(
        self, app: HasSerializers, key: Any, *, serializer: CodecArg = None, headers: Any = None
    ) -> tuple[bytes | None, Any]:
        """Encode a key; return it with the headers to send."""
        payload = app.serializers.dumps_key(
            self.key_type, key, serializer=serializer or self.key_serializer
        )
        return payload, self.on_dumps_key_prepare_headers(key, headers)

    def dumps_value(
        self, app: HasSerializers, value: Any, *, serializer: CodecArg = None, headers: Any = None
    ) -> tuple[bytes | None, Any]:
        """Encode a value; return it with the headers to send."""
        payload = app.serializers.dumps_value(
            self.value_type, value, serializer=serializer or self.value_serializer
        )
        return payload, self.on_dumps_value_prepare_headers(value, headers)

    def on_dumps_key_prepare_headers(self, key: Any, headers: Any) -> Any:
        """Return the headers to send with a key; to be overridden."""
        return headers

    def on_dumps_value_prepare_headers(self, value: Any, headers: Any) -> Any:
        """Return the headers to send with a value; to be overridden."""
        return headers

    def __repr__(self) -> str:
        def shown(typ: Any, codec: CodecArg) -> str:
            name = "*default*" if typ is None else getattr(typ, "__name__", typ)
            return f"{name} ({codec or '*default*'})"

        return (
            f"<{type(self).__name__}: key {shown(self.key_type, self.key_serializer)}, "
            f"value {shown(self.value_type, self.value_serializer)}>"
        )


def _model_serializer(typ: Any) -> CodecArg:
    is_model = isinstance(typ, type) and issubclass(typ, Record)
    return typ._options.serializer if is_model else None
