"""Batches whose records cannot be read: passed or not as the agent's policy says, and told."""

from __future__ import annotations

from typing import Any

import pytest

import faustc
from faustc.exceptions import CorruptFrame, KafkaError, UnsupportedCodec
from tests.memory_transport import Batch, Cluster
from tests.unit.face.conftest import until

BAD = b"13"  # of the second batch of ten


def spoil(monkeypatch: pytest.MonkeyPatch, error: KafkaError) -> None:
    """Let the batch that has BAD raise an error when it is opened."""
    whole = Batch.messages

    def messages(self: Batch) -> list[Any]:
        found = whole(self)
        if any(message.value == BAD for message in found):
            raise error
        return found

    monkeypatch.setattr(Batch, "messages", messages)


class Case:
    def __init__(self, app: faustc.App, mem: Cluster, **options: Any) -> None:
        self.app = app
        self.got: list[bytes] = []
        for number in range(40):
            mem.append("in", b"%d" % number)

        @app.agent(app.topic("in", value_type=bytes, partitions=1), name="reads", **options)
        async def reads(stream: Any) -> None:
            async for value in stream:
                self.got.append(value)


def too_large() -> CorruptFrame:
    return CorruptFrame("too large", topic="in", partition=0, offset=10)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"on_failure": faustc.Retry(2)},
        {"concurrency": 3},
        {"isolated_partitions": True},
        {"concurrency": 2, "order": "key"},
    ],
    ids=str,
)
async def test_it_is_passed_told_and_counted_and_the_rest_goes_on(
    make_app: Any, mem: Cluster, monkeypatch: Any, caplog: Any, options: dict[str, Any]
) -> None:
    """Symptom: its partition stood still for good, after one line that did not say where."""
    case = Case(make_app(), mem, **options)
    spoil(monkeypatch, too_large())
    await case.app.start()
    await until(lambda: len(case.got) == 30)
    assert sorted(case.got) == sorted(b"%d" % n for n in range(40) if not 10 <= n < 20)
    await until(lambda: mem.position("app", "in") == 40)
    assert case.app.monitor.decode_errors_by_topic["in"] == 10
    [line] = [r.getMessage() for r in caplog.records if "too large" in r.getMessage()]
    assert line.startswith("Skipped a batch of 10 messages of in/0, before offset 20")
    assert not case.app.crashed


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"on_failure": "crash"}, too_large()),
        ({"on_failure": faustc.DeadLetter("dead")}, too_large()),
        ({"on_failure": faustc.Retry(2, then="crash")}, too_large()),
        ({}, UnsupportedCodec("no codec is registered for id 7")),
    ],
    ids=str,
)
async def test_it_crashes_the_app_and_nothing_is_committed_past_it(
    make_app: Any,
    mem: Cluster,
    monkeypatch: Any,
    caplog: Any,
    options: dict[str, Any],
    error: KafkaError,
) -> None:
    case = Case(make_app(), mem, **options)
    spoil(monkeypatch, error)
    await case.app.start()
    await until(lambda: case.app.crashed)
    await case.app.stop()
    assert case.got == [b"%d" % n for n in range(10)]
    assert mem.position("app", "in") <= 10
    assert "Cannot go on past a batch of 10 messages of in/0" in caplog.text


async def test_a_stream_of_its_own_passes_it(make_app: Any, mem: Cluster, monkeypatch: Any) -> None:
    case = Case(make_app(), mem)
    spoil(monkeypatch, too_large())
    await case.app.start()
    got = []
    async for value in case.app.topic("in", value_type=bytes, partitions=1).stream():
        got.append(value)
        if len(got) == 30:
            break
    assert len(set(got)) == 30
