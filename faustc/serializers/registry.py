"""Registry: how an app's keys and values become bytes, and bytes keys and values.

For each topic a decoder is made once (`key_decoder`, `value_decoder`), and
called once per message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..codecs import CodecArg, Json, Raw, get_codec
from ..exceptions import DecodeError, KeyDecodeError, ValueDecodeError
from ..models import foreign
from ..models.base import Model
from ..models.coerce import Rules, converter
from ..models.record import Record
from ..models.registry import maybe_model

Decoder = Callable[[bytes | None], Any]
Encoder = Callable[[Any], bytes | None]

#: What both serializers are while nobody sets them, as in Faust 1.0.
DEFAULT_SERIALIZER = "json"

_SHOWN_BYTES = 24

Fit = Callable[[Any], Any]


class Envelopes(Protocol):
    """Knows what may stand around a value.

    `around` is given what makes a payload fit the type (None: nothing to do), and
    returns what does the same and opens envelopes, if it can tell them by the payload;
    and what to open those with that do not fit, or None.
    """

    def around(self, fit: Fit | None) -> tuple[Fit | None, Fit | None]: ...


class Registry:
    """The two default serializers of an app, and everything done by them.

    None as a serializer means that nobody set one: JSON is used, and what does
    not decode says which setting to look at.

    For reading, a topic's serializer goes before the model's, that before raw
    (where the type is bytes), and that before the default. For writing, a
    model's own serializer goes first, and bytes are always sent as they are.
    """

    def __init__(self, key_serializer: CodecArg = None, value_serializer: CodecArg = None) -> None:
        self.key_serializer: CodecArg = key_serializer or DEFAULT_SERIALIZER
        self.value_serializer: CodecArg = value_serializer or DEFAULT_SERIALIZER
        self._nobody_set = {"key": not key_serializer, "value": not value_serializer}
        self._decoders: dict[Any, Decoder] = {}
        self._encoders: dict[Any, Encoder] = {}

    @property
    def Model(self) -> type[Model]:  # noqa: N802 - Faust's name
        """The class of all models."""
        return Model

    # -- one at a time, as Faust has it

    def loads_key(self, typ: Any, key: bytes | str | None, *, serializer: CodecArg = None) -> Any:
        """Decode a key as typ (None: whatever it is); raise KeyDecodeError."""
        return self._decoder("key", typ, serializer, allow_empty=False)(_in_bytes(key))

    def loads_value(
        self, typ: Any, value: bytes | str | None, *, serializer: CodecArg = None
    ) -> Any:
        """Decode a value as typ (None: whatever it is); raise ValueDecodeError."""
        return self._decoder("value", typ, serializer, allow_empty=False)(_in_bytes(value))

    def dumps_key(
        self,
        typ: Any,
        key: Any,
        *,
        serializer: CodecArg = None,
        skip: tuple[type, ...] = (bytes,),
    ) -> bytes | None:
        """Encode a key; one of the types in skip is sent as it is."""
        return self._encoder("key", typ, serializer, skip)(key)

    def dumps_value(
        self,
        typ: Any,
        value: Any,
        *,
        serializer: CodecArg = None,
        skip: tuple[type, ...] = (bytes,),
    ) -> bytes | None:
        """Encode a value; one of the types in skip is sent as it is."""
        return self._encoder("value", typ, serializer, skip)(value)

    # -- made once, called per message

    def key_decoder(
        self, typ: Any = None, serializer: CodecArg = None, *, allow_empty: bool = False
    ) -> Decoder:
        """Return the function that decodes a topic's keys; it raises KeyDecodeError.

        A missing key is None, but an error where a model is wanted and
        allow_empty is not set.
        """
        if type(self).loads_key is not Registry.loads_key:
            return self._through(self.loads_key, typ, serializer, allow_empty)
        return self._decoder("key", typ, serializer, allow_empty)

    def value_decoder(
        self,
        typ: Any = None,
        serializer: CodecArg = None,
        *,
        allow_empty: bool = False,
        envelopes: Envelopes | None = None,
    ) -> Decoder:
        """Return the function that decodes a topic's values; see key_decoder.

        envelopes: what may stand around values of the type.
        """
        if type(self).loads_value is not Registry.loads_value:
            return self._through(self.loads_value, typ, serializer, allow_empty)
        return self._decoder("value", typ, serializer, allow_empty, envelopes)

    def key_encoder(self, typ: Any = None, serializer: CodecArg = None) -> Encoder:
        """Return the function that encodes a topic's keys."""
        if type(self).dumps_key is not Registry.dumps_key:
            return lambda key: self.dumps_key(typ, key, serializer=serializer)
        return self._encoder("key", typ, serializer, (bytes,))

    def value_encoder(self, typ: Any = None, serializer: CodecArg = None) -> Encoder:
        """Return the function that encodes a topic's values."""
        if type(self).dumps_value is not Registry.dumps_value:
            return lambda value: self.dumps_value(typ, value, serializer=serializer)
        return self._encoder("value", typ, serializer, (bytes,))

    # -- how they are made

    def _through(
        self, loads: Callable[..., Any], typ: Any, serializer: CodecArg, allow_empty: bool
    ) -> Decoder:
        """Decode by a subclass's own method."""

        def decode(data: bytes | None) -> Any:
            if data is None and allow_empty:
                return None
            return loads(typ, data, serializer=serializer)

        return decode

    def _default(self, what: str) -> CodecArg:
        return self.key_serializer if what == "key" else self.value_serializer

    def _decoder(
        self,
        what: str,
        typ: Any,
        serializer: CodecArg,
        allow_empty: bool,
        envelopes: Envelopes | None = None,
    ) -> Decoder:
        cached = what, typ, serializer, allow_empty, self._default(what), envelopes
        found = self._decoders.get(cached)
        if found is None:
            found = self._make_decoder(what, typ, serializer, allow_empty, envelopes)
            self._decoders[cached] = found
        return found

    def _make_decoder(
        self,
        what: str,
        typ: Any,
        serializer: CodecArg,
        allow_empty: bool,
        envelopes: Envelopes | None,
    ) -> Decoder:
        failure = KeyDecodeError if what == "key" else ValueDecodeError
        chosen = serializer or _own_serializer(typ) or ("raw" if typ is bytes else None)
        default = self._default(what)
        guessed = chosen is None and self._nobody_set[what] and default == DEFAULT_SERIALIZER
        codec = get_codec(chosen or default)
        loader = getattr(codec, "loader", None)
        loads: Callable[[bytes], Any] = codec.loads if loader is None else loader()
        name = chosen or default
        fit = _fit(typ, codec)
        opened = None
        plain = fit
        if envelopes is not None:
            fit, opened = envelopes.around(fit)
        none_is_wrong = (_is_model(typ) or foreign.is_foreign(typ)) and not allow_empty
        if type(codec) is Raw and not codec.children and (typ is None or typ is bytes):
            return _as_it_is

        def decode(data: bytes | None) -> Any:
            if data is None:
                if none_is_wrong:
                    shown = getattr(typ, "__name__", typ)
                    raise failure(f"the {what} is null, and {shown} is wanted")
                return None
            try:
                payload = loads(data)
            except MemoryError:
                raise
            except Exception as exc:
                if guessed:
                    raise failure(_nobody_set(what, data, exc)) from exc
                raise failure(f"the {what} does not decode as {name!r}: {exc}") from exc
            if fit is None:
                return payload
            try:
                return fit(payload)
            except MemoryError:
                raise
            except DecodeError:
                raise
            except Exception as exc:  # noqa: BLE001 - it is raised, or what is inside fits
                wrong = exc
                if opened is not None and (inner := opened(payload)) is not payload:
                    try:
                        return fit(inner)
                    except Exception as exc_inside:  # noqa: BLE001 - whatever it is, it is raised
                        wrong = exc_inside
                shown = getattr(typ, "__name__", typ)
                raise failure(f"the {what} does not fit {shown}: {wrong}") from wrong

        direct = foreign.json_decoder(typ) if _is_json(codec) and fit is plain else None
        return decode if direct is None else _directly(direct, decode)

    def _encoder(
        self, what: str, typ: Any, serializer: CodecArg, skip: tuple[type, ...]
    ) -> Encoder:
        cached = what, typ, serializer, skip, self._default(what)
        found = self._encoders.get(cached)
        if found is None:
            found = self._encoders[cached] = self._make_encoder(what, typ, serializer, skip)
        return found

    def _make_encoder(
        self, what: str, typ: Any, serializer: CodecArg, skip: tuple[type, ...]
    ) -> Encoder:
        codec = get_codec(serializer or ("raw" if typ is bytes else self._default(what)))
        dumper = getattr(codec, "dumper", None)
        dumps: Callable[[Any], bytes] = codec.dumps if dumper is None else dumper()

        direct = foreign.json_encoder(typ) if _is_json(codec) else None

        def encode(value: Any) -> bytes | None:
            if value is None:
                return None
            if direct is not None and type(value) is typ:
                return direct(value)
            if isinstance(value, skip):
                return value  # type: ignore[return-value]
            if isinstance(value, Record):
                return value.dumps(serializer=value._options.serializer or codec)
            return dumps(value)

        return encode


