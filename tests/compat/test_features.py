"""The list of Faust's features is sound: what it names is there, and needed by its test."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.compat.features import OPEN, PAGE, ROOT, faults, page, rows


def test_every_row_says_what_is_there_and_what_shows_it() -> None:
    wrong = [
        f"{row.label}: {fault}" for row in rows() if row.status != OPEN for fault in faults(row)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_page_of_the_docs_is_made_from_the_list() -> None:
    assert PAGE.read_text() == page(rows()), "run `make features`"


@pytest.mark.long
def test_no_test_passes_without_what_it_shows() -> None:
    # In a process of its own, which forks: this one has threads.
    done = subprocess.run(
        [sys.executable, "-m", "tests.compat.features", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
