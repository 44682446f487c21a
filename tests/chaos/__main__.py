"""Run chaos: python -m tests.chaos --plan kills --seeds 1-10 --store memory.

Each seed starts a cluster of its own, prints what happens as it happens, and appends its result
to docs/guarantees.md. Seeds that have a row there, of the same configuration and the same
version of faustc/, are passed over, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import results
from tests.chaos.plan import PLANS
from tests.chaos.run import Setup, run

STORES = {"memory": "memory://", "rocksdb": "rocksdb://"}


def _seeds(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--plan", choices=sorted(PLANS), default="kills")
    parser.add_argument("--seeds", type=_seeds, default=[1], help="1, or 1-10, or 1,4,7-9")
    parser.add_argument(
        "--guarantee", choices=("at_least_once", "exactly_once"), default="at_least_once"
    )
    parser.add_argument("--store", choices=sorted(STORES), default="memory")
    parser.add_argument("--records", type=int, help="unless the plan's own")
    parser.add_argument("--again", action="store_true", help="run seeds that have a row, too")
    parser.add_argument("--file", type=Path, default=results.FILE, help="where the rows go")
    parser.add_argument("--keep", type=Path, help="a folder for the logs of all runs")
    args = parser.parse_args()
    plan, version = PLANS[args.plan], results.version()
    keep = args.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    bad = 0
    for seed in args.seeds:
        setup = Setup(plan, args.guarantee, STORES[args.store], seed, args.records or plan.records)
        if results.has(setup, version, args.file) and not args.again:
            print(f"seed {seed} has a row", flush=True)
            continue
        folder = keep / f"{plan.name}-{args.guarantee}-{args.store}-{seed}-{int(time.time())}"
        print(f"plan {plan.name}, seed {seed}: {folder}", flush=True)
        result = run(setup, folder, lambda text: print(text, flush=True))
        print(results.append(result, version, args.file), flush=True)
        print(result.figures, flush=True)
        for line in [*result.exits, *result.notes]:
            print(line, flush=True)
        if result.wrong:
            bad += 1
            print(
                f"WRONG; the same again: python -m tests.chaos --plan {plan.name} --seeds {seed} "
                f"--guarantee {args.guarantee} --store {args.store} --records {setup.records} "
                f"--again",
                flush=True,
            )
        elif args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
