"""Runs the broker in the foreground: python -m faustc.broker --data FOLDER."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from faustc.broker.server import run
from faustc.exceptions import ImproperlyConfigured


def main() -> int:
    """Read the arguments and serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m faustc.broker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, help="the folder to keep everything in")
    where.add_argument("--memory", action="store_true", help="keep nothing")
    parser.add_argument("--flush", choices=("interval", "every"), default="interval")
    parser.add_argument("--partitions", type=int, default=1, help="of topics that come by use")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        run(
            args.host,
            args.port,
            args.data,
            flush=args.flush,
            default_partitions=args.partitions,
        )
    except (OSError, ImproperlyConfigured) as exc:
        print(f"Cannot run the broker: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
