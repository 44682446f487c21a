"""The log of a partition: what was appended is there, in order, whatever happened since."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from faustc._native.batch import decode
from faustc._native.checksum import crc32c
from faustc.broker.producers import Refused
from faustc.broker.segment import check_sum
from faustc.client import codes
from tests.unit.broker.partitions import NOW_MS, Rig, batch, read_all


@pytest.fixture(params=["memory", "files"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    return Rig(tmp_path if request.param == "files" else None, segment_bytes="2000")


def fill(rig: Rig, count: int) -> None:
    for i in range(count):
        rig.put((b"k", b"%d" % i), (b"k", b"%d+" % i))


def test_offsets_follow_each_other_over_segments(rig: Rig) -> None:
    fill(rig, 100)
    assert rig.partition.log_end == 200
    assert len(rig.partition.log.segments) > 3
    assert [m.offset for m in rig.messages()] == list(range(200))
    assert rig.values()[:2] == [b"0", b"0+"]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_batches_are_stored_as_they_came(rig: Rig, codec: str | None) -> None:
    rig.put((b"a", b"first"))
    sent = batch([(b"k", b"v" * 500), (None, None)], codec=codec)
    rig.partition.append(sent)
    span = rig.partition.span(1, 1 << 20, committed=False, whole=True)
    assert span is not None
    stored = span.read()
    assert struct.unpack_from(">q", stored)[0] == 1
    assert stored[16:] == sent[16:]
    assert [m.value for m in decode(stored)[0]] == [b"v" * 500, None]


def test_any_offset_is_found_in_the_middle_of_a_batch(rig: Rig) -> None:
    fill(rig, 200)
    for offset in (0, 1, 77, 256, 399):
        span = rig.partition.span(offset, 1, committed=False, whole=True)
        assert span is not None
        found = decode(span.read(), allow_partial=True)[0]
        assert found.base_offset <= offset <= found.last_offset
    assert rig.partition.span(400, 1, committed=False, whole=True) is None


def test_a_first_batch_larger_than_asked_comes_whole_unless_it_must_not(rig: Rig) -> None:
    rig.put((None, b"x" * 5000))
    span = rig.partition.span(0, 100, committed=False, whole=True)
    assert span is not None
    assert decode(span.read())[0].messages()[0].value == b"x" * 5000
    assert rig.partition.span(0, 100, committed=False, whole=False) is None


def test_everything_is_there_after_kill(tmp_path: Path) -> None:
    rig = Rig(tmp_path, segment_bytes="2000")
    fill(rig, 100)
    before = [(m.offset, m.value, m.timestamp) for m in rig.messages()]
    rig.reopen()
    assert [(m.offset, m.value, m.timestamp) for m in rig.messages()] == before
    assert rig.put((None, b"next")) == 200


def test_a_tail_torn_at_any_byte_is_cut_back_to_the_last_whole_batch(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "whole")
    ends = []
    for i in range(4):
        rig.put((b"k", b"value %d" % i), codec="lz4" if i % 2 else None)
        ends.append(rig.partition.log.size)
    (path,) = (tmp_path / "whole").glob("*.log")
    content = path.read_bytes()
    for size in range(len(content) + 1):
        folder = tmp_path / "torn"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / path.name).write_bytes(content[:size])
        torn = Rig(folder)
        whole = sum(end <= size for end in ends)
        assert torn.partition.log_end == whole
        assert torn.values() == [b"value %d" % i for i in range(whole)]
        assert torn.put((None, b"goes on")) == whole
        assert torn.reopen().log_end == whole + 1


@pytest.mark.parametrize("where", ["header", "records"])
def test_a_flipped_bit_in_the_tail_is_found_by_its_crc(tmp_path: Path, where: str) -> None:
    rig = Rig(tmp_path)
    rig.put((None, b"good"))
    size = rig.partition.log.size
    rig.put((None, b"bad"))
    (path,) = tmp_path.glob("*.log")
    content = bytearray(path.read_bytes())
    content[size + 30 if where == "header" else -1] ^= 1
    path.write_bytes(content)
    assert rig.reopen().log_end == 1
    assert rig.values() == [b"good"]


def test_zeros_after_power_loss_are_cut_off(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put((None, b"good"))
    (path,) = tmp_path.glob("*.log")
    with open(path, "ab") as file:
        file.write(bytes(4096))
    assert rig.reopen().log_end == 1
    assert path.stat().st_size == rig.partition.log.size


def test_a_closed_segment_with_its_checksum_is_trusted_and_can_be_checked(tmp_path: Path) -> None:
    rig = Rig(tmp_path, segment_bytes="500")
    fill(rig, 20)
    rig.seal()
    first = sorted(tmp_path.glob("*.log"))[0]
    assert check_sum(first)
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    assert not check_sum(first)
    assert rig.reopen().log_end == 40


def test_a_closed_segment_without_checksum_is_checked_batch_by_batch(tmp_path: Path) -> None:
    rig = Rig(tmp_path, segment_bytes="500")
    fill(rig, 20)
    assert rig.reopen().log_end == 40
    assert len(rig.closed) == len(rig.partition.log.segments) - 1  # they get one now


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    rig.put((None, b"one"))
    real_write = os.write

    def write_half(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", refuse)
        return real_write(fd, data[: len(data) // 2])

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space"):
        rig.put((None, b"two"))
    monkeypatch.setattr(os, "write", real_write)
    assert rig.partition.log_end == 1
    assert rig.put((None, b"three")) == 1
    rig.reopen()
    assert rig.values() == [b"one", b"three"]


# --- times ---


def test_the_first_message_of_a_time_or_later_is_found(rig: Rig) -> None:
    for i in range(100):
        rig.clock.ms = NOW_MS + 10 * i
        rig.put((None, b"%d" % i))
    for wanted, offset in ((0, 0), (NOW_MS, 0), (NOW_MS + 5, 1), (NOW_MS + 990, 99)):
        found = rig.partition.log.find_time(wanted)
        assert found is not None
        assert found.offset == offset
    assert rig.partition.log.find_time(NOW_MS + 991) is None


def test_times_out_of_order_are_found_too(rig: Rig) -> None:
    times = [500, 100, 900, 200, 1000, 50] * 20
    for ms in times:
        rig.partition.append(batch([(None, b"")], timestamp_ms=NOW_MS - 10_000 + ms))
    for wanted in (1, 501, 901, 1000):
        found = rig.partition.log.find_time(NOW_MS - 10_000 + wanted)
        assert found is not None
        assert found.offset == next(i for i, ms in enumerate(times) if ms >= wanted)
    newest = rig.partition.log.newest()
    assert newest is not None
    assert newest.offset == 4


def test_log_append_time_is_stamped_with_a_good_crc() -> None:
    rig = Rig(message_timestamp_type="LogAppendTime")
    rig.clock.ms = NOW_MS + 5
    appended = rig.partition.append(batch([(b"k", b"v")], timestamp_ms=1))
    assert appended.append_ms == NOW_MS + 5
    (message,) = rig.messages()  # decode checks the CRC
    assert (message.timestamp, message.timestamp_type) == (NOW_MS + 5, 1)


# --- what goes ---


def test_old_segments_go_and_the_end_stays(rig: Rig) -> None:
    rig.config.update({"retention.ms": "1000", "segment.bytes": "2000"})
    fill(rig, 50)
    rig.clock.ms += 500
    rig.put((None, b"new"))
    rig.clock.ms += 700
    rig.partition.retain(rig.clock.ms)
    assert rig.values()[-1] == b"new"
    assert 0 < rig.partition.log_start < 100
    rig.clock.ms += 10_000
    rig.partition.retain(rig.clock.ms)
    assert rig.values() == []
    assert rig.partition.log_start == rig.partition.log_end == 101
    if rig.folder is not None:
        assert rig.reopen().log_end == 101
        assert rig.partition.log_start == 101
    assert rig.put((None, b"x")) == 101


def test_a_log_keeps_as_many_bytes_as_it_is_told(rig: Rig) -> None:
    rig.config.update({"retention.bytes": "3000", "segment.bytes": "1000"})
    fill(rig, 100)
    rig.partition.retain(rig.clock.ms)
    assert 3000 <= rig.partition.log.size < 4000
    assert rig.values()[-1] == b"99+"


def test_deleted_records_stay_deleted(rig: Rig) -> None:
    fill(rig, 100)
    rig.partition.delete_before(77)
    assert rig.partition.log_start == 77
    assert rig.messages()[0].offset == 77
    assert rig.partition.log.segments[0].next_offset > 77
    if rig.folder is not None:
        assert rig.reopen().log_start == 77
    rig.partition.delete_before(200)
    assert rig.messages() == []
    assert rig.put((None, b"x")) == 200
    if rig.folder is not None:
        assert rig.reopen().log_start == 200
        assert rig.values() == [b"x"]


def test_segments_are_closed_by_age_too() -> None:
    rig = Rig(segment_ms="1000")
    rig.put((None, b"a"))
    rig.clock.ms += 1001
    rig.put((None, b"b"))
    assert len(rig.partition.log.segments) == 2
    assert rig.values() == [b"a", b"b"]


# --- what is refused ---


def refusal(rig: Rig, records: bytes | None) -> int:
    with pytest.raises(Refused) as caught:
        rig.partition.append(records)
    assert rig.partition.log_end == 0
    return caught.value.code


def test_what_readers_could_not_read_is_refused() -> None:
    rig = Rig(max_message_bytes="1000")
    good = batch([(b"k", b"v" * 100)])
    assert refusal(rig, None) == codes.INVALID_RECORD
    assert refusal(rig, b"") == codes.INVALID_RECORD
    assert refusal(rig, good[:-1]) == codes.CORRUPT_MESSAGE
    assert refusal(rig, good[:-1] + b"?") == codes.CORRUPT_MESSAGE
    assert refusal(rig, good + good) == codes.INVALID_RECORD
    assert refusal(rig, batch([(None, b"v" * 1000)])) == codes.MESSAGE_TOO_LARGE
    assert refusal(rig, good[:16] + b"\1" + good[17:]) == codes.UNSUPPORTED_FOR_MESSAGE_FORMAT
    late = batch([(None, b"")], timestamp_ms=NOW_MS + 3_700_000)
    assert refusal(rig, late) == codes.INVALID_TIMESTAMP


def test_every_truncation_of_a_batch_is_refused_and_nothing_is_stored() -> None:
    rig = Rig()
    good = batch([(b"k", b"v"), (None, None)], codec="zstd", producer=(1, 0, 0))
    for size in range(len(good)):
        refusal(rig, good[:size])


def test_a_compacted_topic_wants_keys() -> None:
    rig = Rig(cleanup_policy="compact")
    assert refusal(rig, batch([(b"k", b""), (None, b"")])) == codes.INVALID_RECORD


def test_records_that_do_not_fit_their_count_are_refused() -> None:
    rig = Rig()
    good = bytearray(batch([(b"k", b"v")] * 3))
    struct.pack_into(">i", good, 57, 2)
    _reseal(good)
    assert refusal(rig, bytes(good)) in (codes.INVALID_RECORD, codes.CORRUPT_MESSAGE)


def _reseal(out: bytearray) -> None:
    struct.pack_into(">I", out, 17, crc32c(memoryview(out)[21:]))


def test_readers_of_committed_data_stop_at_the_first_open_transaction(rig: Rig) -> None:
    rig.put((None, b"plain"))
    rig.put((None, b"open"), producer=(7, 0, 0), transactional=True)
    rig.put((None, b"later"))
    assert rig.partition.last_stable_offset == 1
    assert [m.value for m in read_all(rig.partition, committed=True)] == [b"plain"]
    rig.partition.append_marker(7, 0, True)
    assert [m.value for m in read_all(rig.partition, committed=True)] == [
        b"plain", b"open", b"later",
    ]  # fmt: skip
