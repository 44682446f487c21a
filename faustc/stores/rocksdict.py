"""rocksdict://: the same as rocksdb://, by rocksdict, which has more of RocksDB's options.

An extra: `pip install faustc[rocksdict]`. The layout is that of rocksdb://, and each reads what
the other wrote, as far as the versions of RocksDB in them allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.stores.durable import Binding, Cursor, Database, DurableStore, WriteBatch
from faustc.stores.options import DEFAULT_BLOCK_CACHE_SIZE, as_given, set_all

__all__ = ["RocksDictStore"]

SCHEME = "rocksdict://"
DEFAULT_BLOOM_BITS = 10


class _Rdict(Binding):
    """A database of rocksdict."""

    def batch(self) -> WriteBatch:
        batch = self._batch_class(raw_mode=True)
        return WriteBatch(batch, batch.put, batch.delete)

    def scan(self, start: bytes) -> Cursor:
        return _Cursor(self._db.iter(), start)


class _Cursor:
    """An iterator that can be closed: one that is alive keeps its database locked.

    Not the binding's `items()`, which ends without an error at a damaged block.
    """

    def __init__(self, cursor: Any, start: bytes) -> None:
        self._cursor: Any = cursor
        cursor.seek(start)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        cursor = self._cursor
        if cursor is None:
            raise StopIteration
        if not cursor.valid():
            cursor.status()  # raises unless this is the end
            raise StopIteration
        pair = (cursor.key(), cursor.value())
        cursor.next()
        return pair

    def close(self) -> None:
        self._cursor = None


class RocksDictStore(DurableStore):
    """State in a RocksDB by rocksdict."""

    @classmethod
    def binding_errors(cls) -> tuple[type[Exception], ...]:
        _binding()
        return (Exception,)  # it has no class of its own for what RocksDB says

    @classmethod
    def make_options(cls, options: Mapping[str, Any]) -> Any:
        rocksdict = _binding()
        given = as_given(options, SCHEME)
        bits = given.pop("bloom_filter_size", DEFAULT_BLOOM_BITS)
        cache = given.pop("block_cache_size", DEFAULT_BLOCK_CACHE_SIZE)
        blocks = rocksdict.BlockBasedOptions()
        try:
            blocks.set_bloom_filter(bits, False)
            blocks.set_block_cache(rocksdict.Cache(cache))
        except (TypeError, OverflowError, ValueError) as exc:
            raise ImproperlyConfigured(
                f"{SCHEME} options bloom_filter_size={bits!r}, block_cache_size={cache!r}: {exc}"
            ) from exc
        blocks.set_data_block_index_type(rocksdict.DataBlockIndexType.binary_and_hash())
        made = rocksdict.Options(raw_mode=True)
        made.set_block_based_table_factory(blocks)
        made.set_keep_log_file_num(2)
        set_all(made, given, SCHEME)
        made.create_if_missing(True)
        return made

    @classmethod
    def open_database(cls, folder: Path, options: Any) -> Database:
        rocksdict = _binding()
        return _Rdict(rocksdict.Rdict(str(folder), options), rocksdict.WriteBatch)


def _binding() -> Any:
    try:
        import rocksdict
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"{SCHEME} needs rocksdict: pip install faustc[rocksdict]"
        ) from exc
    return rocksdict
