"""All the sensors of an app as one: `app.sensors`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.sensors.base import Sensor

__all__ = ["SensorDelegate"]

EVENTS = ("on_stream_event_in", "on_stream_event_out")
MESSAGES = ("on_message_in", "on_message_out", *EVENTS)
SENDS = ("on_send_initiated", "on_send_completed", "on_send_error")


class SensorDelegate:
    """Calls the sensors that override a callback, and no others; iterating gives all.

    The app's monitor is the first of them.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._sensors: list[Sensor] = []
        self._overriding: dict[str, list[Sensor]] = {}
        #: Told when a sensor came or went.
        self.on_change: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._sensors!r}>"

    def __iter__(self) -> Iterator[Sensor]:
        return iter(self._sensors)

    def __contains__(self, sensor: object) -> bool:
        return sensor in self._sensors

    def add(self, sensor: Sensor) -> None:
        """Tell a sensor, too.

        Of single messages, events and sends it is told from the next start of the app on.
        """
        if not isinstance(sensor, Sensor):
            raise ImproperlyConfigured(
                f"a sensor is an object of a subclass of faustc.Sensor, not {sensor!r}"
            )
        if sensor not in self._sensors:
            self._sensors.append(sensor)
            self._changed()

    def remove(self, sensor: Sensor) -> None:
        """Tell a sensor nothing more."""
        self._sensors.remove(sensor)
        self._changed()

    def _changed(self) -> None:
        self._overriding.clear()
        if self.on_change is not None:
            self.on_change()

    def overriding(self, name: str) -> list[Sensor]:
        """Return the sensors that override a callback."""
        found = self._overriding.get(name)
        if found is None:
            base = getattr(Sensor, name)
            found = [s for s in self._sensors if getattr(type(s), name) is not base]
            self._overriding[name] = found
        return found

    @property
    def wants_messages(self) -> bool:
        """Whether some sensor is to be told of single messages or events."""
        return any(map(self.overriding, MESSAGES))

    @property
    def wants_events(self) -> bool:
        """Whether some sensor is to be told of what streams do."""
        return any(map(self.overriding, EVENTS))

    @property
    def wants_sends(self) -> bool:
        """Whether some sensor is to be told of single sends."""
        return any(map(self.overriding, SENDS))

    def _begin(self, name: str, *args: Any, **options: Any) -> dict[Sensor, Any]:
        """Call every sensor: one that overrides only the end is given the base's state."""
        return {s: getattr(s, name)(*args, **options) for s in self._sensors}

    def _end(self, name: str, state: Any, *args: Any, **options: Any) -> None:
        for sensor in self.overriding(name):
            getattr(sensor, name)(*args, state=(state or {}).get(sensor), **options)

    # -- messages and events ---------------------------------------------------------------

    def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
        for sensor in self.overriding("on_message_in"):
            sensor.on_message_in(tp, offset, message)

    def on_message_out(self, tp: Any, offset: int, message: Any) -> None:
        for sensor in self.overriding("on_message_out"):
            sensor.on_message_out(tp, offset, message)

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> Any:
        return self._begin("on_stream_event_in", tp, offset, stream, event)

    def on_stream_event_out(
        self, tp: Any, offset: int, stream: Any, event: Any, state: Any = None
    ) -> None:
        self._end("on_stream_event_out", state, tp, offset, stream, event)

    def on_topic_buffer_full(self, tp: Any) -> None:
        for sensor in self.overriding("on_topic_buffer_full"):
            sensor.on_topic_buffer_full(tp)

    # -- tables ----------------------------------------------------------------------------

    def on_table_get(self, table: Any, key: Any) -> None:
        for sensor in self.overriding("on_table_get"):
            sensor.on_table_get(table, key)

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        for sensor in self.overriding("on_table_set"):
            sensor.on_table_set(table, key, value)

    def on_table_del(self, table: Any, key: Any) -> None:
        for sensor in self.overriding("on_table_del"):
            sensor.on_table_del(table, key)

    # -- what begins and ends ----------------------------------------------------------------

    def on_commit_initiated(self, consumer: Any) -> Any:
        return self._begin("on_commit_initiated", consumer)

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        self._end("on_commit_completed", state, consumer)

    def on_send_initiated(
        self, producer: Any, topic: str, message: Any, keysize: int, valsize: int
    ) -> Any:
        return self._begin("on_send_initiated", producer, topic, message, keysize, valsize)

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        self._end("on_send_completed", state, producer, metadata=metadata)

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        self._end("on_send_error", state, producer, exc)

    def on_assignment_start(self, assignor: Any) -> Any:
        return self._begin("on_assignment_start", assignor)

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None:
        self._end("on_assignment_error", state, assignor, exc=exc)

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        self._end("on_assignment_completed", state, assignor)

    def on_rebalance_start(self, app: Any = None) -> Any:
        return self._begin("on_rebalance_start", app or self.app)

    def on_rebalance_return(self, app: Any = None, state: Any = None) -> None:
        self._end("on_rebalance_return", state, app or self.app)

    def on_rebalance_end(self, app: Any = None, state: Any = None) -> None:
        self._end("on_rebalance_end", state, app or self.app)

    def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
        return self._begin("on_web_request_start", app, request, view=view)

    def on_web_request_end(
        self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None
    ) -> None:
        self._end("on_web_request_end", state, app, request, response, view=view)
