"""What the engine asks of a message broker, and how a broker URL names its driver.

`kafka://` and `aiokafka://` mean faustc's own client. Any other scheme is the
dotted path of a class that is a `Transport`::

    app = faustc.App("x", broker="myproj.transports.Tee://localhost:9092")

Its constructor is given the `BrokerURL` and must not connect; the three
`create_` methods are called once per start with keyword options (those that
`faustc.client` documents; one that means nothing to a driver is ignored).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from faustc.exceptions import ImproperlyConfigured
from faustc.imports import symbol_by_name
from faustc.types import OffsetAndMetadata, TopicPartition
from faustc.urls import BrokerURL

__all__ = ["DRIVERS", "Admin", "Consumer", "KafkaTransport", "Producer", "Transport", "driver"]


class Consumer(Protocol):
    """A group member that fetches batches. Listener calls come on the loop of `start`."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, topics: Collection[str], *, listener: Any) -> Any: ...
    def assignment(self) -> Collection[TopicPartition]: ...
    async def getbatches(
        self, *partitions: TopicPartition, timeout_ms: int = 0
    ) -> Mapping[TopicPartition, Sequence[Any]]: ...
    async def position(self, partition: TopicPartition) -> int: ...
    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None: ...
    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]: ...


class Producer(Protocol):
    """Sends messages; `flush` raises if one that nobody awaited was given up."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send(self, topic: str, value: bytes | None = None, **options: Any) -> Any: ...
    async def send_many(
        self, topic: str, values: Sequence[bytes | None], **options: Any
    ) -> Any: ...
    async def flush(self) -> None: ...


class Admin(Protocol):
    """Creates and describes topics."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...


@runtime_checkable
class Transport(Protocol):
    """A way to a message broker."""

    def create_consumer(self, **options: Any) -> Any: ...
    def create_producer(self, **options: Any) -> Any: ...
    def create_admin(self, **options: Any) -> Any: ...


class KafkaTransport:
    """Kafka, by faustc.client."""

    def __init__(self, url: BrokerURL) -> None:
        self.url = url
        self.bootstrap_servers = url.bootstrap_servers

    def __repr__(self) -> str:
        return f"<KafkaTransport {self.url}>"

    def create_consumer(self, **options: Any) -> Any:
        from faustc.client.consumer import Consumer as KafkaConsumer

        return KafkaConsumer(bootstrap_servers=self.bootstrap_servers, **options)

    def create_producer(self, **options: Any) -> Any:
        from faustc.client.producer import Producer as KafkaProducer

        return KafkaProducer(bootstrap_servers=self.bootstrap_servers, **options)

    def create_admin(self, **options: Any) -> Any:
        from faustc.client.admin import Admin as KafkaAdmin

        return KafkaAdmin(bootstrap_servers=self.bootstrap_servers, **options)


DRIVERS: dict[str, type[Any]] = {"kafka": KafkaTransport, "aiokafka": KafkaTransport}


def driver(url: BrokerURL) -> Transport:
    """Make the transport that the scheme of a URL names.

    Raises ImproperlyConfigured for a name nobody knows, or a class that is no
    Transport.
    """
    cls = DRIVERS.get(url.scheme)
    if cls is None:
        if url.driver_path is None:
            known = ", ".join(f"{scheme}://" for scheme in DRIVERS)
            raise ImproperlyConfigured(
                f"broker: no driver for {url.scheme}:// here; there is {known} or a class's path"
            )
        cls = symbol_by_name(url.driver_path)
        methods = ("create_consumer", "create_producer", "create_admin")
        missing = [name for name in methods if not callable(getattr(cls, name, None))]
        if missing:
            raise ImproperlyConfigured(
                f"broker: {url.driver_path} is no Transport, it lacks {', '.join(missing)}"
            )
    transport: Transport = cls(url)
    return transport
