"""The chapters of the docs that are projects: pytest runs them as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
# Each with how many tests it has, at least.
CHAPTERS = {
    "agents.md": 1,
    "assignment.md": 1,
    "embedding.md": 1,
    "testing.md": 9,
    "models.md": 5,
    "calling-agents.md": 9,
    "streams.md": 1,
    "tables.md": 1,
    "stores.md": 1,
    "topics.md": 6,
    "web.md": 4,
    "settings.md": 3,
}
# A block whose first line is a comment that names a file is that file.
BLOCK = re.compile(r"^```\w+\n# (?P<name>[\w.]+)\n(?P<text>.*?)^```$", re.S | re.M)


def files_of(chapter: str) -> dict[str, str]:
    """Return the files in a chapter by name."""
    text = (DOCS / chapter).read_text(encoding="utf-8")
    return {found["name"]: found["text"] for found in BLOCK.finditer(text)}


@pytest.mark.parametrize(("chapter", "at_least"), CHAPTERS.items())
def test_a_chapter_runs_as_it_stands(chapter: str, at_least: int, tmp_path: Path) -> None:
    files = files_of(chapter)
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(text.count("async def test_") for text in files.values())
    # A chapter may inherit tests of the kit: those come on top.
    inherited = sum(text.count("(StoreTests)") for text in files.values())
    passed = int(re.findall(r"\b(\d+) passed", done.stdout)[-1])
    assert passed > tests if inherited else passed == tests, done.stdout
    assert tests >= at_least


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_python_block_of_a_chapter_is_a_file(chapter: str) -> None:
    blocks = (DOCS / chapter).read_text(encoding="utf-8").count("```python\n")
    assert sum(name.endswith(".py") for name in files_of(chapter)) == blocks
