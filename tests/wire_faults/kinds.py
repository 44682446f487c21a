"""The kinds of wire fault, one class each: what happens to frames from a chosen moment on."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator

from faustc._native.checksum import crc32c
from tests.proxy import Cut, Fault, Frame, Proxies, Wire

PRODUCE, FETCH = 0, 1
BATCH_HEADER = 61
PAUSE_BYTES = 5  # how long, and the tags behind it
LENGTH_END, MAGIC_AT, CRC_AT, CRC_FROM = 12, 16, 17, 21


class Spoiler(Fault):
    """A fault that waits to be armed, then strikes once; `struck` counts how often it did.

    Each time it is armed it looks for a Produce, for a Fetch, or takes whatever comes.
    """

    #: What it looks for, one of these in turn; None takes any.
    aims: tuple[int | None, ...] = (PRODUCE, FETCH, None)
    #: What one strike lasts, for those that are not over at once.
    lasts_s = 0.0

    def __init__(self, chance: random.Random, proxies: Proxies, request_timeout_s: float) -> None:
        self.chance = chance
        self.proxies = proxies
        self.request_timeout_s = request_timeout_s
        self.armed = False
        self.aim: int | None = None
        self.struck = 0

    async def arm(self) -> None:
        """Strike at the next frame that is aimed at."""
        self.aim = self.aims[self.struck % len(self.aims)]
        self.armed = True

    def strikes(self, frame: Frame) -> bool:
        """Say whether this frame is struck; then no other is until armed again."""
        if not self.armed or self.aim not in (None, frame.api_key):
            return False
        self.armed = False
        self.struck += 1
        return True


class CutInRequest(Spoiler):
    """The connection ends in the middle of a request."""

    async def request(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            await wire.to_broker(frame.data[: len(frame.data) // 2])
            raise Cut
        await wire.to_broker(frame.data)


class CutInAnswer(Spoiler):
    """The connection ends in the middle of an answer, or behind one that is too short."""

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            part = frame.data[4 : self.chance.randrange(8, max(9, len(frame.data)))]
            size = len(part) if self.struck % 2 else len(frame.data) - 4
            await wire.to_client(struct.pack(">i", size) + part)
            raise Cut
        await wire.to_client(frame.data)


class CutAnywhere(Spoiler):
    """The connection ends after a random byte, in either direction."""

    async def request(self, wire: Wire, frame: Frame) -> None:
        if self.chance.random() < 0.5 and self.strikes(frame):
            await wire.to_broker(frame.data[: self.chance.randrange(len(frame.data) + 1)])
            raise Cut
        await wire.to_broker(frame.data)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.chance.random() < 0.5 and self.strikes(frame):
            await wire.to_client(frame.data[: self.chance.randrange(len(frame.data) + 1)])
            raise Cut
        await wire.to_client(frame.data)


class Reset(Spoiler):
    """The connection is reset (RST): what was on its way is gone, both ways."""

    async def request(self, wire: Wire, frame: Frame) -> None:
        if self.chance.random() < 0.5 and self.strikes(frame):
            if self.chance.random() < 0.5:
                await wire.to_broker(frame.data)
            raise Cut(reset=True)
        await wire.to_broker(frame.data)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.chance.random() < 0.5 and self.strikes(frame):
            raise Cut(reset=True)
        await wire.to_client(frame.data)


class HalfOpen(Spoiler):
    """Nothing flows any more, and nobody closes anything."""

    deaf = mute = True

    async def request(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            wire.deaf = self.deaf
            wire.mute = self.mute
        await wire.to_broker(frame.data)


class OneWayToBroker(HalfOpen):
    """Requests arrive, answers do not."""

    deaf = False


class OneWayFromBroker(HalfOpen):
    """Requests do not arrive; what was asked before is answered."""

    mute = False


class Slow(Spoiler):
    """Bytes trickle, both ways, on all connections."""

    lasts_s = 1.2
    bytes_per_turn, turn_s = 40, 0.02

    def __init__(self, chance: random.Random, proxies: Proxies, request_timeout_s: float) -> None:
        super().__init__(chance, proxies, request_timeout_s)
        self.until = 0.0

    async def arm(self) -> None:
        self.until = asyncio.get_running_loop().time() + self.lasts_s
        self.struck += 1

    def trickle(self, data: bytes) -> Iterator[bytes]:
        loop = asyncio.get_running_loop()
        at = 0
        while at < len(data):
            step = self.bytes_per_turn if loop.time() < self.until else len(data)
            yield data[at : at + step]
            at += step

    async def request(self, wire: Wire, frame: Frame) -> None:
        for piece in self.trickle(frame.data):
            await wire.to_broker(piece)
            await asyncio.sleep(self.turn_s if len(piece) < len(frame.data) else 0)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        for piece in self.trickle(frame.data):
            await wire.to_client(piece)
            await asyncio.sleep(self.turn_s if len(piece) < len(frame.data) else 0)


class Late(Spoiler):
    """An answer comes after the client's patience has ended."""

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            await asyncio.sleep(self.request_timeout_s * 1.5)
        await wire.to_client(frame.data)


