"""A worker in a process of its own, as users run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class WorkerProcess:
    """`faustc -A MODULE worker`, or the module as a script, run in the folder that has it."""

    def __init__(self, folder: Path, module: str, *options: str, script: bool = False) -> None:
        command = ["-m", "faustc", "-A", module, "worker", "-l", "info", *options]
        self.log = folder / f"{module}-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *([f"{module}.py"] if script else command)],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def output(self) -> str:
        """All that it printed and logged."""
        return self.log.read_text()

    def wait_for(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait until it said something; fail with its output if it does not."""
        give_up = time.monotonic() + timeout_s
        while text not in self.output():
            assert self.process.poll() is None, f"it ended, without {text!r}:\n{self.output()}"
            assert time.monotonic() < give_up, f"no {text!r} in {timeout_s} s:\n{self.output()}"
            time.sleep(0.05)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {timeout_s} s:\n{self.output()}") from None

    def terminate(self, timeout_s: float = 30.0) -> int:
        """Send SIGTERM and wait; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """kill -9, unless it ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
