"""What every peer's script shares: its arguments, and CPU, time and memory of the timed part.

Standard library only: it runs in each peer's own virtual environment.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=("consume", "produce", "produce-bulk"))
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--compression", default="none")
    return parser.parse_args()


def table_arguments(*works: str) -> argparse.Namespace:
    """Return the arguments of a script that has a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=works)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--store", required=True)
    parser.add_argument("--datadir", required=True)
    parser.add_argument("--id", default="bench", help="of the application, and its changelog")
    return parser.parse_args()


def payloads(size: int, distinct: int = 1000) -> list[bytes]:
    """Return values of exactly size bytes: JSON documents of seeded words and numbers."""
    dice = random.Random(size)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(3, 9))) for _ in range(2000)]
    made = []
    for _ in range(distinct):
        text = f'{{"id": {dice.randrange(10**9)}, "amount": {dice.random() * 1000:.2f}, "note": "'
        while len(text) < size:
            text += dice.choice(words) + (" " if dice.random() < 0.8 else f" {dice.random():.6f} ")
        made.append(text.encode()[: size - 2] + b'"}')
    return made


def keys(distinct: int = 1000) -> list[bytes]:
    """Return keys of 8 bytes."""
    return [f"{n * 104729 % 10**8:08}".encode() for n in range(distinct)]


def peak_mib() -> float:
    """Return the most that this process has had in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform == "linux" else 1024 * 1024)


@contextmanager
def timed(count: int) -> Iterator[SimpleNamespace]:
    """Measure the enclosed part and print one line of JSON: per-message CPU, rate, peak memory."""
    result = SimpleNamespace(note="")
    wall, cpu = time.perf_counter(), time.process_time()
    yield result
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    json.dump(
        {
            "cpu_us": cpu / count * 1e6,
            "rate": count / wall,
            "peak_mib": peak_mib(),
            "note": result.note,
        },
        sys.stdout,
    )
    print()
