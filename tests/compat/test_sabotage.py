"""What takes features away has to do so, or the list of features proves nothing."""

from __future__ import annotations

import pytest

from tests.compat.features import verdict
from tests.compat.sabotage import NotThere, find

HERE = "tests/compat/test_sabotage.py::"
SELF = "tests.compat.test_sabotage"


def plain(given: int, factor: int = 1) -> int:
    return given * factor


class Thing:
    LEVEL = 3

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def method(self, more: int = 0) -> int:
        return self.size + more

    @classmethod
    def made(cls) -> Thing:
        return cls()

    @property
    def double(self) -> int:
        return 2 * self.size


NUMBER = 5


def test_example_function() -> None:
    assert plain(2) == 2
    assert plain(2, factor=2) == 4


def test_example_without_the_parameter() -> None:
    assert plain(2) == 2


def test_example_class() -> None:
    assert Thing(2).method() == 2
    assert Thing(2).method(more=1) == 3


def test_example_factory_and_property() -> None:
    assert Thing.made().double == 2
    assert Thing(1).LEVEL == NUMBER - 2


@pytest.mark.parametrize(
    ("symbol", "test"),
    [
        ("plain", "test_example_function"),
        ("plain(factor)", "test_example_function"),
        ("Thing", "test_example_class"),
        ("Thing(size)", "test_example_class"),
        ("Thing.method", "test_example_class"),
        ("Thing.method(more)", "test_example_class"),
        ("Thing.made", "test_example_factory_and_property"),
        ("Thing.double", "test_example_factory_and_property"),
        ("Thing.LEVEL", "test_example_factory_and_property"),
        ("NUMBER", "test_example_factory_and_property"),
    ],
)
def test_a_test_fails_without_what_it_shows(symbol: str, test: str) -> None:
    assert verdict(f"{SELF}:{symbol}", HERE + test) == ""


@pytest.mark.parametrize(
    ("symbol", "test"),
    [
        ("plain(factor)", "test_example_without_the_parameter"),
        ("Thing", "test_example_function"),
        ("Thing.double", "test_example_class"),
    ],
)
def test_a_test_that_does_not_need_it_is_told(symbol: str, test: str) -> None:
    assert "passes without" in verdict(f"{SELF}:{symbol}", HERE + test)


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        (f"{SELF}:Nothing", "there is no Nothing"),
        (f"{SELF}:Thing.nothing", "there is no nothing"),
        (f"{SELF}:plain(nothing)", "no parameter nothing"),
        ("faustc.nowhere:X", "No module named"),
        ("Thing.method", "is no symbol"),
    ],
)
def test_a_symbol_that_names_nothing_is_told(symbol: str, said: str) -> None:
    with pytest.raises(NotThere, match=said):
        find(symbol)
