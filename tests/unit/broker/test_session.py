"""What comes in over a connection, good or hostile, in memory: a broker answers or hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from faustc.broker.broker import Broker, Options
from faustc.broker.pipe import Pipes
from faustc.broker.server import Server, check_loopback
from faustc.broker.session import Session
from faustc.broker.wire import MAX_REQUEST_BYTES, message
from faustc.exceptions import ImproperlyConfigured
from tests.unit.broker.partitions import batch

TIMEOUT_S = 10
_peers: list[Peer] = []


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    broker = Broker(Options(housekeeping_s=0))
    await broker.start()
    pipes = Pipes(broker)
    yield pipes
    for peer in _peers:
        peer.writer.close()
    _peers.clear()
    await pipes.close()
    await broker.close()


class Peer:
    """A client that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, pipes: Pipes) -> Peer:
        peer = cls(*await pipes.open_streams())
        _peers.append(peer)
        return peer

    def send(self, frame: bytes) -> None:
        self.writer.write(struct.pack(">i", len(frame)) + frame)

    async def receive(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            (size,) = struct.unpack(">i", await self.reader.readexactly(4))
            return await self.reader.readexactly(size)

    async def ask(self, name: str, version: int, **fields: Any) -> Any:
        self.send(request(name, version, **fields))
        body = await self.receive()
        return message(name, "Response").decode(body, version=version, header=True)

    async def hung_up_on(self) -> bool:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read() == b""


def request(name: str, version: int, **fields: Any) -> bytes:
    made = message(name, "Request")(version=version, **fields)
    made.with_header(1, client_id="test")
    return bytes(made.encode(header=True))


async def answers(pipes: Pipes) -> bool:
    """Whether the broker is well, as somebody else sees it."""
    peer = await Peer.of(pipes)
    found = await peer.ask("ApiVersions", 3, client_software_name="t", client_software_version="1")
    peer.writer.close()
    return found.error_code == 0


def metadata() -> bytes:
    topics = [message("Metadata", "Request").MetadataRequestTopic(version=9, name="some-topic")]
    return request("Metadata", 9, topics=topics, allow_auto_topic_creation=False)


async def test_a_request_may_come_in_any_pieces(pipes: Pipes) -> None:
    peer = await Peer.of(pipes)
    frame = metadata()
    for byte in struct.pack(">i", len(frame)) + frame:
        peer.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    first = await peer.receive()
    for _ in range(3):
        peer.send(frame)
    assert [await peer.receive() for _ in range(3)] == [first] * 3


async def test_every_truncation_is_hung_up_on(
    pipes: Pipes, caplog: pytest.LogCaptureFixture
) -> None:
    frame = metadata()
    for size in range(len(frame)):
        caplog.clear()
        peer = await Peer.of(pipes)
        peer.send(frame[:size])
        assert await peer.hung_up_on()
        assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert await answers(pipes)


async def test_random_bytes_never_hurt_the_broker(
    pipes: Pipes, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(11)
    frame = metadata()
    for key, api in Session.served.items():
        for _ in range(40):
            version = chance.randint(api.min, api.max)
            body = chance.randbytes(chance.randrange(60))
            peer = await Peer.of(pipes)
            peer.send(struct.pack(">hhih", key, version, 1, -1) + b"\0" + body)
            peer.send(frame)
            with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(0.05):  # JoinGroup and Fetch may well wait
                    await peer.receive()
            peer.writer.close()
    assert await answers(pipes)
    # An error is a bug of ours: for what others send there are warnings.
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.WARNING] == []


async def test_mutated_requests_never_hurt_the_broker(
    pipes: Pipes, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(12)
    cls = message("Produce", "Request")
    parts = [cls.TopicProduceData.PartitionProduceData(
        version=9, index=0, records=batch([(b"k", b"v")] * 5))]  # fmt: skip
    topics = [cls.TopicProduceData(version=9, name="t", partition_data=parts)]
    good = request("Produce", 9, acks=1, timeout_ms=1, topic_data=topics)
    pipes_broker_topics = await (await Peer.of(pipes)).ask("Metadata", 1, topics=None)
    assert pipes_broker_topics.topics == []
    for frame in (good, metadata()):
        for _ in range(500):
            bad = bytearray(frame)
            for _ in range(chance.randint(1, 4)):
                bad[chance.randrange(8, len(bad))] = chance.randrange(256)
            peer = await Peer.of(pipes)
            peer.send(bytes(bad))
            with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(0.05):
                    await peer.receive()
            peer.writer.close()
    assert await answers(pipes)
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.WARNING] == []


@pytest.mark.parametrize(
    "start",
    [
        struct.pack(">i", -1),
        struct.pack(">i", MAX_REQUEST_BYTES + 1),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody who wants TLS
    ],
)
async def test_what_is_no_frame_is_hung_up_on(pipes: Pipes, start: bytes) -> None:
    peer = await Peer.of(pipes)
    peer.writer.write(start)
    assert await peer.hung_up_on()
    assert await answers(pipes)


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">hhih", 4, 0, 1, -1),  # LeaderAndIsr: for brokers among themselves
        struct.pack(">hhih", 3, 99, 1, -1),
        struct.pack(">hhih", 0, 2, 1, -1),
        struct.pack(">hhih", -1, -1, 1, -1),
    ],
)
async def test_what_is_not_served_is_hung_up_on(pipes: Pipes, frame: bytes) -> None:
    peer = await Peer.of(pipes)
    peer.send(frame)
    assert await peer.hung_up_on()


