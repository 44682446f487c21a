"""`faustc broker` in the foreground: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faustc.broker.launcher import attach
from faustc.client import Producer

ROOT = Path(__file__).parent.parent.parent


class Foreground:
    """`faustc broker` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "faustc", "broker", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.started.append(process)
        return process

    def up(self, *arguments: str) -> tuple[subprocess.Popen[str], str, str]:
        """Start one; return it, its address, and where its data is, as its line says."""
        process = self.run("--port", "0", *arguments)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"faustc broker: kafka://(127\.0\.0\.1:\d+), data in (.+)\n", line)
        assert found, f"{line!r} {process.communicate(timeout=10)}"
        return process, found[1], found[2]


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[Foreground]:
    foreground = Foreground(tmp_path)
    yield foreground
    for process in foreground.started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_in_one_line_and_a_signal_ends_it(
    foreground: Foreground, number: signal.Signals
) -> None:
    process, address, where = foreground.up()
    assert where == str(foreground.folder / ".faustc")
    async with Producer(bootstrap_servers=address) as producer:
        assert (await producer.send_and_wait("kept", b"x", partition=0)).offset == 0
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    # What it stored is there again.
    _, address, _ = foreground.up()
    async with Producer(bootstrap_servers=address) as producer:
        assert (await producer.send_and_wait("kept", b"x", partition=0)).offset == 1


def test_embedded_finds_it_and_does_not_end_it(foreground: Foreground) -> None:
    process, address, _ = foreground.up("--data", "mine")
    hold = attach(foreground.folder / "mine", grace_s=0.0)
    assert str(hold.address) == address
    assert hold.address.pid == process.pid
    hold.release()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)


def test_in_memory_it_leaves_nothing(foreground: Foreground) -> None:
    process, _, where = foreground.up("--memory")
    assert where == "memory"
    process.terminate()
    assert process.wait(20) == 0
    assert list(foreground.folder.iterdir()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_it_listens_on_loopback_only(foreground: Foreground, host: str) -> None:
    process = foreground.run("--port", "0", "--host", host)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert f"on loopback only, not on {host}" in err
    assert list(foreground.folder.iterdir()) == []


def test_a_folder_has_one_broker(foreground: Foreground) -> None:
    _, address, _ = foreground.up()
    second = foreground.run("--port", "0")
    _, err = second.communicate(timeout=20)
    assert second.returncode == 2
    assert err == (
        f"faustc: a broker runs in {foreground.folder / '.faustc'} already, at {address}\n"
    )


def test_a_taken_port_is_one_line(foreground: Foreground) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = foreground.run("--port", str(port))
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert f"127.0.0.1:{port}" in err
    assert "in use" in err
