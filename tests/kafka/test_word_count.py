"""The demo, whole, on a real Kafka: every count is what collections.Counter finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Kafka
from tests.kafka.worker_process import ROOT

pytestmark = pytest.mark.kafka


def run_demo(kafka: Kafka, folder: Path, run: str, **variables: str) -> str:
    """Run the demo as its docstring says, until all is counted; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "faustc", "-A", "examples.word_count", "worker", "-l", "info"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        env={
            **os.environ,
            "WEB_PORT": "0",
            "BROKER_URL": f"kafka://{kafka.bootstrap}",
            "DATADIR": str(folder / "data"),
            "FAUSTC_DEMO_RUN": run,
            "FAUSTC_DEMO_EXIT": "1",
            "FAUSTC_DEMO_COUNTS": str(folder / "counts.json"),
            **variables,
        },
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_standard_library_is_counted_exactly(
    kafka: Kafka, tmp_path: Path, new_name: Callable[[str], str]
) -> None:
    from examples.word_count import WORD, files, read_lines

    printed = run_demo(kafka, tmp_path, new_name("run"))
    expected: Counter[str] = Counter()
    for path in files():
        for line in read_lines(path):
            expected.update(WORD.findall(line))
    assert expected.total() > 1_000_000  # the real thing, not a sample
    assert json.loads((tmp_path / "counts.json").read_text()) == dict(expected)
    assert f"Caught up: {expected.total():,} words" in printed
    most_common, number = expected.most_common(1)[0]
    assert f"{most_common}" in printed
    assert f"{number:,}" in printed


def test_another_folder_is_counted(
    kafka: Kafka, tmp_path: Path, new_name: Callable[[str], str]
) -> None:
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.txt").write_text("to be or not to be\n\n  that is the question\n")
    (folder / "deep" / "two.txt").write_bytes(b"to \xff be\nna\xc3\xafve")
    (folder / "empty.txt").write_text("")
    (folder / "other.py").write_text("not counted")
    run_demo(
        kafka,
        tmp_path,
        new_name("run"),
        FAUSTC_DEMO_FOLDER=str(folder),
        FAUSTC_DEMO_SUFFIX=".txt",
    )
    assert json.loads((tmp_path / "counts.json").read_text()) == {
        "to": 3, "be": 3, "or": 1, "not": 1, "that": 1, "is": 1, "the": 1, "question": 1,
        "naïve": 1,
    }  # fmt: skip
