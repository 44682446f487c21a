"""How the keys and values of a table are bytes: as Faust writes them into its changelogs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faustc.codecs import Json, get_codec
from faustc.exceptions import DecodeError, ImproperlyConfigured, KeyDecodeError
from faustc.serializers.registry import Registry, fitting

__all__ = ["Coding", "hashable"]

#: What a key holds in JSON, which has no null of its own in a changelog: null deletes there.
NULL = b"null"


class Coding:
    """Encodes and decodes the keys and values of one table.

    Serializers are JSON unless the types say otherwise (bytes are raw, a model may name its
    own). Lists within keys come back as tuples, which can be looked up. A windowed key is
    the array of the key and its range.
    """

    def __init__(
        self,
        registry: Registry,
        name: str,
        *,
        key_type: Any,
        value_type: Any,
        key_serializer: Any,
        value_serializer: Any,
        windowed: bool,
    ) -> None:
        self.name = name
        self._key_type = key_type
        self._raw_values = value_serializer == "raw"
        self._decode_plain = registry.key_decoder(key_type, key_serializer)
        self._decode_value = registry.value_decoder(value_type, value_serializer, allow_empty=True)
        encode_key = registry.key_encoder(key_type, key_serializer)
        encode_value = registry.value_encoder(value_type, value_serializer)
        key_codec, value_codec = get_codec(key_serializer), get_codec(value_serializer)
        self._encode_plain = encode_key if key_type is bytes else _bytes_too(encode_key, key_codec)
        self._encode_value = (
            encode_value if value_type is bytes else _bytes_too(encode_value, value_codec)
        )
        if windowed and key_type is bytes:
            key_codec = get_codec("json")  # a key and a range are no bytes
        self._key_codec = key_codec
        self._fit = fitting(key_type)
        # The parts of a windowed key can be put together where they are text in themselves.
        self._in_parts = type(key_codec) is Json and not key_codec.children
        self._suffixes: dict[tuple[float, float], bytes] = {}
        if windowed:
            self.encode_key: Callable[[Any], bytes] = self._encode_windowed
            self.decode_key: Callable[[bytes], Any] = self._decode_windowed
        else:
            self.encode_key = self.encode_part
            self.decode_key = self._decode_part

    # -- values ------------------------------------------------------------------------

    def encode_value(self, value: Any) -> bytes:
        """Return a value as bytes; None is JSON's null."""
        raw = self._encode_value(value)
        if raw is None:
            if self._raw_values:
                raise ImproperlyConfigured(
                    f"table {self.name}: there is no None among bytes; `del` deletes a key"
                )
            return NULL
        return raw

    def decode_value(self, raw: bytes) -> Any:
        """Make a value of bytes; raises ValueDecodeError."""
        if raw == NULL and not self._raw_values:
            return None
        try:
            return self._decode_value(raw)
        except DecodeError as exc:
            exc.args = (f"table {self.name}: {exc.args[0]}",)
            raise

    # -- keys --------------------------------------------------------------------------

    def encode_part(self, key: Any) -> bytes:
        """Return a key, without a window, as bytes."""
        raw = self._encode_plain(key)
        if raw is None:
            if self._key_type is bytes:
                raise ImproperlyConfigured(f"table {self.name}: None is no key of a table of bytes")
            return NULL
        return raw

    def _decode_part(self, raw: bytes) -> Any:
        try:
            return hashable(self._decode_plain(raw))
        except DecodeError as exc:
            exc.args = (f"table {self.name}: {exc.args[0]}",)
            raise

    def suffix(self, window_range: tuple[float, float]) -> bytes:
        """Return what follows a key within a windowed one."""
        found = self._suffixes.get(window_range)
        if found is None:
            if len(self._suffixes) > 10_000:
                self._suffixes.clear()
            found = b",%b]" % self._key_codec.dumps(window_range)
            self._suffixes[window_range] = found
        return found

    def windowed(self, part: bytes, key: Any, window_range: tuple[float, float]) -> bytes:
        """Return the bytes of a key in a window; part is what encode_part made of the key."""
        if self._in_parts and self._key_type is not bytes:
            return b"[%b%b" % (part, self.suffix(window_range))
        return self._key_codec.dumps((key, window_range))

    def _encode_windowed(self, key: Any) -> bytes:
        try:
            inner, (start, end) = key
        except (TypeError, ValueError):
            raise ImproperlyConfigured(
                f"table {self.name}: it is windowed, and has keys such as ('a', (0.0, 9.9)), not "
                f"{key!r}; the wrapper that using_window(), tumbling() and so on return has plain "
                "ones"
            ) from None
        return self.windowed(self.encode_part(inner), inner, (start, end))

    def _decode_windowed(self, raw: bytes) -> Any:
        try:
            inner, (start, end) = self._key_codec.loads(raw)
            if self._key_type is bytes and isinstance(inner, str):
                inner = inner.encode()
            elif self._fit is not None:
                inner = self._fit(inner)
            return hashable(inner), (float(start), float(end))
        except (TypeError, ValueError, DecodeError) as exc:
            raise KeyDecodeError(
                f"table {self.name}: {raw[:80]!r} is no windowed key: {exc}"
            ) from exc


def _bytes_too(encode: Callable[[Any], bytes | None], codec: Any) -> Callable[[Any], bytes | None]:
    """Let bytes be encoded like text where text is written: else they could not be read back."""

    def encode_all(value: Any) -> bytes | None:
        if isinstance(value, bytes):
            return codec.dumps(value)  # type: ignore[no-any-return]
        return encode(value)

    return encode_all


def hashable(key: Any) -> Any:
    """Make tuples of lists."""
    return tuple(map(hashable, key)) if isinstance(key, list) else key
