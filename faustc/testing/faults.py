"""Faults on the way between client and broker, by the API they hit; planned, seeded, told of.

They are made on the client's side of a link, so they work the same in memory and
over sockets. What a fault does to one request::

    request ---> [drop: it never arrives, and nothing comes back on this connection]
            ---> [error: it never arrives, and is refused with a code]
            ---> broker ---> [delay: the answer comes later]
                        ---> [cut: the connection is lost within the answer]  ---> client
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import deque
from dataclasses import dataclass, field

from faustc._native.framer import Framer
from faustc.client import codes
from faustc.client.dialer import Dialer
from faustc.client.link import FramesCallback, Link, LostCallback
from faustc.client.wire import api_key, api_name
from faustc.exceptions import ConnectionLost, ImproperlyConfigured
from faustc.testing.refusals import REFUSABLE, refusal

__all__ = ["Faults"]

_HISTORY = 200


@dataclass
class _Rule:
    """One fault that is to happen, and how often yet (None: always)."""

    what: str
    left: int | None
    chance: float
    drop: bool = False
    delay_s: float = 0.0
    error: int = 0
    cut_after_bytes: int | None = None


class Faults:
    """A plan of faults, and what came of it. With the same seed and plan, the n-th request of
    an API has the same fate in every run.

    One plan may serve any number of clients: `dialer(inner)` makes the way there
    for each.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.history: deque[str] = deque(maxlen=_HISTORY)
        # One for each API: whatever happens to the others, its n-th request has the same fate.
        self._random: dict[int, random.Random] = {}
        self._rules: dict[int, list[_Rule]] = {}
        self._seen: dict[int, int] = {}
        self._planned: list[str] = []
        # Group membership may be on a thread of its own.
        self._lock = threading.Lock()

    def control(
        self,
        api: str,
        *,
        drop: int | None = None,
        delay_s: float | None = None,
        error: int | str | None = None,
        cut_after_bytes: int | None = None,
        times: int | None = 1,
        chance: float = 1.0,
    ) -> None:
        """Plan a fault for the next requests of an API, named as in Kafka's protocol.

        One of: drop (how many), delay_s (seconds), error (Kafka's name or number),
        cut_after_bytes (of the answer; the broker has done what was asked). The
        last three happen to the next `times` requests, None for all, each with this
        chance. Plans for one API happen one after the other.
        """
        try:
            key = api_key(api)
        except KeyError:
            raise ImproperlyConfigured(f"there is no API {api!r}; try 'Produce'") from None
        kinds = {
            "drop": drop, "delay_s": delay_s, "error": error, "cut_after_bytes": cut_after_bytes
        }  # fmt: skip
        given = {name: value for name, value in kinds.items() if value is not None}
        if len(given) != 1:
            raise ImproperlyConfigured(f"{api}: give one of {', '.join(kinds)}")
        if not 0 < chance <= 1:
            raise ImproperlyConfigured(f"{api}: chance is above 0 and at most 1, not {chance}")
        code = 0 if error is None else _code(error)
        if error is not None and api not in REFUSABLE:
            raise ImproperlyConfigured(f"{api} cannot be refused: its answer is more than a code")
        name, value = next(iter(given.items()))
        what = "drop" if drop is not None else f"{name}={value}"
        rule = _Rule(
            what,
            drop if drop is not None else times,
            chance,
            drop=drop is not None,
            delay_s=delay_s or 0.0,
            error=code,
            cut_after_bytes=cut_after_bytes,
        )
        with self._lock:
            self._rules.setdefault(key, []).append(rule)
            often = "always" if rule.left is None else f"{rule.left} times"
            self._planned.append(f"{api}: {what}, {often}, chance {chance:g}")

    def clear(self) -> None:
        """Let nothing more go wrong."""
        with self._lock:
            self._rules.clear()

    def decide(self, key: int) -> _Rule | None:
        """Return the fault for the next request of an API, and note it."""
        with self._lock:
            count = self._seen[key] = self._seen.get(key, 0) + 1
            rules = self._rules.get(key)
            if not rules:
                return None
            rule = rules[0]
            if rule.chance < 1:
                dice = self._random.setdefault(key, random.Random(f"{self.seed} {key}"))
                if dice.random() >= rule.chance:
                    return None
            if rule.left is not None:
                rule.left -= 1
                if rule.left <= 0:
                    rules.pop(0)
            self.history.append(f"{api_name(key)} #{count}: {rule.what}")
            return rule

    def describe(self) -> str:
        """Tell the seed, the plan and what happened; empty when nothing was planned."""
        if not self._planned:
            return ""
        lines = [f"faults, seed {self.seed}", *(f"  planned {plan}" for plan in self._planned)]
        lines += [f"  happened {what}" for what in self.history] or ["  none happened"]
        return "\n".join(lines)

    def dialer(self, inner: Dialer | None = None) -> Dialer:
        """Return a dialer whose links have these faults; inner is the way without them."""
        return _FaultyDialer(inner or Dialer(), self)


