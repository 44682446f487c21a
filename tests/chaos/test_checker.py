"""The checker's own test: each thing that can be wrong, in records made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.checker import SOMEWHERE, Evidence, Fault, Input, Output, Sent, check

KEYS = ("a", "b")
EACH = 5
WRITTEN_MS = 1_000_000


def good(guarantee: str = "exactly_once") -> Evidence:
    """Two keys with five records each, in one partition, and all of it in order."""
    inputs = [Input(0, offset, KEYS[offset % 2], offset // 2 + 1) for offset in range(2 * EACH)]
    outputs = [
        Output(0, i.offset, WRITTEN_MS + i.offset, i.key, i.n, i.n, (0, i.offset), "1")
        for i in inputs
    ]
    return Evidence(
        guarantee=guarantee,
        ledger=[Sent(i.key, i.n, i.partition, i.offset) for i in inputs],
        inputs=inputs,
        outputs=outputs,
        table=dict.fromkeys(KEYS, EACH),
        ends={0: 2 * EACH},
        committed={0: 2 * EACH},
        samples=[(WRITTEN_MS / 1000 + 1, {0: 2 * EACH})],
    )


def again(evidence: Evidence, event: int, **changes: Any) -> Output:
    """An output that comes after all others, for an event that has one."""
    last = evidence.outputs[-1]
    return evidence.outputs[event]._replace(
        offset=last.offset + 1, appended_ms=last.appended_ms + 1, **changes
    )


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_good_run_has_no_figure(guarantee: str) -> None:
    figures = check(good(guarantee))
    assert figures.wrong(guarantee) == {}
    assert figures.records == 2 * EACH
    assert (figures.duplicated, figures.table_surplus) == (0, 0)


def test_an_event_without_an_output_is_lost() -> None:
    evidence = good()
    del evidence.outputs[3]
    assert check(evidence).wrong("at_least_once") == {"lost": 1}


def test_a_second_output_is_a_duplicate_and_wrong_only_where_promised() -> None:
    evidence = good()
    evidence.outputs.append(again(evidence, 9))
    figures = check(evidence)
    assert figures.wrong("exactly_once") == {"duplicated": 1}
    assert figures.wrong("at_least_once") == {}
    assert figures.reordered == 0


def test_a_replay_of_several_is_not_taken_for_disorder() -> None:
    evidence = good()
    for source in (6, 8):
        evidence.outputs.append(again(evidence, source))
    figures = check(evidence)
    assert (figures.duplicated, figures.reordered) == (2, 0)


def test_outputs_of_a_key_in_another_order_are_reordered() -> None:
    evidence = good()
    one, other = evidence.outputs[2], evidence.outputs[4]
    evidence.outputs[2] = other._replace(offset=one.offset)
    evidence.outputs[4] = one._replace(offset=other.offset)
    assert check(evidence).wrong("at_least_once") == {"reordered": 1}


def test_an_output_that_nobody_asked_for_is_foreign() -> None:
    evidence = good()
    evidence.outputs.append(again(evidence, 1, source=(0, 77)))
    evidence.outputs.append(again(evidence, 1, n=4))
    assert check(evidence).wrong("at_least_once") == {"foreign": 2}


def test_a_count_below_what_is_due_is_a_table_that_forgot() -> None:
    evidence = good()
    evidence.outputs[9] = evidence.outputs[9]._replace(count=4)
    assert check(evidence).wrong("at_least_once") == {"counted_short": 1}


def test_a_count_above_what_is_due_is_wrong_under_exactly_once() -> None:
    evidence = good()
    evidence.outputs[9] = evidence.outputs[9]._replace(count=6)
    figures = check(evidence)
    assert figures.wrong("exactly_once") == {"counted_over": 1}
    assert figures.wrong("at_least_once") == {}


def test_a_table_with_less_than_the_truth() -> None:
    evidence = replace(good(), table={"a": EACH - 2})
    assert check(evidence).wrong("at_least_once") == {"table_missing": 2 + EACH}


def test_a_table_with_more_than_the_truth_may_have_as_much_as_was_repeated() -> None:
    evidence = replace(good(), table={"a": EACH + 1, "b": EACH})
    assert "table_surplus" in check(evidence).wrong("exactly_once")
    assert check(evidence).wrong("at_least_once") == {"surplus_alone": 1}
    evidence.outputs.append(again(evidence, 9))  # of the other key
    assert check(evidence).wrong("at_least_once") == {"surplus_alone": 1}
    evidence.outputs.append(again(evidence, 8))
    assert check(evidence).wrong("at_least_once") == {}


def test_a_table_with_a_key_that_never_was() -> None:
    evidence = replace(good(), table={**good().table, "c": 1})
    assert check(evidence).table_surplus == 1


def test_a_commit_that_is_seen_before_the_output_was_written() -> None:
    early = (WRITTEN_MS + 4) / 1000
    evidence = replace(good(), samples=[(early, {0: 9}), (early + 5, {0: 10})])
    # Offsets 6, 7, 8 were written two milliseconds and more after it.
    assert check(evidence).wrong("at_least_once") == {"overtaken": 3}


def test_what_is_not_committed_at_the_end() -> None:
    evidence = replace(good(), committed={0: 7})
    assert check(evidence).wrong("at_least_once") == {"uncommitted": 3}
    assert check(replace(good(), committed={})).uncommitted == 2 * EACH


def test_an_acknowledged_record_that_is_not_there_is_the_brokers_doing() -> None:
    evidence = good()
    evidence.ledger.append(Sent("a", 6, 0, 10))
    evidence.ledger.append(Sent("a", 7))
    evidence.ledger.append(Sent("a", 1, 0, SOMEWHERE))
    evidence.ledger.append(Sent("a", 8, 0, SOMEWHERE))
    figures = check(evidence)
    assert (figures.input_missing, figures.unacknowledged) == (2, 1)
    assert figures.wrong("at_least_once") == {"input_missing": 2}


def test_duplicates_are_due_to_the_end_of_who_wrote_first() -> None:
    evidence = good()
    written_s = WRITTEN_MS / 1000
    evidence.faults = [
        Fault(written_s - 1, "kill", "1"),
        Fault(written_s + 1, "kill", "2"),
        Fault(written_s + 2, "kill", "1"),
        Fault(written_s + 3, "kill", "1"),
    ]
    evidence.outputs += [again(evidence, 7), again(evidence, 8), again(evidence, 9)]
    evidence.outputs[8] = evidence.outputs[8]._replace(worker="3")  # who did not end
    figures = check(evidence)
    assert (figures.per_fault, figures.other_duplicates) == ([0, 0, 2, 0], 1)
    assert (figures.most_per_fault, figures.median_per_fault) == (2, 0)
