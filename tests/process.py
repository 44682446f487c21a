"""A process that a test starts, watches and ends: its output goes to a file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.kafka_cluster.node import die_with_parent

ROOT = Path(__file__).parent.parent


class Process:
    """A command that runs in a folder, with our package on its path."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        name: str = "process",
        environment: Mapping[str, str] | None = None,
        dies_with_us: bool = False,
    ) -> None:
        """dies_with_us: it is killed when the thread that started it ends (Linux only)."""
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                list(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "WEB_PORT": "0", **(environment or {})},
                preexec_fn=die_with_parent if dies_with_us else None,
            )

    def output(self) -> str:
        """All that it printed and logged."""
        return self.log.read_text()

    def wait_for(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait until it said something; fail with its output if it does not."""
        self.wait_until(lambda: text in self.output(), repr(text), timeout_s)

    def wait_until(self, true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until something holds while it runs; fail with its output if it does not."""
        give_up = time.monotonic() + timeout_s
        while not true():
            if self.process.poll() is not None and not true():
                raise AssertionError(f"it ended, without {what}:\n{self.output()}")
            assert time.monotonic() < give_up, f"no {what} in {timeout_s} s:\n{self.output()}"
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
