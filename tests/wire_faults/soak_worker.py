"""The worker of the soak: an agent with a table and an output; says how large it is.

python -m tests.wire_faults.soak_worker BOOTSTRAP DATADIR. Each line that it prints is JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import faustc

EVERY_S = 5.0
PARTITIONS = 4
SOURCE, TARGET, APP, TABLE = "soak-in", "soak-out", "soak", "counts"


def size() -> dict[str, float]:
    """Return what this process has of memory, descriptors, tasks (of all loops) and threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    known = getattr(asyncio.tasks, "_all_tasks", None) or asyncio.tasks._scheduled_tasks
    return {
        "rss_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
        "tasks": sum(not task.done() for task in list(known)),
        "threads": threading.active_count(),
    }


def make_app(bootstrap: str, datadir: str) -> faustc.App:
    app = faustc.App(
        APP,
        broker=f"kafka://{bootstrap}",
        datadir=datadir,
        topic_partitions=PARTITIONS,
        commit_interval=0.5,
        web_enabled=False,
    )
    source = app.topic(SOURCE, key_type=bytes, value_type=bytes, partitions=PARTITIONS)
    target = app.topic(TARGET, key_type=bytes, value_type=bytes, partitions=PARTITIONS)
    counts = app.Table(TABLE, key_type=bytes, value_type=int, default=int, partitions=PARTITIONS)

    @app.agent(source)
    async def count(stream: Any) -> None:
        async for key, value in stream.items():
            counts[key] += 1
            await target.send(key=key, value=value)

    return app


async def main(bootstrap: str, datadir: str) -> None:
    app = make_app(bootstrap, datadir)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await app.start()
    began = time.monotonic()
    print(json.dumps({"ready": True}), flush=True)
    while not stop.is_set() and not app.crashed:
        print(json.dumps({"at_s": time.monotonic() - began, **size()}), flush=True)
        try:
            await asyncio.wait_for(stop.wait(), EVERY_S)
        except TimeoutError:
            pass
    await app.stop()
    print(json.dumps({"stopped": True, "crashed": bool(app.crashed)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
