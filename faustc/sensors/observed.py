"""What an app has to do with sensors: it tells them, and has a monitor among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faustc.engine.counters import Counters
from faustc.sensors.base import Sensor
from faustc.sensors.delegate import SensorDelegate

__all__ = ["Observed"]


class Observed:
    """The part of an app that is about sensors."""

    conf: Any
    _made: Callable[[str, Callable[[], Any]], Any]

    def __init__(self, **options: Any) -> None:
        #: Who is told what happens in the app.
        self.sensors = SensorDelegate(self)
        super().__init__(**options)

    @property
    def monitor(self) -> Counters:
        """The app's numbers."""
        counters: Counters = self._made("_monitor", lambda: self.conf.Monitor())
        return counters

    @monitor.setter
    def monitor(self, monitor: Counters) -> None:
        self.__dict__["_monitor"] = monitor

    async def _start_sensors(self) -> None:
        """Start them, the monitor first."""
        monitor = self.monitor
        if isinstance(monitor, Sensor):
            self.sensors.add(monitor)
        for sensor in self.sensors:
            await sensor.maybe_start()

    async def _stop_sensors(self) -> None:
        for sensor in self.sensors:
            await sensor.stop()
