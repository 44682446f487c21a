"""Stores: seconds per record of 8 -> 100 bytes, for each store beside the binding it stands on.

load is what recovery does with fetched batches, header check, CRC and decompression included;
"raw put" writes the same records by the binding alone, 1,000 to a batch; get is of keys in
another order than they were written in. A pyperf file: run it with `python -m benchmarks stores`
(add --fast for a first look). FAUSTC_BENCH_RECORDS says how many records (200,000).
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyperf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rocksdbpy
import rocksdict

from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder
from faustc.client.cursors import FetchedBatch
from faustc.stores.base import Store
from faustc.stores.fingerprint import fingerprint
from faustc.stores.memory import MemoryStore
from faustc.stores.rocksdb import RocksDBStore
from faustc.stores.rocksdict import RocksDictStore
from faustc.types import TopicPartition

RECORDS = int(os.environ.get("FAUSTC_BENCH_RECORDS", "200000"))
VALUE_BYTES = 100
BATCH_BYTES = 64 * 1024
PER_BATCH = 1000  # of the database
TP = TopicPartition("bench-changelog", 0)


def records() -> list[tuple[bytes, bytes]]:
    """Make keys of 8 bytes in no order, and values that compress about as JSON does."""
    chance = random.Random(100)
    keys = [n.to_bytes(8, "big") for n in range(RECORDS)]
    chance.shuffle(keys)
    out = []
    for key in keys:
        text = f'{{"user": {chance.randrange(10**8)}, "note": "{chance.randbytes(16).hex()}"}}'
        out.append((key, text.encode().ljust(VALUE_BYTES)[:VALUE_BYTES]))
    return out


def fetched(pairs: list[tuple[bytes, bytes]], codec: str) -> list[bytes]:
    """Make the changelog, as record batches of BATCH_BYTES before compression."""
    sealed, builder = [], BatchBuilder(codec, max_bytes=BATCH_BYTES)
    for key, value in pairs:
        if builder.append(key, value, 1_700_000_000_000) < 0:
            sealed.append(builder.seal())
            builder = BatchBuilder(codec, max_bytes=BATCH_BYTES)
            builder.append(key, value, 1_700_000_000_000)
    sealed.append(builder.seal())
    return sealed


def load(store: Store, changelog: list[bytes]) -> None:
    # As the follower does it: some batches at a time.
    for start in range(0, len(changelog), 8):
        store.load(
            FetchedBatch(batch, 0)
            for data in changelog[start : start + 8]
            for batch in decode(data, topic=TP.topic, partition=0)
        )


def timed(prepare: Callable[[Path], object], work: Callable[..., object]) -> Callable[[int], float]:
    """Time work on what prepare makes in a folder of its own, which is closed again."""

    def run(loops: int) -> float:
        spent = 0.0
        for _ in range(loops):
            folder = Path(tempfile.mkdtemp(prefix="bench-stores-"))
            subject = prepare(folder / "db")
            started = time.perf_counter()
            work(subject)
            spent += time.perf_counter() - started
            subject.close()  # type: ignore[attr-defined]
            shutil.rmtree(folder)
        return spent

    return run


class RawRocksDB:
    """The binding of rocksdb:// with the store's options and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.db = rocksdbpy.open(str(folder), RocksDBStore.make_options({}))
        self.get = self.db.get
        self.close = self.db.close

    def put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for start in range(0, len(pairs), PER_BATCH):
            batch = rocksdbpy.WriteBatch()
            add = batch.add
            for key, value in pairs[start : start + PER_BATCH]:
                add(key, value)
            self.db.write(batch)


class RawRdict:
    """The binding of rocksdict:// likewise."""

    def __init__(self, folder: Path) -> None:
        self.db = rocksdict.Rdict(str(folder), RocksDictStore.make_options({}))
        self.get = self.db.get
        self.close = self.db.close

    def put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for start in range(0, len(pairs), PER_BATCH):
            batch = rocksdict.WriteBatch(raw_mode=True)
            put = batch.put
            for key, value in pairs[start : start + PER_BATCH]:
                put(key, value)
            self.db.write(batch)


def main() -> None:
    runner = pyperf.Runner(processes=3, values=2, warmups=1)
    pairs = records()
    asked = random.Random(1).sample([key for key, _ in pairs], RECORDS // 4)
    missing = [key[:4] + b"none" for key in asked]

    def bench(
        name: str, prepare: Callable[[Path], object], work: Callable[..., object], count: int
    ) -> None:
        runner.bench_time_func(name, timed(prepare, work), inner_loops=count)

    def get_all(keys: list[bytes]) -> Callable[..., object]:
        def work(subject: Store | RawRocksDB | RawRdict) -> None:
            get = subject.get
            for key in keys:
                get(key)

        return work

    def write_all(store: Store) -> None:
        for start in range(0, RECORDS, PER_BATCH):
            store.write(dict(pairs[start : start + PER_BATCH]), start + PER_BATCH)

    def opened(kind: type[Store], full: bool = False) -> Callable[[Path], Store]:
        def prepare(folder: Path) -> Store:
            store = kind(TP, folder if kind.durable else None, {})
            if full:
                write_all(store)
                if kind.durable:  # what is in the log comes to table files
                    store.close()
                    store = kind(TP, folder, {})
            return store

        return prepare

    def raw(kind: type[RawRocksDB] | type[RawRdict]) -> Callable[[Path], object]:
        def prepare(folder: Path) -> object:
            subject = kind(folder)
            subject.put(pairs)
            subject.close()
            return kind(folder)

        return prepare

    logs = {codec: fetched(pairs, codec) for codec in ("none", "lz4", "zstd")}
    for codec, log in logs.items():
        bench(f"memory load {codec}", opened(MemoryStore), lambda s, log=log: load(s, log), RECORDS)
    kinds: list[tuple[str, type[Store], type[RawRocksDB] | type[RawRdict] | None]] = [
        ("memory", MemoryStore, None),
        ("rocksdb", RocksDBStore, RawRocksDB),
        ("rocksdict", RocksDictStore, RawRdict),
    ]
    for name, kind, binding in kinds:
        if binding is not None:
            bench(f"{name} raw put", binding, lambda s: s.put(pairs), RECORDS)
            bench(f"{name} load lz4", opened(kind), lambda s: load(s, logs["lz4"]), RECORDS)
        bench(f"{name} write", opened(kind), write_all, RECORDS)
        if binding is not None:
            bench(f"{name} raw get", raw(binding), get_all(asked), len(asked))
        bench(f"{name} get", opened(kind, full=True), get_all(asked), len(asked))
        bench(f"{name} get missing", opened(kind, full=True), get_all(missing), len(missing))
        bench(f"{name} items", opened(kind, full=True), lambda s: list(s.items()), RECORDS)
    bench("fingerprint", opened(MemoryStore, True), lambda s: fingerprint(s.items()), RECORDS)


if __name__ == "__main__":
    main()
