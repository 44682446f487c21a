"""The worker: what it takes, its hooks, and where it says that it is."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import faustc
from faustc.blocking import BlockingDetector, cry
from faustc.exceptions import ImproperlyConfigured
from tests.unit.face.conftest import until


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, here = root.handlers[:], root.level, Path.cwd()
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    os.chdir(here)


def run(program: str, folder: Path, *, after: str = "", number: int = 0) -> tuple[int, str]:
    """Run a program; send it a signal once it has said something. Return its code and words."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    assert process.stdout is not None
    try:
        if after:
            for line in process.stdout:
                said += line
                if after in line:
                    break
            process.send_signal(number)
        said += process.communicate(timeout=30)[0]
    finally:
        process.kill()
    return process.returncode, said


HEAD = """
import asyncio, signal, os, threading, time, logging
import faustc
from tests.memory_transport import MemoryTransport
def app_of(id, **options):
    return faustc.App(id, broker="tests.memory_transport.MemoryTransport://x",
                      web_enabled=False, **options)
app = app_of("one")
"""


def test_a_worker_runs_two_apps_from_its_first_hook_to_the_last(tmp_path: Path) -> None:
    code, said = run(
        HEAD
        + """
class Sub(faustc.App):
    def worker_init(self): print(self.conf.id, "init", self.in_worker, self.state)
    def worker_init_post_autodiscover(self): print(self.conf.id, "discovered")
    async def on_started(self): print(self.conf.id, "started")
    async def on_shutdown(self): print(self.conf.id, "shut down")
class Worker(faustc.Worker):
    async def on_startup_finished(self):
        print("all started"); os.kill(os.getpid(), signal.SIGTERM)
    def on_setup_root_logger(self, logger, level): print("logging", level)
@faustc.App.on_worker_init.connect
def told(app, **kwargs): print(app.conf.id, "told")
two = [Sub(id, broker="tests.memory_transport.MemoryTransport://x", web_enabled=False)
       for id in ("one", "two")]
Worker(*two, quiet=True, redirect_stdouts=False).execute_from_commandline()
""",
        tmp_path,
    )
    assert (code, said.splitlines()) == (
        0,
        [
            "logging 30",
            *("one told", "one init True init", "two told", "two init True init"),
            *("one discovered", "two discovered", "one started", "two started"),
            *("all started", "two shut down", "one shut down"),
        ],
    )


def test_usr1_prints_where_every_task_is_and_it_goes_on(tmp_path: Path) -> None:
    code, said = run(
        HEAD
        + """
@app.task
async def lingering():
    asyncio.get_running_loop().call_later(2, os.kill, os.getpid(), signal.SIGTERM)
    print("ready", flush=True)
    await asyncio.Event().wait()
app.Worker(quiet=True, redirect_stdouts=False).execute_from_commandline()
""",
        tmp_path,
        after="ready",
        number=signal.SIGUSR1,
    )
    assert code == 0, said
    assert "== thread MainThread" in said
    assert "in lingering" in said


def test_quit_ends_it_at_once(tmp_path: Path) -> None:
    code, said = run(
        HEAD
        + """
@app.task
async def blocking():
    print("ready", flush=True)
    time.sleep(60)
app.Worker(quiet=True, redirect_stdouts=False).execute_from_commandline()
""",
        tmp_path,
        after="ready",
        number=signal.SIGQUIT,
    )
    assert code == 128 + signal.SIGQUIT
    assert "exiting at once" in said


def test_what_is_printed_goes_to_the_log_and_to_more_handlers(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    code, said = run(
        HEAD
        + """
class Shout(logging.Handler):
    def emit(self, record):
        os.write(1, f"SHOUT {record.levelname} {record.getMessage()}\\n".encode())
@app.task
async def talk(): print("hello")
app.Worker(quiet=True, daemon=False, loglevel="info", loghandlers=[Shout()],
           redirect_stdouts_level="error", logfile="log.txt", workdir="deep",
           stdout=open("out.txt", "w")).execute_from_commandline()
""",
        tmp_path,
    )
    assert code == 0, said
    assert "SHOUT ERROR hello" in said
    assert "[ERROR] faustc.stdout: hello" in (tmp_path / "deep" / "log.txt").read_text()


def test_logging_config_is_taken_as_it_is(tmp_path: Path) -> None:
    code, said = run(
        HEAD
        + """
config = {"version": 1, "formatters": {"f": {"format": "MINE %(message)s"}},
  "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
  "root": {"handlers": ["h"], "level": "INFO"}}
app.Worker(quiet=True, daemon=False, logging_config=config).execute_from_commandline()
""",
        tmp_path,
    )
    assert code == 0
    assert "MINE Worker ready" in said


def test_a_blocked_loop_is_reported(tmp_path: Path) -> None:
    code, said = run(
        HEAD
        + """
@app.task
async def sleepy():
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGTERM)
app.Worker(quiet=True, blocking_timeout=0.1).execute_from_commandline()
""",
        tmp_path,
    )
    assert code == 0
    assert "blocked for more than 0.1 s" in said
    assert "in sleepy" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loglevel": "inof"}, "did you mean 'info'"),
        ({"loop": "eventlet"}, "aio or uvloop"),
        ({"console_port": 50101}, "there is no console"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        faustc.Worker(faustc.App("x"), **options)


def test_a_worker_needs_an_app() -> None:
    with pytest.raises(ImproperlyConfigured, match="needs an app"):
        faustc.Worker()
    with pytest.raises(ImproperlyConfigured, match="needs an app"):
        faustc.Worker(faustc.Service())


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    worker = faustc.Worker(faustc.App("x"))
    worker.change_workdir(tmp_path)
    assert Path.cwd() == tmp_path.resolve()
    with pytest.raises(ImproperlyConfigured, match=r"workdir .*No such file"):
        worker.change_workdir("nowhere")


async def test_a_worker_starts_and_stops_in_a_running_loop(make_app: Any) -> None:
    one, two = make_app("one", web_port=7001), make_app("two", web_port=7002)
    service = faustc.Service()
    sensor = faustc.Sensor()
    worker = faustc.Worker(one, two, service, sensors=[sensor], stdout=io.StringIO())
    assert sensor in one.sensors
    assert (one.serves_web, two.serves_web) == (True, True)
    one.conf.web_enabled = two.conf.web_enabled = False
    await worker.start()
    assert [s.state for s in (one, two, service)] == ["running"] * 3
    await worker.stop_and_shutdown()
    assert [s.state for s in (one, two, service)] == ["stopped"] * 3


async def test_the_class_of_workers_is_a_setting() -> None:
    class Mine(faustc.Worker):
        pass

    assert type(faustc.App("x", Worker=Mine).Worker()) is Mine
    assert type(faustc.App("x").Worker(quiet=True)) is faustc.Worker


async def test_a_detector_tells_once_for_each_time(caplog: pytest.LogCaptureFixture) -> None:
    watch = BlockingDetector(asyncio.get_running_loop(), 0.05)
    watch.start()
    try:
        time.sleep(0.3)  # noqa: ASYNC251 - what it is to find
        await until(lambda: len(caplog.records) == 1)
        assert "test_a_detector_tells_once" in caplog.text
    finally:
        watch.stop()


async def test_a_cry_names_tasks_and_threads() -> None:
    async def waiting() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(waiting(), name="somebody")
    await asyncio.sleep(0)
    said = cry(asyncio.get_running_loop())
    task.cancel()
    assert "== task somebody" in said
    assert "<locals>.waiting" in said
