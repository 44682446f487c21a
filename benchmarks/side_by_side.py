"""Programs that are measured in turn: each in its own process and virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pyperf

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).with_name("peers")
CACHE = ROOT / ".cache" / "peers"
RUN_TIMEOUT_S = 600

Results = dict[
    tuple[str, str], list[dict[str, float]]
]  # (work, client) -> what each round measured


def python_of(client: str, packages: list[str] | None) -> str:
    """Return the interpreter of a client's virtual environment, made when it is missing.

    packages are what it installs; None: the client runs in this one.
    """
    if packages is None:
        return sys.executable
    folder = CACHE / client
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"installing {client} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / ".ready").touch()
    return str(python)


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
