"""Whole programs: written to a folder, run as processes, on the embedded broker and on Kafka.

A test asks for `program`, and gets one for each of the two clusters::

    def test_it(program: MakeProgram) -> None:
        app = program("@app.agent() ...")
        worker = app.worker()
        assert app.command("send", ...).returncode == 0
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from faustc.client import Producer
from tests.process import Process

#: A worker that was killed keeps its partitions for so long; in Faust's default, 60 s.
SESSION_S = 3
HEAD = """\
import asyncio, json, os, sys, time
import faustc as faust

app = faust.App(
    {id!r},
    broker={url!r},
    datadir={datadir!r},
    topic_partitions=4,
    broker_commit_interval=0.2,
    broker_session_timeout={session_s},
    broker_heartbeat_interval=1,
)
"""
TAIL = """

if __name__ == "__main__":
    app.main()
"""


@dataclass
class Cluster:
    """A broker that tests share: what they make there has names of its own."""

    kind: str  # embedded or kafka
    bootstrap: str

    @property
    def url(self) -> str:
        """The address as an app takes it."""
        return f"kafka://{self.bootstrap}"


@dataclass
class Program:
    """A module with an app in a folder of its own, and the processes that run it."""

    id: str
    cluster: Cluster
    folder: Path
    started: list[Process] = field(default_factory=list)

    @property
    def module(self) -> str:
        """The name of the module, for -A."""
        return self.id.replace("-", "_")

    def write(self, text: str, name: str = "") -> None:
        """Write a module; the program's own begins with the app, as `app`, and ends with main."""
        if not name:
            head = HEAD.format(
                id=self.id,
                url=self.cluster.url,
                datadir=str(self.folder / "data"),
                session_s=SESSION_S,
            )
            text = head + text + TAIL
        (self.folder / f"{name or self.module}.py").write_text(text, encoding="utf-8")

    def worker(self, *options: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start a worker."""
        command = ["-m", "faustc", "-A", self.module, "worker", "-l", "info", *options]
        return self.python(*command, name="worker", environment=environment)

    def ready_worker(self, **options: Any) -> Process:
        """Start a worker, and wait until it says that it is ready."""
        worker = self.worker(**options)
        worker.wait_for("Worker ready")
        return worker

    def script(self, name: str, *arguments: str) -> Process:
        """Start another module that was written beside it."""
        return self.python(f"{name}.py", *arguments, name=name)

    def python(
        self, *arguments: str, name: str, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start Python in the folder; it is killed when the test ends."""
        process = Process(
            [sys.executable, *arguments], self.folder, name=name, environment=environment
        )
        self.started.append(process)
        return process

    def command(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run a command of the command line to its end; return what it printed on stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "faustc", "-A", self.module, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.kill()

    def assert_no_errors(self) -> None:
        """Fail with the log of a process that logged an error or a traceback."""
        for process in self.started:
            said = process.output()
            assert not re.search(r"Traceback|\[(ERROR|CRITICAL)\]", said), said


MakeProgram = Callable[[str], Program]


@pytest.fixture(scope="session")
def embedded_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The embedded broker in a process of its own, for the whole run."""
    folder = tmp_path_factory.mktemp("broker")
    command = [sys.executable, "-m", "faustc", "broker", "--port", "0", "--data", str(folder)]
    broker = Process(command, folder)
    try:
        broker.wait_for("faustc broker: kafka://")
        address = re.search(r"kafka://([\w.]+:\d+)", broker.output())
        assert address is not None
        yield Cluster("embedded", address[1])
        assert broker.terminate() == 0, broker.output()
    finally:
        broker.kill()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The embedded broker and, marked `kafka`, a real one."""
    if request.param == "embedded":
        embedded: Cluster = request.getfixturevalue("embedded_process")
        return embedded
    return Cluster("kafka", request.getfixturevalue("kafka").bootstrap)


@pytest.fixture
def program(
    cluster: Cluster, tmp_path: Path, new_name: Callable[[str], str]
) -> Iterator[MakeProgram]:
    """Write programs, given what stands between the app and main; they end with the test."""
    made: list[Program] = []

    def make(body: str) -> Program:
        id = new_name("program")
        folder = tmp_path / id
        folder.mkdir()
        one = Program(id, cluster, folder)
        one.write(body)
        made.append(one)
        return one

    yield make
    for one in made:
        one.end()


@pytest.fixture
async def producer(cluster: Cluster) -> AsyncIterator[Producer]:
    """A producer beside the programs."""
    async with Producer(bootstrap_servers=cluster.bootstrap) as producer:
        yield producer


# What `make test` runs on Kafka alone, since each takes a third of a minute.
ON_KAFKA_ALONE = ("test_table_programs.py", "test_tables.py", "test_windows_by_clock.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the embedded broker's turn of the longest programs to `make test-long`."""
    for item in items:
        if item.path.name in ON_KAFKA_ALONE and "[embedded" in item.name:
            item.add_marker(pytest.mark.long)
