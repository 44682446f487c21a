"""What the engine asks of a message broker, and how a broker URL names its driver.

`kafka://` and `aiokafka://` mean faustc's own client, and `embedded://` the same
on a broker that is started where none runs (see EmbeddedTransport). Any other scheme is the
dotted path of a class that is a `Transport`::

    app = faustc.App("x", broker="myproj.transports.Tee://localhost:9092")

Its constructor is given the `BrokerURL` and must not connect; the three
`create_` methods are called once per start with keyword options (those that
`faustc.client` documents; one that means nothing to a driver is ignored).
One that has something to do before that, or after, has `open` and `close` too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from faustc._lazy import door
from faustc.exceptions import ImproperlyConfigured
from faustc.imports import symbol_by_name
from faustc.types import OffsetAndMetadata, TopicPartition
from faustc.urls import EMBEDDED, BrokerURL

__all__ = [
    "DRIVERS",
    "Admin",
    "Consumer",
    "Doors",
    "EmbeddedTransport",
    "KafkaTransport",
    "Producer",
    "Transport",
    "driver",
]


class Batch(Protocol):
    """A fetched batch: its messages are made when it is opened, and only once.

    next_offset is the position once all of them are done.
    """

    next_offset: int

    @property
    def size_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def messages(self) -> list[Any]: ...


class Consumer(Protocol):
    """A group member that fetches batches; it commits only what it is told to.

    With group_id None it is in no group, and reads all partitions of its topics.
    The listener's on_partitions_assigned, on_partitions_revoked and
    on_partitions_lost are coroutine functions, awaited on the loop of `start`.
    Either topics or a pattern is subscribed to: an object whose `match(name)` is
    None for what is not meant; topics that come later are found by it, too.
    The position moves in the step in which getbatches returns; a partition
    that is not assigned (any more) gives nothing. highwater is None before the
    first fetch.
    """

    async def start(self, timeout_s: float | None = None) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(
        self, topics: Collection[str] = (), pattern: Any = None, listener: Any = None
    ) -> None: ...
    def assignment(self) -> Collection[TopicPartition]: ...
    async def getbatches(
        self, *partitions: TopicPartition, timeout_ms: int = 0
    ) -> Mapping[TopicPartition, Sequence[Batch]]: ...
    async def position(self, partition: TopicPartition) -> int: ...
    def highwater(self, partition: TopicPartition) -> int | None: ...
    async def seek_to_beginning(self, *partitions: TopicPartition) -> None: ...
    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None: ...
    async def committed(self, partition: TopicPartition) -> int | None: ...


class Producer(Protocol):
    """Sends messages; `flush` raises DeliveryFailed if one that nobody awaited was given up.

    What send and send_many return is awaited for the outcome, or not at all. One that
    has `partitions_for(topic, timeout_s)`, which raises BrokerError for a topic that is
    not there, is asked before a reply is sent to a topic of others.
    """

    async def start(self, timeout_s: float | None = None) -> None: ...
    async def stop(self) -> None: ...
    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any
    ) -> Any: ...
    async def send_many(
        self, topic: str, values: Sequence[bytes | None], **options: Any
    ) -> Any: ...
    async def flush(self) -> None: ...


class NewTopic(Protocol):
    """A topic to be created."""

    @property
    def name(self) -> str: ...
    @property
    def num_partitions(self) -> int: ...
    @property
    def replication_factor(self) -> int: ...
    @property
    def configs(self) -> Mapping[str, str]: ...


class Admin(Protocol):
    """Creates topics, and lists those there are.

    Creating one that exists raises BrokerError with code 36.
    """

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def list_topics(self) -> Collection[str]: ...
    async def create_topics(self, topics: Sequence[NewTopic]) -> Any: ...


@runtime_checkable
class Transport(Protocol):
    """A way to a message broker.

    A driver may have coroutine methods `open`, awaited before the first thing
    is created, and `close`, awaited when all that was created is stopped. They
    come in pairs, and again with the next start.
    """

    def create_consumer(self, **options: Any) -> Consumer: ...
    def create_producer(self, **options: Any) -> Producer: ...
    def create_admin(self, **options: Any) -> Admin: ...


class Doors:
    """Opens the drivers that have something to prepare, before anything is made of them."""

    def __init__(self, *transports: Transport) -> None:
        self._transports = list({id(one): one for one in transports}.values())
        self._open: list[Transport] = []

    async def open(self) -> None:
        """Open those that are not open."""
        for transport in self._transports:
            opening = getattr(transport, "open", None)
            if opening is not None and transport not in self._open:
                await opening()
                self._open.append(transport)

    async def close(self) -> None:
        """Close what was opened."""
        while self._open:
            closing = getattr(self._open.pop(), "close", None)
            if closing is not None:
                await closing()


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


class EmbeddedTransport(KafkaTransport):
    """The broker that lives in a folder, started as a process of its own where none runs.

    From open to close we are one of its users, and it stays up for us.
    """

    def __init__(self, url: BrokerURL) -> None:
        super().__init__(url)
        self._hold: Any = None

    async def open(self) -> None:
        """Find or start the broker, on a thread; raises what launcher.attach does."""
        if self._hold is not None:
            return
        loop = asyncio.get_running_loop()
        attaching = loop.run_in_executor(None, door("embedded"), self.url.folder)
        try:
            self._hold = await asyncio.shield(attaching)
        except asyncio.CancelledError:
            # The thread cannot be stopped; what it comes back with is nobody's.
            attaching.add_done_callback(_release)
            raise
        self.bootstrap_servers = [str(self._hold.address)]

    async def close(self) -> None:
        """Be no user any more."""
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()


def _release(attaching: asyncio.Future[Any]) -> None:
    if not attaching.cancelled() and attaching.exception() is None:
        attaching.result().release()


DRIVERS: dict[str, type[Any]] = {
    "kafka": KafkaTransport,
    "aiokafka": KafkaTransport,
    EMBEDDED: EmbeddedTransport,
}


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
