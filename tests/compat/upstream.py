"""Run Faust's own tests on faustc: how much of what they hold do we hold?

    python -m tests.compat.upstream CHECKOUT [--python EXECUTABLE]

CHECKOUT is a working copy of Faust, of which only the tests are used. They want a
pytest of their time (see `make compat`). What fails is named, file by file: tests about
Faust's insides (see internals.py) with what they name of them, the others with the reason
that upstream.toml has. A public test that fails without a reason there is an error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

from tests.compat.internals import absent_names, internals

ROOT = Path(__file__).parents[2]
CHOSEN = (
    "functional/agents",
    "functional/models",
    "functional/serializers",
    "functional/test_app.py",
    "functional/test_channels.py",
    "functional/test_faust.py",
    "functional/test_models.py",
    "functional/test_streams.py",
    "unit/agents/test_replies.py",
    "unit/models",
    "unit/serializers",
    "unit/test_events.py",
    "unit/windows",
)
ABSENT = Path(__file__).parent / "absent"
REASONS = Path(__file__).parent / "upstream.toml"
TIMEOUT_S = 600.0
# Upstream's conftest fails a test for tasks it left; a test that hangs is given up.
OPTIONS = (
    "-q",
    "--timeout=20",
    "-p",
    "faustc.compat.pytest_alias",
    "-p",
    "tests_absent",
    "-c",
    "/dev/null",
)


def files(checkout: Path) -> list[Path]:
    """Return the chosen test files, as far as this version has them."""
    root = next(checkout / name for name in ("tests", "t") if (checkout / name).is_dir())
    found: list[Path] = []
    for name in CHOSEN:
        path = root / name
        found += sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
    return [path for path in found if path.exists()]


def run(python: str, checkout: Path, path: Path) -> dict[str, list[tuple[str, str]]]:
    """Run one file; return its tests by outcome, each with what pytest says of it."""
    outcomes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [python, "-m", "pytest", *OPTIONS, f"--rootdir={checkout}"]
        command += [f"--junitxml={report}", str(path.relative_to(checkout))]
        try:
            done = subprocess.run(
                command,
                cwd=checkout,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                env={**os.environ, "PYTHONPATH": str(ABSENT)},
            )
        except subprocess.TimeoutExpired:
            outcomes["failed"].append(("the whole file", f"no end after {TIMEOUT_S:.0f} s"))
            return outcomes
        if not report.exists():
            said = done.stderr.strip()[-300:]
            outcomes["failed"].append(("the whole file", f"pytest did not run: {said!r}"))
            return outcomes
        for case in ET.parse(report).iter("testcase"):
            name = _name_of(case)
            children = {child.tag: child for child in case}
            bad = children.get("failure", children.get("error"))
            if bad is not None:
                said = (bad.get("message") or "").splitlines()
                outcomes["failed"].append((name, said[0][:110] if said else ""))
            else:
                outcomes["skipped" if "skipped" in children else "passed"].append((name, ""))
    # A test that fails, and then leaves something behind, is one that failed.
    failed = dict(reversed(outcomes["failed"]))
    outcomes["failed"] = list(failed.items())
    outcomes["passed"] = [one for one in outcomes["passed"] if one[0] not in failed]
    return outcomes


def _name_of(case: ET.Element) -> str:
    """Return a test's name, with its class if it has one."""
    last = (case.get("classname") or "").rpartition(".")[2]
    name = case.get("name") or ""
    if not last:  # a file that could not be read
        return "the whole file"
    return name if last.startswith("test") else f"{last}::{name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    absent = absent_names(ABSENT / "tests_absent.py")
    reasons = tomllib.loads(REASONS.read_text())
    score: Counter[str] = Counter()
    unexplained = []
    for path in files(checkout):
        outcomes = run(options.python, checkout, path)
        good, bad = len(outcomes["passed"]), len(outcomes["failed"])
        print(f"{path.relative_to(checkout)!s:50} {good:4} passed {bad:4} failed", flush=True)
        inside = internals(path, absent)
        for outcome in ("passed", "failed"):
            for name, message in outcomes[outcome]:
                test = name.partition("[")[0]
                score[f"{'inside' if test in inside else 'public'} {outcome}"] += 1
                if outcome == "passed":
                    continue
                known = reasons.get(path.name, {})
                if test in inside:
                    why = f"insides: {inside[test]}"
                elif (reason := known.get(name, known.get(test, known.get("all")))) is not None:
                    why = reason
                else:
                    why = f"UNEXPLAINED  {message}"
                    unexplained.append(name)
                print(f"      {name}  {why}")
    for kind in ("public", "inside"):
        good, bad = score[f"{kind} passed"], score[f"{kind} failed"]
        share = 100 * good / max(1, good + bad)
        print(f"{kind:50} {good:4} passed {bad:4} failed   {share:.1f} %")
    if unexplained:
        sys.exit(f"{len(unexplained)} public tests fail without a reason in {REASONS.name}")


if __name__ == "__main__":
    main()
