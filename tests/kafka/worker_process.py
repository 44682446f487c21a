"""A worker in a process of its own, as users run it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.process import ROOT, Process

__all__ = ["ROOT", "WorkerProcess"]


class WorkerProcess(Process):
    """`faustc -A MODULE worker`, or the module as a script, run in the folder that has it."""

    def __init__(self, folder: Path, module: str, *options: str, script: bool = False) -> None:
        command = ["-m", "faustc", "-A", module, "worker", "-l", "info", *options]
        super().__init__(
            [sys.executable, *([f"{module}.py"] if script else command)], folder, name=module
        )
