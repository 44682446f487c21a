"""Run seeds: `python -m tests.simulation --seeds 10000`, or one: `... --seed 123`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from contextlib import closing

from tests.simulation.pool import outcomes
from tests.simulation.scenario import GUARANTEES, Scenario
from tests.simulation.world import Outcome, simulate

STOP_AFTER = 5  # failures


def main() -> int:
    """Return 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and tell what happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--guarantee", choices=GUARANTEES, default=GUARANTEES[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--failures", type=int, default=STOP_AFTER, help="stop after so many")
    parser.add_argument("--log", default="", help="write faustc's log of one seed, at this level")
    parser.add_argument("--trace", action="store_true", help="print all that happened in one seed")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets has to be the same in every run.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    if options.seed is not None:
        return _one(options)
    return _many(options)


def _one(options: argparse.Namespace) -> int:
    if options.log:
        logging.basicConfig(level=options.log.upper(), format="%(levelname)s %(name)s %(message)s")
    else:
        logging.disable()
    print(Scenario.of(options.seed, options.guarantee).describe())
    outcome = simulate(options.seed, options.guarantee)
    if options.trace or outcome.failure:
        print("\n".join(outcome.trace if options.trace else outcome.trace[-40:]))
    print(_said(outcome))
    return 1 if outcome.failure else 0


def _many(options: argparse.Namespace) -> int:
    seeds = range(options.first, options.first + options.seeds)
    began = time.monotonic()
    done, failed = 0, []
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with closing(outcomes(seeds, options.guarantee, options.jobs)) as coming:
        for outcome in coming:
            done += 1
            totals["events"] += outcome.events
            totals["repeated"] += outcome.repeated
            totals["requests"] += outcome.requests
            totals["virtual_s"] += int(outcome.virtual_s)
            totals["exits"] += len(outcome.exits)
            reasons.update(exit_.partition(": ")[2][:160] for exit_ in outcome.exits)
            if outcome.failure:
                failed.append(outcome)
                print(f"\nseed {outcome.seed} FAILED: {outcome.failure}")
                print(f"    {_again(outcome.seed, options.guarantee)}", flush=True)
                if len(failed) >= options.failures:
                    break
            if done % 20 == 0 or done == len(seeds):
                _progress(done, len(seeds), len(failed), time.monotonic() - began)
    print()
    for reason, count in reasons.most_common(10):
        print(f"  {count} workers ended by {reason}")
    print(
        f"{done} seeds of {options.guarantee}, {len(failed)} failed; {totals['events']} events, "
        f"{totals['repeated']} repeated, {totals['requests']} frames, {totals['exits']} workers "
        f"ended by themselves, {totals['virtual_s']} s of virtual time in "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


def _progress(done: int, count: int, failed: int, seconds: float) -> None:
    end = "\r" if sys.stdout.isatty() else "\n"
    if sys.stdout.isatty() or done % 200 == 0 or done == count:
        left_s = seconds / done * (count - done)
        print(f"{done} of {count}, {failed} failed, {left_s:.0f} s to go  ", end=end, flush=True)


def _again(seed: int, guarantee: str) -> str:
    more = "" if guarantee == GUARANTEES[0] else f" GUARANTEE={guarantee}"
    return f"make simulate SEED={seed}{more}"


def _said(outcome: Outcome) -> str:
    verdict = f"FAILED: {outcome.failure}" if outcome.failure else "all holds"
    lines = [f"ended by itself: {exit_}" for exit_ in outcome.exits]
    lines.append(
        f"seed {outcome.seed}: {verdict}; {outcome.events} events, {outcome.repeated} repeated, "
        f"{outcome.requests} frames, {outcome.virtual_s:.1f} s, digest {outcome.digest}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
