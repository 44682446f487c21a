"""Resident memory of workers whose windowed tables close windows all the time.

python -m benchmarks memory [--minutes 10]: one worker keeps its table in memory,
one on RocksDB; both read the same topic of the embedded broker.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.documents import documents
from benchmarks.side_by_side import PEERS, environment, resident_mib
from faustc.broker.launcher import attach
from faustc.client import Producer

STORES = ("memory://", "rocksdb://")
TOPIC = "windows"
WARM_UP_S = 120.0  # caches and buffers of RocksDB fill up
SAMPLE_S = 5.0
FLAT = 0.05
A_TICK_S = 0.1
STOP_TIMEOUT_S = 60


def main(minutes: float = 10, rate: int = 5000) -> int:
    """Measure, print each sample and the verdict; return 1 where memory was not flat."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    samples: dict[str, list[float]] = {store: [] for store in STORES}
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        folder = Path(name)
        hold = attach(folder / "broker", grace_s=0)
        workers = {store: _worker(str(hold.address), store, folder) for store in STORES}
        try:
            asyncio.run(_feed(str(hold.address), rate, minutes, workers, samples))
            for worker in workers.values():
                worker.terminate()
            closed = {s: w.communicate(timeout=STOP_TIMEOUT_S)[0] for s, w in workers.items()}
        finally:
            for worker in workers.values():
                worker.kill()
            hold.release()
    table = Table(title=f"resident memory over {minutes:g} minutes, {rate:,} events a second")
    for heading in ("store", "first minute", "last minute", "min-max", "spread", "windows closed"):
        table.add_column(heading, justify="left" if heading == "store" else "right")
    flat = True
    for store, mib in samples.items():
        minute = max(1, int(60 / SAMPLE_S))
        first, last = (sum(part) / len(part) for part in (mib[:minute], mib[-minute:]))
        spread = max(mib) / min(mib) - 1
        flat = flat and spread <= FLAT
        table.add_row(
            store, f"{first:.1f} MiB", f"{last:.1f} MiB", f"{min(mib):.1f}-{max(mib):.1f}",
            f"{spread:.1%}", f"{int(closed[store]):,}",
        )  # fmt: skip
    console.print(table)
    console.print(f"flat within {FLAT:.0%}" if flat else f"NOT flat within {FLAT:.0%}")
    return 0 if flat else 1


def _worker(bootstrap: str, store: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, str(PEERS / "faustc_windows.py"), "windows", "--bootstrap", bootstrap,
            "--topic", TOPIC, "--store", store, "--datadir", str(folder / store.partition(":")[0]),
        ],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


async def _feed(
    bootstrap: str,
    rate: int,
    minutes: float,
    workers: dict[str, subprocess.Popen[str]],
    samples: dict[str, list[float]],
) -> None:
    """Write rate events a second, and sample once the workers have been at it for two minutes."""
    values = documents(50_000)
    a_tick = int(rate * A_TICK_S)
    async with Producer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        begin = time.monotonic()
        next_sample, at = begin + WARM_UP_S, 0
        for tick in range(int((WARM_UP_S + minutes * 60) / A_TICK_S)):
            await producer.send_many(TOPIC, [v for _, v in values[at : at + a_tick]], partition=0)
            at = (at + a_tick) % (len(values) - a_tick)
            if time.monotonic() >= next_sample:
                line = [f"{next_sample - begin:6.0f} s"]
                for store, worker in workers.items():
                    if worker.poll() is not None:
                        raise RuntimeError(f"the worker on {store} ended by itself")
                    samples[store].append(resident_mib(worker.pid))
                    line.append(f"{store} {samples[store][-1]:.1f} MiB")
                print("  ".join(line), flush=True)
                next_sample += SAMPLE_S
            await asyncio.sleep(max(0.0, begin + (tick + 1) * A_TICK_S - time.monotonic()))
