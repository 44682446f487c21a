"""Sensors: what an app tells about itself."""

from faustc.sensors.base import Sensor
from faustc.sensors.delegate import SensorDelegate
from faustc.sensors.monitor import Monitor, TableState

__all__ = ["Monitor", "Sensor", "SensorDelegate", "TableState"]
