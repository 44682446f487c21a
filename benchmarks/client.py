"""Consume and produce on a real Kafka, faustc and its peers in turn, one table.

Each peer runs in its own process and virtual environment; what counts is the CPU
(user and system) of that process per message within the timed part. Rounds are
interleaved, so that a machine that slows down slows everybody.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.side_by_side import (
    PEERS,
    RUN_TIMEOUT_S,
    Results,
    measured,
    python_of,
    suite,
)

# name -> (script, what its virtual environment installs; None: this one)
CLIENTS: dict[str, tuple[str, list[str] | None]] = {
    "faustc": ("faustc_peer.py", None),
    "confluent-kafka": ("confluent_peer.py", ["confluent-kafka==2.12.2"]),
    "aiokafka": (
        "aiokafka_peer.py",
        ["aiokafka==0.14.0", "lz4", "zstandard", "cramjam"],
    ),
    "kafka-python": ("kafka_python_peer.py", ["kafka-python==3.0.12", "lz4", "zstandard"]),
}


@dataclass(frozen=True)
class Work:
    """One row of the table: what is done, on which topic, how often."""

    name: str
    kind: str
    size: int
    compression: str
    count: int
    clients: tuple[str, ...]
    goal: str

    @property
    def topic(self) -> str:
        return f"bench-{self.kind.split('-')[0]}-{self.size}-{self.compression}"


ALL = ("faustc", "confluent-kafka", "aiokafka", "kafka-python")
NO_SLOW = ALL[:3]
WORKS = [
    Work("consume 100 B none", "consume", 100, "none", 2_000_000, ALL,
         "0.42 of confluent-kafka, 0.25 of aiokafka"),
    Work("consume 100 B lz4", "consume", 100, "lz4", 2_000_000, NO_SLOW, "the same"),
    Work("consume 100 B zstd", "consume", 100, "zstd", 2_000_000, NO_SLOW,
         "0.6 of confluent-kafka"),
    Work("consume 1 KiB none", "consume", 1024, "none", 500_000, NO_SLOW,
         "0.6 of confluent-kafka"),
    Work("consume 1 KiB lz4", "consume", 1024, "lz4", 500_000, NO_SLOW, ""),
    Work("consume 1 KiB zstd", "consume", 1024, "zstd", 500_000, NO_SLOW, ""),
    Work("produce 100 B by send", "produce", 100, "none", 500_000, ALL,
         "below confluent-kafka"),
    Work("produce 100 B lz4 by send", "produce", 100, "lz4", 500_000, NO_SLOW[:2], ""),
    Work("produce 100 B in bulk", "produce-bulk", 100, "none", 500_000,
         ("faustc", "aiokafka"), "0.8 us"),
    Work("produce 1 KiB by send", "produce", 1024, "none", 200_000, NO_SLOW[:2], ""),
]  # fmt: skip


def _python_of(client: str) -> str:
    return python_of(CLIENTS[client][1])


def fill(bootstrap: str, work: Work) -> None:
    """Write a consume topic once: batches of 64 KiB by librdkafka."""
    subprocess.run(
        [
            _python_of("confluent-kafka"), str(PEERS / "fill.py"), "--bootstrap", bootstrap,
            "--topic", work.topic, "--count", str(work.count), "--size", str(work.size),
            "--compression", work.compression,
        ],
        check=True, timeout=RUN_TIMEOUT_S,
    )  # fmt: skip


def run_once(bootstrap: str, work: Work, client: str) -> dict[str, float]:
    """Run one client over one work in a process of its own; return what it measured."""
    # Fifty times slower than the others: a tenth of the messages tells its figure as well.
    count = work.count // 10 if client == "kafka-python" else work.count
    return measured(
        [
            _python_of(client), str(PEERS / CLIENTS[client][0]), work.kind,
            "--bootstrap", bootstrap, "--topic", work.topic, "--count", str(count),
            "--size", str(work.size), "--compression", work.compression,
        ]
    )  # fmt: skip


def run(bootstrap: str, works: list[Work], rounds: int, output: Path | None) -> None:
    """Fill the topics, run every client in turn, print the table and keep it for pyperf."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    results: Results = defaultdict(list)
    for topic_work in {w.topic: w for w in works if w.kind == "consume"}.values():
        console.print(f"filling {topic_work.topic}", style="dim")
        fill(bootstrap, topic_work)
        # Not counted: whoever comes first would read a topic that is not in memory yet.
        run_once(bootstrap, topic_work, "faustc")
    for number in range(rounds):
        for work in works:
            for client in work.clients:
                measured = run_once(bootstrap, work, client)
                results[work.name, client].append(measured)
                console.print(
                    f"round {number + 1}/{rounds} {work.name} {client} {measured['cpu_us']:.2f} us",
                    style="dim",
                )
    console.print(_table(works, results))
    if output is not None:
        suite(results).dump(str(output), replace=True)
        console.print(f"kept in {output}: python -m pyperf show {output}")


def _table(works: list[Work], results: Results) -> Table:
    table = Table(title="client CPU per message, medians")
    for heading in ("work", "client", "CPU us", "min-max", "messages/s", "peak MiB", "to confluent",
                    "to aiokafka", "goal"):  # fmt: skip
        table.add_column(
            heading, justify="left" if heading in ("work", "client", "goal") else "right"
        )
    for work in works:
        medians = {
            client: statistics.median(r["cpu_us"] for r in results[work.name, client])
            for client in work.clients
        }
        for client in work.clients:
            rows = results[work.name, client]
            cpu = [r["cpu_us"] for r in rows]
            table.add_row(
                work.name if client == work.clients[0] else "",
                client,
                f"{medians[client]:.2f}",
                f"{min(cpu):.2f}-{max(cpu):.2f}",
                f"{statistics.median(r['rate'] for r in rows):,.0f}",
                f"{max(r['peak_mib'] for r in rows):.0f}",
                _ratio(medians, client, "confluent-kafka"),
                _ratio(medians, client, "aiokafka"),
                work.goal if client == "faustc" else "",
                end_section=client == work.clients[-1],
            )
    return table


def _ratio(medians: dict[str, float], client: str, to: str) -> str:
    return f"{medians[client] / medians[to]:.2f}" if to in medians else ""
