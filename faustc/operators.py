"""What `filter`, `echo` and `group_by` do with each value.

Each of these is a processor. One that `keeps_value` hands on the value it was given,
so it may run before the message itself is forwarded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from faustc.channels import Channel
from faustc.events import current_stream
from faustc.exceptions import ImproperlyConfigured, Skip
from faustc.models import FieldDescriptor
from faustc.reqrep import CORRELATION_ID, REPLY_TO, TAKES_ERRORS
from faustc.serializers import Schema
from faustc.topics import Topic

__all__ = ["Echo", "Filter", "Rekey", "forward", "group_key", "maybe_await", "rekeyed"]

REQUEST_HEADERS = frozenset((REPLY_TO, CORRELATION_ID, TAKES_ERRORS))
# The types of fields that make keys as they are; of others it is decided by the serializer.
KEY_TYPES = (str, bytes, int, float)


class Filter:
    """Drops the event when a function says so of its value."""

    keeps_value = True

    def __init__(self, fun: Callable[[Any], Any]) -> None:
        self._fun = fun

    def __call__(self, value: Any) -> Any:
        """Return the value, or raise Skip; an awaitable if the function is asynchronous."""
        keep = self._fun(value)
        if isinstance(keep, Awaitable):
            return self._wait(keep, value)
        if not keep:
            raise Skip
        return value

    async def _wait(self, keep: Awaitable[Any], value: Any) -> Any:
        if not await keep:
            raise Skip
        return value


class Echo:
    """Sends each value to other channels as well, with the key and headers it came with."""

    keeps_value = True

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._channels = tuple(channels)

    async def __call__(self, value: Any) -> Any:
        """Return the value once the copies are in the producer's buffer."""
        stream = _stream()
        # Who asks for a reply is to get one, not one of each copy.
        headers = [one for one in stream.in_hand.headers or () if one[0] not in REQUEST_HEADERS]
        for channel in self._channels:
            await channel.send(value=value, headers=headers, **_key(stream, channel))
        return value


class Rekey:
    """Gives the event another key: what grouping is where there are no partitions."""

    keeps_value = True

    def __init__(self, key_of: Callable[[Any], Any]) -> None:
        self._key_of = key_of

    async def __call__(self, value: Any) -> Any:
        """Return the value."""
        _stream().rekey(await maybe_await(self._key_of(value)))
        return value


async def forward(stream: Any, channel: Channel, value: Any, **new_key: Any) -> Any:
    """Send what a stream has in hand on to a channel; return the delivery once it is in the buffer.

    From topic to topic its bytes go on as they are. new_key is `key`, or nothing.
    """
    message = stream.in_hand
    options: dict[str, Any] = new_key or _key(stream, channel)
    if isinstance(channel, Topic) and isinstance(message.value, bytes | None):
        value, options["value_serializer"] = message.value, "raw"
    return await channel.send(value=value, headers=message.headers, **options)


def _stream() -> Any:
    reference: Any = current_stream.get()
    return reference()


def _key(stream: Any, channel: Channel) -> dict[str, Any]:
    """Return the key in hand as options of a send."""
    raw = stream.in_hand.key
    if isinstance(channel, Topic) and isinstance(raw, bytes | None):
        return {"key": raw, "key_serializer": "raw"}
    return {"key": stream.key_in_hand}


def group_key(key: Any, name: str | None) -> tuple[Callable[[Any], Any], str, Any]:
    """Return how to find a value's new key, what the grouping is called, and the key's type."""
    if isinstance(key, FieldDescriptor):
        return key.getattr, name or key.ident, key.type if key.type in KEY_TYPES else None
    if not callable(key):
        raise ImproperlyConfigured(
            f"group_by() takes a field (Order.account) or a function of the value, not {key!r}"
        )
    if not name:
        raise ImproperlyConfigured(
            "group_by() with a function needs a name=, which becomes part of the topic's: "
            "group_by(fun, name='by_account')"
        )
    return key, name, None


class _Rekeyed(Schema):
    """Reads values as another schema does, and keys by their type."""

    def __init__(self, values: Schema, key_type: Any) -> None:
        super().__init__(key_type=key_type)
        self._values = values

    def loads_value(self, app: Any, message: Any, **options: Any) -> Any:
        return self._values.loads_value(app, message, **options)


def rekeyed(source: Topic, key_type: Any) -> dict[str, Any]:
    """Return the options of a topic with the values of another, and keys of another type."""
    if not source.schema.reads_plainly:
        return {"schema": _Rekeyed(source.schema, key_type)}
    return {
        "key_type": key_type,
        "value_type": source.value_type,
        "value_serializer": source.value_serializer,
        "allow_empty": source.allow_empty,
    }


async def maybe_await(result: Any) -> Any:
    """Return what an awaitable gives, or the value itself."""
    return await result if isinstance(result, Awaitable) else result
