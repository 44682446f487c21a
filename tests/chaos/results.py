"""The rows of docs/guarantees.md: one for each seed of each configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.chaos.run import Result, Setup
from tests.process import ROOT

__all__ = ["FILE", "append", "has", "version"]

FILE = ROOT / "docs" / "guarantees.md"


def version() -> str:
    """Name what is tested: the tree of faustc/ in git, with a + if it was changed since."""
    told = _git("rev-parse", "--short=10", "HEAD:faustc")
    return told + "+" if _git("status", "--porcelain", "faustc") else told


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _begin(setup: Setup, version: str) -> str:
    return (
        f"| {version} | {setup.plan.name} | {setup.guarantee} | {setup.store.split(':')[0]} "
        f"| {setup.records} | {setup.seed} |"
    )


def has(setup: Setup, version: str, file: Path = FILE) -> bool:
    """Say whether there is a row of this already."""
    return file.exists() and _begin(setup, version) in file.read_text(encoding="utf-8")


def row(result: Result, version: str) -> str:
    """Write what came out as a row of the table."""
    figures = result.figures
    wrong = ", ".join(f"{name} {count}" for name, count in result.wrong.items())
    cells = [
        wrong or "good",
        figures.lost,
        figures.duplicated,
        f"{figures.most_per_fault}, {figures.median_per_fault:g}",
        figures.other_duplicates,
        figures.reordered,
        figures.table_missing,
        figures.table_surplus,
        f"{result.silence_s:.1f}",
        f"{result.partition_silence_s:.1f}",
        f"{result.held_s:.1f}",
        result.generations,
        f"{result.drain_s:.0f}" if result.drained else "never",
        len(result.exits),
    ]
    return f"{_begin(result.setup, version)} {' | '.join(map(str, cells))} |"


def append(result: Result, version: str, file: Path = FILE) -> str:
    """Add a row at the end of the file; return it."""
    text = row(result, version)
    with file.open("a", encoding="utf-8") as out:
        out.write(text + "\n")
    return text
