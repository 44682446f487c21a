"""Compress and decompress: nanoseconds per message of 100 bytes, 64 KiB at a time.

Beside ours stand the calls it was chosen over, on the same bytes. Run it with
`python -m benchmarks compression`.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cramjam
import lz4.block
import lz4.frame
import pyperf
import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faustc._native.compression import codec_id, compress, decompress

MESSAGES, MESSAGE_BYTES = 640, 100
BOUND = 1 << 20


def payload() -> bytes:
    """Make JSON-like messages that compress about as application data does."""
    chance = random.Random(100)
    out = []
    for _ in range(MESSAGES):
        city = chance.choice(["Riga", "Lima", "Oslo", "Kyiv", "Bern"])
        text = (
            f'{{"user": {chance.randrange(10**8)}, "city": "{city}",'
            f' "amount": {chance.randrange(10**6)}, "note": "{chance.randbytes(16).hex()}"}}'
        )
        out.append(text.encode().ljust(MESSAGE_BYTES)[:MESSAGE_BYTES])
    return b"".join(out)


def main() -> None:
    runner = pyperf.Runner()
    data = payload()

    def bench(name: str, work: Callable[[], object]) -> None:
        def timed(loops: int) -> float:
            started = time.perf_counter()
            for _ in range(loops):
                work()
            return time.perf_counter() - started

        runner.bench_time_func(name, timed, inner_loops=MESSAGES)

    for name in ("lz4", "zstd", "snappy", "gzip"):
        codec = codec_id(name)
        packed = compress(codec, data)
        bench(f"compress {name}", lambda codec=codec: compress(codec, data))
        bench(
            f"decompress {name}",
            lambda codec=codec, packed=packed: decompress(codec, packed, BOUND),
        )
    block = lz4.block.compress(data, store_size=False)
    frame = compress(codec_id("lz4"), data)
    bench("other: lz4.block", lambda: lz4.block.decompress(block, uncompressed_size=65536))
    bench("other: lz4.frame", lambda: lz4.frame.decompress(frame))
    bench("other: lz4.frame compress", lambda: lz4.frame.compress(data, block_linked=False))
    raw = bytes(cramjam.snappy.compress_raw(data))
    bench("other: cramjam.snappy raw", lambda: cramjam.snappy.decompress_raw(raw))
    decoder = zstandard.ZstdDecompressor()
    packed = zstandard.compress(data)
    bench("other: zstandard with its size", lambda: decoder.decompress(packed))


if __name__ == "__main__":
    main()
