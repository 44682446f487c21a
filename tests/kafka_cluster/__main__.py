"""Run a Kafka cluster in the foreground: python -m tests.kafka_cluster start --port 9092."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from . import DEFAULT_VERSION, KafkaCluster, KafkaUnavailable, jars, java


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kafka_cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say what is missing to run Kafka; 0 when nothing is")
    commands.add_parser("fetch", help="fetch the jars").add_argument(
        "--version", default=DEFAULT_VERSION
    )
    start = commands.add_parser("start", help="run until Ctrl-C")
    start.add_argument("--port", type=int, default=9092, help="of node 1; the next follow")
    start.add_argument("--nodes", type=int, default=1, choices=(1, 2, 3))
    start.add_argument("--version", default=DEFAULT_VERSION)
    start.add_argument("--heap", default="512m")
    start.add_argument("--transaction-version", type=int)
    args = parser.parse_args()
    try:
        if args.command == "check":
            java()
            jars()
            return 0
        if args.command == "fetch":
            jars(args.version)
            return 0
        jars(args.version)
        return _run(args)
    except KafkaUnavailable as exc:
        print(exc, file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = KafkaCluster(
        args.nodes,
        version=args.version,
        transaction_version=args.transaction_version,
        ports=[args.port + n for n in range(args.nodes)],
        heap=args.heap,
    )
    with cluster:
        took = time.monotonic() - began
        print(f"Kafka {args.version} is up at {cluster.bootstrap} after {took:.1f} s", flush=True)
        try:
            while all(node.running for node in cluster.nodes.values()):
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
    print("a node ended by itself", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
