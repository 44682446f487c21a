"""The order of a commit: positions, flush, group; and what may go wrong between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from faustc.engine import checkpoint
from faustc.engine.assignment import Assignment
from faustc.engine.checkpoint import Checkpoint
from faustc.engine.counters import Counters
from faustc.engine.inbox import Reader
from faustc.engine.nursery import Nursery
from faustc.engine.outbox import Outbox
from faustc.engine.stuck import StuckWatch
from faustc.exceptions import CommitFailed, DeliveryFailed, KafkaTimeout
from faustc.types import TP, FutureMessage, OffsetAndMetadata, PendingMessage
from tests.unit.engine.test_inbox import Batch, take_all

A0 = TP("a", 0)


class Group:
    """The far side: notes in which order it was asked, and fails on demand."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.flush_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.during_flush: Any = None

    async def flush(self) -> None:
        self.asked.append("flush")
        if self.during_flush is not None:
            await self.during_flush()
        if self.flush_error is not None:
            error, self.flush_error = self.flush_error, None  # the producer says it once
            raise error

    async def commit(self, offsets: Mapping[TP, OffsetAndMetadata]) -> None:
        self.asked.append({tp: found.offset for tp, found in offsets.items()})
        if self.commit_error is not None:
            error, self.commit_error = self.commit_error, None
            raise error


class Setup:
    def __init__(self) -> None:
        self.group = Group()
        self.reader = Reader("r", ["a"])
        self.assignment = Assignment(lambda count: None)
        self.assignment.add_reader(self.reader)
        self.assignment.open([A0])
        self.counters = Counters()
        self.checkpoint = Checkpoint(self.assignment, self.group, self.group.flush, self.counters)

    async def do(self, first: int, count: int) -> None:
        self.assignment.put(A0, [Batch(first, count)])
        await take_all(self.reader, 1)


async def test_flush_comes_before_the_commit_and_nothing_new_means_neither() -> None:
    it = Setup()
    await it.do(0, 3)
    assert await it.checkpoint.commit()
    assert it.group.asked == ["flush", {A0: 3}]
    assert await it.checkpoint.commit()
    assert it.group.asked == ["flush", {A0: 3}]
    assert it.counters.committed == {A0: 3}


async def test_what_is_done_during_the_flush_waits_for_the_next_commit() -> None:
    it = Setup()
    await it.do(0, 1)
    it.group.during_flush = lambda: it.do(1, 1)
    assert await it.checkpoint.commit()
    assert it.group.asked == ["flush", {A0: 1}]


async def test_a_partition_that_goes_and_comes_back_meanwhile_is_not_committed() -> None:
    """What was done of it before is not the whole truth: others had it in between."""
    it = Setup()
    await it.do(0, 3)

    async def lose_and_regain() -> None:
        it.assignment.close([A0])
        it.checkpoint.forget([A0])
        it.assignment.open([A0])

    it.group.during_flush = lose_and_regain
    assert await it.checkpoint.commit()
    assert it.group.asked == ["flush"]
    assert it.counters.committed == {}


class Changes:
    """Tables that have changes for their changelogs."""

    def __init__(self, group: Group) -> None:
        self.pending = True
        self._group = group

    def take(self) -> None:
        self._group.asked.append("changes")

    async def send(self) -> None:
        self._group.asked.append("changelogs")

    def landed(self) -> None:
        pass


@pytest.mark.parametrize("gone", [False, True])
async def test_after_a_pause_the_group_is_asked_before_changelogs_get_anything(
    gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was stopped past its session must not write over what the new owner wrote."""
    it = Setup()
    tables: Any = Changes(it.group)
    it.checkpoint = Checkpoint(it.assignment, it.group, it.group.flush, it.counters, tables=tables)
    await it.do(0, 3)
    assert await it.checkpoint.commit()
    whole = ["changes", "flush", "changelogs", "flush"]
    assert it.group.asked == [*whole, {A0: 3}]
    it.group.asked.clear()
    await it.do(3, 1)
    monkeypatch.setattr(checkpoint, "DOUBT_AFTER_S", 0.0)
    if gone:
        it.group.commit_error = CommitFailed("others have it")
        assert not await it.checkpoint.commit()
        assert it.group.asked == [{A0: 3}]
    else:
        assert await it.checkpoint.commit()
        assert it.group.asked == [{A0: 3}, *whole, {A0: 4}]


async def test_a_lost_send_holds_back_every_later_commit() -> None:
    it = Setup()
    await it.do(0, 1)
    it.group.flush_error = DeliveryFailed("gone")
    with pytest.raises(DeliveryFailed):
        await it.checkpoint.commit()
    with pytest.raises(DeliveryFailed):
        await it.checkpoint.commit()
    assert it.group.asked == ["flush"]


@pytest.mark.parametrize("error", [CommitFailed("over"), KafkaTimeout("late")])
async def test_a_commit_that_fails_is_logged_and_made_up_for(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    it = Setup()
    await it.do(0, 1)
    it.group.commit_error = error
    assert not await it.checkpoint.commit()
    assert str(error) in caplog.text
    assert it.counters.commit_failures_total == 1
    assert await it.checkpoint.commit()
    assert it.group.asked == ["flush", {A0: 1}, "flush", {A0: 1}]


async def test_a_commit_ends_at_its_deadline() -> None:
    it = Setup()
    await it.do(0, 1)
    it.group.during_flush = lambda: asyncio.sleep(60)
    assert not await it.checkpoint.commit(timeout_s=0.05)


async def test_commits_of_two_callers_do_not_overlap() -> None:
    it = Setup()
    await it.do(0, 1)
    it.group.during_flush = lambda: asyncio.sleep(0.02)
    assert await asyncio.gather(it.checkpoint.commit(), it.checkpoint.commit()) == [True, True]
    assert it.group.asked == ["flush", {A0: 1}]


async def test_the_outbox_keeps_order_and_drain_waits_for_it() -> None:
    nursery = Nursery("n", lambda error: pytest.fail(repr(error)))
    outbox = Outbox(nursery)
    sent: list[int] = []

    async def send(number: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        sent.append(number)

    for number in range(3):
        promise = FutureMessage(PendingMessage(None, None, number))
        outbox.put(promise, lambda n=number: send(n, 0.02 - n * 0.01))
    await outbox.drain()
    assert sent == [0, 1, 2]
    await nursery.close()


async def test_a_send_soon_that_fails_unseen_fails_the_drain() -> None:
    nursery = Nursery("n", lambda error: pytest.fail(repr(error)))
    outbox = Outbox(nursery)

    async def refuse() -> None:
        raise ValueError("too large")

    outbox.put(FutureMessage(PendingMessage(None, None, None)), refuse)
    with pytest.raises(DeliveryFailed, match="too large"):
        await outbox.drain()
    await outbox.drain()
    await nursery.close()


async def test_a_reader_that_is_stuck_is_named_again_and_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = Setup()
    it.assignment.put(A0, [Batch(0, 3)])
    portion = await it.reader.portion()
    assert portion is not None
    watch = StuckWatch(60.0)
    with caplog.at_level(logging.WARNING):
        for now in (0.0, 30.0, 59.0):
            watch.look(it.assignment, now)
        assert caplog.text == ""
        watch.look(it.assignment, 61.0)
        watch.look(it.assignment, 100.0)
        assert caplog.text.count("r has been at a/0 offset 0 for 61 s") == 1
        portion.ledger.ack(0)
        watch.look(it.assignment, 130.0)
        watch.look(it.assignment, 191.0)
    assert "offset 1 for 61 s" in caplog.text
    assert len(caplog.records) == 2
