"""The list of Faust's features: read it, check it, make the docs page of it.

    python -m tests.compat.features check [--section 4.1] [--seed N --sample N]
    python -m tests.compat.features docs

`check` takes away what implements a row, runs the row's test, and wants it to
fail: a test that passes without the feature does not show it.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.compat.sabotage import NotThere, find, hits, take_away

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("features.toml")
PAGE = ROOT / "docs" / "features.md"
STATUSES = ("same", "better", "absent")
OPEN = "open"

SECTIONS = {
    "1": "App",
    "2": "Settings",
    "3": "Agents",
    "4": "Channels and topics",
    "5": "Streams",
    "6": "Events",
    "7": "Tables",
    "8": "Models",
    "9": "Serialization",
    "10": "Tasks, timers, services",
    "11": "Web",
    "12": "Command line",
    "13": "Sensors and monitor",
}


@dataclass(frozen=True)
class Row:
    """One feature, as the list has it."""

    section: str
    name: str
    status: str
    how: str
    symbols: tuple[str, ...]
    test: str

    @property
    def label(self) -> str:
        return f"{self.section} {self.name[:70]}"


def rows() -> list[Row]:
    """Read the list."""
    with LIST.open("rb") as file:
        found = tomllib.load(file)["row"]
    return [
        Row(
            row["section"],
            row["name"],
            row["status"],
            row["how"],
            tuple([row["symbol"]] if isinstance(row["symbol"], str) else row["symbol"]),
            row["test"],
        )
        for row in found
    ]


def faults(row: Row) -> list[str]:
    """Say what is wrong with a row as it is written."""
    if row.status not in STATUSES:
        return [f"status is {row.status!r}, not one of {', '.join(STATUSES)}"]
    found = []
    if row.status != "same" and not row.how:
        found.append(f"{row.status} without a word on how or why")
    if row.status == "absent":
        return found
    for symbol in row.symbols:
        try:
            find(symbol)
        except NotThere as exc:
            found.append(str(exc))
    if not _has_test(row.test):
        found.append(f"there is no test {row.test!r}")
    return found


def _has_test(node: str) -> bool:
    """Look a test up in its file's source, which is quicker than to collect it."""
    path, *names = node.split("[", 1)[0].split("::")
    file = ROOT / path
    return bool(names) and file.is_file() and "::".join(names) in _tests_of(file)


@cache
def _tests_of(file: Path) -> frozenset[str]:
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found.update(
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            )
    return frozenset(found)


# -- taking away ---------------------------------------------------------------------------


def verdict(symbol: str, test: str) -> str:
    """Run a test without what a symbol names, in a process of its own; "" if it fails as it must.

    The process is forked, so that pytest and faustc are imported once for all rows.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.write(write, _tried(symbol, test).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said if said != "failed" else ""


def _tried(symbol: str, test: str) -> str:
    import pytest

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        reached_by_call = take_away(symbol)
    except NotThere as exc:
        return str(exc)
    code = pytest.main([test, "-q", "-x", "--no-header", "-p", "no:cacheprovider"])
    if code == pytest.ExitCode.OK:
        return f"{test} passes without {symbol}"
    if code != pytest.ExitCode.TESTS_FAILED and reached_by_call:
        return f"{test} did not run without {symbol}: {pytest.ExitCode(code).name}"
    if reached_by_call and not hits():
        return f"{test} fails without ever reaching {symbol}"
    return "failed"


def check(wanted: Sequence[Row]) -> list[str]:
    """Take away each symbol of these rows in turn; return what was wrong."""
    import pytest  # noqa: F401 -- once, for all the forked processes

    import faustc.testing  # noqa: F401

    wrong = []
    shown = sys.stderr.isatty()
    for number, row in enumerate(wanted, 1):
        if row.status not in ("same", "better"):
            continue
        for symbol in row.symbols:
            said = verdict(symbol, row.test)
            if said:
                wrong.append(f"{row.label}: {said}")
                print(wrong[-1], flush=True)
        if shown:
            print(f"\r{number}/{len(wanted)} rows", end="", file=sys.stderr, flush=True)
    return wrong


# -- the page --------------------------------------------------------------------------------


def page(all_rows: Sequence[Row]) -> str:
    """Return the docs page."""
    counts = Counter(row.status for row in all_rows)
    parts = [
        "# What a Faust user can do, and how it is here\n\n"
        "Made from tests/compat/features.toml by `make features`. Each row names the test that\n"
        "shows it, and the test fails when what implements the row is taken away.\n\n"
        f"{counts['same']} rows are the same as in Faust, {counts['better']} are better, "
        f"{counts['absent']} are absent, {counts['open']} are open: not looked at yet.\n"
    ]
    for number, title in SECTIONS.items():
        own = [row for row in all_rows if row.section.split(".")[0] == number]
        if not own:
            continue
        parts.append(f"\n## {number}. {title}\n\n| feature | here | |\n|---|---|---|\n")
        parts += [f"| {_cell(row.name)} | {row.status} | {_cell(row.how)} |\n" for row in own]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compat.features", description=__doc__)
    parser.add_argument("what", choices=["check", "docs"])
    parser.add_argument("--section", default="", help="only this section, or what begins with it")
    parser.add_argument("--sample", type=int, default=0, help="only so many rows, drawn by chance")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    everything = rows()
    if args.what == "docs":
        PAGE.write_text(page(everything))
        return 0
    wanted: list[Any] = [
        row
        for row in everything
        if row.section == args.section
        or row.section.startswith(f"{args.section}.")
        or not args.section
    ]
    if args.sample:
        wanted = random.Random(args.seed).sample(wanted, min(args.sample, len(wanted)))
    looked_at = [row for row in wanted if row.status != OPEN]
    wrong = [f"{row.label}: {fault}" for row in looked_at for fault in faults(row)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    wrong += check(wanted)
    still_open = len(wanted) - len(looked_at)
    print(f"{len(wanted)} rows, {still_open} open, {len(wrong)} shown by no test")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
