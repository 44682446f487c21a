"""The pytest plugin: fixtures for apps, a broker and a data folder.

Every pytest run of whoever has faustc installed imports this, so nothing of ours is
imported before a fixture is asked for.
"""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["app_test", "embedded_broker", "faustc_datadir", "faustc_strict"]


@pytest.fixture
def faustc_strict() -> Iterator[None]:
    """Fail the test for what else would only be printed.

    Coroutines that nobody awaited, resources that nobody closed, and exceptions that
    ended in a destructor or a thread.
    """
    caught: list[str] = []
    unraisable, in_thread = sys.unraisablehook, threading.excepthook

    def take(args: Any) -> None:
        caught.append(f"{args.exc_value!r} in {getattr(args, 'object', None)!r}")

    def take_from_thread(args: Any) -> None:
        caught.append(f"{args.exc_value!r} in thread {getattr(args.thread, 'name', '?')}")

    gc.collect()  # what others have left behind is theirs
    sys.unraisablehook, threading.excepthook = take, take_from_thread
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*was never awaited", RuntimeWarning)
            warnings.simplefilter("error", ResourceWarning)
            yield
            gc.collect()
    finally:
        sys.unraisablehook, threading.excepthook = unraisable, in_thread
    if caught:
        pytest.fail("left behind: " + "; ".join(caught), pytrace=False)


@pytest.fixture
def app_test(faustc_strict: None) -> Callable[..., Any]:
    """Make a test context of an app, strictly: `async with app_test(app) as t`.

    It takes what `app.test_context` does, and the test fails for what faustc_strict names.
    """

    def make(app: Any, **options: Any) -> Any:
        return app.test_context(**options)

    return make


@pytest.fixture
def embedded_broker() -> Iterator[Any]:
    """A broker of this test's own on a loopback port, in memory: an EmbeddedBroker.

    Give its `url` to an app or a worker's process.
    """
    from faustc.testing.embedded import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def faustc_datadir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh data folder for the apps and processes that this test makes."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("FAUST_DATADIR", str(folder))
    return folder
