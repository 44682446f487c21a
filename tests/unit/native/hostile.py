"""Mutants of real, built and hand-made batches and answers, held against the reference.

python -m tests.unit.native.hostile --mutants 100000 [--seed 1] [--only N]

Whatever the bytes, the outcome is the reference's records, or an error of ours. Half of the
mutants get the length and the CRC that their other bytes call for, so that they are looked at
more closely. Some are mutated under their compression, and compressed again.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from faustc._native.batch import Batch, decode
from faustc._native.builder import BatchBuilder
from faustc._native.checksum import crc32c
from faustc._native.compression import compress, decompress
from faustc._native.fetch import decode_fetch
from faustc._native.produce import decode_produce
from faustc.exceptions import CorruptFrame, UnsupportedCodec
from tests.reference import batches as reference

GOLDEN = Path(__file__).parent.parent.parent / "golden"
BOUND = 50_000  # bytes that a mutant may decompress to
PEAK = 4 << 20  # bytes that decoding one may take, its messages included
HEADER, LENGTH_END, CRC_AT, CRC_FROM, ATTRIBUTES_AT = 61, 12, 17, 21, 21
EDGES = [0, 1, 2, 3, 0x0F, 0x7F, 0x80, 0x81, 0xFE, 0xFF]
NUMBERS = [0, 1, -1, 2, 7, 48, 49, 61, 2**31 - 1, -(2**31), 2**30, 0x01FFFFFF, 2**24, 65536]
VARINTS = [
    *(b"\x00", b"\x01", b"\x02", b"\x7f", b"\xff\x01", b"\xfe\xff\xff\xff\x0f"),
    *(b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x10", b"\xff" * 9 + b"\x01", b"\x80" * 12),
]
# A field of a batch's header: where, how long.
FIELDS = [(0, 8), (8, 4), (12, 4), (16, 1), (17, 4), (21, 2), (23, 4), (27, 8), (35, 8), (57, 4)]

Outcome = list[reference.DecodedBatch] | str


# --- what is mutated ------------------------------------------------------------------------


def reseal(data: bytes) -> bytes:
    """Give a mutant the length and CRC that its other bytes call for."""
    out = bytearray(data)
    if len(out) >= HEADER:
        out[8:12] = struct.pack(">i", len(out) - LENGTH_END)
        out[CRC_AT:CRC_FROM] = struct.pack(">I", crc32c(bytes(out[CRC_FROM:])))
    return bytes(out)


def built() -> Iterator[bytes]:
    """Batches that our own builder makes, in every codec."""
    for codec in range(5):
        for shape in range(3):
            builder = BatchBuilder(codec, producer_id=7, producer_epoch=1, base_sequence=5)
            for n in range((1, 4, 40)[shape]):
                value = None if n % 7 == 3 else b"value %d " % n * (n % 5 + shape)
                key = None if n % 5 == 4 else b"k%d" % n
                headers = [("h", b"x" * n), ("é", None)] if n % 3 == 0 else None
                assert builder.append(key, value, 1_700_000_000_000 + n * n, headers) >= 0
            yield bytes(builder.seal())
    yield bytes(reference.encode_batch([], last_offset_delta=5))
    marker = reference.Record(b"\0\0\0\1", b"\0" * 6)
    yield bytes(reference.encode_batch([marker], attributes=0x30, producer_id=9))


def batches_of(frame: bytes) -> Iterator[bytes]:
    """Find the batches in a captured answer."""
    at = 0
    while at + HEADER <= len(frame):
        (size,) = struct.unpack_from(">i", frame, at + 8)
        whole = frame[at : at + LENGTH_END + size] if size >= HEADER - LENGTH_END else b""
        if len(whole) == LENGTH_END + size and reseal(whole) == whole and whole[16] == 2:
            yield whole
            at += len(whole)
        else:
            at += 1


def by_hand() -> Iterator[bytes]:
    """Batches that nobody's client writes."""
    one = reference.encode_record(reference.Record(b"k", b"v"), 0)
    two = one + reference.encode_record(reference.Record(b"k", b"v"), 1)
    seal = partial(reference.seal, last_offset_delta=1)
    for count in (0, 1, 2, 3, 2**31 - 1, -1, -(2**31)):
        yield seal(two, count=count)
    for section in (
        b"",
        one[:-1],
        one + b"\0",
        two[::-1],
        one + one,  # the same offset twice
        reference.encode_record(reference.Record(b"k", b"v"), 1) + one,  # falling offsets
        b"\xff" * 50,
        b"\x80" * 50,
        b"\x0e\0\0\0\x01\x01\x80\x80\x80",  # a header count that goes on for ever
        b"\x10\0\0\0\x01\x01\xfe\xff\xff\xff\x0f",  # 2**31 - 1 headers
        b"\x10\0\0\0\xfe\xff\xff\xff\x0f\0",  # a key as long
        reference.varint(-1) + one,
        reference.varint(2**31 - 1) + one,
        reference.varint(-(2**31)) + one,
        b"\x10" + one[1:],  # longer than it says
    ):
        for codec in range(5):
            packed = section if codec == 0 else compress(codec, section)
            yield seal(packed, count=2, attributes=codec)
            yield seal(packed, count=1, attributes=codec | 8)
    whole = seal(two, count=2)
    for magic in (0, 1, 3, 255):
        yield reseal(whole[:16] + bytes([magic]) + whole[17:])
    for size in (0, 1, 48, 49, len(whole), 2**31 - 1, -1, -12, -(2**31)):
        yield whole[:8] + struct.pack(">i", size) + whole[12:]
    for base in (-1, 2**63 - 1, 2**63 - 2, -(2**63)):
        yield struct.pack(">q", base) + whole[8:]
    for codec in (5, 6, 7):
        yield seal(two, count=2, attributes=codec)
    for base_timestamp in (2**63 - 1, -(2**63)):
        late = reference.encode_record(reference.Record(timestamp_delta=2**62), 0)
        yield seal(late, count=1, base_timestamp=base_timestamp)
    for codec in range(1, 5):
        for bomb in (bytes(BOUND + 1), bytes(1 << 24)):
            yield seal(compress(codec, bomb), count=1, attributes=codec)
        yield seal(b"", count=1, attributes=codec)
        yield seal(compress(codec, two)[:-1], count=2, attributes=codec)
        yield seal(compress(codec, two) * 2, count=4, attributes=codec)
        yield seal(compress(codec, b""), count=1, attributes=codec)
    yield whole + whole
    yield whole[:60]
    yield b"\0"


