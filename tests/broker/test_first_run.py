"""The README's first run, as a new user does it: worker, send, stop, start again; and kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faustc.broker.folder import Address, Folder
from faustc.client import Consumer, Producer

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
APP = re.findall(r"```python\n(.*?)```", README, re.S)[0]
WORKER, SEND = (
    shlex.split(line)[1:]
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if "--broker embedded://" in line
)


class User:
    """Somebody with two terminals in one folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.folder = Folder(folder / ".faustc")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "WEB_PORT": "0",
            "PYTHONPATH": str(ROOT),
            # As on Kafka, a worker that was killed keeps its partitions for so long; 60 by default.
            "BROKER_SESSION_TIMEOUT": "3",
            "BROKER_HEARTBEAT_INTERVAL": "1",
        }
        (folder / "hello.py").write_text(APP, encoding="utf-8")

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker with the README's command."""
        with (self.path / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "faustc", *WORKER],
                cwd=self.path,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        self.workers.append(worker)
        return worker

    def send(self, account: str) -> None:
        """Send an order with the README's command."""
        given = [one.replace('"a"', f'"{account}"') for one in SEND]
        done = subprocess.run(
            [sys.executable, "-m", "faustc", *given],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
        )
        assert done.returncode == 0, done.stderr
        assert '"topic": "orders"' in done.stdout

    def log(self) -> str:
        return (self.path / "worker.log").read_text()

    def seen(self) -> Counter[str]:
        """Return how often the workers printed each account."""
        return Counter(re.findall(r"large: 5000 of (\w+)", self.log()))

    def wait_until(self, true: Callable[[], bool], timeout_s: float = 40.0) -> None:
        give_up = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < give_up, self.log()[-4000:]
            time.sleep(0.05)

    def broker(self) -> Address:
        self.wait_until(lambda: self.folder.read_address() is not None)
        address = self.folder.read_address()
        assert address is not None
        return address

    def has_broker(self) -> bool:
        with self.folder.starting(20.0):
            fd = self.folder.try_lock_broker()
            if fd is not None:
                os.close(fd)
        return fd is None

    def kill_everything(self) -> None:
        """End the broker and the workers by kill -9."""
        os.kill(self.broker().pid, signal.SIGKILL)
        self.kill_workers()

    def kill_workers(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait(10)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    user.kill_workers()
    user.wait_until(lambda: not user.has_broker())  # without users it ends by itself


def test_after_a_clean_stop_every_message_is_seen_once(user: User) -> None:
    worker = user.start_worker()
    user.send("first")
    user.wait_until(lambda: user.seen()["first"] == 1)
    worker.terminate()
    assert worker.wait(30) == 0
    user.send("meanwhile")
    user.wait_until(lambda: not user.has_broker())  # nobody used it any more
    worker = user.start_worker()
    user.wait_until(lambda: user.seen()["meanwhile"] == 1)
    user.send("third")
    user.wait_until(lambda: user.seen()["third"] == 1)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(30) == 0
    assert user.seen() == {"first": 1, "meanwhile": 1, "third": 1}
    assert "Traceback" not in user.log()
    assert not re.search(r"\[(ERROR|CRITICAL)\]", user.log())


async def test_after_kill_9_of_everything_no_message_is_missing(user: User) -> None:
    accounts = [f"n{number}" for number in range(20_000)]
    user.start_worker()
    async with Producer(bootstrap_servers=str(user.broker())) as producer:
        orders = [b'{"account": "%s", "amount": 5000}' % account.encode() for account in accounts]
        await (await producer.send_many("orders", orders))
        user.wait_until(lambda: len(user.seen()) > 10)  # in the midst of it
        user.kill_everything()
    user.start_worker()
    user.send("last")
    user.wait_until(lambda: user.seen()["last"] > 0)
    assert user.seen().keys() == {*accounts, "last"}
    # What the worker sent on is all there, too.
    found: set[str] = set()
    async with (
        asyncio.timeout(40),
        Consumer(
            "large-orders",
            bootstrap_servers=str(user.broker()),
            auto_offset_reset="earliest",
        ) as consumer,
    ):
        while len(found) < len(accounts) + 1:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found |= {json.loads(message.value or b"")["account"] for message in messages}
    assert found == {*accounts, "last"}


def test_a_second_worker_goes_on_when_the_first_who_started_it_is_gone(user: User) -> None:
    first = user.start_worker()
    address = user.broker()
    user.start_worker()
    user.wait_until(lambda: user.log().count("embedded://") == 2)  # the tables of both
    first.kill()
    first.wait(10)
    time.sleep(3)  # longer than an unused broker stays
    user.send("later")
    assert user.broker() == address