def _directly(direct: Callable[[bytes], Any], decode: Decoder) -> Decoder:
    """Read bytes by another library's own decoder; what it refuses goes the usual way.

    That finds out whether the text or the value is wrong, and opens envelopes.
    """

    def decode_directly(data: bytes | None) -> Any:
        if data is None:
            return decode(data)
        try:
            return direct(data)
        except Exception:  # noqa: BLE001 - the usual way raises it again, by our name
            return decode(data)

    return decode_directly


def _is_json(codec: Any) -> bool:
    return type(codec) is Json and not codec.children


def _as_it_is(data: bytes | None) -> bytes | None:
    return data


def _is_model(typ: Any) -> bool:
    return isinstance(typ, type) and issubclass(typ, Record)


def _own_serializer(typ: Any) -> CodecArg:
    return typ._options.serializer if _is_model(typ) else None


def fitting(typ: Any) -> Fit | None:
    """Return what makes decoded data fit a type; None: nothing to do."""
    return _fit(typ, None)


def _fit(typ: Any, codec: Any) -> Callable[[Any], Any] | None:
    """Return what makes the payload of a codec fit a type; None: nothing to do."""
    if typ is None:
        return maybe_model
    if _is_model(typ):
        as_usual = typ.from_data.__func__ is Record.from_data.__func__  # type: ignore[attr-defined]
        if as_usual and _is_json(codec):
            typ.make_final()
            return typ._build  # type: ignore[no-any-return] # JSON never gives a model, so skip the look
        return typ.from_data  # type: ignore[no-any-return]
    convert = converter(typ, Rules().strict())
    if convert is None or typ in (bytes, str, int, float, bool):
        return convert
    made = convert

    def from_text(payload: Any) -> Any:
        return made(payload.decode() if isinstance(payload, bytes) else payload)

    return from_text


def _nobody_set(what: str, data: bytes, exc: Exception) -> str:
    begin = data[:_SHOWN_BYTES]
    shown = f"{begin!r}{'...' if len(data) > _SHOWN_BYTES else ''}"
    return (
        f"the {what} {shown} is not JSON ({exc}). Nobody set a serializer for it, so the default "
        f"of {what}_serializer, {DEFAULT_SERIALIZER!r}, was used. Set {what}_serializer to what "
        f"the {what}s are written with, for the app (App(..., {what}_serializer='raw')) or for "
        f"the topic (app.topic(..., {what}_serializer='raw')), or {what}_type=bytes to get them "
        "as they are"
    )


def _in_bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
