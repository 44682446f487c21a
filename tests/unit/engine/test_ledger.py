"""I5: a committed offset never passes an event that is not done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faustc.engine.ledger import Ledger


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[list[int], int]]:
    """Batches as a log has them: offsets rise, with gaps within and after them."""
    offset = draw(st.integers(0, 5))
    made = []
    for _ in range(draw(st.integers(1, 6))):
        offset += draw(st.integers(0, 3))  # control records between batches
        offsets = []
        for _ in range(draw(st.integers(0, 8))):
            offset += draw(st.sampled_from([0, 0, 0, 1, 4]))  # compacted away
            offsets.append(offset)
            offset += 1
        offset += draw(st.sampled_from([0, 0, 2]))  # the batch ends in a gap
        made.append((offsets, offset))
    return made


@given(batches(), st.data())
def test_position_is_below_everything_unacknowledged_in_any_order(
    made: list[tuple[list[int], int]], data: st.DataObject
) -> None:
    ledger = Ledger()
    handed: list[int] = []
    acked: set[int] = set()
    end = -1
    waiting = list(made)
    while waiting or len(acked) < len(handed):
        open_offsets = [o for o in handed if o not in acked]
        if waiting and (not open_offsets or data.draw(st.booleans())):
            offsets, end = waiting.pop(0)
            ledger.hand_out(offsets, end)
            handed += offsets
        else:
            offset = data.draw(st.sampled_from(open_offsets))
            assert ledger.ack(offset)
            assert not ledger.ack(offset)  # once only
            acked.add(offset)
        open_offsets = [o for o in handed if o not in acked]
        assert ledger.outstanding == len(open_offsets)
        if open_offsets:
            # Exactly at the lowest that is open: no lower either, or it would lag behind.
            assert ledger.position == min(open_offsets)
        else:
            assert ledger.position == end


@given(batches(), st.data())
def test_what_is_cut_was_never_handed_out(
    made: list[tuple[list[int], int]], data: st.DataObject
) -> None:
    ledger = Ledger()
    for offsets, end in made:
        ledger.hand_out(offsets, end)
    handed = [o for offsets, _ in made for o in offsets]
    if not handed:
        return
    early = data.draw(st.sets(st.sampled_from(handed)))
    cut = data.draw(st.sampled_from(handed))
    for offset in early:
        ledger.ack(offset)
    ledger.cut(cut)
    for offset in handed:
        if offset < cut:
            ledger.ack(offset)
    assert not ledger.ack(cut)
    assert cut in early or ledger.position <= cut
    assert not [o for o in handed if ledger.position <= o < cut]  # only a gap may be between
    assert ledger.outstanding == 0


def test_acknowledgements_in_order_move_the_position_one_by_one() -> None:
    ledger = Ledger()
    ledger.hand_out(range(10, 13), 13)
    seen = [ledger.position]
    for offset in (10, 11, 12):
        ledger.ack(offset)
        seen.append(ledger.position)
    assert seen == [10, 11, 12, 13]


def test_position_passes_control_records_at_the_end_of_the_log() -> None:
    ledger = Ledger()
    ledger.hand_out([4, 5], 6)
    ledger.reach(9)  # commit markers of a transaction
    ledger.ack(5)
    assert ledger.position == 4
    ledger.ack(4)
    assert ledger.position == 9


def test_a_batch_compacted_away_whole_moves_the_position() -> None:
    ledger = Ledger()
    ledger.hand_out([0], 1)
    ledger.ack(0)
    ledger.hand_out([], 7)
    assert ledger.position == 7


def test_late_acknowledgement_after_close_is_dropped() -> None:
    ledger = Ledger()
    ledger.hand_out([0, 1], 2)
    ledger.close()
    assert not ledger.ack(0)
    assert ledger.position == 0


@pytest.mark.parametrize("offset", [-1, 2, 99])
def test_offsets_never_handed_out_are_refused(offset: int) -> None:
    ledger = Ledger()
    assert not ledger.ack(offset)
    ledger.hand_out([0, 1], 2)
    assert not ledger.ack(offset)
    ledger.ack(0)
    ledger.ack(1)
    assert not ledger.ack(2)
    assert ledger.position == 2


def test_handing_out_twice_is_an_error() -> None:
    ledger = Ledger()
    ledger.hand_out([0, 1], 2)
    with pytest.raises(ValueError, match="offset 1 handed out again"):
        ledger.hand_out([1, 2], 3)
