"""A user's application under `mypy --strict` sees real types.

Each file of examples/ is checked as it stands. A line that must not pass ends
in `# E: code`, with the code of the error that mypy has to give there; every
other line has to pass.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = sorted((HERE / "examples").glob("*.py"))
_ERROR = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)  \[(?P<code>[\w-]+)\]")


@pytest.fixture(scope="module")
def complaints() -> dict[str, list[tuple[int, str, str]]]:
    """What mypy says of each example: line, code, text."""
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--config-file=", "--strict", "--no-error-summary",
            "--hide-error-context", "--no-pretty", "--cache-dir", str(ROOT / ".mypy_cache"),
            *(str(path.relative_to(ROOT)) for path in EXAMPLES),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr + done.stdout
    found: dict[str, list[tuple[int, str, str]]] = {}
    for line in done.stdout.splitlines():
        if match := _ERROR.fullmatch(line):
            found.setdefault(Path(match["file"]).name, []).append(
                (int(match["line"]), match["code"], match["text"])
            )
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_mypy_says_what_the_example_expects(
    path: Path, complaints: dict[str, list[tuple[int, str, str]]]
) -> None:
    expected = {
        (number, code)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for code in re.findall(r"# E: ([\w-]+)", line)
    }
    said = complaints.get(path.name, [])
    unexpected = [entry for entry in said if entry[:2] not in expected]
    missing = expected - {entry[:2] for entry in said}
    assert not unexpected, "\n".join(f"{path.name}:{n}: {text}" for n, _, text in unexpected)
    assert not missing, f"mypy passes what it must not: {sorted(missing)}"
