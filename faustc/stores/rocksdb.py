"""rocksdb://: one RocksDB for each partition of a table, by rocksdb-py.

What its binding does, as seen with 0.0.6: it holds the GIL in every call; a batch can be
written once; an iterator that is alive aborts the process when it ends, whether the database
was closed or not; list() of an iterator gives nothing; its own count (`len()`) takes a damaged
block for the end. The first is why batches are small, the others are kept from everybody here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.stores.durable import Binding, Cursor, Database, DurableStore, WriteBatch
from faustc.stores.options import DEFAULT_BLOCK_CACHE_SIZE, as_given, set_all

__all__ = ["RocksDBStore"]

SCHEME = "rocksdb://"
MIB = 1 << 20
# What optimize_for_point_lookup makes of it, and it takes no number.
BLOOM_BITS = 10


class _RocksDB(Binding):
    """A database of rocksdb-py."""

    def batch(self) -> WriteBatch:
        batch = self._batch_class()
        return WriteBatch(batch, batch.add, batch.delete)

    def scan(self, start: bytes) -> Cursor:
        cursor: Cursor = self._db.iterator(mode="from", key=start)
        return cursor


class RocksDBStore(DurableStore):
    """State in a RocksDB; options are RocksDB's, by Faust's names or by their own.

    Blocks have Bloom filters of 10 bits and an index by hash, and `block_cache_size` (8 MiB)
    is rounded up to whole MiB.
    """

    @classmethod
    def binding_errors(cls) -> tuple[type[Exception], ...]:
        from rocksdbpy import RocksDBException

        return (RocksDBException,)

    @classmethod
    def make_options(cls, options: Mapping[str, Any]) -> Any:
        import rocksdbpy

        given = as_given(options, SCHEME)
        bits = given.pop("bloom_filter_size", BLOOM_BITS)
        if bits != BLOOM_BITS:
            raise ImproperlyConfigured(
                f"{SCHEME} option bloom_filter_size={bits!r}: rocksdb-py makes filters of "
                f"{BLOOM_BITS} bits per key; leave it out, or use rocksdict://"
            )
        cache = given.pop("block_cache_size", DEFAULT_BLOCK_CACHE_SIZE)
        if not isinstance(cache, int) or isinstance(cache, bool) or cache < 0:
            raise ImproperlyConfigured(
                f"{SCHEME} option block_cache_size={cache!r}: it is a number of bytes"
            )
        made: Any = rocksdbpy.Option()
        # Bloom filters, an index by hash and the size of the cache have no option of their own.
        # Its name warns of iterating: that works as before, and as fast.
        made.optimize_for_point_lookup(-(-cache // MIB))
        set_all(made, given, SCHEME)
        made.create_if_missing(True)
        return made

    @classmethod
    def open_database(cls, folder: Path, options: Any) -> Database:
        import rocksdbpy

        return _RocksDB(rocksdbpy.open(str(folder), options), rocksdbpy.WriteBatch)
