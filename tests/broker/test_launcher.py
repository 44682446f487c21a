"""Finding and starting the embedded broker: one per folder, for as long as somebody uses it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import faustc
from faustc.broker.folder import Folder
from faustc.broker.launcher import Hold, attach
from faustc.client import Consumer, Producer
from faustc.exceptions import ImproperlyConfigured, KafkaTimeout, NoBrokersAvailable
from faustc.types import TP

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
GRACE_S = 0.2


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A folder whose broker is gone when the test ends."""
    folder = Folder(tmp_path / "kept")
    yield folder
    address = folder.read_address()
    if address is not None and alive(folder):
        os.kill(address.pid, signal.SIGKILL)
        wait_until(lambda: not alive(folder))


def hold_of(folder: Folder) -> Hold:
    return attach(folder.path, grace_s=GRACE_S)


def alive(folder: Folder) -> bool:
    """Say whether a broker has the folder, by its lock."""
    if not folder.path.exists():
        return False
    with folder.starting(20.0):
        fd = folder.try_lock_broker()
        if fd is not None:
            os.close(fd)
    return fd is None


def wait_until(true: Callable[[], bool], timeout_s: float = 15.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def user_process(folder: Folder) -> subprocess.Popen[str]:
    """Attach in a process of its own, which says where the broker is and then stays."""
    code = (
        "import pathlib, sys, time; from faustc.broker.launcher import attach\n"
        f"hold = attach(pathlib.Path({str(folder.path)!r}), grace_s={GRACE_S})\n"
        "print(*hold.address, flush=True); time.sleep(600)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


async def put(address: object, value: bytes) -> None:
    async with Producer(bootstrap_servers=str(address)) as producer:
        await producer.send_and_wait("kept", value, partition=0)


async def stored(address: object, count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    async with (
        asyncio.timeout(20),
        Consumer(bootstrap_servers=str(address), auto_offset_reset="earliest") as consumer,
    ):
        consumer.assign([TP("kept", 0)])
        while len(found) < count:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += [message.value for message in messages]
    return found


# -- one broker --------------------------------------------------------------------------


async def test_the_first_starts_it_and_the_next_finds_it(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    first = await asyncio.to_thread(hold_of, folder)
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert str(first.address) in line
    assert str(folder.path) in line
    second = await asyncio.to_thread(hold_of, folder)
    assert second.address == first.address == folder.read_address()
    await put(second.address, b"x")
    assert await stored(first.address, 1) == [b"x"]
    first.release()
    second.release()


def test_processes_that_start_at_once_end_with_one_broker(folder: Folder) -> None:
    users = [user_process(folder) for _ in range(4)]
    try:
        said = {user.stdout.readline() for user in users if user.stdout is not None}
        assert len(said) == 1
        assert said == {"{} {} {}\n".format(*folder.read_address() or ("", "", ""))}
        started = folder.log.read_text().count("Listening at")
        assert started == 1
    finally:
        for user in users:
            kill(user)


def test_threads_that_start_at_once_end_with_one_broker(folder: Folder) -> None:
    with ThreadPoolExecutor(4) as pool:
        holds = list(pool.map(lambda _: hold_of(folder), range(4)))
    assert len({hold.address for hold in holds}) == 1
    for hold in holds:
        hold.release()


def test_a_broker_that_is_still_starting_is_waited_for(folder: Folder) -> None:
    """As when the process that started it was killed before it was ready."""
    folder.make()
    lock = folder.try_lock_broker()
    assert lock is not None
    timer = threading.Timer(0.5, folder.write_address, ["127.0.0.1", 5])
    timer.start()
    began = time.monotonic()
    hold = hold_of(folder)
    assert (hold.address.host, hold.address.port) == ("127.0.0.1", 5)
    assert time.monotonic() - began > 0.4
    hold.release()
    folder.remove_address()
    os.close(lock)
    timer.join()


def test_one_that_never_says_where_it_is_ends_in_an_error(folder: Folder) -> None:
    folder.make()
    lock = folder.try_lock_broker()
    assert lock is not None
    with pytest.raises(KafkaTimeout, match="did not say within 0 s where it listens"):
        attach(folder.path, timeout_s=0.3)
    os.close(lock)


# -- how long it lives -------------------------------------------------------------------


def test_it_outlives_the_first_and_stops_after_the_last(folder: Folder) -> None:
    first, second = user_process(folder), user_process(folder)
    try:
        assert first.stdout is not None
        assert second.stdout is not None
        where = first.stdout.readline()
        assert second.stdout.readline() == where
        kill(first)
        time.sleep(GRACE_S * 3)
        assert alive(folder)
        third = hold_of(folder)
        assert "{} {} {}\n".format(*third.address) == where
        kill(second)
        time.sleep(GRACE_S * 3)
        assert alive(folder)
        third.release()
        wait_until(lambda: not alive(folder))
        assert folder.read_address() is None
        assert folder.log.read_text().rstrip().endswith("Stopped")
    finally:
        for process in (first, second):
            if process.poll() is None:
                kill(process)


def test_who_comes_within_the_grace_finds_it_up(folder: Folder) -> None:
    first = attach(folder.path, grace_s=1.0)
    first.release()
    time.sleep(0.3)
    second = attach(folder.path, grace_s=1.0)
    time.sleep(1.2)
    assert alive(folder)
    assert second.address == first.address
    second.release()


def test_coming_and_going_never_meets_a_broker_on_its_way_out(folder: Folder) -> None:
    for _ in range(15):
        hold = attach(folder.path, grace_s=0.0)
        with socket.create_connection((hold.address.host, hold.address.port), timeout=5):
            pass
        hold.release()


def test_the_broker_is_nobodys_child_and_leaves_no_zombie(folder: Folder) -> None:
    code = (
        "import os, pathlib, sys; from faustc.broker.launcher import attach\n"
        f"hold = attach(pathlib.Path({str(folder.path)!r}), grace_s={GRACE_S})\n"
        "try: os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError: print(os.getsid(hold.address.pid) != os.getsid(0))"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", code],
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        stderr=subprocess.DEVNULL,
    )
    assert said == "True\n"  # in a session of its own, too: Ctrl-C does not reach it
    wait_until(lambda: not alive(folder))


def test_a_folder_that_is_gone_ends_it(folder: Folder) -> None:
    hold = hold_of(folder)
    folder.path.rename(folder.path.with_name("moved"))
    hold.release()
    wait_until(lambda: "Stopped" in (folder.path.with_name("moved") / "broker.log").read_text())
    assert not folder.path.exists()


# -- what is left behind -----------------------------------------------------------------


async def test_stop_and_start_finds_everything(folder: Folder) -> None:
    first = await asyncio.to_thread(hold_of, folder)
    await put(first.address, b"before")
    first.release()
    await asyncio.to_thread(wait_until, lambda: not alive(folder))
    second = await asyncio.to_thread(hold_of, folder)
    assert second.address.pid != first.address.pid
    assert await stored(second.address, 1) == [b"before"]
    second.release()


async def test_a_killed_broker_is_replaced_on_its_port_with_all_it_had(folder: Folder) -> None:
    first = await asyncio.to_thread(hold_of, folder)
    async with Producer(bootstrap_servers=str(first.address)) as producer:
        await producer.send_and_wait("kept", b"one", partition=0)
        os.kill(first.address.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not alive(folder))
        assert folder.read_address() == first.address  # stale
        second = await asyncio.to_thread(hold_of, folder)
        assert second.address.pid != first.address.pid
        assert second.address.port == first.address.port
        # A process that was there before goes on, on its old connection's address.
        async with asyncio.timeout(20):
            await producer.send_and_wait("kept", b"two", partition=0)
    assert await stored(second.address, 2) == [b"one", b"two"]
    first.release()
    second.release()


@pytest.mark.parametrize("content", ['{"host": "127.0.0.1", "port": %d, "pid": %d}', "{", ""])
def test_a_port_file_that_nobody_stands_for_is_replaced(folder: Folder, content: str) -> None:
    """After a reboot its pid and its port may be somebody else's: here, ours."""
    folder.make()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder.port_file.write_text(content % (port, os.getpid()) if "%" in content else content)
        hold = hold_of(folder)
        assert hold.address.port != port
        assert hold.address.pid != os.getpid()
        assert json.loads(folder.port_file.read_text())["port"] == hold.address.port
        with socket.create_connection((hold.address.host, hold.address.port), timeout=5):
            pass
        hold.release()


# -- what goes wrong ---------------------------------------------------------------------


def test_a_broker_that_cannot_start_is_an_error_with_the_end_of_its_log(folder: Folder) -> None:
    folder.make()
    folder.data.write_text("in the way")
    with pytest.raises(NoBrokersAvailable) as caught:
        hold_of(folder)
    text = str(caught.value)
    assert str(folder.log) in text
    assert "data" in text.splitlines()[-1]
    assert "Traceback" not in text
    # Nothing is left locked: once the cause is gone it starts.
    folder.data.unlink()
    hold_of(folder).release()


def test_a_folder_that_cannot_be_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="cannot be its folder"):
        attach(tmp_path / "file" / "below")


def test_a_folder_that_others_keep_locked_is_given_up(folder: Folder) -> None:
    folder.make()
    with (folder.path / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(KafkaTimeout, match=r"start\.lock stayed locked"):
            attach(folder.path, timeout_s=0.2)


# -- in an app ---------------------------------------------------------------------------


def app_on(folder: Folder) -> faustc.App:
    return faustc.App(
        "launched", broker=f"embedded://{folder.path}", datadir=folder.path, autodiscover=False
    )


async def test_an_app_starts_it_without_blocking_its_loop(folder: Folder) -> None:
    app = app_on(folder)
    topic = app.topic("greetings", value_type=str, partitions=1)
    got: asyncio.Queue[str] = asyncio.Queue()

    @app.agent(topic, name="greet")
    async def greet(stream: faustc.Stream) -> None:
        async for name in stream:
            got.put_nowait(name)

    launching = 0

    async def tick() -> None:
        nonlocal launching
        while True:
            await asyncio.sleep(0.01)
            launching += folder.read_address() is None

    ticking = asyncio.ensure_future(tick())
    await app.start()
    ticking.cancel()
    assert launching >= 5  # the loop had its turns while there was no broker yet
    await topic.send(value="you")
    async with asyncio.timeout(20):
        assert await got.get() == "you"
    await app.stop()
    await asyncio.to_thread(wait_until, lambda: not alive(folder))


async def test_an_app_that_was_stopped_starts_again(folder: Folder) -> None:
    app = app_on(folder)
    for number in range(2):
        await app.start()
        metadata = await (await app.send("kept", value=number, partition=0))
        assert metadata.offset == number
        await app.stop()
        app = app_on(folder)


async def test_a_start_that_is_cancelled_leaves_no_user(folder: Folder) -> None:
    app = app_on(folder)
    starting = asyncio.ensure_future(app.start())
    await asyncio.sleep(0.1)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await app.stop()
    await asyncio.to_thread(wait_until, lambda: "Stopped" in folder.log_since(0))
    assert not await asyncio.to_thread(alive, folder)


async def test_an_app_says_why_there_is_no_broker(folder: Folder) -> None:
    folder.make()
    folder.data.write_text("in the way")
    app = app_on(folder)
    with pytest.raises(NoBrokersAvailable, match="did not start; its log"):
        await app.start()
    await app.stop()
