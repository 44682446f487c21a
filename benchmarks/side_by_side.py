"""Programs that are measured in turn: each in its own process and virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyperf

from tests.aside import python_with

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).with_name("peers")
CACHE = ROOT / ".cache" / "peers"
RUN_TIMEOUT_S = 600

Results = dict[
    tuple[str, str], list[dict[str, float]]
]  # (work, client) -> what each round measured


def python_of(packages: list[str] | None) -> str:
    """Return the interpreter of the virtual environment that has these packages; None: this one."""
    return sys.executable if packages is None else str(python_with(*packages))


def environment() -> dict[str, str]:
    """Return the environment in which a peer's script finds faustc as it stands here."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def measured(command: list[str]) -> dict[str, float]:
    """Run a program to its end; return what it measured, which is the last line it prints."""
    done = subprocess.run(
        command, check=True, timeout=RUN_TIMEOUT_S, stdout=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def resident_mib(pid: int) -> float:
    """Return what a process has in memory, as the kernel says (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
    return int(kib) / 1024


def suite(results: Results) -> pyperf.BenchmarkSuite:
    """Return the figures as pyperf keeps them."""
    return pyperf.BenchmarkSuite(
        [
            pyperf.Benchmark(
                [
                    pyperf.Run(
                        [r["cpu_us"] / 1e6],
                        metadata={"name": f"{work}, {client}", "unit": "second"},
                        collect_metadata=False,
                    )
                    for r in rows
                ]
            )
            for (work, client), rows in results.items()
        ]
    )
