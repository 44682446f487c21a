"""The workers of a run: processes that are ended from outside, and seen to end by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checker import Fault
from tests.process import ROOT, Process

__all__ = ["TERM_LIMIT_S", "Exit", "Fleet"]

# A worker gives its events 30 s, then leaves; one that takes longer than this hangs.
TERM_LIMIT_S = 60.0


@dataclass
class Exit:
    """A worker that ended when it was not told to, or not as it should."""

    worker: str
    code: int | None
    why: str
    log: Path

    def __str__(self) -> str:
        return f"worker {self.worker} {self.why} ({self.code}), see {self.log}"


class Fleet:
    """So many workers, each with a data folder that it finds again after a restart."""

    def __init__(self, folder: Path, workers: int, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.names = [str(number) for number in range(1, workers + 1)]
        self.exits: list[Exit] = []
        self.ends: list[Fault] = []
        self.starts = 0
        self.stopped: set[str] = set()  # by SIGSTOP
        self._environment = dict(environment)
        self._running: dict[str, Process] = {}
        #: With when it was told to end, and after what pause it is to be started again.
        self._ending: dict[str, tuple[Process, float, float | None]] = {}
        self._due: dict[str, float] = {}
        self._works_since: dict[Process, float] = {}

    @property
    def running(self) -> list[str]:
        """The workers that run and were not told to end."""
        return sorted(self._running)

    def works(self, worker: str) -> float:
        """Say for how many seconds a worker has had partitions, its tables whole."""
        process = self._running.get(worker)
        if process is None or worker in self.stopped:
            return 0.0
        now = time.monotonic()
        if process not in self._works_since and "Tables are whole" in process.output():
            self._works_since[process] = now
        return now - self._works_since.get(process, now)

    def process(self, worker: str) -> Process:
        return self._running[worker]

    def start(self, worker: str, **environment: str) -> Process:
        """Start a worker."""
        where = self.folder / f"worker-{worker}"
        where.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        self._due.pop(worker, None)
        self._running[worker] = process = Process(
            [sys.executable, "-m", "faustc", "-A", "tests.chaos.program", "worker", "-l", "info"],
            where,
            name="worker",
            environment={
                **self._environment,
                "CHAOS_WORKER": worker,
                "CHAOS_DATA": str(where / "data"),
                **environment,
            },
            dies_with_us=True,
        )
        return process

    def kill(self, worker: str, *, again_in_s: float | None = None) -> None:
        """kill -9, and start again after a while."""
        process = self._running.pop(worker)
        self.stopped.discard(worker)
        code = process.process.poll()
        if code is not None:
            self.exits.append(Exit(worker, code, "had ended by itself", process.log))
        process.kill()
        self._ended("kill", worker)
        self._again(worker, again_in_s)

    def term(self, worker: str, *, again_in_s: float | None = None) -> None:
        """SIGTERM; it is started again a while after it has ended."""
        process = self._running.pop(worker)
        process.process.send_signal(signal.SIGTERM)
        self._ending[worker] = process, time.monotonic(), again_in_s

    def pause(self, worker: str) -> None:
        """SIGSTOP: what it wrote until now may be repeated by who takes over."""
        self.stopped.add(worker)
        self._running[worker].process.send_signal(signal.SIGSTOP)
        self._ended("stop", worker)

    def resume(self, worker: str) -> None:
        """SIGCONT, unless it was killed meanwhile."""
        if worker in self.stopped:
            self.stopped.discard(worker)
            self._running[worker].process.send_signal(signal.SIGCONT)

    def _ended(self, kind: str, worker: str) -> None:
        # What it had on its way may still be written a moment later.
        self.ends.append(Fault(time.time() + 0.2, kind, worker))

    def _again(self, worker: str, in_s: float | None) -> None:
        if in_s is not None:
            self._due[worker] = time.monotonic() + in_s

    def look(self) -> list[str]:
        """Note who ended, start who is due; return what happened in words."""
        said = []
        for worker, process in list(self._running.items()):
            if (code := process.process.poll()) is not None:
                del self._running[worker]
                self.exits.append(Exit(worker, code, "ended by itself", process.log))
                said.append(str(self.exits[-1]))
                self._ended("exit", worker)
                self._again(worker, 1.0)
        for worker, (process, since, again_in_s) in list(self._ending.items()):
            code = process.process.poll()
            late = time.monotonic() - since > TERM_LIMIT_S
            if code is None and not late:
                continue
            del self._ending[worker]
            if code is None:
                process.kill()
                self.exits.append(Exit(worker, None, "did not end after SIGTERM", process.log))
                said.append(str(self.exits[-1]))
            elif code != 0 and not (code == -signal.SIGTERM and not process.output()):
                # It was early: there was no worker yet to take the signal.
                self.exits.append(Exit(worker, code, "ended badly after SIGTERM", process.log))
                said.append(str(self.exits[-1]))
            self._ended("term", worker)
            self._again(worker, again_in_s)
        for worker in [name for name, due in self._due.items() if due <= time.monotonic()]:
            self.start(worker)
        return said

    def end(self) -> list[str]:
        """SIGTERM to all that run; return what was wrong with how they ended."""
        self._due.clear()
        for worker in list(self._running):
            self.resume(worker)
            self.term(worker)
        said = []
        while self._ending:
            said += self.look()
            time.sleep(0.05)
        return said

    def verify(self, worker: str) -> tuple[int, str]:
        """Have the stores of a worker that ended compared with their changelogs."""
        where = self.folder / f"worker-{worker}"
        done = subprocess.run(
            [sys.executable, "-m", "faustc", "-A", "tests.chaos.program", "tables", "--verify"],
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **self._environment,
                "CHAOS_WORKER": worker,
                "CHAOS_DATA": str(where / "data"),
            },
            check=False,
        )
        return done.returncode, done.stdout

    def kill_all(self) -> None:
        """kill -9 whoever is left."""
        for process in [*self._running.values(), *(found[0] for found in self._ending.values())]:
            process.kill()
        self._running.clear()
        self._ending.clear()
        self._due.clear()
