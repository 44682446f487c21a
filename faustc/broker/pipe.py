"""Connections in memory, between two ends in one event loop. No socket, no thread, no copy."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from faustc.broker.broker import Broker
from faustc.broker.session import Session

# As asyncio's sockets have it: where a writer is told to pause.
_HIGH_WATER = 64 * 1024


class PipeTransport(asyncio.Transport):
    """One end of a pipe: what is written comes out of the other, in order, a turn later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        super().__init__({"peername": None, "pipe": name})
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = None
        self._peer: PipeTransport | None = None
        self._inbox: deque[bytes] = deque()
        self._waiting = 0  # bytes in the inbox
        self._reads = True
        self._closing = False
        self._lost = False
        self._ends = False  # the peer will write no more

    def join(self, peer: PipeTransport, protocol: asyncio.BaseProtocol) -> None:
        """Give this end its protocol, and its other end."""
        self._peer = peer
        self._protocol = protocol

    # -- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing and self._peer is not None:
            self._peer._receive(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if self._peer is not None:
                self._peer._end()
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self._inbox.clear()
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        if not self._reads:
            self._reads = True
            self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return self._reads and not self._closing

    def get_write_buffer_size(self) -> int:
        return self._peer._waiting if self._peer is not None else 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    # -- the other end calls

    def _receive(self, data: bytes) -> None:
        self._inbox.append(data)
        self._waiting += len(data)
        if self._waiting > _HIGH_WATER and self._waiting - len(data) <= _HIGH_WATER:
            self._tell_writer("pause_writing")
        self._loop.call_soon(self._deliver)

    def _end(self) -> None:
        self._ends = True
        self._loop.call_soon(self._deliver)

    def _tell_writer(self, what: str) -> None:
        if self._peer is not None and self._peer._protocol is not None and not self._peer._lost:
            getattr(self._peer._protocol, what)()

    # -- to the protocol

    def _deliver(self) -> None:
        was_full = self._waiting > _HIGH_WATER
        while self._inbox and self._reads and not self._closing:
            data = self._inbox.popleft()
            self._waiting -= len(data)
            self._hand_over(data)
        if was_full and self._waiting <= _HIGH_WATER:
            self._tell_writer("resume_writing")
        if self._ends and not self._inbox and not self._closing:
            protocol: Any = self._protocol
            protocol.eof_received()
            self.close()  # a pipe has no half-closed state: nobody would read what is written

    def _hand_over(self, data: bytes) -> None:
        protocol: Any = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        rest = memoryview(data)
        while rest and not self._closing:
            buffer = memoryview(protocol.get_buffer(len(rest)))
            size = min(len(rest), len(buffer))
            buffer[:size] = rest[:size]
            buffer.release()
            protocol.buffer_updated(size)
            rest = rest[size:]

    def _lose(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._inbox.clear()
            assert self._protocol is not None
            self._protocol.connection_lost(exc)
            self._peer = None


class Pipes:
    """Connections to one broker that are all in memory."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sessions: set[Session] = set()
        self._transports: set[PipeTransport] = set()

    def connect(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        """Connect a client's protocol and return its transport."""
        loop = self._broker.loop
        near, far = PipeTransport(loop, "client"), PipeTransport(loop, "broker")
        session = Session(self._broker, self._sessions)
        near.join(far, protocol)
        far.join(near, session)
        self._transports = {each for each in self._transports if not each.is_closing()}
        self._transports.add(near)
        session.connection_made(far)
        protocol.connection_made(near)
        return near

    async def open_streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and return what asyncio.open_connection does."""
        reader = asyncio.StreamReader(loop=self._broker.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._broker.loop)
        transport = self.connect(protocol)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._broker.loop)

    async def close(self) -> None:
        """Drop every connection."""
        for session in list(self._sessions):
            await session.wait_closed()
        for transport in self._transports:
            transport.close()
        await asyncio.sleep(0)  # their protocols hear of it with the next turn