async def test_a_number_without_end_costs_no_time(pipes: Pipes) -> None:
    peer = await Peer.of(pipes)
    peer.send(struct.pack(">hhih", 3, 9, 1, -1) + b"\0" + b"\xff" * 2_000_000)
    assert await peer.hung_up_on()


async def test_who_does_not_read_is_not_written_to_for_ever(pipes: Pipes) -> None:
    peer = await Peer.of(pipes)
    peer.reader._limit = 1000  # type: ignore[attr-defined]
    for _ in range(20_000):
        peer.send(request("ApiVersions", 0))
    for _ in range(50):
        await asyncio.sleep(0)
    session = next(iter(pipes._sessions))
    assert session._transport is not None
    assert session._transport.get_write_buffer_size() < 200_000
    for _ in range(20_000):
        await peer.receive()


async def test_a_connection_that_goes_takes_its_waiting_fetch_along(pipes: Pipes) -> None:
    peer = await Peer.of(pipes)
    await peer.ask("Metadata", 1, topics=[message("Metadata", "Request").MetadataRequestTopic(
        version=1, name="waited-for")])  # fmt: skip
    cls = message("Fetch", "Request")
    part = cls.FetchTopic.FetchPartition(
        version=11, partition=0, fetch_offset=0, partition_max_bytes=100
    )
    topic = cls.FetchTopic(version=11, topic="waited-for", partitions=[part])
    peer.send(request("Fetch", 11, max_wait_ms=60_000, min_bytes=1, topics=[topic]))
    for _ in range(10):
        await asyncio.sleep(0)
    partition = pipes._broker.partition("waited-for", 0)
    assert partition is not None
    assert len(partition._watchers) == 1
    peer.writer.close()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not partition._watchers
    assert not pipes._sessions


# --- the server around it ---


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "192.168.1.1"])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="loopback only"):
        Server(Broker(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_every_name_of_loopback_is_fine(host: str) -> None:
    check_loopback(host)


async def test_a_folder_has_one_broker(tmp_path: Any) -> None:
    first, second = Broker(Options(data=tmp_path)), Broker(Options(data=tmp_path))
    await first.start()
    with pytest.raises(ImproperlyConfigured, match="another broker"):
        await second.start()
    await second.close()
    await first.close()
    await second.start()
    await second.close()


async def test_a_stop_with_open_connections_is_quick() -> None:
    server = Server(Broker())
    await server.start()
    reader, writer = await asyncio.open_connection(server.broker.host, server.broker.port)
    async with asyncio.timeout(30):
        await server.close()
        assert await reader.read() == b""
    writer.close()
