"""A broker as a process: it has the folder, says where it listens, and ends in order."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from faustc.broker.broker import Broker, Options
from faustc.broker.folder import Folder
from faustc.broker.server import Server
from faustc.exceptions import FaustError, ImproperlyConfigured, KafkaTimeout

__all__ = ["Tenure", "run"]

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 20.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Tenure:
    """A broker's hold on its folder: nobody else starts one there."""

    def __init__(self, folder: Folder, lock: int) -> None:
        self.folder = folder
        self._locks = [lock]

    @classmethod
    def take(cls, path: Path) -> Tenure:
        """Take a folder. Raises ImproperlyConfigured if a broker has it."""
        folder = Folder(path)
        folder.make()
        with folder.starting(LOCK_TIMEOUT_S):
            lock = folder.try_lock_broker()
            if lock is None:
                raise ImproperlyConfigured(
                    f"a broker runs in {folder.path} already, at {folder.read_address()}"
                )
            folder.remove_address()
        return cls(folder, lock)

    def publish(self, host: str, port: int) -> None:
        """Write the port file."""
        self.folder.write_address(host, port)

    def withdraw(self) -> None:
        """Remove the port file: who comes now has to wait for the end, and start another."""
        self.folder.remove_address()

    def release(self) -> None:
        """Let another broker have the folder."""
        while self._locks:
            os.close(self._locks.pop())

    def when_unused(self, grace_s: float, call: Callable[[], object]) -> None:
        """Call, from a thread, once the last user is gone; nobody becomes one after that."""
        # A daemon, since it sits in flock(2) for as long as there are users.
        watch = threading.Thread(
            target=self._watch, args=(grace_s, call), name="users", daemon=True
        )
        watch.start()

    def _watch(self, grace_s: float, call: Callable[[], object]) -> None:
        while True:
            try:
                self.folder.wait_until_unused()
                time.sleep(grace_s)
                start_lock = self.folder.lock_start(LOCK_TIMEOUT_S)
            except KafkaTimeout as exc:
                logger.warning("%s", exc)
                continue
            except (OSError, FaustError) as exc:
                # Deleted, or moved away: nobody can find us, nor what we store.
                logger.error("The folder is gone: %s", exc)
                call()
                return
            if self.folder.unused():
                self._locks.append(start_lock)  # until the end
                call()
                return
            os.close(start_lock)


async def run(
    *,
    host: str,
    port: int,
    port_hint: int = 0,
    tenure: Tenure | None,
    grace_s: float | None = None,
    flush: Literal["interval", "every"] = "interval",
    on_ready: Callable[[str, int], object],
) -> None:
    """Serve until SIGINT, SIGTERM, or, with grace_s, that long after the folder's last user left.

    Without a tenure everything is kept in memory. port 0 is any free one;
    port_hint is tried before that. Raises OSError if the port is taken,
    ImproperlyConfigured if the host is not loopback.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    options = Options(data=None if tenure is None else tenure.folder.data, flush=flush)
    try:
        server = Server(Broker(options), host, port_hint or port)
        await server.start()
    except OSError as exc:
        if not port_hint or exc.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        server = Server(Broker(options), host, port)
        await server.start()
    try:
        address = server.broker.host, server.broker.port
        if tenure is not None:
            tenure.publish(*address)
            if grace_s is not None:
                tenure.when_unused(grace_s, lambda: loop.call_soon_threadsafe(stop.set))
        logger.info("Listening at %s:%d", *address)
        on_ready(*address)
        await stop.wait()
        logger.info("Stopping")
    finally:
        if tenure is not None:
            tenure.withdraw()
        await server.close()
    logger.info("Stopped")
