"""The folder of an embedded broker: who may start it, who uses it, and where it listens.

    start.lock   held for the moment it takes to find, start or give up the broker
    broker.lock  held by the broker for its life, from before its first line to its end
    users.lock   shared by the processes that use it; it stops once it can have this alone
    broker.json  the port file: host, port and pid of who holds broker.lock
    broker.log   what it has to say, since it has no terminal
    data/        topics, offsets and transactions

Whether a broker is alive is a question to the kernel, not to the port file: the
locks are flock(2), and they are gone with their process after a kill -9 or a
power failure, too, whoever has its pid by then.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from faustc.exceptions import ImproperlyConfigured, KafkaTimeout
from faustc.flock import open_lock_file, try_flock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "Folder"]

RETRY_MIN_S = 0.005
RETRY_MAX_S = 0.05


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int
    pid: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Folder:
    """The files of one embedded broker. Nothing is made before `make`.

    Locks are returned as descriptors: closing one gives the lock back, and so
    does the end of the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.log = self.path / "broker.log"
        self.port_file = self.path / "broker.json"
        self._start = self.path / "start.lock"
        self._broker = self.path / "broker.lock"
        self._users = self.path / "users.lock"

    def __repr__(self) -> str:
        return f"<Folder {self.path}>"

    def make(self) -> None:
        """Make the folder. Raises ImproperlyConfigured where that cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="ascii")
        except OSError as exc:
            raise ImproperlyConfigured(
                f"embedded broker: {self.path} cannot be its folder: {exc.strerror}"
            ) from exc

    # -- locks ---------------------------------------------------------------------------

    @contextmanager
    def starting(self, timeout_s: float) -> Iterator[None]:
        """Be the only one who finds, starts or stops the broker of this folder."""
        fd = self.lock_start(timeout_s)
        try:
            yield
        finally:
            os.close(fd)

    def lock_start(self, timeout_s: float) -> int:
        """Take start.lock; raises KafkaTimeout."""
        return self._wait_for(self._start, fcntl.LOCK_EX, timeout_s)

    def try_lock_broker(self) -> int | None:
        """Take broker.lock; None if a broker has it, which is then alive. Hold start.lock."""
        return _try(self._broker, fcntl.LOCK_EX)

    def lock_users(self, timeout_s: float) -> int:
        """Become a user of the broker; raises KafkaTimeout."""
        return self._wait_for(self._users, fcntl.LOCK_SH, timeout_s)

    def wait_until_unused(self) -> None:
        """Block until there is no user, for as long as that takes, without polling."""
        fd = open_lock_file(self._users)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        finally:
            os.close(fd)  # at once: a user that comes now must not wait

    def unused(self) -> bool:
        """Say whether there is no user. While start.lock is held nobody becomes one."""
        fd = _try(self._users, fcntl.LOCK_EX)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def _wait_for(self, path: Path, kind: int, timeout_s: float) -> int:
        give_up = time.monotonic() + timeout_s
        pause_s = RETRY_MIN_S
        while (fd := _try(path, kind)) is None:
            if time.monotonic() >= give_up:
                raise KafkaTimeout(f"embedded broker: {path} stayed locked for {timeout_s:.0f} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_MAX_S)
        return fd

    # -- the port file -------------------------------------------------------------------

    def read_address(self) -> Address | None:
        """Return what the port file says; None where it is missing or damaged.

        It is the truth only while broker.lock is held.
        """
        try:
            found = json.loads(self.port_file.read_bytes())
            return Address(str(found["host"]), int(found["port"]), int(found["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_address(self, host: str, port: int) -> None:
        """Say where this process listens."""
        text = json.dumps({"host": host, "port": port, "pid": os.getpid()})
        written = self.port_file.with_suffix(f".{os.getpid()}")
        written.write_text(f"{text}\n", encoding="ascii")
        written.replace(self.port_file)

    def remove_address(self) -> None:
        """Remove the port file, if it is there."""
        with suppress(FileNotFoundError):
            self.port_file.unlink()

    # -- the log -------------------------------------------------------------------------

    def log_since(self, start: int, lines: int = 15) -> str:
        """Return the last lines of the broker's log, of those behind a position in it."""
        try:
            with self.log.open("rb") as file:
                file.seek(start)
                text = file.read().decode(errors="replace")
        except OSError as exc:
            return f"(no log: {exc.strerror})"
        return "\n".join(text.strip().splitlines()[-lines:])


def _try(path: Path, kind: int) -> int | None:
    try:
        return try_flock(path, kind)
    except OSError as exc:
        if exc.filename is not None:
            raise ImproperlyConfigured(f"embedded broker: {path}: {exc.strerror}") from exc
        raise ImproperlyConfigured(
            f"embedded broker: {path} cannot be locked ({exc.strerror}): "
            "choose a folder on a local disk, embedded:///path"
        ) from exc
