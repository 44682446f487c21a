"""Many seeds, on all cores."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.simulation.world import Outcome, simulate

__all__ = ["outcomes"]


def outcomes(seeds: Iterable[int], guarantee: str, jobs: int) -> Generator[Outcome, None, None]:
    """Yield how each seed went, as soon as that is known."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_quiet)
    left = iter(seeds)
    running: set[Future[Outcome]] = set()
    try:
        while True:
            for seed in left:
                running.add(pool.submit(_run, seed, guarantee))
                if len(running) >= 4 * jobs:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _quiet() -> None:
    logging.disable()


def _run(seed: int, guarantee: str) -> Outcome:
    outcome = simulate(seed, guarantee)
    outcome.trace = []
    return outcome
