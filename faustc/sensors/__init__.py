"""Sensors: what an app tells about itself."""

from faustc.sensors.monitor import Monitor

__all__ = ["Monitor"]
