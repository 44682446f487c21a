"""The plugin as pytest finds it in a project of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ASYNC = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")


def run(folder: Path, text: str, *options: str) -> str:
    """Run pytest on one file in a folder; return what it printed."""
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ASYNC, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout + done.stderr


APP = """
import asyncio, gc, threading
import faustc

app = faustc.App("plugin", broker="kafka://127.0.0.1:1")
seen = []

@app.agent(app.topic("in"))
async def take(stream):
    async for value in stream:
        seen.append(value)

"""


def test_an_app_is_tested(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        APP
        + """
async def test_app(app_test):
    async with app_test(app, seed=3) as t:
        await t.send("in", value=1)
        await t.settled()
    assert seen == [1]
""",
    )
    assert "1 passed" in said, said


def test_what_is_left_behind_fails_the_test(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        APP
        + """
async def test_not_awaited(app_test):
    async with app_test(app):
        asyncio.sleep(0)

async def test_dropped_task(app_test):
    async def fails():
        raise LookupError("nobody looks")
    async with app_test(app):
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        del task

def test_thread(faustc_strict):
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()

def test_not_closed(faustc_strict):
    open(__file__)

def test_good(faustc_strict):
    pass
""",
        "-W", "default",
    )  # fmt: skip
    # Three of them pass, and then fail in the teardown.
    assert "1 failed, 4 passed, 3 errors" in said, said
    assert "coroutine 'sleep' was never awaited" in said
    assert "LookupError('nobody looks')" in said
    assert "ZeroDivisionError('division by zero') in thread worker" in said
    assert "unclosed file" in said
    for name in ("not_awaited", "dropped_task", "thread", "not_closed"):
        assert f"test_{name}" in said.partition("short test summary")[2]


def test_a_broker_and_a_data_folder(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
import faustc
from faustc.client import Producer

async def test_broker(embedded_broker, faustc_datadir):
    async with Producer(bootstrap_servers=embedded_broker.bootstrap) as producer:
        assert (await producer.send_and_wait("t", b"1")).offset == 0
    app = faustc.App("x", broker=embedded_broker.url)
    assert app.conf.datadir == faustc_datadir
    await app.send("t", value="2")
    await app.stop()
    assert list(faustc_datadir.iterdir()) == []
""",
    )
    assert "1 passed" in said, said


def test_a_project_that_asks_for_nothing_pays_nothing(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
import sys

def test_modules():
    ours = {name for name in sys.modules if name.startswith("faustc")}
    assert ours <= {"faustc", "faustc.version", "faustc.testing", "faustc.testing.pytest_plugin"}
    assert not {"kafka", "click", "rich"} & set(sys.modules)
""",
    )
    assert "1 passed" in said, said


@pytest.mark.parametrize("name", ["app_test", "embedded_broker", "faustc_datadir", "faustc_strict"])
def test_fixtures_are_described(tmp_path: Path, name: str) -> None:
    said = run(tmp_path, "", "--fixtures")
    assert f"{name} -- " in said
