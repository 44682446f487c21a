"""How far the filling of tables has come, as people read it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from faustc.clock import monotonic
from faustc.engine.progress import under_way


def following(start: int, end: int) -> SimpleNamespace:
    return SimpleNamespace(start=start, end=end, records=0, begun_at=monotonic() - 10, shard=None)


def test_a_line_says_how_much_how_fast_and_how_long_still() -> None:
    line = under_way("t-changelog", [following(0, 1000), following(100, 1100)], [500, 600])
    assert line.startswith("Filling t-changelog: 1,000 of 2,000 (50%), ")
    assert line.endswith("about 10 s left")


@pytest.mark.parametrize(
    ("at", "drawn"), [(0, "░" * 20), (250, "█" * 5 + "░" * 15), (1000, "█" * 20)]
)
def test_a_bar_is_drawn_for_who_watches(at: int, drawn: str) -> None:
    assert f": {drawn} {at:,} of 1,000" in under_way("t", [following(0, 1000)], [at], bar=True)


def test_an_empty_changelog_is_whole() -> None:
    assert "(100%)" in under_way("t", [following(5, 5)], [5])