def _code(error: int | str) -> int:
    if isinstance(error, int):
        return error
    found = getattr(codes, error.upper(), None)
    if not isinstance(found, int):
        raise ImproperlyConfigured(f"there is no error {error!r}; try 'NOT_LEADER_OR_FOLLOWER'")
    return found


class _FaultyDialer(Dialer):
    """Puts a faulty link before each link of another dialer."""

    def __init__(self, inner: Dialer, faults: Faults) -> None:
        super().__init__(ssl_context=inner.ssl_context)
        self.across_threads = inner.across_threads
        self._inner = inner
        self._faults = faults

    async def link(
        self,
        host: str,
        port: int,
        timeout_s: float,
        framer: Framer,
        on_frames: FramesCallback,
        on_lost: LostCallback,
    ) -> Link:
        """Return a link that does to requests what is planned."""
        faulty = _FaultyLink(self._faults, on_frames, on_lost)
        faulty.inner = await self._inner.link(
            host, port, timeout_s, framer, faulty.take, faulty.lost
        )
        return faulty


@dataclass
class _Waiting:
    """A request on its way, and its answer until that is its turn."""

    correlation_id: int
    fault: _Rule | None
    answer: bytes | None = None
    due: float = field(default=0.0)


class _FaultyLink:
    """Hands requests down and answers up, in order, and meddles with some."""

    inner: Link

    def __init__(self, faults: Faults, on_frames: FramesCallback, on_lost: LostCallback) -> None:
        self._faults = faults
        self._on_frames = on_frames
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._silent = False
        self._closed = False

    def send(self, data: bytes | bytearray) -> None:
        """Send one whole request, or do what is planned."""
        if self._silent or self._closed:
            return
        key, _, correlation_id = struct.unpack_from(">hhi", data, 4)
        fault = self._faults.decide(key)
        waiting = _Waiting(correlation_id, fault)
        if fault is not None and fault.drop:
            self._silent = True
            return
        self._waiting.append(waiting)
        if fault is not None and fault.error:
            waiting.answer = refusal(bytes(data[4:]), fault.error)
            # As from a broker: not before send has returned.
            self._loop.call_soon(self._hand_up)
        else:
            self.inner.send(data)

    def close(self) -> None:
        """Give back what is below; idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self.inner.close()

    async def wait_closed(self) -> None:
        """Wait for what is below."""
        await self.inner.wait_closed()

    def lost(self, exc: BaseException) -> None:
        """Tell of a connection that was lost below."""
        if not self._closed and not self._silent:
            self._on_lost(exc)

    def take(self, frames: list[bytes]) -> None:
        """Take answers from below."""
        if self._silent or self._closed:
            return
        for frame in frames:
            correlation_id = int.from_bytes(frame[:4], "big", signed=True)
            # Those before it that have no answer get none, such as Produce with acks=0.
            for waiting in list(self._waiting):
                if waiting.correlation_id == correlation_id:
                    waiting.answer = frame
                    if waiting.fault is not None:
                        waiting.due = self._loop.time() + waiting.fault.delay_s
                    break
                if waiting.answer is None:
                    self._waiting.remove(waiting)
        self._hand_up()

    def _hand_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and not self._closed and not self._silent:
            first = self._waiting[0]
            if first.answer is None:
                return
            if first.due > self._loop.time():
                self._timer = self._loop.call_at(first.due, self._hand_up)
                return
            self._waiting.popleft()
            cut = first.fault.cut_after_bytes if first.fault is not None else None
            if cut is None or cut >= len(first.answer) + 4:
                self._on_frames([first.answer])
            if cut is not None:
                self._silent = True
                self.inner.close()
                self._on_lost(ConnectionLost(f"a fault cut the connection after {cut} bytes"))
