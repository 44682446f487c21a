"""One program, begun by faust-streaming, gone on with by faustc, and by faust-streaming again.

Neither sees an event twice, and each has the tables that the other left; but for sets, whose
changelog faustc writes in another way: faust-streaming could not go back to those.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faustc.client import Admin, NewTopic, Producer
from tests.aside import python_with
from tests.conftest import Kafka
from tests.process import Process

UPSTREAM = "faust-streaming==0.15.3"
PROGRAM = """\
import json
from collections.abc import Set
{imports}

class Total(faust.Record):
    count: int
    last: str

app = faust.App(
    {id!r},
    broker={url!r},
    datadir={datadir!r},
    topic_partitions=4,
    topic_replication_factor=1,
    store="memory://",
    key_serializer="json",  # Faust 1.x reads keys raw unless told, faustc as Faust 1.0's guide says
    value_serializer="json",
    broker_commit_interval=0.5,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
)
words = app.topic({id!r} + "-words", key_type=str, value_type=str, partitions=4)
counts = app.Table("counts", key_type=str, value_type=int, default=int, partitions=4)
totals = app.Table("totals", key_type=str, value_type=Total, partitions=4)
days = app.Table("days", key_type=str, value_type=int, default=int, partitions=4).tumbling(
    864_000_000, key_index=True
)
{sets}seen = app.SetTable("seen", key_type=str, value_type=str, partitions=4)

@app.agent(words)
async def count(stream):
    async for key, word in stream.items():
        counts[key] += 1
        totals[key] = Total(count=counts[key], last=word)
        days[key] += 1
        {sets}seen[key].add(word)

def plain(value):
    if isinstance(value, Total):
        return [value.count, value.last]
    return sorted(value) if isinstance(value, Set) else value

@app.timer(0.5)
async def show():
    tables = dict(counts=counts, totals=totals, days=days.table)
    {sets}tables["seen"] = seen
    told = {{
        name: [[key, plain(value)] for key, value in list(table.items())]
        for name, table in tables.items()
    }}
    print("TABLES " + json.dumps(told), flush=True)

if __name__ == "__main__":
    app.main()
"""


class Sent:
    """What was sent, and what each table must be then."""

    def __init__(self, name: str, producer: Producer) -> None:
        self.topic = f"{name}-words"
        self.producer = producer
        self.counts: Counter[str] = Counter()
        self.last: dict[str, str] = {}
        self.seen: dict[str, set[str]] = {}
        self.batches = 0

    async def more(self, count: int) -> None:
        """Send so many events."""
        self.batches += 1
        for number in range(count):
            key, word = f"k{number % 23}", f"w{number % 5}-{self.batches}"
            await self.producer.send(
                self.topic, json.dumps(word).encode(), json.dumps(key).encode()
            )
            self.counts[key] += 1
            self.last[key] = word
            self.seen.setdefault(key, set()).add(word)
        await self.producer.flush()

    def is_told_by(self, worker: Process) -> bool:
        """Whether a worker's tables are that, as it told last."""
        found = re.findall(r"TABLES (\{.*\})\s*$", worker.output(), re.M)
        if not found:
            return False
        told: dict[str, list[Any]] = json.loads(found[-1])
        totals = {key: [count, self.last[key]] for key, count in self.counts.items()}
        seen = {key: sorted(words) for key, words in self.seen.items()}
        return (
            dict(told["counts"]) == self.counts
            and dict(told["totals"]) == totals
            and {key: value for (key, _), value in told["days"]} == self.counts
            and dict(told.get("seen", seen)) == seen
        )


@pytest.mark.kafka
async def test_a_running_application_is_taken_over_and_given_back(
    kafka: Kafka, tmp_path: Path, new_name: Callable[[str], str]
) -> None:
    upstream = python_with(UPSTREAM)
    name = new_name("taken")
    folders = {one: tmp_path / one for one in ("faust", "faustc", "back")}
    for one, folder in folders.items():
        folder.mkdir()
        text = PROGRAM.format(
            id=name,
            url=f"kafka://{kafka.bootstrap}",
            datadir=str(folder / "data"),
            imports="import faustc as faust" if one == "faustc" else "import faust",
            sets="# " if one == "back" else "",
        )
        (folder / "program.py").write_text(text, encoding="utf-8")
    command = ["-A", "program", "worker", "-l", "info", "--without-web"]
    running: list[Process] = []

    def start(which: str) -> Process:
        ours = which == "faustc"
        python, module = (sys.executable, "faustc") if ours else (str(upstream), "faust")
        # Faust looks at the port even where there is no web server.
        worker = Process(
            [python, "-m", module, *command], folders[which], environment={"WEB_PORT": "6066"}
        )
        running.append(worker)
        return worker

    def counted(worker: Process, what: str) -> None:
        worker.wait_until(lambda: sent.is_told_by(worker), what, 120)

    try:
        async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
            sent = Sent(name, producer)
            async with Admin(bootstrap_servers=kafka.bootstrap) as admin:
                await admin.create_topics([NewTopic(sent.topic, 4, 1)])
            worker = start("faust")
            worker.wait_for("TABLES", 120)
            await sent.more(400)
            counted(worker, "what was sent")
            assert worker.terminate(60) == 0, worker.output()
            for which in ("faustc", "back"):
                worker = start(which)
                counted(worker, "what the other left, each event once")
                await sent.more(300)
                counted(worker, "what was sent")
                assert worker.terminate(60) == 0, worker.output()
    finally:
        for worker in running:
            worker.kill()
