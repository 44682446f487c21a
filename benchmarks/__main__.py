"""Measure faustc: python -m benchmarks [client|tables|memory|broker|NAME] [--rounds N] ...

Without a name: the client beside its peers on a real Kafka. tables: tables beside their peers
there. memory: what workers keep in memory over ten minutes. broker: the embedded broker.
Any other name: that pyperf file of this folder, for example `python -m benchmarks fetch_decode`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", default="client")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only work whose name contains this")
    parser.add_argument("--clients", default="", help="only these, by comma")
    parser.add_argument("--output", type=Path, help="keep the figures here, for pyperf")
    parser.add_argument("--minutes", type=float, default=10, help="how long memory is watched")
    args, rest = parser.parse_known_args()
    if args.name == "broker":
        from benchmarks import broker

        broker.main()
        return 0
    if args.name == "memory":
        from benchmarks import memory

        return memory.main(args.minutes)
    if args.name == "tables":
        return _tables(args)
    if args.name != "client":
        script = HERE / f"bench_{args.name}.py"
        if not script.exists():
            known = sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
            print(
                f"no benchmark {args.name}; there are: client, tables, memory, broker, "
                f"{', '.join(known)}",
                file=sys.stderr,
            )
            return 2
        return subprocess.run([sys.executable, str(script), *rest], check=False).returncode
    return _client(args)


def _tables(args: argparse.Namespace) -> int:
    from benchmarks import tables

    wanted = set(args.clients.split(",")) if args.clients else None
    with _kafka() as bootstrap:
        tables.run(bootstrap, args.only, wanted, args.rounds, args.output)
    return 0


def _client(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from benchmarks.client import WORKS, run

    wanted = set(args.clients.split(",")) if args.clients else None
    works = [
        replace(work, clients=tuple(c for c in work.clients if wanted is None or c in wanted))
        for work in WORKS
        if args.only in work.name
    ]
    with _kafka() as bootstrap:
        run(bootstrap, works, args.rounds, args.output)
    return 0


@contextmanager
def _kafka() -> Iterator[str]:
    """Give the address of the Kafka that FAUSTC_TEST_BOOTSTRAP names, or of one that is started."""
    from tests.kafka_cluster import KafkaCluster

    given = os.environ.get("FAUSTC_TEST_BOOTSTRAP")
    if given:
        yield given
        return
    with KafkaCluster(heap="1g") as cluster:
        yield cluster.bootstrap


if __name__ == "__main__":
    sys.exit(main())
