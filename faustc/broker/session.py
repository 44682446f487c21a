"""One connection: frames in, answers out, one request after the other.

A protocol over any transport: a socket's, or one in memory. As in Kafka the next
request of a connection is begun when the one before was answered, so that answers
keep their order by themselves; other connections go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

from faustc._native.framer import Framer
from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.handlers.h18_api_versions import refuse
from faustc.broker.handlers.table import HANDLERS, SERVED
from faustc.broker.wire import API_VERSIONS, PRODUCE, Answer, Api, Call, Header
from faustc.exceptions import CorruptFrame

logger = logging.getLogger(__name__)

# Requests that wait for the one before them; then the peer is not read from.
_MAX_QUEUED = 64
_MAX_QUEUED_BYTES = 64 * 1024 * 1024
_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36
_BEFORE_LOGIN = (API_VERSIONS, _SASL_HANDSHAKE, _SASL_AUTHENTICATE)


class Session(asyncio.BufferedProtocol):
    """A connection of the broker. `sessions` is the set of those alive, which it keeps itself in.

    Its task ends with the connection; `wait_closed` waits for that.
    """

    served: Mapping[int, Api] = SERVED

    def __init__(self, broker: Broker, sessions: set[Session]) -> None:
        self.client_host = "127.0.0.1"
        self.state: dict[str, Any] = {}
        self._broker = broker
        self._sessions = sessions
        self._framer = Framer(wire.MAX_REQUEST_BYTES)
        self._frames: deque[bytes] = deque()
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reads = True
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    # -- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.client_host = str(peer[0])
        self._sessions.add(self)
        self._task = self._broker.loop.create_task(self._serve())

    def get_buffer(self, sizehint: int) -> Any:
        return self._framer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            frames = self._framer.buffer_updated(nbytes)
        except CorruptFrame as exc:
            self.close(str(exc))
            return
        if frames:
            self._take(frames)

    def _take(self, frames: list[bytes]) -> None:
        self._frames.extend(frames)
        self._queued_bytes += sum(map(len, frames))
        self._arrived.set()
        if self._reads and self._is_full() and self._transport is not None:
            self._reads = False
            self._transport.pause_reading()

    def _is_full(self) -> bool:
        return len(self._frames) > _MAX_QUEUED or self._queued_bytes > _MAX_QUEUED_BYTES

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> None:
        return None  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._sessions.discard(self)
        if self._task is not None:
            self._task.cancel()

    # -- requests

    async def _serve(self) -> None:
        while True:
            while not self._frames:
                self._arrived.clear()
                await self._arrived.wait()
            frame = self._frames.popleft()
            self._queued_bytes -= len(frame)
            if not self._reads and not self._is_full() and self._transport is not None:
                self._reads = True
                self._transport.resume_reading()
            try:
                answer = await self._answer(frame)
            except CorruptFrame as exc:
                self.close(str(exc))
                return
            except Exception:
                logger.exception("A request of %s failed; its connection is closed", self._name)
                self._drop()
                return
            if self._transport is None:
                return
            if answer is not None:
                for piece in answer.pieces:
                    self._transport.write(piece)
                await self._writable.wait()

    async def _answer(self, frame: bytes) -> Answer | None:
        header = wire.read_header(frame)
        api = SERVED.get(header.key)
        if api is None:
            raise CorruptFrame(f"API {header.key} is not served here")
        must_log_in = self._broker.options.sasl is not None and "user" not in self.state
        if must_log_in and header.key not in _BEFORE_LOGIN:
            raise CorruptFrame(f"{api.name} before SASL")
        if not api.min <= header.version <= api.max:
            return self._unsupported(api, header)
        request = wire.read_request(api, header, frame)
        call = Call(api, header.version, header.correlation_id, header.client_id, request, self)
        answer = await HANDLERS[header.key](self._broker, call)
        if answer is None and header.key != PRODUCE:
            raise AssertionError(f"{api.name} has no answer")
        return answer

    def _unsupported(self, api: Api, header: Header) -> Answer:
        """Say which versions there are, if ApiVersions is asked; else there is nothing to say."""
        if api.key != API_VERSIONS:
            raise CorruptFrame(
                f"{api.name} v{header.version} is not served, only {api.min} to {api.max}"
            )
        return refuse(Call(api, 0, header.correlation_id, header.client_id, None, self))

    # -- the end

    @property
    def _name(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else self.client_host

    def close(self, reason: str) -> None:
        """Drop the connection, saying why in the log."""
        logger.warning("Close the connection of %s: %s", self._name, reason)
        self._drop()

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Drop the connection without a word and wait for its task."""
        self._drop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
