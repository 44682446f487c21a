"""What every store must do, as tests: a custom store is good if it passes them.

Make a subclass whose name pytest collects, and say how a store is opened::

    from faustc.testing.stores import StoreTests
    from myproj.stores import Mine

    class TestMine(StoreTests):
        def open(self, tp, folder):
            return Mine(tp, folder, {})

Nothing here needs a broker. folder is None for stores that are not durable.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder
from faustc.client.cursors import FetchedBatch
from faustc.exceptions import CorruptFrame
from faustc.stores.base import Changes, Store
from faustc.stores.fingerprint import fingerprint, fingerprint_of_changelog
from faustc.types import TopicPartition

__all__ = ["Fetched", "StoreTests", "changelog"]

TP = TopicPartition("app-orders-changelog", 3)
MANY = 5_000
LARGE = 3 << 20


class Fetched:
    """A batch as a transport of somebody's own may fetch it: messages, and no more."""

    def __init__(self, batch: FetchedBatch) -> None:
        self._batch = batch
        self.next_offset = batch.next_offset

    def messages(self) -> Sequence[Any]:
        """Return its messages."""
        return self._batch.messages()


def changelog(
    records: Sequence[tuple[bytes | None, bytes | None]],
    *,
    start: int = 0,
    per_batch: int = 100,
    compression: str | None = None,
) -> list[FetchedBatch]:
    """Make fetched batches of keys and values, as a broker hands them out."""
    batches = []
    for begin in range(0, len(records), per_batch):
        builder = BatchBuilder(compression, max_bytes=1 << 30)
        for key, value in records[begin : begin + per_batch]:
            builder.append(key, value, 1_700_000_000_000)
        data = bytearray(builder.seal())
        # Brokers write the base offset into what producers send; no checksum covers it.
        data[:8] = (start + begin).to_bytes(8, "big")
        batches += [FetchedBatch(batch, batch.base_offset) for batch in decode(bytes(data))]
    return batches


