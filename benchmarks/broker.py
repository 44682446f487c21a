"""The embedded broker by itself: how soon it is ready, what goes through it, what it keeps.

python -m benchmarks broker
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.side_by_side import resident_mib
from faustc.broker.folder import Folder
from faustc.broker.launcher import attach
from faustc.client import Consumer, Producer
from faustc.client.admin import Admin, NewTopic

MESSAGES = 1_000_000
SIZE = 100
TOPICS = 100
IN_ONE_CALL = 1000


def main(rounds: int = 5) -> None:
    """Measure, and print a table beside what is to be reached."""
    ready = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            hold = attach(Path(folder), grace_s=0)
            ready.append(time.perf_counter() - begin)
            hold.release()
            _wait_for_end(Path(folder))
    rates = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            hold = attach(Path(folder), grace_s=0)
            rates.append(asyncio.run(_through(str(hold.address))))
            hold.release()
            _wait_for_end(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        hold = attach(Path(folder), grace_s=0)
        asyncio.run(_topics(str(hold.address)))
        resident = resident_mib(hold.address.pid)
        hold.release()
        _wait_for_end(Path(folder))
    table = Table(title="the embedded broker")
    for heading in ("what", "median", "min-max", "to reach"):
        table.add_column(heading)
    table.add_row(
        "ready after", f"{statistics.median(ready):.2f} s",
        f"{min(ready):.2f}-{max(ready):.2f}", "under 0.5 s",
    )  # fmt: skip
    table.add_row(
        f"{SIZE}-byte messages in and out together", f"{statistics.median(rates):,.0f} /s",
        f"{min(rates):,.0f}-{max(rates):,.0f}", "200,000 /s",
    )  # fmt: skip
    table.add_row(f"resident with {TOPICS} topics", f"{resident:.0f} MiB", "", "under 80 MiB")
    Console(width=110).print(table)


async def _through(bootstrap: str) -> float:
    """Write and read at once; return messages a second from the first send to the last read."""
    values = [b"%08d" % n + b"x" * (SIZE - 8) for n in range(IN_ONE_CALL)]

    async def write(producer: Producer) -> None:
        for _ in range(MESSAGES // IN_ONE_CALL):
            await producer.send_many("through", values)
        await producer.flush()

    async with Producer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        await producer.send_and_wait("through", b"first")
        async with Consumer(
            "through", bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            seen = 0
            begin = time.perf_counter()
            writing = asyncio.create_task(write(producer))
            while seen < MESSAGES + 1:
                found = await consumer.getmany(timeout_ms=1000)
                for messages in found.values():
                    for message in messages:
                        _ = message.value
                    seen += len(messages)
            took_s = time.perf_counter() - begin
            await writing
    return MESSAGES / took_s


async def _topics(bootstrap: str) -> None:
    """Make topics and write to each."""
    async with Admin(bootstrap_servers=bootstrap) as admin:
        await admin.create_topics([NewTopic(f"topic-{n}", 1, 1) for n in range(TOPICS)])
    async with Producer(bootstrap_servers=bootstrap) as producer:
        for n in range(TOPICS):
            await producer.send_many(f"topic-{n}", [b"x" * SIZE] * IN_ONE_CALL)
        await producer.flush()


def _wait_for_end(path: Path, within_s: float = 10.0) -> None:
    """Wait until the broker of a folder that is about to go has gone."""
    folder = Folder(path)
    give_up = time.monotonic() + within_s
    while (lock := folder.try_lock_broker()) is None and time.monotonic() < give_up:
        time.sleep(0.02)
    if lock is not None:
        os.close(lock)


if __name__ == "__main__":
    main()
