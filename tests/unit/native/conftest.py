"""What the native tests begin from: Kafka's own codecs and no other."""

import pytest

from faustc._native.compression import unregister


@pytest.fixture(autouse=True, scope="module")
def only_kafkas_codecs() -> None:
    """Free the ids that tests elsewhere may have taken in this process."""
    for free in (5, 6, 7):
        unregister(free)
