"""Idempotence and transactions in one partition: before a restart and after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from faustc.broker.producers import Aborted, Refused
from faustc.client import codes
from tests.unit.broker.partitions import Rig


@pytest.fixture(params=["at once", "after a restart"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.restarts = request.param == "after a restart"  # type: ignore[attr-defined]
    return rig


def put(rig: Rig, sequence: int, count: int = 1, *, epoch: int = 0, txn: bool = False) -> int:
    if rig.restarts:  # type: ignore[attr-defined]
        rig.reopen()
    return rig.put(*[(None, b"%d" % sequence)] * count, producer=(5, epoch, sequence),
                   transactional=txn)  # fmt: skip


def code(rig: Rig, sequence: int, count: int = 1, *, epoch: int = 0, txn: bool = False) -> int:
    end = rig.partition.log_end
    with pytest.raises(Refused) as caught:
        put(rig, sequence, count, epoch=epoch, txn=txn)
    assert rig.partition.log_end == end
    return caught.value.code


def test_a_batch_that_came_before_is_answered_with_its_old_offset(rig: Rig) -> None:
    offsets = [put(rig, 2 * i, 2) for i in range(6)]
    assert offsets == [0, 2, 4, 6, 8, 10]
    for i in range(1, 6):  # the last five are remembered
        assert put(rig, 2 * i, 2) == offsets[i]
    assert rig.partition.log_end == 12


def test_one_that_is_older_than_the_last_five_is_out_of_order(rig: Rig) -> None:
    for i in range(6):
        put(rig, i)
    assert code(rig, 0) == codes.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_gap_is_refused(rig: Rig) -> None:
    put(rig, 0, 3)
    assert code(rig, 4) == codes.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert code(rig, 2) == codes.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert put(rig, 3) == 3


def test_an_unknown_producer_may_begin_anywhere(rig: Rig) -> None:
    assert put(rig, 1000) == 0
    assert put(rig, 1001) == 1


def test_numbers_begin_again_after_the_largest(rig: Rig) -> None:
    put(rig, 0x7FFFFFFE, 2)
    assert put(rig, 0) == 2


def test_a_lower_epoch_is_fenced_and_a_higher_one_begins_at_zero(rig: Rig) -> None:
    put(rig, 0, epoch=1)
    assert code(rig, 1, epoch=0) == codes.INVALID_PRODUCER_EPOCH
    assert code(rig, 1, epoch=2) == codes.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert put(rig, 0, epoch=2) == 1


def test_a_marker_of_a_higher_epoch_fences(rig: Rig) -> None:
    put(rig, 0, txn=True)
    rig.partition.append_marker(5, 1, False)
    assert code(rig, 1, txn=True) == codes.INVALID_PRODUCER_EPOCH
    assert put(rig, 0, epoch=1, txn=True) == 2


def test_numbers_go_on_over_a_marker_of_the_same_epoch(rig: Rig) -> None:
    put(rig, 0, txn=True)
    rig.partition.append_marker(5, 0, True)
    assert put(rig, 1, txn=True) == 2


def test_aborted_transactions_are_known_by_where_they_are(rig: Rig) -> None:
    put(rig, 0, 2, txn=True)
    rig.put((None, b"another's"))
    assert rig.partition.last_stable_offset == 0
    assert dict(rig.partition.open_transactions) == {5: 0}
    assert rig.partition.append_marker(5, 0, False) == 3
    put(rig, 2, txn=True)
    rig.partition.append_marker(5, 0, True)
    put(rig, 3, txn=True)
    rig.reopen()
    producers = rig.partition.producers
    assert producers.aborted == [Aborted(5, 0, 3)]
    assert producers.aborted_in(0, 1) == producers.aborted_in(3, 9) == [Aborted(5, 0, 3)]
    assert producers.aborted_in(4, 9) == []
    assert rig.partition.last_stable_offset == 6


def test_a_plain_batch_has_no_place_inside_of_a_transaction(rig: Rig) -> None:
    put(rig, 0, txn=True)
    assert code(rig, 1) == codes.INVALID_TXN_STATE


def test_silent_producers_are_forgotten_unless_their_transaction_is_open() -> None:
    rig = Rig()
    rig.put((None, b""), producer=(1, 0, 0))
    rig.put((None, b""), producer=(2, 0, 0), transactional=True)
    rig.partition.producers.expire(rig.clock.ms + 1)
    assert rig.partition.producers.epoch(1) == -1
    assert rig.partition.producers.epoch(2) == 0
