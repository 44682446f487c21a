"""What is done beyond a committed offset: written down, read again, and not handed out twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faustc.engine.beyond import Beyond, done_beyond, encode
from faustc.engine.ledger import Ledger
from faustc.types import OffsetAndMetadata


def offsets_of(runs: list[tuple[int, int]]) -> set[int]:
    return {offset for first, end in runs for offset in range(first, end)}


@given(st.integers(0, 50), st.sets(st.integers(0, 40), max_size=20), st.integers(0, 41))
def test_what_is_written_is_read(start: int, done: set[int], cut: int) -> None:
    # Given: a ledger of 41 offsets, of which some are done, cut somewhere
    ledger = Ledger()
    ledger.hand_out(range(start, start + 41), start + 41)
    for one in done:
        ledger.ack(start + one)
    ledger.cut(start + cut)
    offset = ledger.position
    # When it is written down and read
    text = encode(offset, {"agent": done_beyond(ledger, [], offset)})
    runs = Beyond(OffsetAndMetadata(offset, text)).of("agent")
    # Then it is what was done, and is not passed by the offset
    assert offsets_of(runs) == {start + one for one in done if start + one >= offset}
    assert (text == "") is (not runs)


def test_two_readers_that_are_not_as_far() -> None:
    fast, slow = Ledger(), Ledger()
    for ledger, count in ((fast, 7), (slow, 3)):
        ledger.hand_out(range(10, 20), 20)
        for one in range(10, 10 + count):
            ledger.ack(one)
    offset = min(fast.position, slow.position)
    text = encode(offset, {n: done_beyond(one, [], offset) for n, one in
                           (("fast", fast), ("slow", slow))})  # fmt: skip
    found = Beyond(OffsetAndMetadata(offset, text))
    assert found.of("fast") == [(13, 17)]
    assert found.of("slow") == found.of("unknown") == []


def test_what_others_did_is_told_on_until_it_is_passed() -> None:
    ledger = Ledger()
    ledger.hand_out(range(5, 8), 8)
    ledger.ack(5)
    assert done_beyond(ledger, [(8, 12), (14, 15)], 6) == [(8, 12), (14, 15)]
    ledger.ack(7)
    assert done_beyond(ledger, [(8, 12)], 6) == [(7, 12)]


def test_what_is_done_after_its_partition_was_stopped_is_known() -> None:
    ledger = Ledger()
    ledger.hand_out(range(10), 10)
    ledger.cut(8)
    ledger.cut(2)
    ledger.ack(0)
    assert ledger.ack(5) is False
    assert ledger.done_beyond == [5]
    assert ledger.position == 1


@pytest.mark.parametrize(
    "text",
    [
        "somebody's own note",
        "[]",
        '{"done": 1}',
        '{"done": {"a": [1]}}',
        '{"done": {"a": [-1, 5]}}',
        '{"done": {"a": [0, 0]}}',
        '{"done": {"a": ["x", 1]}}',
        '{"done": {"a": [0, 1000000000000]}}',
        "[" * 10_000,
    ],
)
def test_texts_of_others_are_nothing(text: str) -> None:
    assert Beyond(OffsetAndMetadata(3, text)).of("a") == []
