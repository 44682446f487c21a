"""Windows: the ranges that moments belong to, as Faust has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from faustc import HoppingWindow, SlidingWindow, TumblingWindow
from faustc.exceptions import ImproperlyConfigured
from faustc.windows import Window


def close(ranges: Any) -> Any:
    return pytest.approx(ranges, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "step", "at", "expected"),
    [
        (10, 5, 12, [5, 10]),
        (10, 5, 10, [5, 10]),
        (10, 5, 9.99, [0, 5]),
        (10, 10, 9.99, [0]),
        (10, 10, 10, [10]),
        (10, 3, 12, [5, 8, 11]),  # windows end on multiples of the step
        (10, 3, 14, [5, 8, 11, 14]),
        (5, 10, 7, [5]),
        (5, 10, 12, []),  # between two windows
        (1, 0.5, 10.25, [9.5, 10]),
        (timedelta(minutes=1), timedelta(seconds=30), 1_600_000_000, [1599999960, 1599999990]),
    ],
)
def test_hopping_windows(size: Any, step: Any, at: float, expected: list[float]) -> None:
    window = HoppingWindow(size, step)
    span = window.size - 0.1
    assert [start for start, _ in window.ranges(at)] == close(expected)
    assert [end - start for start, end in window.ranges(at)] == close([span] * len(expected))
    if expected:
        assert window.current(at) == close((expected[-1], expected[-1] + span))
        assert window.earliest(at) == close((expected[0], expected[0] + span))


def test_every_moment_is_in_the_ranges_it_is_said_to_be_in() -> None:
    for size, step in [(10, 5), (10, 3), (7, 7), (3, 2), (1.5, 0.25)]:
        window = HoppingWindow(size, step)
        for tenths in range(1, 400):
            at = tenths / 10 + 0.05
            ranges = window.ranges(at)
            assert ranges == sorted(ranges)
            assert len(ranges) in (int(size // step), int(size // step) + 1)
            for start, end in ranges:
                assert start <= at < end + 0.1 + 1e-9
            assert window.current(at) == ranges[-1]
            assert window.earliest(at) == ranges[0]


def test_tumbling_windows_are_hopping_windows_of_one_step() -> None:
    window = TumblingWindow(10, expires=60)
    assert isinstance(window, HoppingWindow)
    assert isinstance(window, Window)
    [only] = window.ranges(25)
    assert only == close((20, 29.9))
    assert window.delta(25, 10) == close((10, 19.9))
    assert window.delta(25, timedelta(seconds=20)) == close((0, 9.9))


def test_expired_windows_are_stale() -> None:
    window = TumblingWindow(10, expires=timedelta(seconds=30))
    assert window.expires == 30.0
    # With 100 seen, what counts is the window of 70 and later.
    assert not window.stale(70.1, 100)
    assert window.stale(70, 100)
    assert not TumblingWindow(10).stale(0, 1e9)
    sliding = SlidingWindow(5, 5, expires=30)
    assert sliding.stale(70, 100)
    assert not sliding.stale(71, 100)
    assert not SlidingWindow(5, 5, 0).stale(0, 1e9)


def test_sliding_windows_are_around_each_moment() -> None:
    window = SlidingWindow(before=2, after=3, expires=60)
    assert window.ranges(10) == [(8, 13)]
    assert window.current(10) == window.earliest(10) == (8, 13)
    assert window.delta(10, 5) == (3, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TumblingWindow(0),
        lambda: HoppingWindow(10, -1),
        lambda: HoppingWindow("ten", 1),  # type: ignore[arg-type]
        lambda: SlidingWindow(-1, 5),
        lambda: SlidingWindow(0, 0),
    ],
)
def test_windows_that_cannot_be_are_errors(wrong: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="window"):
        wrong()
