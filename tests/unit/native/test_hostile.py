"""A few thousand of the mutants of `hostile`, each time others than the long run's first ones."""

from __future__ import annotations

import pytest

from tests.unit.native import hostile

MUTANTS = 3000


def test_what_is_hand_made_and_what_is_real_has_the_references_outcome() -> None:
    tally = hostile.fixed()
    assert tally.wrong == []
    assert len(hostile.HAND_MADE) > 150
    assert tally.survived > len(hostile.SEEDS) * 2


@pytest.mark.parametrize("seed", [2, 3])
def test_mutants_have_the_references_outcome(seed: int) -> None:
    tally = hostile.storm(seed, 0, MUTANTS)
    assert tally.wrong == []
    assert tally.survived > MUTANTS // 10  # or the storm proves nothing
