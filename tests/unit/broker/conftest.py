"""What every test of the broker's parts gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def descriptors_of_the_dead(tmp_path: Path) -> Iterator[None]:
    """Close what logs of the test left open: many of them crashed, as far as the test goes.

    When a process dies, the kernel does it.
    """
    yield
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that listed them
        if path.startswith(f"{tmp_path}/"):
            os.close(int(name))
