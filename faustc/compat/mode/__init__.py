"""What stands behind `import mode` when faustc is Faust: faustc's own services and helpers."""

from __future__ import annotations

from faustc.compat.mode.proxy import ServiceProxy
from faustc.compat.mode.utils.logging import get_logger, setup_logging
from faustc.compat.mode.utils.objects import label, shortlabel
from faustc.compat.mode.utils.times import Seconds, want_seconds
from faustc.service import Service
from faustc.signals import Signal, SyncSignal
from faustc.supervisors import (
    CrashingSupervisor,
    ForfeitOneForAllSupervisor,
    ForfeitOneForOneSupervisor,
    OneForAllSupervisor,
    OneForOneSupervisor,
    SupervisorStrategy,
)
from faustc.worker import Worker

__all__ = [
    "CrashingSupervisor",
    "ForfeitOneForAllSupervisor",
    "ForfeitOneForOneSupervisor",
    "OneForAllSupervisor",
    "OneForOneSupervisor",
    "Seconds",
    "Service",
    "ServiceProxy",
    "ServiceT",
    "Signal",
    "SignalT",
    "SupervisorStrategy",
    "SupervisorStrategyT",
    "SyncSignal",
    "SyncSignalT",
    "Worker",
    "get_logger",
    "label",
    "setup_logging",
    "shortlabel",
    "task",
    "timer",
    "want_seconds",
]

ServiceT = Service
task = Service.task
timer = Service.timer
SignalT = Signal
SyncSignalT = SyncSignal
SupervisorStrategyT = SupervisorStrategy
