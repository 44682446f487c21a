"""`faustc worker` as a process: signals, exit codes, crashes, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.types import TP
from tests.conftest import Kafka
from tests.kafka.worker_process import ROOT, WorkerProcess

pytestmark = pytest.mark.kafka
NewName = Callable[[str], str]
Start = Callable[..., WorkerProcess]

APP = """
import asyncio, os, time
import faustc
app = faustc.App("{id}", broker="kafka://{bootstrap}", commit_interval=0.2, datadir="{folder}")
source = app.topic("{id}-in", value_type=int, partitions=1)
target = app.topic("{id}-out", value_type=int, partitions=1)

{body}
"""
FORWARD = """
@app.agent(source)
async def forward(stream):
    async for value in stream:
        await asyncio.sleep(0.002)
        await target.send(value=value)
"""


@pytest.fixture
def start(kafka: Kafka, new_name: NewName, tmp_path: Path) -> Iterator[Start]:
    """Start workers of apps whose body is given; they are killed when the test ends."""
    started: list[WorkerProcess] = []

    def run(id: str, body: str, *options: str, script: bool = False) -> WorkerProcess:
        module = id.replace("-", "_")
        text = APP.format(id=id, bootstrap=kafka.bootstrap, folder=tmp_path / "data", body=body)
        (tmp_path / f"{module}.py").write_text(text)
        worker = WorkerProcess(tmp_path, module, *options, script=script)
        started.append(worker)
        return worker

    yield run
    for worker in started:
        worker.kill()


@pytest.fixture
async def producer(kafka: Kafka) -> AsyncIterator[Producer]:
    async with Producer(bootstrap_servers=kafka.bootstrap) as producer:
        yield producer


async def send(producer: Producer, topic: str, numbers: range) -> None:
    await (await producer.send_many(topic, [str(n).encode() for n in numbers]))


async def read_all(kafka: Kafka, topic: str, count: int, timeout_s: float = 30.0) -> list[int]:
    """Read a topic until so many different values have come."""
    found: list[int] = []
    async with (
        asyncio.timeout(timeout_s),
        Consumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest") as consumer,
    ):
        consumer.assign([TP(topic, 0)])
        while len(set(found)) < count:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                found += [int(message.value or b"") for message in messages]
    return found


async def committed(kafka: Kafka, group: str, tp: TP) -> int | None:
    async with Consumer(bootstrap_servers=kafka.bootstrap, group_id=group) as consumer:
        return await consumer.committed(tp)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_finishes_commits_and_exits_0(
    kafka: Kafka, start: Start, producer: Producer, new_name: NewName, number: signal.Signals
) -> None:
    id = new_name("app")
    worker = start(id, FORWARD)
    worker.wait_for("Worker ready")
    await send(producer, f"{id}-in", range(1000))
    await read_all(kafka, f"{id}-out", 50)
    worker.process.send_signal(number)
    assert worker.wait() == 0
    assert "Traceback" not in worker.output()
    done = await committed(kafka, id, TP(f"{id}-in", 0))
    assert done is not None
    assert 50 <= done < 1000
    # Exactly what is committed was sent on; the next worker does the rest, nothing twice.
    again = start(id, FORWARD)
    assert await read_all(kafka, f"{id}-out", 1000) == list(range(1000))
    assert again.terminate() == 0


async def test_the_table_says_what_runs(start: Start, new_name: NewName) -> None:
    id = new_name("app")
    worker = start(id, FORWARD)
    worker.wait_for("Worker ready")
    output = worker.output()
    for part in ("faustc 0.1.0", id, "kafka://", f"{id}-in (1)", "data folder", "forward"):
        assert part in output
    assert f"Created missing topics: {id}-in (1 partitions, 1 replicas)" in output
    assert worker.terminate() == 0


async def test_a_second_signal_exits_at_once_even_with_a_blocked_loop(
    start: Start, producer: Producer, new_name: NewName
) -> None:
    id = new_name("app")
    body = """
@app.agent(source)
async def block(stream):
    async for value in stream:
        print("blocking", flush=True)
        time.sleep(60)
"""
    worker = start(id, body)
    worker.wait_for("Worker ready")
    await send(producer, f"{id}-in", range(1))
    worker.wait_for("blocking")
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert worker.process.poll() is None
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 20


async def test_a_crash_is_one_readable_error_and_exit_code_1(
    start: Start, new_name: NewName
) -> None:
    body = """
@app.task
async def fail():
    await asyncio.sleep(0.2)
    raise RuntimeError("the reactor is cold")
