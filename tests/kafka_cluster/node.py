"""One Kafka process: combined broker and controller (KRaft) on loopback ports."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .jars import CACHE, jars, java

CLUSTER_ID = "ZmF1c3RjLXRlc3QtMDAwMQ"  # any 16 bytes in base64url
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30
FORMAT_TIMEOUT_S = 120


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            sock = held.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            ports.append(sock.getsockname()[1])
        return ports


# A node dies with the thread that started it (see below), so one thread that lives as
# long as this process starts them all, whoever asks.
_STARTER = ThreadPoolExecutor(1, "kafka-starter")


def die_with_parent() -> None:
    """Have this process killed when the thread that forked it ends."""
    # A test run that is killed must not leave brokers behind (Linux only;
    # elsewhere stop() and the fixtures' finalizers are what there is).
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Node:
    """A Kafka node that can be started, stopped, killed, paused and started again."""

    def __init__(
        self,
        node_id: int,
        *,
        version: str,
        folder: Path,
        port: int,
        controller_port: int,
        voters: str,
        settings: dict[str, str],
        listeners: dict[str, str],
        proxied: Collection[str] = (),
        transaction_version: int | None,
        heap: str,
    ) -> None:
        self.node_id = node_id
        self.version = version
        self.folder = folder
        self.port = port
        self.heap = heap
        self.transaction_version = transaction_version
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = folder / "server.log"
        self._config = folder / "server.properties"
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **listeners}
        self.listener_ports = dict(zip(listeners, free_ports(len(listeners)), strict=True))
        self.advertised_ports = {
            **self.listener_ports,
            **dict(zip(proxied, free_ports(len(proxied)), strict=True)),
        }

        def urls(ports: dict[str, int]) -> list[str]:
            every = {"PLAINTEXT": port, **ports}
            return [f"{name}://127.0.0.1:{number}" for name, number in every.items()]

        self._settings = {
            "process.roles": "broker,controller",
            "node.id": str(node_id),
            "controller.quorum.voters": voters,
            "listeners": ",".join(
                [*urls(self.listener_ports), f"CONTROLLER://127.0.0.1:{controller_port}"]
            ),
            "advertised.listeners": ",".join(urls(self.advertised_ports)),
            "listener.security.protocol.map": ",".join(map(":".join, protocols.items())),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(folder / "logs"),
            **settings,
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def spawn(self) -> None:
        """Start the process without waiting until it answers."""
        _STARTER.submit(self._spawn).result(FORMAT_TIMEOUT_S + START_TIMEOUT_S)

    def _spawn(self) -> None:
        if not self._config.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._config.write_text(_properties(self._settings), encoding="utf-8")
            shutil.copytree(self._template(), self.folder / "logs")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    java(),
                    f"-Xmx{self.heap}",
                    f"-Xms{self.heap}",
                    "-XX:+UseSerialGC",
                    "-Xshare:auto",
                    "-XX:TieredStopAtLevel=4",
                    "-Djava.awt.headless=true",
                    "-Dorg.slf4j.simpleLogger.showDateTime=true",
                    "-cp",
                    f"{jars(self.version)}/*",
                    "kafka.Kafka",
                    str(self._config),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,  # a Ctrl-C of the test run is not the broker's
            )

    def wait_ready(self, brokers: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until this node serves requests and sees the given number of brokers."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running:
                code = self.process.returncode if self.process else None
                raise RuntimeError(f"node {self.node_id} ended with {code}:\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                if count_brokers(self.port) >= brokers:
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"node {self.node_id} was not up within {timeout_s} s:\n{self.log_tail()}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop cleanly (SIGTERM), or kill when that takes too long."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 30) -> str:
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _template(self) -> Path:
        """Return a log folder formatted once by Kafka's own StorageTool, for this kind of node.

        A hand-written meta.properties would leave features such as
        transaction.version unset: a cluster that nobody runs.
        """
        feature = "" if self.transaction_version is None else f"-tv{self.transaction_version}"
        template = CACHE / f"template-{self.version}-{self.node_id}{feature}"
        if template.exists():
            return template
        work = template.with_name(f"{template.name}.{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        config = work / "server.properties"
        config.write_text(
            _properties({**self._settings, "log.dirs": str(work / "logs")}), encoding="utf-8"
        )
        command = [
            java(),
            "-cp",
            f"{jars(self.version)}/*",
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
            "-c",
            str(config),
        ]
        if self.transaction_version is not None:
            command += ["--feature", f"transaction.version={self.transaction_version}"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise RuntimeError(f"StorageTool failed:\n{done.stdout}\n{done.stderr}")
        with contextlib.suppress(OSError):  # another run was faster: its template is as good
            (work / "logs").rename(template)
        shutil.rmtree(work, ignore_errors=True)
        return template


def count_brokers(port: int) -> int:
    """Ask for Metadata v1 of no topics, by hand, and return how many brokers the answer lists."""
    request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        sock.sendall(struct.pack(">i", len(request)) + request)
        head = b""
        while len(head) < 12:
            more = sock.recv(12 - len(head))
            if not more:
                return 0
            head += more
    return int(struct.unpack(">iii", head)[2])


def _properties(settings: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())
