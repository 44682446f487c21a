"""Run the wire faults: python -m tests.wire_faults --seeds 5 [--kind reset] [--strikes 8]."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from tests.kafka_cluster import KafkaCluster
from tests.proxy import Proxies
from tests.wire_faults.kinds import KINDS
from tests.wire_faults.scenario import Outcome, Run


async def play(kinds: list[str], seeds: list[int], strikes: int, at_once: int) -> list[Outcome]:
    """Run every kind with every seed, some at a time, and print each as it ends."""
    lines = [f"WIRE{n}" for n in range(at_once)]
    cluster = KafkaCluster(listeners=dict.fromkeys(lines, "PLAINTEXT"), proxied=lines)
    waiting = [(kind, seed) for seed in seeds for kind in kinds]
    done: list[Outcome] = []

    async def work(line: str) -> None:
        async with Proxies(cluster, line) as proxies:
            while waiting:
                kind, seed = waiting.pop(0)
                outcome = await Run(kind, seed, cluster.bootstrap, proxies, strikes).go()
                print(outcome, flush=True)
                done.append(outcome)

    await asyncio.to_thread(cluster.start)
    try:
        await asyncio.gather(*map(work, lines))
    finally:
        await asyncio.to_thread(cluster.stop)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wire_faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="these kinds alone")
    parser.add_argument("--strikes", type=int, default=8, help="faults in a run")
    parser.add_argument("--at-once", type=int, default=3, help="runs at the same time")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.CRITICAL,
        format="%(asctime)s %(name)s %(message)s",
    )
    seeds = list(range(1, args.seeds + 1)) if args.seed is None else [args.seed]
    done = asyncio.run(play(args.kind or list(KINDS), seeds, args.strikes, args.at_once))
    bad = [outcome for outcome in done if not outcome.good]
    print(
        f"{len(done)} runs of {len({o.kind for o in done})} kinds: "
        f"{sum(o.struck for o in done)} faults, {sum(o.sent for o in done)} records sent, "
        f"{sum(o.duplicated for o in done)} duplicated, "
        f"{sum(o.missing for o in done)} acknowledged but missing, "
        f"{sum(len(o.hung) for o in done)} hung, {sum(len(o.dead) for o in done)} dead, "
        f"{len(bad)} runs not as they should be"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