@dataclass(frozen=True)
class Answer:
    """A captured answer of a broker, and what decodes it."""

    data: bytes
    decode: Callable[..., Any]


def captured() -> Iterator[Answer]:
    for path in sorted(GOLDEN.glob("*.bin")):
        kind, version, _, release = path.stem.split("-", 3)
        known = json.loads((GOLDEN / f"kafka-{release}.json").read_text(encoding="utf-8"))
        names = {bytes.fromhex(known["topic_id"]): known["topic"]}
        how: Callable[..., Any] = decode_produce
        if kind == "fetch":
            how = partial(decode_fetch, max_decompressed=BOUND)
        yield Answer(path.read_bytes(), partial(how, version=int(version[1:]), topic_names=names))


ANSWERS = list(captured())
HAND_MADE = list(by_hand())
REAL = sorted({batch for answer in ANSWERS for batch in batches_of(answer.data)})
SEEDS = [*built(), *REAL]


# --- how it is mutated ----------------------------------------------------------------------


def mutate(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Change a few things the way a bug or an attacker would."""
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 9])):
        at = chance.randrange(len(out))
        match chance.randrange(11):
            case 0 | 1:
                out[at] ^= 1 << chance.randrange(8)
            case 2:
                out[at] = chance.choice(EDGES)
            case 3:
                del out[at : at + chance.choice([1, 2, 8])]
            case 4:
                out[at:at] = chance.randbytes(chance.choice([1, 2, 8]))
            case 5:
                out[at : at + 4] = struct.pack(">i", chance.choice(NUMBERS))
            case 6:  # a varint becomes another, or one is put in
                out[at : at + chance.randrange(3)] = chance.choice(VARINTS)
            case 7:  # a piece comes twice
                out[at:at] = out[at : at + chance.randrange(1, 40)]
            case 8:  # spliced with another
                start = chance.randrange(len(other))
                out[at:] = other[start:]
            case 9:  # cut
                del out[at:]
            case 10 if len(out) >= HEADER:  # a field of the header
                where, size = chance.choice(FIELDS)
                number = chance.choice(NUMBERS) & (1 << 8 * size) - 1
                out[where : where + size] = number.to_bytes(size, "big")
        if not out:
            return b"\0"
    return bytes(out)


def mutate_inside(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Mutate the records under their compression; the frame around them stays right."""
    codec = data[ATTRIBUTES_AT + 1] & 7
    section = decompress(codec, data[HEADER:], BOUND)
    section = mutate(chance, section or b"\0", other)
    codec = chance.choice([codec, chance.randrange(5)])
    head = bytearray(data[:HEADER])
    head[ATTRIBUTES_AT + 1] = head[ATTRIBUTES_AT + 1] & ~7 | codec
    return bytes(head) + (section if codec == 0 else compress(codec, section))


def mutant_of(chance: random.Random) -> bytes:
    data, other = chance.choice(SEEDS), chance.choice(SEEDS)
    if chance.random() < 0.3:
        return reseal(mutate_inside(chance, data, other))
    if chance.random() < 0.2:
        data += other
    data = mutate(chance, data, other)
    return reseal(data) if chance.random() < 0.5 else data


# --- what comes out -------------------------------------------------------------------------


def fields(batch: Batch) -> reference.DecodedBatch:
    records = tuple(
        reference.Decoded(m.offset, m.timestamp, m.timestamp_type, m.key, m.value, tuple(m.headers))
        for m in batch.messages()
    )
    return reference.DecodedBatch(
        *(batch.base_offset, batch.last_offset, batch.leader_epoch, batch.attributes),
        *(batch.base_timestamp, batch.max_timestamp, batch.producer_id, batch.producer_epoch),
        *(batch.base_sequence, records),
    )


def applied(found: Sequence[reference.DecodedBatch]) -> dict[bytes, bytes | None]:
    """What a table would hold after these batches, deletions included."""
    return {
        record.key: record.value
        for batch in found
        if not batch.attributes & 0x20
        for record in batch.records
        if record.key is not None
    }


def ours(data: bytes, check_crc: bool) -> Outcome:
    try:
        decoded = decode(data, check_crc=check_crc, max_decompressed=BOUND)
        found = [fields(batch) for batch in decoded]
    except (CorruptFrame, UnsupportedCodec) as exc:
        return type(exc).__name__
    table: dict[bytes, bytes | None] = {}
    for batch in decoded:
        batch.apply_to(table, keep_deleted=True)
        if batch.is_control:
            try:
                assert batch.control_type in (-1, 0, 1)
            except CorruptFrame:
                pass  # a marker that cannot be read
    assert table == applied(found), "a table would hold something else than the messages say"
    return found


def theirs(data: bytes, check_crc: bool) -> Outcome:
    try:
        return reference.decode_batches(data, check_crc=check_crc, max_decompressed=BOUND)
    except CorruptFrame as exc:
        return "not judged" if "not for this oracle" in str(exc) else "CorruptFrame"
    except UnsupportedCodec:
        return "UnsupportedCodec"


@dataclass
class Tally:
    """How many mutants there were, how many of them decode, and what was wrong."""

    tried: int = 0
    survived: int = 0
    peak: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.tried += other.tried
        self.survived += other.survived
        self.peak = max(self.peak, other.peak)
        self.wrong += other.wrong

    def measured(self, what: str, call: Callable[[], Any]) -> Any:
        """Call, and hold what it takes against what it may."""
        tracemalloc.start()
        try:
            return call()
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.peak = max(self.peak, peak)
            if peak > PEAK:
                self.wrong.append(f"{what}: {peak} bytes were taken")

    def judge(self, what: str, data: bytes, check_crc: bool) -> None:
        """Hold our outcome for some batches against the reference's."""
        self.tried += 1
        try:
            mine = self.measured(what, lambda: ours(data, check_crc))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is not an error of ours
            self.wrong.append(f"{what}: {exc!r} for {data.hex()}")
            return
        other = theirs(data, check_crc)
        self.survived += not isinstance(mine, str)
        if other == "not judged" or (isinstance(mine, str) and isinstance(other, str)):
            return  # which complaint comes first is nobody's promise
        if mine != other:
            self.wrong.append(f"{what}: {mine} where {other} for {data.hex()}")

    def judge_answer(self, what: str, answer: Answer, data: bytes) -> None:
        """An answer decodes or is refused; its batches are what the reference makes of them."""
        self.tried += 1
        try:
            decoded = self.measured(what, lambda: answer.decode(data))
        except CorruptFrame:
            return
        except Exception as exc:  # noqa: BLE001
            self.wrong.append(f"{what}: {exc!r} for {data.hex()}")
            return
        self.survived += 1
        for part in decoded.partitions:
            for batch in getattr(part, "batches", ()):
                head = struct.pack(">qi", batch.base_offset, batch.size_bytes - LENGTH_END)
                at = data.find(head)
                if at < 0:
                    self.wrong.append(f"{what}: a batch that is not in {data.hex()}")
                else:
                    self.judge(what, data[at : at + batch.size_bytes], True)
                    self.tried -= 1


def one(seed: int, number: int, tally: Tally) -> None:
    """Try the mutant with this number: of an answer, one in ten; else of batches."""
    chance = random.Random(f"{seed}/{number}")
    what = f"mutant {number} of seed {seed}"
    if number % 10:
        tally.judge(what, mutant_of(chance), check_crc=chance.random() < 0.5)
    else:
        answer, other = chance.choice(ANSWERS), chance.choice(ANSWERS)
        tally.judge_answer(what, answer, mutate(chance, answer.data, other.data))


def storm(seed: int, first: int, count: int) -> Tally:
    tally = Tally()
    for number in range(first, first + count):
        one(seed, number, tally)
    return tally


def fixed() -> Tally:
    """What is hand-made and what real brokers sent, as they are."""
    tally = Tally()
    for number, data in enumerate([*HAND_MADE, *SEEDS]):
        for check_crc in (True, False):
            tally.judge(f"hand-made {number}", data, check_crc)
    for number, answer in enumerate(ANSWERS):
        tally.judge_answer(f"captured {number}", answer, answer.data)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.unit.native.hostile", description=__doc__
    )
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the mutant with this number alone")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    began = time.monotonic()
    tally = fixed()
    asked = [args.seed]
    if args.only is not None:
        one(args.seed, args.only, tally)
    else:
        step = 1000
        with Pool(args.processes) as pool:
            jobs = [
                pool.apply_async(storm, (seed, first, min(step, args.mutants - first)))
                for seed in asked
                for first in range(0, args.mutants, step)
            ]
            for done, job in enumerate(jobs, 1):
                tally.add(job.get())
                if done % 10 == 0:
                    print(f"{done * step} mutants, {len(tally.wrong)} wrong", flush=True)
    for line in tally.wrong[:20]:
        print(line[:2000])
    print(
        f"{len(HAND_MADE)} hand-made and {len(SEEDS)} real or built batches, {len(ANSWERS)} real "
        f"answers, {args.mutants} mutants of seed {args.seed}: {tally.survived} of {tally.tried} "
        f"decode, {len(tally.wrong)} wrong, {tally.peak / 1024:.0f} KiB at most for one; "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
