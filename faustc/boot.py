"""What of an app is started: by a worker, by a client that asks agents, by one who only sends."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import chain
from typing import Any

__all__ = ["BootStrategy", "Part"]


class Part(Enum):
    """A part of an app that is no service of its own; they are started in this order."""

    SENSORS = "sensors"
    PRODUCER = "producer"
    WEB = "web"
    CONSUMER = "consumer"
    REPLIES = "replies"
    AGENTS = "agents"
    TABLES = "tables"


class BootStrategy:
    """Says what is started with an app: parts of it, and services of yours.

    A subclass switches things off by its attributes, or overrides a method and adds
    services to what it returns; then it is set as the app's class attribute::

        class MyApp(faust.App):
            class BootStrategy(faust.App.BootStrategy):
                enable_kafka_consumer = False

    None for a flag of the consumer or the producer means what enable_kafka says, for
    that of the web what the setting web_enabled says.
    """

    enable_kafka: bool = True
    enable_kafka_consumer: bool | None = None
    enable_kafka_producer: bool | None = None
    enable_web: bool | None = None
    enable_sensors: bool = True

    def __init__(
        self,
        app: Any,
        *,
        enable_web: bool | None = None,
        enable_kafka: bool | None = None,
        enable_kafka_producer: bool | None = None,
        enable_kafka_consumer: bool | None = None,
        enable_sensors: bool | None = None,
    ) -> None:
        self.app = app
        for name, flag in (
            ("enable_web", enable_web),
            ("enable_kafka", enable_kafka),
            ("enable_kafka_producer", enable_kafka_producer),
            ("enable_kafka_consumer", enable_kafka_consumer),
            ("enable_sensors", enable_sensors),
        ):
            if flag is not None:
                setattr(self, name, flag)

    def wanted(self) -> list[Any]:
        """Return the parts and services that the app's mode asks for."""
        if self.app.producer_only:
            return list(self.producer_only())
        if self.app.client_only:
            return list(self.client_only())
        return list(self.server())

    # -- modes

    def server(self) -> Iterable[Any]:
        """Return what a worker starts."""
        return chain(
            self.sensors(),
            self.kafka_producer(),
            self.web_server(),
            self.kafka_consumer(),
            self.agents(),
            self.kafka_conductor(),
            self.tables(),
        )

    def client_only(self) -> Iterable[Any]:
        """Return what asking agents takes."""
        return chain(self.kafka_producer(), self.kafka_client_consumer())

    def producer_only(self) -> Iterable[Any]:
        """Return what sending takes."""
        return chain(self.web_server(), self.kafka_producer())

    # -- parts

    def sensors(self) -> Iterable[Any]:
        """Return the sensors, unless they are switched off."""
        return [Part.SENSORS] if self.enable_sensors else []

    def kafka_producer(self) -> Iterable[Any]:
        """Return the producer, unless it is switched off."""
        return [Part.PRODUCER] if self._enabled(self.enable_kafka_producer) else []

    def kafka_consumer(self) -> Iterable[Any]:
        """Return the consumer and what reads replies, unless they are switched off."""
        if not self._enabled(self.enable_kafka_consumer):
            return []
        return [Part.CONSUMER, Part.REPLIES]

    def kafka_client_consumer(self) -> Iterable[Any]:
        """Return what reads replies."""
        return [Part.REPLIES]

    def kafka_conductor(self) -> Iterable[Any]:
        """Return nothing: here the consumer hands out what it reads by itself."""
        return []

    def agents(self) -> Iterable[Any]:
        """Return the agents."""
        return [Part.AGENTS]

    def web_server(self) -> Iterable[Any]:
        """Return the web server and what belongs to it, unless it is switched off."""
        wanted = self.app.conf.web_enabled if self.enable_web is None else self.enable_web
        return [*self.web_components(), Part.WEB] if wanted else []

    def web_components(self) -> Iterable[Any]:
        """Return what the web server needs besides; here nothing."""
        return []

    def tables(self) -> Iterable[Any]:
        """Return the tables, which need the consumer."""
        return [Part.TABLES] if self._enabled(self.enable_kafka_consumer) else []

    def _enabled(self, flag: bool | None) -> bool:
        return self.enable_kafka if flag is None else flag
