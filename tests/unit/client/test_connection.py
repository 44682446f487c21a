"""One connection over a real socket: order, deadlines, throttling, hostile answers, the end."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faustc._native.framer import Framer
from faustc.client import wire
from faustc.client.connection import BrokerConnection
from faustc.client.dialer import Dialer
from faustc.exceptions import (
    AuthenticationFailed,
    ConnectionLost,
    CorruptFrame,
    KafkaTimeout,
    UnsupportedVersion,
)
from tests.unit.client.wire_server import MODERN, WireServer, encode_answer, until

HEARTBEAT = {"group_id": "g", "generation_id": 1, "member_id": "m"}
OK = {"error_code": 0}


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


def connection_to(server: WireServer, **options: Any) -> BrokerConnection:
    return BrokerConnection("127.0.0.1", server.port, client_id="me", **options)


async def opened(server: WireServer, **options: Any) -> BrokerConnection:
    connection = connection_to(server, **options)
    await connection.open(5)
    return connection


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- the handshake ---


async def test_the_handshake_learns_versions_and_features(server):
    server.features = [
        {"name": "transaction.version", "max_version_level": 2, "min_version_level": 2}
    ]

    connection = await opened(server)

    assert connection.versions[18] == (0, 4)
    assert connection.finalized_features == {"transaction.version": 2}
    assert connection.transactions_v2
    assert connection.version("EndTxn") == 5
    assert connection.version("Produce", transactional=True) == 13
    hello = server.requests[0]
    assert (hello.name, hello.version, hello.client_id) == ("ApiVersions", 4, "me")
    assert hello.fields.client_software_name == "faustc"
    connection.close()


@pytest.mark.parametrize("newest", [0, 1, 2, 3])
async def test_an_older_broker_is_asked_again_in_its_own_version(newest: int):
    async with WireServer({**MODERN, 18: (0, newest)}) as server:
        connection = await opened(server)

        assert [request.version for request in server.requests] == [4, newest]
        assert connection.versions[3] == MODERN[3]
        assert not connection.transactions_v2
        assert connection.version("Produce", transactional=True) == 11
        connection.close()


async def test_a_broker_that_refuses_without_saying_what_it_speaks_is_asked_in_version_0(server):
    def refuse(request):
        if request.version:
            return encode_answer("ApiVersions", 0, request.correlation_id, error_code=35)
        return server.api_versions(request)

    server.answers["ApiVersions"] = refuse

    connection = await opened(server)

    assert [request.version for request in server.requests] == [4, 0]
    connection.close()


async def test_a_broker_that_refuses_every_version_is_not_asked_for_ever(server):
    server.answers["ApiVersions"] = lambda request: encode_answer(
        "ApiVersions", 0, request.correlation_id, error_code=35
    )
    connection = connection_to(server)

    with pytest.raises(UnsupportedVersion, match="ApiVersions"):
        await connection.open(5)

    assert connection.closed


async def test_a_broker_too_old_is_named_with_its_address():
    async with WireServer({18: (0, 3), 3: (0, 5)}) as server:
        connection = await opened(server)

        with pytest.raises(UnsupportedVersion, match=rf"127.0.0.1:{server.port}.*Metadata.*0 to 5"):
            connection.version("Metadata")
        connection.close()


async def test_a_refused_port_names_address_and_reason():
    async with WireServer() as server:
        port = server.port
    connection = BrokerConnection("127.0.0.1", port)

    with pytest.raises(ConnectionLost, match=rf"127.0.0.1:{port} .*Connection refused"):
        await connection.open(5)


async def test_an_unknown_host_is_named():
    connection = BrokerConnection("no-such-host.invalid", 9092)

    with pytest.raises(ConnectionLost, match=r"no-such-host\.invalid:9092: the name is not known"):
        await connection.open(10)


async def test_a_silent_broker_does_not_hold_open_up(server):
    server.answers["ApiVersions"] = lambda request: None
    connection = connection_to(server)

    with pytest.raises(KafkaTimeout):
        await connection.open(0.1)

    assert connection.closed


# --- requests ---


async def test_answers_find_their_requests_in_order(server):
    server.answers["Heartbeat"] = lambda r: {"error_code": r.fields.generation_id}
    connection = await opened(server)

    found = await asyncio.gather(
        *(
            connection.request("Heartbeat", group_id="g", generation_id=n, member_id="m")
            for n in range(50)
        )
    )

    assert [answer.error_code for answer in found] == list(range(50))
    assert connection.in_flight == 0
    connection.close()


async def test_a_native_request_gets_the_bytes_with_their_header(server):
    server.answers["Fetch"] = lambda r: r.correlation_id.to_bytes(4, "big") + b"answer"
    connection = await opened(server)
    ids = []

    def encode(correlation_id: int) -> bytes:
        ids.append(correlation_id)
        body = b"\x00\x01\x00\x0b" + correlation_id.to_bytes(4, "big") + b"\x00\x02me"
        return len(body).to_bytes(4, "big") + body

    body = await connection.request_native(1, encode)

    assert body == ids[0].to_bytes(4, "big") + b"answer"
    connection.close()


async def test_a_request_without_answer_is_done_when_sent_and_keeps_the_order(server):
    server.answers["Heartbeat"] = lambda r: OK
    connection = await opened(server)

    def encode(correlation_id: int) -> bytes:
        body = b"\x00\x00\x00\x08" + correlation_id.to_bytes(4, "big") + b"\x00\x02me"
        return len(body).to_bytes(4, "big") + body

    assert await connection.request_native(0, encode, want_answer=False) == b""
    assert connection.in_flight == 0
    await connection.request("Heartbeat", **HEARTBEAT)
    assert [r.name for r in server.requests[-2:]] == ["Produce", "Heartbeat"]
    connection.close()


async def test_a_large_request_passes_a_socket_that_takes_it_in_pieces(server):
    server.answers["SyncGroup"] = lambda r: {"assignment": r.fields.assignments[0].assignment[::-1]}
    connection = await opened(server)
    blob = os.urandom(6_000_000)

    answers = await asyncio.gather(
        *(
            connection.request(
                "SyncGroup",
                group_id="g",
                generation_id=n,
                member_id="m",
                protocol_type="consumer",
                protocol_name="range",
                assignments=[{"member_id": "m", "assignment": blob}],
            )
            for n in range(3)
        )
    )

    assert all(bytes(answer.assignment) == blob[::-1] for answer in answers)
    connection.close()


async def test_giving_up_a_request_drops_its_answer_and_nothing_else(server):
    gate = asyncio.Event()
    server.answers["Heartbeat"] = lambda r: {"error_code": r.fields.generation_id}
    connection = await opened(server)
    abandoned = asyncio.ensure_future(
        connection.request("Heartbeat", group_id="g", generation_id=1, member_id="m")
    )
    await asyncio.sleep(0)
    abandoned.cancel()
    gate.set()

    answer = await connection.request("Heartbeat", group_id="g", generation_id=2, member_id="m")

    assert answer.error_code == 2
    assert abandoned.cancelled()
    assert not connection.closed
    connection.close()


# --- deadlines ---


async def test_a_request_without_answer_gives_the_connection_up(server):
    connection = await opened(server)
    patient = asyncio.ensure_future(connection.request("Heartbeat", 30, **HEARTBEAT))
    await asyncio.sleep(0)

    with pytest.raises(KafkaTimeout, match=rf"127.0.0.1:{server.port} did not answer LeaveGroup"):
        await connection.request("LeaveGroup", 0.05, group_id="g", members=[])

    assert connection.closed
    with pytest.raises(ConnectionLost, match=r"Heartbeat .* was lost"):
        await patient


async def test_the_earliest_deadline_counts_whatever_was_sent_first(server):
    connection = await opened(server, request_timeout_s=30)
    slow = asyncio.ensure_future(connection.request("Heartbeat", **HEARTBEAT))
    await asyncio.sleep(0)

    async with asyncio.timeout(30):
        with pytest.raises(KafkaTimeout):
            await connection.request("Heartbeat", 0.05, **HEARTBEAT)

    with pytest.raises(ConnectionLost):
        await slow


async def test_an_unused_connection_closes_itself(server):
    server.answers["Heartbeat"] = lambda r: OK
    connection = await opened(server, max_idle_s=0.15)
    for _ in range(4):
        await asyncio.sleep(0.08)
        await connection.request("Heartbeat", **HEARTBEAT)
    assert not connection.closed, "it is in use"

    await asyncio.sleep(0.4)

    assert connection.closed
    assert connection.quiet
    assert "unused" in str(connection.close_reason)


async def test_throttling_holds_requests_back_in_order(server):
    server.answers["Heartbeat"] = lambda r: {
        "error_code": r.fields.generation_id,
        "throttle_time_ms": 200 if r.fields.generation_id == 0 else 0,
    }
    connection = await opened(server, request_timeout_s=0.15)
    loop = asyncio.get_running_loop()
    await connection.request("Heartbeat", group_id="g", generation_id=0, member_id="m")
    throttled_at = loop.time()

    found = await asyncio.gather(
        *(
            connection.request("Heartbeat", group_id="g", generation_id=n, member_id="m")
            for n in (1, 2, 3)
        )
    )

    assert loop.time() - throttled_at >= 0.19, "not late either: the pause is not the request's"
    assert [answer.error_code for answer in found] == [1, 2, 3]
    connection.close()


async def test_an_absurd_throttle_is_cut(server):
    connection = await opened(server)

    connection.throttle(2**31 - 1)

    assert connection._muted_until - asyncio.get_running_loop().time() <= 60
    connection.close()


# --- hostile and broken streams ---


async def test_an_answer_nobody_waits_for_drops_the_connection(server):
    server.answers["Heartbeat"] = lambda r: server.frame(r._replace(correlation_id=999), **OK)
    connection = await opened(server)

    with pytest.raises(ConnectionLost) as caught:
        await connection.request("Heartbeat", **HEARTBEAT)

    assert isinstance(caught.value.__cause__, CorruptFrame)
    assert isinstance(connection.close_reason, CorruptFrame)
    assert "answers 999" in str(connection.close_reason)


async def test_an_absurd_length_drops_the_connection():
    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x7f\xff\xff\xff" + bytes(100))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(lie, "127.0.0.1", 0) as liar:
        connection = BrokerConnection("127.0.0.1", liar.sockets[0].getsockname()[1])
        with pytest.raises(ConnectionLost):
            await connection.open(5)
        assert isinstance(connection.close_reason, CorruptFrame)


async def test_an_answer_that_does_not_decode_is_told_and_ends_the_connection(server):
    server.answers["Heartbeat"] = lambda r: r.correlation_id.to_bytes(4, "big") + b"\x00"
    connection = await opened(server)

    with pytest.raises(CorruptFrame, match="Heartbeat v4"):
        await connection.request("Heartbeat", **HEARTBEAT)

    assert connection.closed


async def test_a_cut_connection_fails_every_waiter_and_all_later_requests(server):
    server.answers["LeaveGroup"] = lambda r: ConnectionResetError
    connection = await opened(server)
    waiting = [
        asyncio.ensure_future(connection.request("Heartbeat", **HEARTBEAT)) for _ in range(3)
    ]
    await asyncio.sleep(0)

    with pytest.raises(ConnectionLost):
        await connection.request("LeaveGroup", group_id="g", members=[])

    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(failure) for failure in failures] == [ConnectionLost] * 3
    assert len({id(failure) for failure in failures}) == 3, "each has its own traceback"
    with pytest.raises(ConnectionLost, match="the connection is closed"):
        await connection.request("Heartbeat", **HEARTBEAT)
    with pytest.raises(ConnectionLost):
        connection.request_native(1, lambda correlation_id: b"")


async def test_closing_twice_is_closing_once(server):
    connection = await opened(server)
    closings = []
    connection.on_closed = closings.append
    waiter = asyncio.ensure_future(connection.request("Heartbeat", **HEARTBEAT))
    await asyncio.sleep(0)

    connection.close()
    connection.close(ConnectionLost("later"))
    await connection.wait_closed()

    assert closings == [connection]
    assert "closed by us" in str(connection.close_reason)
    with pytest.raises(ConnectionLost):
        await waiter


async def test_no_descriptor_is_left_however_it_ends(server):
    before = descriptors()
    for ending in range(12):
        connection = await opened(server)
        if ending % 3 == 0:
            server.cut()
        elif ending % 3 == 1:
            with pytest.raises(KafkaTimeout):
                await connection.request("Heartbeat", 0.01, **HEARTBEAT)
        connection.close()
        await connection.wait_closed()
    server.answers["ApiVersions"] = lambda r: ConnectionResetError
    for _ in range(3):
        with pytest.raises(ConnectionLost):
            await connection_to(server).open(5)
    await until(lambda: not server.open_connections)

    await until(lambda: descriptors() <= before)


async def test_cancelling_the_opening_leaves_nothing(server):
    server.answers["ApiVersions"] = lambda r: None
    before = descriptors()
    connection = connection_to(server)
    opening = asyncio.ensure_future(connection.open(5))
    await asyncio.sleep(0.05)

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    assert connection.closed
    await until(lambda: not server.open_connections)
    await until(lambda: descriptors() <= before)


async def test_closing_while_the_dialer_dials_gives_its_socket_back(server):
    class SlowDialer(Dialer):
        async def open(self, host, port, timeout_s):
            sock = await super().open(host, port, timeout_s)
            await asyncio.sleep(0.05)
            return sock

    before = descriptors()
    connection = connection_to(server, dialer=SlowDialer())
    opening = asyncio.ensure_future(connection.open(5))
    await asyncio.sleep(0.02)

    connection.close()

    with pytest.raises(ConnectionLost):
        await opening
    await until(lambda: not server.open_connections)
    await until(lambda: descriptors() <= before)


# --- the other feed ---


async def test_a_loop_without_add_reader_is_fed_by_a_transport(server, monkeypatch):
    def refuse(*args: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(type(loop), "add_reader", refuse)
    server.answers["Heartbeat"] = lambda r: OK

    connection = await opened(server)

    assert (await connection.request("Heartbeat", **HEARTBEAT)).error_code == 0
    server.cut()
    with pytest.raises(ConnectionLost):
        await connection.request("Heartbeat", **HEARTBEAT)
    await connection.wait_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_tls_carries_small_and_large_frames(certificate):
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    blob = os.urandom(3_000_000)
    async with WireServer(ssl_context=server_context(certificate)) as server:
        server.answers["Heartbeat"] = lambda r: OK
        server.answers["SyncGroup"] = lambda r: {"assignment": blob}
        connection = await opened(server, dialer=Dialer(ssl_context=trusting))

        for _ in range(3):
            assert (await connection.request("Heartbeat", **HEARTBEAT)).error_code == 0
            answer = await connection.request("SyncGroup", **HEARTBEAT, assignments=[])
            assert bytes(answer.assignment) == blob
        connection.close()
        await connection.wait_closed()


async def test_tls_without_a_valid_chain_is_refused(certificate):
    async with WireServer(ssl_context=server_context(certificate)) as server:
        stranger = connection_to(server, dialer=Dialer(ssl_context=ssl.create_default_context()))

        with pytest.raises(AuthenticationFailed, match=r":\d+: TLS .* certificate") as refused:
            await stranger.open(5)
        assert not refused.value.retriable

        assert not server.requests


def test_every_request_has_a_name_for_messages():
    assert wire.api_name(3) == "Metadata"
    assert wire.api_name(12345) == "API 12345"


async def test_a_closed_connection_gives_back_its_buffer_at_once():
    """Symptom: dead connections kept 64 KiB each until the next run of the cycle collector."""

    def framers() -> int:
        return sum(isinstance(thing, Framer) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = framers()
        async with WireServer() as server:
            for cut in (False, True) * 3:
                connection = BrokerConnection("127.0.0.1", server.port)
                await connection.open(5)
                assert framers() == before + 1
                if cut:
                    server.cut()
                    await until(lambda: connection.closed)  # noqa: B023 - awaited right here
                connection.close()
                assert framers() == before
    finally:
        gc.enable()
