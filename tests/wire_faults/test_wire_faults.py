"""Every kind of wire fault, with one seed; `make wire-faults SEEDS=5` is the long form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import run_cluster
from tests.kafka_cluster import KafkaCluster
from tests.proxy import Proxies
from tests.wire_faults.kinds import KINDS
from tests.wire_faults.scenario import Run

pytestmark = pytest.mark.kafka
STRIKES = 3


@pytest.fixture(scope="module")
def proxied() -> Iterator[KafkaCluster]:
    yield from run_cluster(listeners={"PROXY": "PLAINTEXT"}, proxied=["PROXY"])


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost_doubled_or_stuck(proxied: KafkaCluster, kind: str) -> None:
    async with Proxies(proxied, "PROXY") as proxies:
        outcome = await Run(kind, 1, proxied.bootstrap, proxies, STRIKES).go()
    assert outcome.good, outcome
    assert outcome.struck >= STRIKES
    assert outcome.acknowledged + outcome.refused == outcome.sent
