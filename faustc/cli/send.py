"""`faustc send`: send a message to a topic or an agent from the shell."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import click

from faustc.cli.base import CommandLineError, argument, broker_option, option
from faustc.cli.command import AppCommand
from faustc.cli.entities import find_topic, find_type
from faustc.exceptions import DecodeError
from faustc.models import Record

__all__ = ["Send", "send"]

# Repeated messages travel in batches: so many are sent before the first is waited for.
IN_FLIGHT = 1_000


class Send(AppCommand):
    """Send VALUE to ENTITY: a topic's name, or @ and the name of an agent.

    VALUE and the key are JSON, or else text. They are written with the types and
    serializers of the topic as the app's agents read it. What is printed is where
    the message landed, as JSON.
    """

    options = (
        argument("entity"),
        argument("value", required=False),
        option("-k", "--key", help="The key."),
        option("-K", "--key-type", metavar="TYPE", help="A model of the app, or str, bytes..."),
        option("--key-serializer", metavar="CODEC", help="Overrides the topic's: json, raw..."),
        option("-V", "--value-type", metavar="TYPE", help="A model of the app, or str, bytes..."),
        option("--value-serializer", metavar="CODEC", help="Overrides the topic's: json, raw..."),
        option("--partition", type=click.IntRange(0), help="The partition; the key decides."),
        option("-r", "--repeat", type=click.IntRange(1), default=1, help="Send it so many times."),
        option("--min-latency", type=click.FloatRange(0.0), default=0.0, help="Pause, seconds."),
        option("--max-latency", type=click.FloatRange(0.0), default=0.0, help="At most so long."),
        broker_option,
    )

    async def run(
        self,
        *,
        entity: str,
        value: str | None,
        key: str | None,
        key_type: str | None,
        key_serializer: str | None,
        value_type: str | None,
        value_serializer: str | None,
        partition: int | None,
        repeat: int,
        min_latency: float,
        max_latency: float,
        broker: str | None,
    ) -> None:
        self.invocation.broker = broker or self.invocation.broker
        app = self.app
        if app.conf.autodiscover:
            app.discover()
        topic = find_topic(app, entity).derive_topic(
            key_type=find_type(app, key_type),
            value_type=find_type(app, value_type),
            key_serializer=key_serializer,
            value_serializer=value_serializer,
        )
        # A schema that wants whole messages cannot be asked beforehand.
        checked = topic.schema.reads_plainly
        decode_key, decode_value = topic.decoders() if checked else (None, None)
        encode_key, encode_value = topic.encoders()
        given: dict[str, Any] = {"partition": partition}
        if key is not None:
            given["key"] = parse(key, topic.key_type, topic.key_serializer)
            _check(given["key"], encode_key, None if key_serializer else decode_key)
        if value is not None:
            given["value"] = parse(value, topic.value_type, topic.value_serializer)
            _check(given["value"], encode_value, None if value_serializer else decode_value)
        latest = max(min_latency, max_latency)
        pending: list[Any] = []
        for number in range(repeat):
            if number and latest:
                await asyncio.sleep(random.uniform(min_latency, latest))
            pending.append(await topic.send(**given))
            if latest or len(pending) == IN_FLIGHT or number == repeat - 1:
                for delivery in pending:
                    self.say(json.dumps((await delivery)._asdict()))
                pending.clear()


def _check(value: Any, encode: Callable[[Any], Any], decode: Callable[[Any], Any] | None) -> None:
    """End the command line if an agent of this app could not read what is sent.

    Who names a serializer may send what nobody can read: that is a test, too.
    """
    try:
        data = encode(value)
        if decode is not None:
            decode(data)
    except (DecodeError, TypeError, ValueError) as exc:
        raise CommandLineError(f"send: {exc}") from exc


def parse(text: str, typ: Any, serializer: Any) -> Any:
    """Make of the shell's text what is to be encoded."""
    if typ is bytes or serializer == "raw":
        return text.encode()
    if typ is str:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(typ, type) and issubclass(typ, Record) and isinstance(value, dict):
        try:
            return typ.from_data(value)
        except (TypeError, ValueError) as exc:
            raise CommandLineError(f"send: the value does not fit {typ.__name__}: {exc}") from exc
    return value


send = Send.as_click()
