"""Delays grow, stay bounded, differ; deadlines end."""

from __future__ import annotations

import time

import pytest

from faustc.client.backoff import Backoff, Deadline
from faustc.exceptions import KafkaTimeout


def test_delays_double_up_to_the_maximum():
    backoff = Backoff(0.1, 1.0, jitter=0.0)

    assert [backoff.next() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_success_starts_over():
    backoff = Backoff(0.1, 1.0, jitter=0.0)
    for _ in range(5):
        backoff.next()

    backoff.reset()

    assert backoff.attempts == 0
    assert backoff.next() == pytest.approx(0.1)


def test_jitter_spreads_clients_within_its_bounds():
    delays = {Backoff(1.0, 1.0, jitter=0.2).next() for _ in range(200)}

    assert len(delays) > 100
    assert min(delays) >= 0.8
    assert max(delays) <= 1.2


def test_years_of_failure_do_not_overflow():
    backoff = Backoff(0.05, 1.0)
    backoff.attempts = 10**9

    assert backoff.next() <= 1.2


def test_a_deadline_that_passed_names_what_was_late():
    deadline = Deadline(0.0)

    assert deadline.expired()
    assert deadline.left() == 0.0
    with pytest.raises(KafkaTimeout, match=r"commit: not done within 0 s"):
        deadline.check("commit")


async def test_sleeping_never_passes_the_deadline():
    deadline = Deadline(0.05)
    started = time.monotonic()

    await deadline.sleep(10)

    assert deadline.expired()
    assert time.monotonic() - started < 5


def test_a_deadline_to_come_lets_pass():
    deadline = Deadline(60)

    deadline.check("anything")

    assert 59 < deadline.left() <= 60
