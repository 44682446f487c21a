"""Build batches of 100-byte messages: one call per message, and one call per batch.

`python -m benchmarks batch_build`; each figure is CPU time for one message, sealing included.
The messages differ from each other as words of text do, so that codecs have real work.
"""

from __future__ import annotations

import random
import time

import pyperf

from faustc._native.builder import BatchBuilder, stamp
from faustc._native.produce import encode_produce

COUNT = 20_000
NOW = 1_700_000_000_000
CODECS = ("none", "lz4", "zstd")
SIZES = {"16 KiB": 16 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}


def messages() -> tuple[list[bytes], list[bytes]]:
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(500)]
    text = " ".join(rng.choices(words, k=COUNT * 20)).encode()
    return [b"%08d" % i for i in range(COUNT)], [text[i * 92 : i * 92 + 92] for i in range(COUNT)]


KEYS, VALUES = messages()


def by_append(codec: str, max_bytes: int) -> None:
    builder = BatchBuilder(codec, max_bytes=max_bytes)
    append = builder.append
    for key, value in zip(KEYS, VALUES, strict=True):
        if append(key, value, NOW) < 0:
            builder.seal()
            builder = BatchBuilder(codec, max_bytes=max_bytes)
            append = builder.append
            append(key, value, NOW)
    builder.seal()


def from_lists(codec: str, max_bytes: int) -> list[bytes]:
    start = 0
    sealed = []
    while start < COUNT:
        builder = BatchBuilder(codec, max_bytes=max_bytes)
        start += builder.append_many(VALUES, KEYS, NOW, start)
        sealed.append(builder.seal())
    return sealed


def with_headers() -> None:
    builder = BatchBuilder(max_bytes=1 << 30)
    append = builder.append
    headers = [("trace", b"0123456789abcdef"), ("kind", b"a")]
    for key, value in zip(KEYS, VALUES, strict=True):
        append(key, value, NOW, headers)


def the_loop_alone() -> None:
    for _ in zip(KEYS, VALUES, strict=True):
        pass


def timed(rounds: int, call: object, *args: object) -> float:
    started = time.process_time()
    for _ in range(rounds):
        call(*args)  # type: ignore[operator]
    return time.process_time() - started


def main() -> None:
    runner = pyperf.Runner()
    runner.bench_time_func("loop alone", timed, the_loop_alone, inner_loops=COUNT)
    for codec in CODECS:
        for name, size in SIZES.items() if codec == "none" else [("64 KiB", 64 << 10)]:
            runner.bench_time_func(
                f"append, {codec}, {name}", timed, by_append, codec, size, inner_loops=COUNT
            )
            runner.bench_time_func(
                f"append_many, {codec}, {name}", timed, from_lists, codec, size, inner_loops=COUNT
            )
    runner.bench_time_func("append with 2 headers", timed, with_headers, inner_loops=COUNT)
    batches = list(enumerate(from_lists("none", 64 << 10)))
    topics = [("topic", bytes(16), batches)]
    runner.bench_time_func(
        "encode_produce, 64 KiB batches",
        timed,
        lambda: encode_produce(9, 1, "me", acks=-1, timeout_ms=1000, topics=topics),
        inner_loops=COUNT,
    )
    runner.bench_time_func("stamp, 64 KiB batch, per batch", timed, stamp, batches[0][1], 1, 0, 0)


if __name__ == "__main__":
    main()