"""
    worker = start(new_name("app"), body)
    assert worker.wait() == 1
    crashed = [line for line in worker.output().splitlines() if "crashed:" in line]
    assert len(crashed) == 1
    assert "RuntimeError('the reactor is cold')" in crashed[0]


async def test_kill_9_loses_nothing(
    kafka: Kafka, start: Start, producer: Producer, new_name: NewName
) -> None:
    id = new_name("app")
    body = FORWARD.replace("source)", "source, concurrency=4)")
    options = "\napp.conf.broker_session_timeout = 6.0\napp.conf.broker_heartbeat_interval = 1.0\n"
    worker = start(id, options + body)
    worker.wait_for("Worker ready")
    await send(producer, f"{id}-in", range(1500))
    for part in (200, 600):
        await read_all(kafka, f"{id}-out", part)
        worker.kill()
        worker = start(id, options + body)
    found = await read_all(kafka, f"{id}-out", 1500, 60)
    assert set(found) == set(range(1500))
    assert len(found) - 1500 < 1000  # repeated since the last commit, not from the start
    assert worker.terminate() == 0


async def test_undelivered_sends_crash_the_worker_and_hold_back_the_commit(
    kafka: Kafka, start: Start, producer: Producer, new_name: NewName
) -> None:
    id = new_name("app")
    body = f"""
app.conf.producer_request_timeout = 2.0
too_small = app.topic("{id}-small", partitions=1, config={{"max.message.bytes": "300"}})

@app.agent(source)
async def forward(stream):
    async for value in stream:
        await too_small.send(value="x" * 1000)
"""
    worker = start(id, body)
    worker.wait_for("Worker ready")
    await send(producer, f"{id}-in", range(3))
    assert worker.wait() == 1
    assert "crashed:" in worker.output()
    assert f"{id}-small" in worker.output()
    assert not await committed(kafka, id, TP(f"{id}-in", 0))


async def test_two_apps_in_one_worker(
    kafka: Kafka, start: Start, producer: Producer, new_name: NewName
) -> None:
    id = new_name("app")
    body = (
        FORWARD
        + f"""
second = faustc.App("{id}-2", broker=app.conf.broker, datadir=app.conf.datadir)

@second.agent(second.topic("{id}-out", value_type=int))
async def square(stream):
    async for value in stream:
        await second.send("{id}-squares", value=value * value)

if __name__ == "__main__":
    faustc.Worker(app, second, loglevel="info").execute_from_commandline()
"""
    )
    worker = start(id, body, script=True)
    await send(producer, f"{id}-in", range(10))
    found: list[int] = []
    async with (
        asyncio.timeout(30),
        Consumer(
            f"{id}-squares", bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
        ) as consumer,
    ):
        while len(found) < 10:
            found.append(int((await consumer.getone()).value or b""))
    assert sorted(found) == [n * n for n in range(10)]
    assert worker.terminate() == 0


def run_cli(folder: Path, *arguments: str, timeout_s: float = 30.0) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "faustc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WEB_PORT": "0"},
    )


def test_a_broker_that_is_not_there_is_exit_code_1_and_named(tmp_path: Path) -> None:
    (tmp_path / "away.py").write_text(
        "import faustc\n"
        "app = faustc.App('x', broker='kafka://127.0.0.1:1')\n"
        "app.runner.engine.options.start_timeout_s = 2.0\n"
    )
    done = run_cli(tmp_path, "-A", "away", "worker")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert "127.0.0.1:1" in lines[-1]
    assert lines[-1].startswith("faustc: NoBrokersAvailable")
    assert "Traceback" not in done.stderr


def test_a_command_of_the_app_sends_and_ends(
    kafka: Kafka, tmp_path: Path, new_name: NewName
) -> None:
    name = new_name("out")
    (tmp_path / "shouter.py").write_text(
        "import faustc, json\n"
        "from faustc.cli import argument, option\n"
        f"app = faustc.App('shouter', broker='kafka://{kafka.bootstrap}')\n"
        "@app.command(argument('word'), option('--times', type=int, default=1))\n"
        "async def shout(self, word, times):\n"
        "    '''Send a word.'''\n"
        "    for _ in range(times):\n"
        f"        where = await (await app.send('{name}', value=word))\n"
        "    self.say(json.dumps(where.offset))\n"
    )
    done = run_cli(tmp_path, "-A", "shouter", "shout", "hello", "--times", "3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == 2
    helped = run_cli(tmp_path, "-A", "shouter", "--help")
    assert "Send a word." in helped.stdout
    assert "worker" in helped.stdout
