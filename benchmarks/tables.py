"""Tables on a real Kafka: words counted, tables filled from their changelogs, workers restarted.

python -m benchmarks tables [--rounds N] [--only words] [--clients faustc,quixstreams]
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import rocksdbpy
from rich.console import Console
from rich.table import Table

from benchmarks.documents import documents
from benchmarks.side_by_side import CACHE, PEERS, Results, measured, python_of, suite
from faustc.client import Producer
from faustc.client.admin import Admin, NewTopic
from faustc.stores.rocksdb import RocksDBStore
from tests.kafka_cluster import java

WORDS_TOPIC = "bench-words"
EVENTS = 2_000_000
KEYS = 1_000_000
VALUE = b'"' + b"x" * 98 + b'"'
PER_BATCH = 1000
STREAMS = PEERS / "streams"

# name -> (script, what its virtual environment installs; None: this one)
PYTHONS: dict[str, tuple[str, list[str] | None]] = {
    "faustc": ("faustc_table.py", None),
    "quixstreams": ("quixstreams_table.py", ["quixstreams==3.28.1"]),
    "faust-streaming": ("faust_table.py", ["faust-streaming==0.15.3"]),
}


@dataclass(frozen=True)
class Work:
    """Some rows of the table: what is done with which store, and by whom, with how many events."""

    name: str
    kind: str
    store: str
    counts: dict[str, int]
    goal: str


WORKS = [
    Work("words, in memory", "words", "memory://",
         {"faustc": EVENTS, "Kafka Streams": EVENTS, "faust-streaming": 20_000}, "6 us"),
    Work("words, RocksDB", "words", "rocksdb://",
         {"faustc": EVENTS, "Kafka Streams": EVENTS, "quixstreams": 100_000}, "9 us"),
    Work("recovery, in memory", "recover", "memory://", {"faustc": KEYS}, "1,000,000 /s"),
    Work("recovery, RocksDB", "recover", "rocksdb://",
         {"faustc": KEYS, "rocksdb-py puts": KEYS}, "80 % of the puts"),
    Work("restart, RocksDB", "restart", "rocksdb://", {"faustc": KEYS}, "2 s"),
]  # fmt: skip


def run(
    bootstrap: str, only: str, clients: set[str] | None, rounds: int, output: Path | None
) -> None:
    """Run every client in turn over each work, print the table and keep it for pyperf."""
    console = Console(width=None if sys.stdout.isatty() else 130)
    works = [work for work in WORKS if only in work.name]
    results: Results = defaultdict(list)
    if any(work.kind == "words" for work in works):
        asyncio.run(_fill_words(bootstrap))
    with tempfile.TemporaryDirectory(prefix="bench-tables-") as name:
        folder = Path(name)
        for number in range(rounds):
            # A restart opens what the recovery of the same round left behind.
            identity, datadir = f"bench-{time.time_ns()}", folder / str(number)
            for work in works:
                if work.kind != "words":
                    asyncio.run(_fill_changelog(bootstrap, identity))
                for client, count in work.counts.items():
                    if clients is not None and client not in clients:
                        continue
                    row = _once(bootstrap, work, client, count, identity, datadir)
                    results[work.name, client].append(row)
                    console.print(
                        f"round {number + 1}/{rounds} {work.name} {client} "
                        f"{row['cpu_us']:.2f} us, {row['rate']:,.0f} /s", style="dim",
                    )  # fmt: skip
            shutil.rmtree(datadir, ignore_errors=True)
    console.print(_table(works, results))
    if output is not None:
        suite(results).dump(str(output), replace=True)


def _once(
    bootstrap: str, work: Work, client: str, count: int, identity: str, datadir: Path
) -> dict[str, float]:
    if client == "rocksdb-py puts":
        return _puts(count, datadir / "puts")
    words = work.kind == "words"
    # Each count starts from nothing; a recovery and the restart after it share what there is.
    used = (
        f"{identity}-{work.store.partition(':')[0]}-{client.replace(' ', '-')}"
        if words
        else identity
    )
    state = datadir / used / work.store.partition(":")[0]
    state.mkdir(parents=True, exist_ok=True)
    if client == "Kafka Streams":
        return measured(
            [java(), "-Xmx1g", "-cp", _streams(), "Words", bootstrap, WORDS_TOPIC, str(count),
             work.store, str(state), used]
        )  # fmt: skip
    script, packages = PYTHONS[client]
    return measured(
        [
            python_of(packages), str(PEERS / script), work.kind, "--bootstrap", bootstrap,
            "--topic", WORDS_TOPIC, "--count", str(count), "--store", work.store,
            "--datadir", str(state), "--id", used,
        ]
    )  # fmt: skip


def _streams() -> str:
    """Return the class path of the program of Kafka Streams, fetched and compiled once."""
    folder = CACHE / "kafka-streams"
    if not any(folder.glob("kafka-streams-*.jar")):
        subprocess.run(
            ["mvn", "-B", "-q", "-f", str(STREAMS / "pom.xml"),
             "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
             f"-DoutputDirectory={folder}"],
            check=True, timeout=900, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    source, compiled = STREAMS / "Words.java", folder / "Words.class"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        javac = str(Path(java()).resolve().with_name("javac"))
        command = [javac, "-cp", f"{folder}/*", "-d", str(folder), str(source)]
        subprocess.run(command, check=True, timeout=300)
    return f"{folder}:{folder}/*"


async def _fill_words(bootstrap: str) -> None:
    await _fill(bootstrap, WORDS_TOPIC, documents(50_000), EVENTS, {})


async def _fill_changelog(bootstrap: str, identity: str) -> None:
    pairs = _records()
    topic = f"{identity}-counts-changelog"
    await _fill(bootstrap, topic, pairs, KEYS, {"cleanup.policy": "compact"})


def _records() -> list[tuple[bytes, bytes]]:
    """Return what a changelog has, the keys in no order: sorted ones flatter RocksDB."""
    numbers = list(range(KEYS))
    random.Random(0).shuffle(numbers)
    return [(b'"%06d"' % n, VALUE) for n in numbers]


async def _fill(
    bootstrap: str,
    topic: str,
    pairs: list[tuple[bytes, bytes]],
    count: int,
    configs: dict[str, str],
) -> None:
    """Write a topic of one partition, unless it is there."""
    async with Admin(bootstrap_servers=bootstrap) as admin:
        if topic in await admin.list_topics():
            return
        await admin.create_topics([NewTopic(topic, 1, 1, configs=configs)])
    async with Producer(bootstrap_servers=bootstrap, linger_ms=50) as producer:
        for start in range(0, count, 10_000):
            part = [pairs[n % len(pairs)] for n in range(start, start + 10_000)]
            keys, values = [k for k, _ in part], [v for _, v in part]
            await producer.send_many(topic, values, keys=keys, partition=0)
        await producer.flush()


def _puts(count: int, folder: Path) -> dict[str, float]:
    """Write the records of the changelog by the binding alone, PER_BATCH at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    pairs = _records()[:count]
    db = rocksdbpy.open(str(folder), RocksDBStore.make_options({}))
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, count, PER_BATCH):
        batch = rocksdbpy.WriteBatch()
        add = batch.add
        for key, value in pairs[start : start + PER_BATCH]:
            add(key, value)
        db.write(batch)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    db.close()
    return {"cpu_us": cpu / count * 1e6, "rate": count / wall, "peak_mib": 0.0}


def _table(works: list[Work], results: Results) -> Table:
    table = Table(title="tables, medians")
    for heading in ("work", "client", "CPU us", "min-max", "records/s", "peak MiB", "serving after",
                    "goal"):  # fmt: skip
        table.add_column(
            heading, justify="left" if heading in ("work", "client", "goal") else "right"
        )
    for work in works:
        for client in work.counts:
            rows = results.get((work.name, client))
            if not rows:
                continue

            def median(field: str, rows: list[dict[str, float]] = rows) -> float:
                return statistics.median(r.get(field, 0.0) for r in rows)

            cpu = [r["cpu_us"] for r in rows]
            serving = median("serving_s")
            table.add_row(
                work.name, client, f"{median('cpu_us'):.2f}", f"{min(cpu):.2f}-{max(cpu):.2f}",
                f"{median('rate'):,.0f}", f"{median('peak_mib'):.0f}",
                f"{serving:.2f} s" if serving else "", work.goal if client == "faustc" else "",
            )  # fmt: skip
    return table
