"""Finds the embedded broker of a folder, or starts it; the side of those who use it.

    arrive:  take start.lock
             broker.lock is held   -> it lives: read the port file, share users.lock
             it is free            -> whatever the port file says is stale: share
                                      users.lock, start a child that inherits broker.lock
             give start.lock back
    leave:   give users.lock back, by release() or by ending, however that happens
    broker:  once it could have users.lock alone, and after a moment of grace still
             can, it stops, holding start.lock (see process.py)

Everything here blocks, for half a second when a broker has to be started: call
it on a thread from an event loop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from faustc.broker.folder import Address, Folder
from faustc.exceptions import KafkaTimeout, NoBrokersAvailable

__all__ = ["Hold", "attach"]

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 20.0
# Between the last user's leaving and the end: a worker that is restarted, or the next
# `faustc send`, finds the broker still up.
GRACE_S = 2.0
PAUSE_S = 0.02
LOG_MAX_BYTES = 1 << 20


class Hold:
    """One user's share in an embedded broker, which lives at least as long as this."""

    def __init__(self, address: Address, fd: int) -> None:
        self.address = address
        self._fd: int | None = fd

    def release(self) -> None:
        """Use it no more; the broker stops soon if nobody else does. May be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def attach(path: Path, timeout_s: float = START_TIMEOUT_S, grace_s: float = GRACE_S) -> Hold:
    """Become a user of the broker in a folder, which is started if it does not run.

    One that is started here stops grace_s after its last user has gone.

    Raises NoBrokersAvailable with the end of its log if it does not start,
    KafkaTimeout if others keep the folder locked, and ImproperlyConfigured if the
    folder cannot be written to.
    """
    folder = Folder(path)
    folder.make()
    give_up = time.monotonic() + timeout_s
    while True:
        with folder.starting(timeout_s):
            lock = folder.try_lock_broker()
            if lock is not None:
                try:
                    return _start(folder, lock, timeout_s, grace_s)
                finally:
                    os.close(lock)
            address = folder.read_address()
            if address is not None:
                logger.info("Found the embedded broker at %s, of %s", address, folder.path)
                return Hold(address, folder.lock_users(timeout_s))
        # Alive and without a port file: whoever started it died before it was ready, or it
        # is on its way out.
        if time.monotonic() >= give_up:
            raise KafkaTimeout(
                f"embedded broker: one runs in {folder.path}, but did not say within "
                f"{timeout_s:.0f} s where it listens; its log is {folder.log}"
            )
        time.sleep(PAUSE_S)


def _start(folder: Folder, lock: int, timeout_s: float, grace_s: float) -> Hold:
    """Start a broker that inherits broker.lock; return once it listens."""
    stale = folder.read_address()
    folder.remove_address()
    users = folder.lock_users(timeout_s)
    try:
        options = ["--grace-s", str(grace_s)]
        if stale is not None:  # of one that was killed: clients that are left know this port
            options += ["--port-hint", str(stale.port)]
        log_start = _spawn(folder, lock, options, timeout_s)
        address = folder.read_address()
        if address is None:
            said = folder.log_since(log_start) or "(it said nothing)"
            raise NoBrokersAvailable(
                f"the embedded broker in {folder.path} did not start; its log, {folder.log}, "
                f"ends:\n{said}"
            )
    except BaseException:
        os.close(users)
        raise
    # A warning, so that it shows unless somebody asked for silence: a process was left
    # running, and it is not what production should run on.
    logger.warning(
        "Started an embedded broker at %s, for development and tests; its data is in %s",
        address,
        folder.path,
    )
    return Hold(address, users)


def _spawn(folder: Folder, lock: int, options: list[str], timeout_s: float) -> int:
    """Run the child until it is ready, or has ended; return where its log begins."""
    ready, child_end = os.pipe()
    command = [
        sys.executable, "-P", "-m", "faustc.broker.detached", str(folder.path),
        "--lock-fd", str(lock), "--ready-fd", str(child_end), *options,
    ]  # fmt: skip
    try:
        mode = "wb" if _size(folder.log) > LOG_MAX_BYTES else "ab"
        with folder.log.open(mode) as log:
            log_start = log.tell()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock, child_end),
                cwd=folder.path,
                env=_environment(),
                start_new_session=True,  # Ctrl-C on the terminal is for the user's process
            )
    except OSError as exc:
        os.close(ready)
        raise NoBrokersAvailable(f"the embedded broker cannot be started: {exc}") from exc
    finally:
        os.close(child_end)
    try:
        _wait_for_end_of(ready, timeout_s)
    finally:
        os.close(ready)
        # It forks at once and ends, so that the broker is no child of ours to be reaped.
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return log_start


def _wait_for_end_of(fd: int, timeout_s: float) -> None:
    """Wait until nobody has the other end of a pipe open: the child is ready, or is gone."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    if not waiting.poll(timeout_s * 1000):
        raise KafkaTimeout(f"the embedded broker was not ready within {timeout_s:.0f} s")


def _environment() -> dict[str, str]:
    """Return the environment for a child that imports the same faustc as we did."""
    environment = dict(os.environ)
    root = str(Path(__file__).parent.parent.parent)
    if root != sysconfig.get_path("purelib"):  # a source tree, or a folder of one's own
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), root])
    return environment


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
