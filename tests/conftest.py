"""What every test may ask for: a real Kafka, topic names of its own, and a closing count."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import settings

from tests.kafka_cluster import KafkaCluster, KafkaUnavailable

# A machine that others use as well takes a moment longer now and then.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")
_WITHOUT_KAFKA = "needs Kafka: "


@dataclass(frozen=True)
class Kafka:
    """A cluster that tests share: make topics of your own names, never stop it."""

    bootstrap: str


def run_cluster(**kwargs: object) -> Iterator[KafkaCluster]:
    try:
        cluster = KafkaCluster(**kwargs).start()  # type: ignore[arg-type]
    except KafkaUnavailable as exc:
        if IN_CI:
            pytest.fail(f"Kafka cannot run, and CI must not skip it: {exc}", pytrace=False)
        pytest.skip(f"{_WITHOUT_KAFKA}{exc}")
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One Kafka for the whole run; FAUSTC_TEST_BOOTSTRAP=host:port names an existing one."""
    given = os.environ.get("FAUSTC_TEST_BOOTSTRAP")
    if given:
        yield Kafka(given)
        return
    for cluster in run_cluster():
        yield Kafka(cluster.bootstrap)


@pytest.fixture(scope="module")
def kafka3() -> Iterator[KafkaCluster]:
    """Three nodes that the tests of one module may kill and restart."""
    yield from run_cluster(nodes=3, heap="384m")


@pytest.fixture(scope="module")
def kafka_private() -> Iterator[KafkaCluster]:
    """One node that the tests of one module may kill and restart."""
    yield from run_cluster()


@pytest.fixture(scope="module")
def kafka_without_transactions_v2() -> Iterator[KafkaCluster]:
    """One node formatted with transaction.version=0, as clusters before Kafka 4 have it."""
    yield from run_cluster(transaction_version=0)


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Make names for topics, groups and apps that no other test uses."""

    def make(prefix: str = "t") -> str:
        return f"{prefix}-{secrets.token_hex(4)}"

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs a real Kafka last: everything else is quicker to tell what is wrong."""
    items.sort(key=lambda item: item.get_closest_marker("kafka") is not None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missed = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and _WITHOUT_KAFKA in report.longrepr[2]
    ]
    if missed:
        reason = missed[0].longrepr[2].split(_WITHOUT_KAFKA, 1)[1]
        terminalreporter.write_line(
            f"{len(missed)} tests that need a real Kafka were skipped. {reason}", yellow=True
        )
