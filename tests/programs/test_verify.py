"""`faustc tables --verify`: the stores of a machine, and what their changelogs say."""

from __future__ import annotations

import json
import subprocess
import sys

from faustc.client import Producer
from faustc.stores.rocksdb import RocksDBStore
from faustc.types import TopicPartition
from tests.programs.conftest import MakeProgram, Program
from tests.programs.tables import BODY, send, settled, some_words, until_at_least


def verify(app: Program) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faustc", "-A", app.module, "tables", "--verify"],
        cwd=app.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_stores_are_compared_with_their_changelogs(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(BODY.replace("{store}", "rocksdb://"))
    assert "No tables are stored here" in app.command("tables", "--verify")
    worker = app.ready_worker()
    sent = await send(producer, app, some_words(500))
    assert await until_at_least(app, sent, worker) == sent
    # A worker has the folder: one line says which, and nothing is touched.
    held = verify(app)
    assert held.returncode == 2
    assert "works with the tables in" in held.stderr
    assert "Traceback" not in held.stderr
    assert await settled(app, worker) == sent
    worker.kill()
    # After kill -9 a store may be behind, and is equal once it has read on.
    done = verify(app)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("equal") == 4
    # What is not as the changelog says is named, and the exit code is 1.
    (folder,) = (app.folder / "data").glob("**/counts-2")
    store = RocksDBStore(TopicPartition(f"{app.id}-counts-changelog", 2), folder, {})
    (key, value), *_ = store.items()
    position = store.position
    assert position is not None
    store.write({key: value + b"0", b'"surplus"': b"1"}, position)
    store.close()
    done = verify(app)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("equal") == 3
    assert "2 keys differ" in done.stdout
    assert repr(json.loads(key)) in done.stdout
    assert "'surplus'" in done.stdout
    assert "1 of 4 stores differ" in done.stderr
    assert "Traceback" not in done.stderr


async def test_what_is_in_memory_only_is_not_compared(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(BODY.replace("{store}", "memory://"))
    worker = app.ready_worker()
    await until_at_least(app, await send(producer, app, some_words(10)), worker)
    assert worker.terminate() == 0, worker.output()
    assert "No tables" in app.command("tables", "--verify")
