"""Sensors: objects that an app tells what happens in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faustc.clock import monotonic
from faustc.service import Service
from faustc.types import TopicPartition

__all__ = ["Sensor"]


class Sensor(Service):
    """Override what you want to be told; `app.sensors.add(sensor)` before the app starts.

    What a callback that begins something returns is handed to the one that ends it.
    Those about single messages, events and sends cost time for each of them; they are
    called only where a sensor overrides them. Sensors start and stop with the app.
    """

    def on_message_in(self, tp: TopicPartition, offset: int, message: Any) -> None:
        """A message is about to be handed out."""

    def on_stream_event_in(self, tp: TopicPartition, offset: int, stream: Any, event: Any) -> Any:
        """A stream begins with an event."""

    def on_stream_event_out(
        self, tp: TopicPartition, offset: int, stream: Any, event: Any, state: Any = None
    ) -> None:
        """A stream is done with an event: it is acknowledged."""

    def on_message_out(self, tp: TopicPartition, offset: int, message: Any) -> None:
        """Everybody who reads a message is done with it."""

    def on_topic_buffer_full(self, tp: TopicPartition) -> None:
        """A reader has no room for more of a partition, which waits at its broker now."""

    def on_table_get(self, table: Any, key: Any) -> None:
        """A key of a table was read."""

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        """A key of a table was given a value."""

    def on_table_del(self, table: Any, key: Any) -> None:
        """A key of a table was deleted."""

    def on_commit_initiated(self, consumer: Any) -> Any:
        """A commit of offsets begins."""

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        """The offsets are committed."""

    def on_send_initiated(
        self, producer: Any, topic: str, message: Any, keysize: int, valsize: int
    ) -> Any:
        """A message goes to the producer. message is its value as bytes."""

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        """The brokers have a message."""

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        """A message was given up."""

    def on_assignment_start(self, assignor: Any) -> Any:
        """Partitions came, and are about to be opened. assignor is the app's consumer."""
        return {"time_start": monotonic()}

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None:
        """They could not be opened."""

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        """They are open."""

    def on_rebalance_start(self, app: Any) -> Any:
        """A rebalance begins."""
        return {"time_start": monotonic()}

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        """The group has given partitions out anew."""

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """Work goes on after a rebalance."""

    def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
        """A request over HTTP came."""
        return {"time_start": monotonic()}

    def on_web_request_end(
        self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None
    ) -> None:
        """It is answered; response is None if the view was cut off."""

    def on_threaded_producer_buffer_processed(self, app: Any, size: int) -> None:
        """Never called: there is no buffer between the producer and a thread."""

    def asdict(self) -> Mapping[str, Any]:
        """Return what it knows, for the statistics page."""
        return {}
