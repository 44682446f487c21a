"""The simulation: every seed holds, and is the same run each time; broken workers are caught."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.simulation.broken import WAYS
from tests.simulation.scenario import GUARANTEES, Scenario
from tests.simulation.world import simulate

SEEDS = 100  # of each guarantee
CATCH_WITHIN = 25  # seeds


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A log that nobody reads takes as long as the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_every_seed_holds(guarantee: str) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS)]
    done = subprocess.run(
        [*command, "--guarantee", guarantee],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [1, 7, 62])
def test_a_seed_is_the_same_run_each_time(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert first.failure == ""


def test_seeds_differ() -> None:
    assert simulate(3).digest != simulate(4).digest
    assert Scenario.of(3).describe() == Scenario.of(3).describe()


@pytest.mark.parametrize("name", WAYS)
def test_a_broken_worker_is_caught(name: str) -> None:
    way, invariants = WAYS[name]
    for seed in range(CATCH_WITHIN):
        outcome = simulate(seed, broken=way)
        if outcome.failure:
            assert outcome.failure.startswith(invariants), outcome.failure
            return
    pytest.fail(f"a worker that {name.replace('_', ' ')} gets through {CATCH_WITHIN} seeds")
