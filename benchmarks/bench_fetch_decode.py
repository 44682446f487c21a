"""Decode fetched batches: nanoseconds per message of 100 bytes, in batches of 64 KiB.

"untouched" makes the messages, "touched" looks at each key and value too,
"scan" is header, CRC and the cut into batches alone. Run it with
`python -m benchmarks fetch_decode` (add --fast for a first look).
"""

import random
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyperf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder
from faustc._native.fetch import decode_fetch

BATCH_BYTES = 64 * 1024
KEY_BYTES, VALUE_BYTES = 8, 92
PARTITIONS = 16
CODECS = ("none", "lz4", "zstd", "snappy", "gzip")
HEADERS = [("trace", b"0123456789abcdef"), ("retry", None)]


def values(count: int) -> list[bytes]:
    """Make JSON-like values of VALUE_BYTES: they compress about as application data does."""
    chance = random.Random(100)
    out = []
    for _ in range(count):
        city = chance.choice(["Riga", "Lima", "Oslo", "Kyiv", "Bern"])
        text = (
            f'{{"user": {chance.randrange(10**8)}, "city": "{city}",'
            f' "amount": {chance.randrange(10**6)}, "note": "{chance.randbytes(16).hex()}"}}'
        )
        out.append(text.encode().ljust(VALUE_BYTES)[:VALUE_BYTES])
    return out


def build(codec: str, headers: bool = False) -> tuple[bytes, int]:
    """Return a batch of about BATCH_BYTES before compression, and its count."""
    builder = BatchBuilder(codec, max_bytes=BATCH_BYTES)
    count = 0
    for value in values(2000):
        key = count.to_bytes(KEY_BYTES, "big")
        if builder.append(key, value, 1_700_000_000_000 + count, HEADERS if headers else None) < 0:
            break
        count += 1
    return builder.seal(), count


def answer(batch: bytes) -> bytes:
    """Wrap PARTITIONS copies of a batch in a fetch answer of version 12."""
    body = struct.pack(">ibihib", 1, 0, 0, 0, 0, 2) + b"\x07orders" + bytes([PARTITIONS + 1])
    size = bytearray()
    rest = len(batch) + 1
    while rest >= 0x80:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    for partition in range(PARTITIONS):
        body += struct.pack(">ihqqqbi", partition, 0, 1000, 1000, 0, 1, -1)
        body += bytes(size) + batch + b"\0"
    return body + b"\0\0"


def untouched(data: bytes) -> None:
    for batch in decode(data):
        batch.messages()


def touched(data: bytes) -> None:
    for batch in decode(data):
        for message in batch.messages():
            message.key  # noqa: B018
            message.value  # noqa: B018


def with_headers(data: bytes) -> None:
    for batch in decode(data):
        for message in batch.messages():
            message.headers  # noqa: B018


def fetched(data: bytes) -> None:
    for part in decode_fetch(data, 12).partitions:
        for batch in part.batches:
            for message in batch.messages():
                message.key  # noqa: B018
                message.value  # noqa: B018


def per_message(work: Callable[[bytes], object], data: bytes) -> Callable[[int], float]:
    def timed(loops: int) -> float:
        started = time.perf_counter()
        for _ in range(loops):
            work(data)
        return time.perf_counter() - started

    return timed


def main() -> None:
    runner = pyperf.Runner()

    def bench(name: str, work: Callable[[bytes], object], data: bytes, count: int) -> None:
        runner.bench_time_func(name, per_message(work, data), inner_loops=count)

    data, count = build("none")
    bench("decode none scan", decode, data, count)
    for codec in CODECS:
        data, count = build(codec)
        bench(f"decode {codec} untouched", untouched, data, count)
        bench(f"decode {codec} touched", touched, data, count)
    bench("decode none with headers touched", with_headers, *build("none", headers=True))
    for codec in ("none", "lz4"):
        data, count = build(codec)
        bench(f"fetch answer {codec} touched", fetched, answer(data), count * PARTITIONS)


if __name__ == "__main__":
    main()