class Corrupt(Spoiler):
    """Bits of answers are flipped.

    Anywhere in an answer to the producer, but for the pause at its end that a quota asks for:
    a client believes that one, up to a minute. Of those to consumers, in what a batch's CRC
    covers: nothing tells a client that an offset before it is another than was sent.
    """

    aims = (FETCH, PRODUCE)

    async def arm(self) -> None:
        await super().arm()
        self.left = 3

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.armed and self.aim == frame.api_key:
            data = bytearray(frame.data)
            places = range(8, len(data) - PAUSE_BYTES)
            if frame.api_key == FETCH:
                spans = list(batches_in(frame.data))
                places = self.chance.choice(spans) if spans else range(0)
            if places:
                for _ in range(self.chance.choice((1, 1, 2, 8))):
                    data[self.chance.choice(places)] ^= 1 << self.chance.randrange(8)
                frame.data = bytes(data)
                self.left -= 1
                if not self.left:
                    self.strikes(frame)
        await wire.to_client(frame.data)


def batches_in(data: bytes) -> Iterator[range]:
    """Find the record batches in an answer; give what their CRC covers, it included."""
    at = 0
    while at + BATCH_HEADER <= len(data):
        (size,) = struct.unpack_from(">i", data, at + 8)
        end = at + LENGTH_END + size
        if data[at + MAGIC_AT] == 2 and size >= BATCH_HEADER - LENGTH_END and end <= len(data):
            (crc,) = struct.unpack_from(">I", data, at + CRC_AT)
            if crc == crc32c(data[at + CRC_FROM : end]):
                yield range(at + CRC_AT, end)
                at = end
                continue
        at += 1


class AbsurdLength(Spoiler):
    """An answer claims to be as long as no answer is."""

    def length(self) -> int:
        return self.chance.randrange(1 << 28, 1 << 31)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            frame.data = struct.pack(">i", self.length()) + frame.data[4:]
        await wire.to_client(frame.data)


class NegativeLength(AbsurdLength):
    """An answer claims a length below zero."""

    def length(self) -> int:
        return -self.chance.randrange(1, 1 << 31)


class WrongCorrelation(Spoiler):
    """An answer carries the number of another request."""

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            number = frame.correlation_id + self.chance.choice((-1, 1, 1000))
            frame.data = frame.data[:4] + struct.pack(">i", number) + frame.data[8:]
        await wire.to_client(frame.data)


class AnswerTwice(Spoiler):
    """An answer comes a second time."""

    async def answer(self, wire: Wire, frame: Frame) -> None:
        await wire.to_client(frame.data)
        if self.strikes(frame):
            await wire.to_client(frame.data)


class LostProduceAnswer(Spoiler):
    """What was produced is written, and the connection ends before that is said."""

    aims = (PRODUCE,)

    async def answer(self, wire: Wire, frame: Frame) -> None:
        if self.strikes(frame):
            raise Cut
        await wire.to_client(frame.data)


class Refused(Spoiler):
    """All connections end, and new ones are refused for a while."""

    lasts_s = 1.0

    async def arm(self) -> None:
        self.struck += 1
        for proxy in self.proxies:
            proxy.refuse()
        await asyncio.sleep(self.lasts_s)
        for proxy in self.proxies:
            await proxy.start()


class EverySecond(Spoiler):
    """All connections end, every second."""

    async def arm(self) -> None:
        self.struck += 1
        self.proxies.cut()
        await asyncio.sleep(1)


KINDS: dict[str, type[Spoiler]] = {
    "cut-in-request": CutInRequest,
    "cut-in-answer": CutInAnswer,
    "cut-anywhere": CutAnywhere,
    "reset": Reset,
    "half-open": HalfOpen,
    "one-way-to-broker": OneWayToBroker,
    "one-way-from-broker": OneWayFromBroker,
    "slow": Slow,
    "late-answer": Late,
    "corrupt-answer": Corrupt,
    "absurd-length": AbsurdLength,
    "negative-length": NegativeLength,
    "wrong-correlation-id": WrongCorrelation,
    "answer-twice": AnswerTwice,
    "lost-produce-answer": LostProduceAnswer,
    "refused": Refused,
    "every-second": EverySecond,
}
assert len(KINDS) == 17
