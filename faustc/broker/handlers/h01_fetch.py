"""Fetch (1), versions 4 to 18, for consumers.

Left out: followers (a replica id is ignored), other replicas to read from, and
divergence of leader epochs: there is one leader and one epoch.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.fetch_sessions import FINAL, FULL, NO_SESSION, FetchSession, Key, Wanted
from faustc.broker.log import Span
from faustc.broker.partition import Partition
from faustc.broker.topics import Topic
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    FETCH_SESSION_ID_NOT_FOUND,
    INVALID_FETCH_SESSION_EPOCH,
    KAFKA_STORAGE_ERROR,
    NONE,
    OFFSET_OUT_OF_RANGE,
    UNKNOWN_LEADER_EPOCH,
    UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
)

API = Api("Fetch", 1, 4, 18)

_BY_ID = 13
_READ_COMMITTED = 1
_SESSIONS_FROM = 7


class Found(NamedTuple):
    """What there is of one partition now."""

    key: Key
    wanted: Wanted
    partition: Partition | None
    error: int
    span: Span | None


async def handle(broker: Broker, call: Call) -> Answer:
    """Answer when there are min_bytes, or max_wait_ms later with what there is."""
    request = call.request
    session: FetchSession | None = None
    if call.version >= _SESSIONS_FROM and request.session_epoch > FULL:
        session = broker.fetch_sessions.find(request.session_id)
        if session is None:
            return _error(call, FETCH_SESSION_ID_NOT_FOUND)
        if session.epoch != request.session_epoch:
            return _error(call, INVALID_FETCH_SESSION_EPOCH)
        session.advance()
        _change(session, call)
        wanted: Mapping[Key, Wanted] = session.wanted
    else:
        wanted = dict(_wanted(call))
        if call.version >= _SESSIONS_FROM:
            broker.fetch_sessions.end(request.session_id)
    found = await _wait(broker, call, wanted)
    is_full = session is None
    if call.version >= _SESSIONS_FROM and is_full and request.session_epoch != FINAL:
        session = broker.fetch_sessions.begin()
        session.wanted.update(wanted)
    return _answer(call, found, session, is_full=is_full)


def _error(call: Call, code: int) -> Answer:
    return wire.answer(call, error_code=code, session_id=NO_SESSION, responses=[])


def _wanted(call: Call) -> Iterable[tuple[Key, Wanted]]:
    for topic in call.request.topics:
        name = _name(call.version, topic)
        for part in topic.partitions:
            yield (
                Key(name, part.partition),
                Wanted(part.fetch_offset, part.partition_max_bytes, part.current_leader_epoch),
            )


def _name(version: int, topic: Any) -> str | bytes:
    if version < _BY_ID:
        return str(topic.topic)
    return bytes(16) if topic.topic_id is None else bytes(topic.topic_id.bytes)


def _change(session: FetchSession, call: Call) -> None:
    """Take over what an incremental request adds, changes and forgets."""
    for key, new in _wanted(call):
        old = session.wanted.get(key)
        new.told = old.told if old is not None else None
        session.wanted[key] = new
    for topic in call.request.forgotten_topics_data:
        name = _name(call.version, topic)
        for partition in topic.partitions:
            session.wanted.pop(Key(name, partition), None)


# --- what there is ---


async def _wait(broker: Broker, call: Call, wanted: Mapping[Key, Wanted]) -> list[Found]:
    """Look, and look again whenever something is appended, until it is enough or too late."""
    loop = broker.loop
    deadline = loop.time() + call.request.max_wait_ms / 1000
    while True:
        found, size, urgent = _look(broker, call, wanted)
        left = deadline - loop.time()
        if urgent or size >= call.request.min_bytes or left <= 0 or not wanted:
            return found
        watcher: asyncio.Future[None] = loop.create_future()
        partitions = [each.partition for each in found if each.partition is not None]
        for partition in partitions:
            partition.watch(watcher)
        timer = loop.call_later(left, _finish, watcher)
        try:
            await watcher
        finally:
            timer.cancel()
            for partition in partitions:
                partition.unwatch(watcher)


def _finish(watcher: asyncio.Future[None]) -> None:
    if not watcher.done():
        watcher.set_result(None)


def _look(
    broker: Broker, call: Call, wanted: Mapping[Key, Wanted]
) -> tuple[list[Found], int, bool]:
    """Return what there is, its size, and whether there is an error to tell at once."""
    committed = call.request.isolation_level == _READ_COMMITTED
    left = call.request.max_bytes
    found = []
    size = 0
    urgent = False
    for key, want in wanted.items():
        partition, error = _check(broker, key, want)
        span = None
        if partition is not None and not error and (left > 0 or not size):
            span = partition.span(
                want.offset, min(want.max_bytes, max(left, 0)), committed=committed, whole=not size
            )
            if span is not None:
                size += span.size
                left -= span.size
        urgent = urgent or error != NONE
        found.append(Found(key, want, partition, error, span))
    return found, size, urgent


def _check(broker: Broker, key: Key, want: Wanted) -> tuple[Partition | None, int]:
    """Return the partition, and why it cannot be read."""
    topic: Topic | None
    if isinstance(key.topic, bytes):
        topic = broker.topics.by_id(key.topic)
        if topic is None:
            return None, UNKNOWN_TOPIC_ID
    else:
        topic = broker.topics.get(key.topic)
    if topic is None or not 0 <= key.partition < len(topic.partitions):
        return None, UNKNOWN_TOPIC_OR_PARTITION
    partition = topic.partitions[key.partition]
    if want.leader_epoch > partition.leader_epoch:
        return partition, UNKNOWN_LEADER_EPOCH
    if not partition.log_start <= want.offset <= partition.log_end:
        return partition, OFFSET_OUT_OF_RANGE
    return partition, NONE


# --- the answer ---


def _answer(
    call: Call, found: list[Found], session: FetchSession | None, *, is_full: bool
) -> Answer:
    committed = call.request.isolation_level == _READ_COMMITTED
    topics: dict[str | bytes, list[tuple[dict[str, Any], bytes]]] = {}
    for each in found:
        data = b""
        if each.span is not None:
            try:
                data = each.span.read()
            except OSError:
                each = each._replace(error=KAFKA_STORAGE_ERROR)
        told = _told(each)
        if not is_full and not data and not each.error and told == each.wanted.told:
            continue
        each.wanted.told = told
        topics.setdefault(each.key.topic, []).append((_row(each, told, data, committed), data))
        if data and session is not None and each.key in session.wanted:
            # Who was served goes to the end of the line, so that max_bytes starves nobody.
            session.wanted.move_to_end(each.key)
    return wire.answer_with_records(
        call,
        [data for rows in topics.values() for _, data in rows],
        error_code=NONE,
        session_id=session.id if session is not None else NO_SESSION,
        responses=[
            {
                "topic": name if isinstance(name, str) else "",
                "topic_id": uuid.UUID(bytes=name) if isinstance(name, bytes) else None,
                "partitions": [row for row, _ in rows],
            }
            for name, rows in topics.items()
        ],
    )


def _told(found: Found) -> tuple[int, int, int]:
    if found.partition is None or found.error:
        return found.error, -1, -1
    return found.error, found.partition.log_end, found.partition.log_start


def _row(found: Found, told: tuple[int, int, int], data: bytes, committed: bool) -> dict[str, Any]:
    partition, span = found.partition, found.span
    aborted = None
    if committed and partition is not None and not found.error:
        until = min(partition.last_stable_offset, span.segment.next_offset) if span else -1
        aborted = [
            {"producer_id": each.producer_id, "first_offset": each.first_offset}
            for each in partition.producers.aborted_in(found.wanted.offset, until)
        ]
    return {
        "partition_index": found.key.partition,
        "error_code": told[0],
        "high_watermark": told[1],
        "last_stable_offset": -1 if partition is None or told[0] else partition.last_stable_offset,
        "log_start_offset": told[2],
        "aborted_transactions": aborted,
        "records": wire.place(data),
    }
