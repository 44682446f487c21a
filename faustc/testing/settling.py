"""What an app has yet to do before nothing is left of the messages sent so far."""

from __future__ import annotations

import asyncio
from typing import Any

from faustc.exceptions import ProducerFenced, TransactionAborted
from faustc.testing.memory import MemoryBroker
from faustc.types import TopicPartition

__all__ = ["unsettled"]


async def unsettled(app: Any, broker: MemoryBroker) -> list[str]:
    """Flush, commit, and name what is left to be done; an empty list means nothing is.

    Raises what the flush does. Nothing that an app does is announced beforehand, so a
    list is empty only if no log grew while we looked.
    """
    engine = app.runner.engine
    # Those who have just been woken are to have their turn before anybody looks.
    for _ in range(3):
        await asyncio.sleep(0)
    try:
        await engine.flush()
    except (TransactionAborted, ProducerFenced):
        return ["a transaction is being undone"]
    before = _ends(engine, broker)
    missing = _in_memory(app) + await _undelivered(engine, broker)
    if engine.tables.recovering:
        missing.append("tables are being filled")
    if engine.consumer is None:
        return missing
    if not broker.members(app.conf.id):
        return [f"group {app.conf.id} is rebalancing", *missing]
    alone = broker.members(app.conf.id) == 1
    missing += await _to_read(engine, before, alone)
    if missing:
        return missing
    if not await engine.commit():
        return ["the offsets are not committed yet"]
    grown = [tp for tp, end in _ends(engine, broker).items() if end != before.get(tp)]
    grown_names = [f"{tp.topic}/{tp.partition} has grown" for tp in grown]
    return grown_names + _in_memory(app) + await _undelivered(engine, broker)


def _ends(engine: Any, broker: MemoryBroker) -> dict[TopicPartition, int]:
    return {
        partition.tp: partition.log_end
        for topic in broker.topic_names()
        if engine.assignment.wants(topic)
        for partition in broker.partitions(topic)
    }


async def _to_read(engine: Any, ends: dict[TopicPartition, int], alone: bool) -> list[str]:
    missing = []
    for tp, end in ends.items():
        where = f"{tp.topic}/{tp.partition}"
        if tp not in engine.assignment.partitions:
            if tp in engine.consumer.assignment() or alone:
                missing.append(f"{where} is being assigned")
            continue  # another member's
        position = await engine.consumer.position(tp)
        if position < end:
            missing.append(f"{where} is read up to {position} of {end}")
        for reader in engine.assignment.readers():
            inbox = reader.inbox(tp)
            if inbox is None:
                continue
            if inbox.count:
                missing.append(f"{reader.name} has {inbox.count} messages of {where} to take")
            if inbox.ledger.outstanding:
                at = inbox.ledger.position
                missing.append(
                    f"{reader.name} has {inbox.ledger.outstanding} events of {where} in hand, "
                    f"the first at offset {at}"
                )
    return missing


async def _undelivered(engine: Any, broker: MemoryBroker) -> list[str]:
    """Name the topics of replies that are not read to their end."""
    missing = []
    for mailbox in engine.mailboxes:
        positions = await mailbox.positions()
        for partition in broker.partitions(mailbox.topic):
            if positions.get(partition.tp, 0) < partition.log_end:
                missing.append(f"there are replies in {mailbox.topic} to be read")
    return missing


def _in_memory(app: Any) -> list[str]:
    """Name the readers of channels in memory that have something left."""
    missing = ["a stream is being opened"] if app.runner.opening else []
    for feed in app.runner.feeds:
        if feed.closed:
            continue
        if len(feed):
            missing.append(f"{feed.name} has {len(feed)} messages to be taken")
        if any(stream.busy for stream in feed.holders):
            missing.append(f"an event of {feed.name} is in hand")
    return missing