class StoreTests:
    """Tests of one kind of store."""

    @abstractmethod
    def open(self, tp: TopicPartition, folder: Path | None) -> Store:
        """Open the store of a partition in a folder, the same state as before if it is durable."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where a durable store keeps its files; it does not exist yet."""
        return tmp_path / "tables" / "orders-3"

    @pytest.fixture
    def store(self, folder: Path) -> Iterator[Store]:
        """A new store, closed after the test."""
        store = self._opened(folder)
        yield store
        store.close()

    def _opened(self, folder: Path) -> Store:
        probe = self.open(TP, folder)
        if probe.durable:
            return probe
        probe.close()
        return self.open(TP, None)

    # -- one after the other -----------------------------------------------------------

    def test_a_new_store_is_empty_and_has_no_position(self, store: Store) -> None:
        assert store.position is None
        assert len(store) == 0
        assert list(store.items()) == []
        assert store.get(b"key") is None
        assert store.tp == TP

    def test_what_is_written_is_read(self, store: Store) -> None:
        store.write({b"a": b"1", b"b": b"2"}, 2)
        assert (store.get(b"a"), store.get(b"b"), store.get(b"c")) == (b"1", b"2", None)
        assert dict(store.items()) == {b"a": b"1", b"b": b"2"}
        assert len(store) == 2
        assert store.position == 2

    def test_later_values_replace_and_none_deletes(self, store: Store) -> None:
        store.write({b"a": b"1", b"b": b"2", b"c": b"3"}, 3)
        store.write({b"a": b"4", b"b": None, b"never": None}, 6)
        assert dict(store.items()) == {b"a": b"4", b"c": b"3"}
        assert store.get(b"b") is None
        assert (len(store), store.position) == (2, 6)
        store.write({b"b": b"5"}, 7)
        assert store.get(b"b") == b"5"

    def test_a_write_of_nothing_moves_the_position(self, store: Store) -> None:
        store.write({b"a": b"1"}, 1)
        store.write({}, 9)
        assert (store.position, dict(store.items())) == (9, {b"a": b"1"})

    def test_position_zero_is_a_position(self, store: Store) -> None:
        store.write({}, 0)
        assert store.position == 0

    def test_positions_beyond_32_bits(self, store: Store) -> None:
        store.write({}, 2**62)
        assert store.position == 2**62

    def test_keys_and_values_are_any_bytes(self, store: Store) -> None:
        odd = {b"": b"empty key", b"empty value": b"", b"\0": b"\0", b"\xff" * 40: b"\xfe\0"}
        odd |= {bytes([n]): bytes([255 - n]) for n in range(256)}
        odd |= {b"!": b"1", b"!position": b"2", b"!identity": b"3", b"k": b"4", b"kk": b"5"}
        odd |= {b"__faust\0offset__": b"6", b"position": b"7"}
        store.write(odd, len(odd))
        assert dict(store.items()) == odd
        assert {key: store.get(key) for key in odd} == odd
        assert len(store) == len(odd)
        store.write(dict.fromkeys(odd), 2 * len(odd))
        assert list(store.items()) == []
        assert (len(store), store.position) == (0, 2 * len(odd))

    def test_large_values(self, store: Store) -> None:
        large = {b"%d" % n: bytes([n]) * LARGE for n in range(4)}
        store.write(large, 4)
        assert {key: store.get(key) for key in large} == large
        assert dict(store.items()) == large

    def test_many_keys(self, store: Store) -> None:
        many = {b"%d" % n: b"value %d" % n for n in range(MANY)}
        store.write(many, MANY)
        assert dict(store.items()) == many
        assert len(store) == MANY
        odd: Changes = {key: None for n, key in enumerate(many) if n % 2}
        store.write(odd, MANY + 1)
        assert dict(store.items()) == {k: v for k, v in many.items() if k not in odd}
        assert len(store) == MANY - len(odd)

    def test_clear_forgets_the_position_too(self, store: Store) -> None:
        store.write({b"%d" % n: b"1" for n in range(MANY)}, MANY)
        store.topic_id = "of another changelog"
        store.clear()
        assert (store.position, len(store), store.get(b"1")) == (None, 0, None)
        assert not store.topic_id
        assert list(store.items()) == []
        store.write({b"a": b"2"}, 1)
        assert dict(store.items()) == {b"a": b"2"}
        store.clear()
        store.clear()
        assert store.position is None

    # -- iteration ---------------------------------------------------------------------

    def test_an_iteration_may_be_left(self, store: Store) -> None:
        store.write({b"%d" % n: b"1" for n in range(10)}, 10)
        for _ in store.items():
            break
        left = store.items()
        next(left)
        other = store.items()  # two at a time
        assert len(dict(other)) == 10
        del left
        store.write({b"0": b"2"}, 11)
        assert len(dict(store.items())) == 10

    def test_writes_do_not_disturb_an_iteration(self, store: Store) -> None:
        """User code may await between two pairs, and a commit may come then."""
        before = {b"%d" % n: b"1" for n in range(1000)}
        store.write(before, 1000)
        pairs = store.items()
        seen = dict([next(pairs)])
        store.write({b"%d" % n: None for n in range(0, 1000, 2)} | {b"new": b"2"}, 1501)
        store.load(changelog([(b"1", b"3"), (b"newer", b"4")], start=1501))
        for key, value in pairs:
            seen[key] = value
        assert seen == before
        after = {b"%d" % n: b"1" for n in range(1, 1000, 2)}
        assert dict(store.items()) == after | {b"1": b"3", b"new": b"2", b"newer": b"4"}

    def test_a_store_is_closed_with_an_iteration_in_it(self, folder: Path) -> None:
        store = self._opened(folder)
        store.write({b"%d" % n: b"1" for n in range(10)}, 10)
        left = store.items()
        next(left)
        never_begun = store.items()
        store.close()
        again = self._opened(folder)  # nothing is held by it
        again.close()
        del left, never_begun

    # -- loading -----------------------------------------------------------------------

    def test_load_takes_what_was_fetched(self, store: Store) -> None:
        records: list[tuple[bytes | None, bytes | None]] = [
            (b"a", b"1"),
            (b"b", b"2"),
            (None, b"no key"),
            (b"a", b"3"),
            (b"b", None),
            (b"c", b""),
            (b"", b"4"),
        ]
        assert store.load(changelog(records, start=50, per_batch=3)) == 7
        assert dict(store.items()) == {b"a": b"3", b"c": b"", b"": b"4"}
        assert store.position == 57

    def test_load_of_nothing_changes_nothing(self, store: Store) -> None:
        assert store.load([]) == 0
        assert store.position is None
        store.write({b"a": b"1"}, 8)
        assert store.load([]) == 0
        assert store.position == 8

    def test_load_begins_inside_a_batch(self, store: Store) -> None:
        (batch,) = changelog([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], start=10)
        store.write({b"b": b"newer"}, 12)
        batch.start_offset = 12
        assert store.load([batch]) == 1
        assert dict(store.items()) == {b"b": b"newer", b"c": b"3"}
        assert store.position == 13

    @pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
    def test_load_gives_what_writes_would(self, store: Store, compression: str | None) -> None:
        chance = random.Random(7)
        records: list[tuple[bytes | None, bytes | None]] = [
            (
                b"key %d" % chance.randrange(900),
                None if chance.random() < 0.2 else chance.randbytes(chance.randrange(60)),
            )
            for _ in range(MANY)
        ]
        batches = changelog(records, per_batch=700, compression=compression)
        assert store.load(iter(batches)) == MANY
        expected: dict[bytes | None, bytes | None] = dict(records)
        assert dict(store.items()) == {k: v for k, v in expected.items() if v is not None}
        assert store.position == MANY
        again = changelog(records, per_batch=700, compression=compression)
        assert fingerprint(store.items()) == fingerprint_of_changelog(again)

    def test_load_takes_batches_of_any_transport(self, store: Store) -> None:
        batches = changelog([(b"a", b"1"), (None, b"2"), (b"b", b"3"), (b"a", None)], per_batch=2)
        assert store.load([Fetched(batch) for batch in batches]) == 4
        assert (dict(store.items()), store.position) == ({b"b": b"3"}, 4)

    def test_load_again_repairs_values_that_are_newer_than_the_position(self, store: Store) -> None:
        records: list[tuple[bytes | None, bytes | None]] = [
            (b"a", b"1"),
            (b"b", b"2"),
            (b"a", None),
            (b"b", b"3"),
        ]
        store.load(changelog(records))
        store.load(changelog(records))
        assert (dict(store.items()), store.position) == ({b"b": b"3"}, 4)

    def test_a_corrupt_batch_is_refused_and_claims_nothing(self, store: Store) -> None:
        good, bad = changelog([(b"a", b"1"), (b"b", b"2")], per_batch=1)
        broken = BatchBuilder(None, max_bytes=1 << 20)
        for n in range(4):
            broken.append(b"x%d" % n, b"value", 1_700_000_000_000)
        data = bytearray(broken.seal())
        data[-1] = 0x7F  # the last record claims more headers than there are
        (batch,) = decode(bytes(data), check_crc=False)
        bad.batch = batch
        with pytest.raises(CorruptFrame):
            store.load([good, bad])
        assert store.position in (None, 1)
        assert [key for key, _ in store.items() if key.startswith(b"x")] == []
        assert store.load([good]) == 1
        assert (dict(store.items()), store.position) == ({b"a": b"1"}, 1)

    # -- after a restart ---------------------------------------------------------------

    def test_a_durable_store_is_there_again(self, folder: Path) -> None:
        store = self._opened(folder)
        durable = store.durable
        store.write({b"a": b"1", b"b": b"2", b"": b"", b"gone": b"3"}, 4)
        store.write({b"gone": None}, 5)
        store.topic_id = "Gk6HrjyFQoq2T1tKHjGyBA"
        store.close()
        store = self._opened(folder)
        if not durable:
            assert (store.position, len(store)) == (None, 0)
            store.close()
            return
        assert dict(store.items()) == {b"a": b"1", b"b": b"2", b"": b""}
        assert (store.position, store.topic_id) == (5, "Gk6HrjyFQoq2T1tKHjGyBA")
        store.load(changelog([(b"a", b"4")], start=5))
        store.close()
        store = self._opened(folder)
        assert (store.get(b"a"), store.position) == (b"4", 6)
        store.clear()
        store.close()
        store = self._opened(folder)
        assert (store.position, len(store)) == (None, 0)
        store.close()

    def test_a_durable_store_of_another_changelog_is_not_taken(self, folder: Path) -> None:
        store = self._opened(folder)
        durable = store.durable
        store.write({b"a": b"1"}, 1)
        store.close()
        for tp in (TopicPartition(TP.topic, 4), TopicPartition("other-changelog", 3)):
            store = self.open(tp, folder if durable else None)
            assert (store.position, len(store)) == (None, 0)
            store.write({b"b": b"2"}, 1)
            store.close()
