"""Chaos, in short: one seed for each guarantee. The long form is `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import results
from tests.chaos.checker import Figures
from tests.chaos.plan import PLANS
from tests.chaos.run import Result, Setup, run
from tests.conftest import IN_CI
from tests.kafka_cluster import KafkaUnavailable


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("guarantee", "store", "seed"),
    [("at_least_once", "rocksdb://", 1), ("exactly_once", "memory://", 2)],
)
def test_nothing_is_lost_while_workers_and_brokers_die(
    guarantee: str, store: str, seed: int, tmp_path: Path
) -> None:
    setup = Setup(PLANS["short"], guarantee, store, seed, records=6_000)
    try:
        result = run(setup, tmp_path)
    except KafkaUnavailable as exc:
        if IN_CI:
            raise
        pytest.skip(f"needs Kafka: {exc}")
    assert result.wrong == {}, [*result.exits, *result.notes]
    assert result.figures.records >= 6_000
    assert result.figures.unacknowledged == 0
    # As often as the plan says, or the test shows less than it tells.
    assert [fault.kind for fault in result.ends].count("kill") == 3


def test_a_row_is_found_again(tmp_path: Path) -> None:
    setup = Setup(PLANS["kills"], "at_least_once", "memory://", 3, 30_000)
    result = Result(setup, Figures(lost=2), True, 1.0, 2.0, 3.0, 0.0, 5)
    file = tmp_path / "rows.md"
    assert not results.has(setup, "abc", file)
    results.append(result, "abc", file)
    assert results.has(setup, "abc", file)
    assert "lost 2" in file.read_text()
    for other in (
        Setup(PLANS["kills"], "at_least_once", "memory://", 30, 30_000),
        Setup(PLANS["kills"], "at_least_once", "rocksdb://", 3, 30_000),
        Setup(PLANS["kills"], "exactly_once", "memory://", 3, 30_000),
        Setup(PLANS["zombie"], "at_least_once", "memory://", 3, 30_000),
        Setup(PLANS["kills"], "at_least_once", "memory://", 3, 3_000),
    ):
        assert not results.has(other, "abc", file)
    assert not results.has(setup, "abcd", file)
