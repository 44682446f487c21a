"""Runs each test of this folder on the embedded broker and on real Kafka."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of a broker that tests share; what they make has names of its own."""
    return str(request.getfixturevalue(request.param).bootstrap)
