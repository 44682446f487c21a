"""One socket to one broker: correlation ids, waiting requests, timeouts, close.

Kafka answers the requests of a connection in the order they were sent, so the
waiting ones are a queue, and an answer that is not for its head proves that the
stream is broken: the connection is dropped rather than trusted further.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import cache
from importlib import metadata
from itertools import islice
from types import MappingProxyType
from typing import Any

from faustc._native.framer import Framer
from faustc.client import codes, wire
from faustc.client.auth import Login
from faustc.client.dialer import Dialer
from faustc.client.link import Link
from faustc.client.renewal import Renewal
from faustc.exceptions import (
    AuthenticationFailed,
    ConnectionLost,
    CorruptFrame,
    KafkaError,
    KafkaTimeout,
    UnsupportedVersion,
)

logger = logging.getLogger(__name__)

MAX_FRAME_BYTES = 128 * 1024 * 1024 + 64 * 1024
# A broker asks for no more than its quota window, 30 s unless configured
# otherwise; a longer pause would be taken for a dead connection by our callers.
MAX_THROTTLE_S = 60.0
_CORRELATION_IDS = 2**31 - 1
_NEWEST_HANDSHAKE = 4
_TRANSACTION_FEATURE = "transaction.version"


class _Waiter:
    """One request that was sent, or is held back, and is not answered yet."""

    __slots__ = ("correlation_id", "deadline", "future", "what")

    def __init__(
        self, correlation_id: int, what: str, deadline: float, future: asyncio.Future[bytes]
    ) -> None:
        self.correlation_id = correlation_id
        self.what = what
        self.deadline = deadline
        self.future = future


class BrokerConnection:
    """A connection that owns its socket, its framer and its waiting requests.

    Used from one event loop only. Once closed, for whatever reason, it stays
    closed: make another. It never retries and never looks at error codes of
    answers; both are its caller's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str = "faustc",
        node_id: int | None = None,
        dialer: Dialer | None = None,
        login: Login | None = None,
        request_timeout_s: float = 40.0,
        max_idle_s: float = 540.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self.host = host
        self.port = port
        self.client_id = client_id
        self.node_id = node_id
        self.versions: MappingProxyType[int, tuple[int, int]] = MappingProxyType({})
        self.finalized_features: MappingProxyType[str, int] = MappingProxyType({})
        self.closed = False
        self.on_closed: Callable[[BrokerConnection], None] | None = None  # called once, by close
        self.close_reason: BaseException | None = None
        self.quiet = False  # closed by us, or unused: nobody needs to hear of it
        self._dialer = dialer or Dialer()
        self._request_timeout_s = request_timeout_s
        self._max_idle_s = max_idle_s
        self._max_frame_bytes = max_frame_bytes
        self._link: Link | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiter] = deque()
        self._last_id = 0
        self._last_used = self._loop.time()
        # One timer for the earliest deadline, or for idleness when nobody waits.
        self._timer: asyncio.TimerHandle | None = None
        self._muted_until = 0.0
        self._unmute: asyncio.TimerHandle | None = None
        self._held: list[bytes | bytearray] = []
        self._held_waiters = 0  # the last so many of those that wait are not sent yet
        self._login = login
        self._renewal: Renewal | None = None

    def __repr__(self) -> str:
        node = "" if self.node_id is None else f" node {self.node_id}"
        state = f"closed: {self.close_reason}" if self.closed else f"{self.in_flight} in flight"
        return f"<BrokerConnection{node} {self.host}:{self.port}, {state}>"

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answer."""
        return len(self._waiting)

    @property
    def transactions_v2(self) -> bool:
        """Whether the cluster has finalized transaction.version 2 (KIP-890)."""
        return self.finalized_features.get(_TRANSACTION_FEATURE, 0) >= 2

    def version(self, name: str, *, transactional: bool = False) -> int:
        """Return the version of an API to speak with this broker.

        Raises UnsupportedVersion when there is none.
        """
        try:
            return wire.pick_version(
                name,
                self.versions,
                transactional=transactional,
                transactions_v2=self.transactions_v2,
            )
        except UnsupportedVersion as exc:
            raise UnsupportedVersion(f"{self.host}:{self.port}: {exc}") from None

    async def open(self, timeout_s: float = 10.0) -> None:
        """Connect, learn the broker's versions and features, and log in.

        Raises ConnectionLost, KafkaTimeout, UnsupportedVersion or
        AuthenticationFailed; the connection is closed then.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect(timeout_s)
                await self._handshake(timeout_s)
                if self._login is not None:
                    await self._log_in(self._login)
        except TimeoutError as exc:
            reason = KafkaTimeout(f"{self.host}:{self.port} was not ready within {timeout_s:g} s")
            self.close(reason)
            raise reason from exc
        except BaseException as exc:
            self.close(exc)
            if isinstance(exc, ConnectionLost) and isinstance(exc.__cause__, AuthenticationFailed):
                raise exc.__cause__ from None  # TLS 1.3: our certificate, refused a moment late
            raise
        self._last_used = self._loop.time()
        self._schedule(self._last_used + self._max_idle_s)

    async def request(
        self,
        name: str,
        /,
        timeout_s: float | None = None,
        *,
        version: int | None = None,
        **fields: Any,
    ) -> Any:
        """Send a control-plane request; return its answer, whatever error codes it has.

        timeout_s defaults to the request timeout. Raises KafkaTimeout and closes
        the connection when it passes; ConnectionLost when the socket dies first;
        CorruptFrame when the answer does not decode. A late answer is dropped.
        """
        return await self._request(name, version, timeout_s, fields)

    async def _request(
        self,
        name: str,
        version: int | None,
        timeout_s: float | None,
        fields: dict[str, Any],
        *,
        first: bool = False,
    ) -> Any:
        if version is None:
            version = self.version(name)
        self._refuse_if_closed(name)
        correlation_id = self._next_id()
        # No variable holds the frame: with a login's it would be part of tracebacks.
        body = await self._transmit(
            correlation_id,
            name,
            wire.encode(name, version, correlation_id, self.client_id, **fields),
            timeout_s,
            first=first,
        )
        try:
            answer = wire.decode(name, version, body)
        except CorruptFrame as exc:
            self.close(exc)
            raise
        throttle_ms = getattr(answer, "throttle_time_ms", 0)
        if throttle_ms:
            self.throttle(throttle_ms)
        return answer

    def request_native(
        self,
        api_key: int,
        encode: Callable[[int], bytes | bytearray],
        *,
        timeout_s: float | None = None,
        want_answer: bool = True,
    ) -> asyncio.Future[bytes]:
        """Send a frame that `_native` encodes; return the future of its answer's bytes.

        encode is called once, with the correlation id. The bytes start with the
        response header. Without an answer to come (acks=0) the future is done
        as soon as the frame is on its way. Raises ConnectionLost if closed; the
        future fails as `request` does. Report the answer's throttle time to `throttle`.
        """
        what = wire.api_name(api_key)
        self._refuse_if_closed(what)
        correlation_id = self._next_id()
        frame = encode(correlation_id)
        if want_answer:
            return self._transmit(correlation_id, what, frame, timeout_s)
        done: asyncio.Future[bytes] = self._loop.create_future()
        done.set_result(b"")
        self._last_used = self._loop.time()
        self._send(frame, waited_for=False)
        return done

    def throttle(self, throttle_ms: int) -> None:
        """Hold back requests for throttle_ms, as a broker asks that enforces a quota (KIP-219)."""
        if throttle_ms <= 0 or self.closed:
            return
        until = self._loop.time() + min(throttle_ms / 1000, MAX_THROTTLE_S)
        if until <= self._muted_until:
            return
        logger.debug("%s:%s asks for a pause of %d ms", self.host, self.port, throttle_ms)
        self._muted_until = until
        if self._unmute is not None:
            self._unmute.cancel()
        self._unmute = self._loop.call_at(until, self._release)

    def close(self, reason: BaseException | None = None) -> None:
        """Close the socket and fail whoever waits with the reason; idempotent."""
        if self.closed:
            return
        self.closed = True
        self.quiet = self.quiet or reason is None
        self.close_reason = reason or ConnectionLost(f"{self.host}:{self.port}: closed by us")
        for timer in (self._timer, self._unmute):
            if timer is not None:
                timer.cancel()
        self._timer = self._unmute = None
        self._held.clear()
        if self._renewal is not None:
            self._renewal.close()
        if self._link is not None:
            self._link.close()
        while self._waiting:
            self._fail(self._waiting.popleft(), self.close_reason)
        if self.on_closed is not None:
            self.on_closed(self)

    async def wait_closed(self) -> None:
        """Wait until a closed connection has given back its descriptor."""
        if self._renewal is not None:
            await self._renewal.wait_closed()
        if self._link is not None:
            await self._link.wait_closed()

    # --- opening ---

    async def _connect(self, timeout_s: float) -> None:
        framer = Framer(self._max_frame_bytes)  # the link's alone: it lets go of it when it closes
        link = await self._dialer.link(
            self.host, self.port, timeout_s, framer, self._on_frames, self._on_lost
        )
        if self.closed:  # while we dialled
            link.close()
            await link.wait_closed()
            raise ConnectionLost(str(self.close_reason))
        self._link = link

    async def _handshake(self, timeout_s: float) -> None:
        version = _NEWEST_HANDSHAKE
        while True:
            answer = await self.request(
                "ApiVersions",
                timeout_s,
                version=version,
                client_software_name="faustc",
                client_software_version=library_version(),
            )
            if answer.error_code != codes.UNSUPPORTED_VERSION:
                break
            # The answer came in version 0 and lists what the broker does speak (KIP-511).
            served = {entry.api_key: entry.max_version for entry in answer.api_keys or ()}
            lower = min(served.get(wire.api_key("ApiVersions"), 0), version - 1)
            if lower < 0:
                raise UnsupportedVersion(
                    f"{self.host}:{self.port} speaks no version of ApiVersions"
                )
            version = lower
        if answer.error_code:
            raise codes.error_for(answer.error_code, f"ApiVersions to {self.host}:{self.port}")
        self.versions = MappingProxyType(
            {e.api_key: (e.min_version, e.max_version) for e in answer.api_keys or ()}
        )
        self.finalized_features = MappingProxyType(
            {f.name: f.max_version_level for f in answer.finalized_features or ()}
        )

    # --- logging in ---

    async def _log_in(self, login: Login) -> None:
        def ask(name: str, **fields: Any) -> Any:
            return self._request(name, None, None, fields, first=True)

        self._renewal = Renewal(login, f"{self.host}:{self.port}", ask, self._renewed)
        await self._renewal.log_in()

    def _renewed(self, error: BaseException | None) -> None:
        if error is not None:
            self.close(error)
        else:
            self._send_held()

    # --- sending ---

    def _refuse_if_closed(self, what: str) -> None:
        if self.closed or self._link is None:
            raise ConnectionLost(
                f"{what} to {self.host}:{self.port}: the connection is closed"
                + (f" ({self.close_reason})" if self.close_reason else "")
            ) from self.close_reason

    def _next_id(self) -> int:
        self._last_id = self._last_id % _CORRELATION_IDS + 1
        return self._last_id

    def _transmit(
        self,
        correlation_id: int,
        what: str,
        frame: bytes | bytearray,
        timeout_s: float | None,
        *,
        first: bool = False,
    ) -> asyncio.Future[bytes]:
        now = self._loop.time()
        if timeout_s is None:
            timeout_s = self._request_timeout_s
        if first:
            return self._transmit_first(correlation_id, what, frame, now + timeout_s)
        # A request that is held back is not late yet.
        deadline = max(now, self._muted_until) + timeout_s
        waiter = _Waiter(correlation_id, what, deadline, self._loop.create_future())
        self._waiting.append(waiter)
        self._last_used = now
        if self._timer is None or self._timer.when() > deadline:
            self._schedule(deadline)
        self._send(frame, waited_for=True)
        return waiter.future

    def _transmit_first(
        self, correlation_id: int, what: str, frame: bytes | bytearray, deadline: float
    ) -> asyncio.Future[bytes]:
        """Send now, before what is held back; it is late only if what was sent before is."""
        sent = len(self._waiting) - self._held_waiters
        deadline = max([deadline, *(waiter.deadline for waiter in islice(self._waiting, sent))])
        waiter = _Waiter(correlation_id, what, deadline, self._loop.create_future())
        self._waiting.insert(sent, waiter)
        if self._timer is None or self._timer.when() > deadline:
            self._schedule(deadline)
        if self._link is not None:
            self._link.send(frame)
        return waiter.future

    def _send(self, frame: bytes | bytearray, *, waited_for: bool) -> None:
        now = self._loop.time()
        renewal = self._renewal
        if renewal is not None:
            renewal.look(now)
        # In the order of the waiters: while anything is held back, so is the rest.
        if self._held or now < self._muted_until or (renewal is not None and renewal.alone):
            self._held.append(frame)
            self._held_waiters += waited_for
        elif self._link is not None:
            self._link.send(frame)

    def _release(self) -> None:
        self._unmute = None
        self._muted_until = 0.0
        self._send_held()

    def _send_held(self) -> None:
        if self._unmute is not None or (self._renewal is not None and self._renewal.alone):
            return
        held, self._held, self._held_waiters = self._held, [], 0
        for frame in held:
            if self._link is not None and not self.closed:
                self._link.send(frame)

    # --- receiving ---

    def _on_frames(self, frames: list[bytes]) -> None:
        self._last_used = self._loop.time()
        for frame in frames:
            if self.closed:
                return
            correlation_id = int.from_bytes(frame[:4], "big", signed=True)
            if not self._waiting or self._waiting[0].correlation_id != correlation_id:
                expected = self._waiting[0].correlation_id if self._waiting else "none"
                self.close(
                    CorruptFrame(
                        f"{self.host}:{self.port} answers {correlation_id} "
                        f"({len(frame)} bytes), waited for is {expected}"
                    )
                )
                return
            waiter = self._waiting.popleft()
            if not waiter.future.done():  # else its caller has given up
                waiter.future.set_result(frame)

    def _on_lost(self, exc: BaseException) -> None:
        self.close(exc)

    # --- deadlines ---

    def _schedule(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if not self._waiting:
            idle_at = self._last_used + self._max_idle_s
            if now < idle_at:
                self._schedule(idle_at)
                return
            self.quiet = True
            unused = f"closed after {self._max_idle_s:g} s unused"
            self.close(ConnectionLost(f"{self.host}:{self.port}: {unused}"))
            return
        late = [waiter for waiter in self._waiting if waiter.deadline <= now]
        if not late:
            self._schedule(min(waiter.deadline for waiter in self._waiting))
            return
        # Answers come in order, so nothing behind a stuck one can arrive: as in
        # Kafka's own client, the connection is given up, not the one request.
        reason = KafkaTimeout(f"{self.host}:{self.port} did not answer {late[0].what} in time")
        for waiter in late:
            if not waiter.future.done():
                waiter.future.set_exception(
                    KafkaTimeout(f"{self.host}:{self.port} did not answer {waiter.what} in time")
                )
        self.close(reason)

    def _fail(self, waiter: _Waiter, reason: BaseException) -> None:
        if waiter.future.done():
            return
        # An exception of its own for each: they gather tracebacks as they are raised.
        lost = ConnectionLost(f"{waiter.what} to {self.host}:{self.port} was lost: {reason}")
        if isinstance(reason, KafkaError | OSError):
            lost.__cause__ = reason
        waiter.future.set_exception(lost)


@cache
def library_version() -> str:
    """Return the version of faustc, "0" when it runs from a folder that was not installed."""
    try:
        return metadata.version("faustc")
    except metadata.PackageNotFoundError:
        return "0"
