"""The list of Faust's features is sound: what it names is there."""

from __future__ import annotations

from tests.compat.features import faults, rows


def test_every_row_says_what_is_there_and_what_shows_it() -> None:
    wrong = [
        f"{row.label}: {fault}" for row in rows() if row.status != "open" for fault in faults(row)
    ]
    assert not wrong, "\n".join(wrong)
