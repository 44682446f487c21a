"""Compaction: the last value of each key stays where it was, and nobody reads a wrong one."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from faustc._native.batch import decode
from faustc.broker.compaction import compact_partition, wants_compaction
from faustc.broker.segment import check_sum
from faustc.types import TopicPartition
from tests.unit.broker.partitions import Rig, read_all

DAY_MS = 86_400_000


@pytest.fixture(params=["memory", "files"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    folder = tmp_path if request.param == "files" else None
    return Rig(folder, cleanup_policy="compact", segment_bytes="1000")


async def compact(rig: Rig) -> None:
    rig.seal()
    await compact_partition(rig.partition, rig.clock.ms, threaded=rig.folder is not None)


def table(rig: Rig, *, committed: bool = False) -> dict[bytes | None, bytes | None]:
    """What somebody who reads it all takes for the last values."""
    return {m.key: m.value for m in read_all(rig.partition, committed=committed)}


def close_active(rig: Rig) -> None:
    rig.partition.log.roll()


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_the_last_value_of_each_key_stays_at_its_offset(rig: Rig, codec: str | None) -> None:
    chance = random.Random(4)
    for i in range(300):
        pairs = [(b"key%d" % chance.randrange(20), b"%d.%d" % (i, j)) for j in range(5)]
        rig.put(*pairs, codec=codec)
    close_active(rig)
    before = {(m.key, m.offset, m.value, m.timestamp) for m in rig.messages()}
    latest = table(rig)
    size = rig.partition.log.size
    await compact(rig)
    assert table(rig) == latest
    after = rig.messages()
    assert len(after) == 20
    assert {(m.key, m.offset, m.value, m.timestamp) for m in after} <= before
    assert rig.partition.log.size < size / 5
    assert (rig.partition.log_start, rig.partition.log_end) == (0, 1500)
    if rig.folder is not None:
        assert all(check_sum(path) for path in rig.folder.glob("*.log"))
        rig.reopen()
        assert table(rig) == latest
        assert (rig.partition.log_start, rig.partition.log_end) == (0, 1500)


async def test_every_offset_can_still_be_asked_for(rig: Rig) -> None:
    for i in range(200):
        rig.put((b"k%d" % (i % 3), b"v" * 30))
    close_active(rig)
    await compact(rig)
    left = [m.offset for m in rig.messages()]
    for offset in range(200):
        span = rig.partition.span(offset, 1 << 20, committed=False, whole=True)
        assert span is not None
        first = next(b for b in decode(span.read(), allow_partial=True) if b.messages(offset))
        assert first.messages(offset)[0].offset == next(o for o in left if o >= offset)


async def test_the_active_segment_is_never_touched(rig: Rig) -> None:
    rig.put((b"k", b"old"))
    rig.put((b"k", b"new"))
    await compact(rig)
    assert rig.values() == [b"old", b"new"]
    close_active(rig)
    rig.put((b"k", b"newest"))
    await compact(rig)
    assert rig.values() == [b"new", b"newest"]


async def test_a_tombstone_stays_until_its_readers_had_time(rig: Rig) -> None:
    rig.put((b"k", b"v"), (b"other", b"v"))
    rig.put((b"k", None))
    close_active(rig)
    await compact(rig)
    assert [(m.key, m.value) for m in rig.messages()] == [(b"other", b"v"), (b"k", None)]
    rig.clock.ms += DAY_MS + 1
    await compact(rig)
    assert [(m.key, m.value) for m in rig.messages()] == [(b"other", b"v")]


async def test_a_second_cleaning_finds_nothing_to_do_until_there_is_more(rig: Rig) -> None:
    for i in range(50):
        rig.put((b"k", b"%030d" % i))
    rig.seal()
    assert wants_compaction(rig.partition, rig.clock.ms)
    await compact(rig)
    assert not wants_compaction(rig.partition, rig.clock.ms)


async def test_a_topic_that_is_not_compacted_is_left_alone() -> None:
    rig = Rig(segment_bytes="500")
    for _ in range(20):
        rig.put((b"k", b"v" * 50))
    rig.seal()
    assert not wants_compaction(rig.partition, rig.clock.ms)


async def test_what_was_aborted_goes_and_does_not_hide_what_was_committed(rig: Rig) -> None:
    rig.put((b"k", b"committed"))
    rig.put((b"k", b"aborted"), producer=(1, 0, 0), transactional=True)
    rig.partition.append_marker(1, 0, False)
    rig.put((b"x", b"kept"), producer=(1, 0, 1), transactional=True)
    rig.partition.append_marker(1, 0, True)
    rig.put((b"y", b"plain"))
    close_active(rig)
    await compact(rig)
    wanted = {b"k": b"committed", b"x": b"kept", b"y": b"plain"}
    assert table(rig) == wanted
    if rig.folder is not None:
        rig.reopen()
    assert table(rig, committed=True) == wanted
    assert rig.partition.last_stable_offset == rig.partition.log_end


async def test_a_marker_stays_as_long_as_its_transaction_has_a_message(rig: Rig) -> None:
    rig.put((b"a", b"1"), producer=(1, 0, 0), transactional=True)
    rig.partition.append_marker(1, 0, True)
    rig.put((b"b", b"2"), producer=(1, 0, 1), transactional=True)
    rig.partition.append_marker(1, 0, True)
    rig.put((b"b", b"3"))
    close_active(rig)
    rig.clock.ms += DAY_MS + 1
    await compact(rig)
    if rig.folder is not None:
        rig.reopen()
    # Were the first marker gone, the first transaction would be open for ever.
    assert rig.partition.last_stable_offset == rig.partition.log_end
    assert table(rig, committed=True) == {b"a": b"1", b"b": b"3"}


async def test_an_open_transaction_is_not_cleaned(rig: Rig) -> None:
    rig.put((b"k", b"before"))
    close_active(rig)
    rig.put((b"k", b"open"), producer=(1, 0, 0), transactional=True)
    rig.put((b"k", b"after"))
    close_active(rig)
    await compact(rig)
    assert rig.values() == [b"before", b"open", b"after"]


async def test_a_producers_last_number_outlives_cleaning_and_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path, cleanup_policy="compact")
    rig.put((b"k", b"1"), producer=(9, 0, 0))
    rig.put((b"k", b"2"), producer=(9, 0, 1))
    rig.put((b"k", b"3"))
    close_active(rig)
    await compact(rig)
    assert rig.values() == [b"3"]
    rig.reopen()
    assert rig.put((b"k", b"2"), producer=(9, 0, 1)) == 1  # still known, still a duplicate
    assert rig.put((b"k", b"4"), producer=(9, 0, 2)) == 3


async def test_segments_that_went_during_cleaning_do_not_come_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path, cleanup_policy="compact,delete", segment_bytes="500")
    for i in range(40):
        rig.put((b"k%d" % (i % 4), b"v" * 40))
    rig.seal()
    task = asyncio.ensure_future(compact_partition(rig.partition, rig.clock.ms, threaded=True))
    await asyncio.sleep(0)
    rig.partition.delete_before(30)
    await task
    assert rig.messages()[0].offset >= 30
    rig.reopen()
    assert rig.partition.log_start == 30
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".cleaned")]


async def test_a_crash_between_two_segments_resurrects_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "a", cleanup_policy="compact", segment_bytes="300")
    for i in range(30):
        rig.put((b"k%d" % (i % 3), b"%040d" % i))
    close_active(rig)
    latest = table(rig)
    old = {p.name: p.read_bytes() for p in (tmp_path / "a").glob("*.log")}
    await compact(rig)
    new = {p.name: p.read_bytes() for p in (tmp_path / "a").glob("*.log")}
    names = sorted(old)
    for done in range(len(names) + 1):
        folder = tmp_path / f"crash{done}"
        folder.mkdir()
        for i, name in enumerate(names):
            content = new.get(name) if i < done else old[name]
            if content is not None:
                (folder / name).write_bytes(content)
        crashed = Rig(folder, cleanup_policy="compact")
        assert table(crashed) == latest
        assert crashed.partition.tp == TopicPartition("t", 0)
