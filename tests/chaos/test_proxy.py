"""The proxy between workers and brokers, and the plans: what is done to whom, by seed."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.plan import PLANS, WIRE, schedule
from tests.chaos.proxy import Trouble, batch_within
from tests.kafka_cluster.node import free_ports
from tests.process import ROOT
from tests.reference.batches import crc32c

GOLDEN = ROOT / "tests" / "golden"
FETCH = struct.pack(">hhih", 1, 12, 7, -1) + b"a request"


class Broker:
    """Answers each frame with its correlation id and itself."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.answer = b"an answer"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while (frame := receive(sock)) is not None:
                body = frame[4:8] + self.answer
                sock.sendall(struct.pack(">i", len(body)) + body)

    def close(self) -> None:
        self._server.close()


def receive(sock: socket.socket) -> bytes | None:
    """Return the next frame, None at the end."""
    try:
        head = sock.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            return None
        (length,) = struct.unpack(">i", head)
        if not 0 <= length < 1 << 20:
            return head
        body = sock.recv(length, socket.MSG_WAITALL)
    except ConnectionError:
        return None
    return body if len(body) == length else None


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Trouble]:
    node = SimpleNamespace(
        listener_ports={"PROXIED": broker.port}, advertised_ports={"PROXIED": free_ports(1)[0]}
    )
    cluster: Any = SimpleNamespace(nodes={1: node})
    with Trouble(cluster, "PROXIED", seed=1) as proxy:
        yield proxy


def connect(proxy: Trouble) -> socket.socket:
    host, _, port = proxy.bootstrap.partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def ask(sock: socket.socket) -> bytes | None:
    try:
        sock.sendall(struct.pack(">i", len(FETCH)) + FETCH)
    except OSError:
        return None
    return receive(sock)


def until_another(proxy: Trouble, expected: bytes) -> bytes | None:
    """Ask, each time anew, until something else comes than the answer."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        with connect(proxy) as sock:
            for _ in range(5):
                if (found := ask(sock)) != expected:
                    return found
    raise AssertionError("nothing was harmed")


def test_frames_pass_as_they_are(proxy: Trouble) -> None:
    with connect(proxy) as sock:
        for _ in range(3):
            assert ask(sock) == struct.pack(">i", 7) + b"an answer"


def test_cut(proxy: Trouble) -> None:
    with connect(proxy) as sock:
        assert ask(sock) is not None
        proxy.harm("cut", 1, 0.1)
        assert receive(sock) is None
    with connect(proxy) as sock:
        assert ask(sock) is not None


def test_truncate(proxy: Trouble) -> None:
    proxy.harm("truncate", 1, 10)
    assert until_another(proxy, struct.pack(">i", 7) + b"an answer") is None


def test_corrupt_where_there_is_no_batch(proxy: Trouble) -> None:
    proxy.harm("corrupt", 1, 10)
    found = until_another(proxy, struct.pack(">i", 7) + b"an answer")
    # A wrong correlation id, an absurd length, or a broker that had one and left.
    assert found is None or found[:4] != struct.pack(">i", 7)


def test_corrupt_a_batch(proxy: Trouble, broker: Broker) -> None:
    frame = (GOLDEN / "fetch-v12-kafka-3.9.1.bin").read_bytes()
    broker.answer = frame[4:]
    begin, end = batch_within(frame) or (0, 0)
    assert crc32c(frame[begin:end]) == struct.unpack_from(">I", frame, begin - 4)[0]
    proxy.harm("corrupt", 1, 20)
    while True:
        found = until_another(proxy, frame)
        if found is not None and len(found) == len(frame):
            break
    (place,) = [n for n in range(len(frame)) if found[n] != frame[n]]
    assert begin <= place < end


@pytest.mark.parametrize(("kind", "for_s"), [("block", 0.5), ("delay", 5.0)])
def test_block_and_delay(proxy: Trouble, kind: str, for_s: float) -> None:
    with connect(proxy) as sock:
        assert ask(sock) is not None
        proxy.harm(kind, 1, for_s)
        began = time.monotonic()
        while time.monotonic() < began + 10:
            asked = time.monotonic()
            if ask(sock) is None:
                return  # blocked, then cut
            if time.monotonic() > asked + 0.02:
                return  # late
    raise AssertionError("nothing was harmed")


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_plan_follows_from_its_seed(name: str) -> None:
    plan = PLANS[name]

    def made(seed: int) -> list[object]:
        return list(schedule(plan, seed, records=plan.records, brokers=(1, 2, 3)))

    assert made(1) == made(1)
    kinds = [act.kind for act in schedule(plan, 2, records=plan.records, brokers=(1, 2, 3))]
    assert {kind: kinds.count(kind) for kind in kinds} == dict(plan.acts)
    if plan.acts:
        assert made(1) != made(2)
    assert set(WIRE).isdisjoint(plan.acts) or plan.name in ("wire", "mixed")
