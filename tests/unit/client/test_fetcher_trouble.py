"""Fetching from brokers that move, truncate, delete and damage what they serve."""

from __future__ import annotations

import asyncio
import struct
import uuid

import pytest

from faustc.client import codes, offsets
from faustc.exceptions import BrokerError, CorruptFrame, OffsetOutOfRange
from tests.unit.client.fetch_server import FetchServer
from tests.unit.client.fetching import T0, T1, numbered, reading, take
from tests.unit.client.wire_server import until

# --- leaders (KIP-320) ---


async def test_a_moved_leader_is_followed():
    async with FetchServer(("t", 1)) as one, FetchServer(node_id=2) as two:
        one.peers = two.peers = [one, two]
        two.topic_ids = one.topic_ids
        one.append(T0, b"a")
        async with reading(one, T0) as consumer:
            assert await take(consumer, 1) == [b"a"]
            log = one.logs.pop(T0)
            one.leaders[T0] = two.leaders[T0] = 2
            two.logs[T0] = log
            log.epoch_ends[0] = log.end
            log.epoch = 1
            two.append(T0, b"b")
            one.wake()
            assert await take(consumer, 1) == [b"b"]
            assert two.seen("OffsetForLeaderEpoch"), "the new leader was asked about our offset"


@pytest.mark.parametrize(
    "error",
    [
        codes.NOT_LEADER_OR_FOLLOWER,
        codes.FENCED_LEADER_EPOCH,
        codes.UNKNOWN_LEADER_EPOCH,
        codes.REPLICA_NOT_AVAILABLE,
        codes.KAFKA_STORAGE_ERROR,
        codes.OFFSET_NOT_AVAILABLE,
        codes.UNKNOWN_TOPIC_OR_PARTITION,
        codes.INCONSISTENT_TOPIC_ID,
    ],
)
async def test_a_passing_error_of_one_partition_is_outlived_and_others_go_on(error):
    async with FetchServer(("t", 2)) as server, reading(server, T0, T1) as consumer:
        assert await consumer.position(T0) == 0
        server.logs[T0].error = error
        server.append(T1, b"other")
        assert await take(consumer, 1) == [b"other"]
        before = len(server.fetches)
        await asyncio.sleep(0.3)
        assert len(server.fetches) - before < 30, "it backs off"
        server.logs[T0].error = 0
        server.append(T0, b"mine")
        assert await take(consumer, 1) == [b"mine"]


async def test_a_truncated_log_sends_us_back_to_where_it_forks():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(5))
        server.append(T0, *numbered(5, 5))
        async with reading(server, T0) as consumer:
            assert await take(consumer, 10) == numbered(10)
            server.logs[T0].truncate(5)
            server.append(T0, b"instead")
            server.wake()
            assert await take(consumer, 1) == [b"instead"]
            assert await consumer.position(T0) == 6


async def test_a_truncated_log_is_an_error_without_a_reset_policy():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(5))
        server.append(T0, *numbered(5, 5))
        async with reading(server, T0, auto_offset_reset="none") as consumer:
            consumer.seek(T0, 0)
            assert await take(consumer, 10) == numbered(10)
            server.logs[T0].truncate(5)
            server.wake()
            with pytest.raises(OffsetOutOfRange, match="truncated to offset 5") as caught:
                await take(consumer, 1)
            assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 0, 10)


async def test_a_leader_named_along_with_the_refusal_is_asked_at_once():
    async with FetchServer(("t", 1), version=12) as one, FetchServer(node_id=2) as two:
        one.peers = two.peers = [one, two]
        two.topic_ids = one.topic_ids
        one.append(T0, b"a")
        async with reading(one, T0, retry_backoff_ms=5000) as consumer:
            assert await take(consumer, 1) == [b"a"]
            log = two.logs[T0] = one.logs.pop(T0)
            log.epoch_ends[0], log.epoch = log.end, 1
            one.leaders[T0], one.hints = 2, True
            asked = len(one.seen("Metadata")) + len(two.seen("Metadata"))
            two.append(T0, b"b")
            one.wake()
            assert await take(consumer, 1) == [b"b"]
            assert len(one.seen("Metadata")) + len(two.seen("Metadata")) == asked


async def test_a_nearer_replica_is_fetched_from_until_it_is_gone():
    async with FetchServer(("t", 1)) as one, FetchServer(node_id=2) as two:
        one.peers = two.peers = [one, two]
        two.topic_ids = one.topic_ids
        two.logs[T0] = one.logs[T0]
        two.leaders[T0] = one.leaders[T0] = 1
        one.preferred[T0] = 2
        one.append(T0, b"a")
        async with reading(one, T0, client_rack="here") as consumer:
            assert await take(consumer, 1) == [b"a"]
            assert two.fetches
            assert two.fetches[0].rack_id == "here"
            one.preferred.clear()
            await two.stop()
            one.append(T0, b"b")
            assert await take(consumer, 1) == [b"b"]


async def test_a_broker_that_hangs_does_not_keep_its_successor_from_being_found(monkeypatch):
    monkeypatch.setattr("faustc.client.leader.LATE_S", 0.1)
    async with FetchServer(("t", 1)) as one, FetchServer(node_id=2) as two:
        one.peers = two.peers = [one, two]
        two.topic_ids = one.topic_ids
        one.append(T0, b"a")
        async with reading(one, T0) as consumer:
            assert await take(consumer, 1) == [b"a"]
            one.gate.clear()
            log = two.logs[T0] = one.logs.pop(T0)
            log.epoch_ends[0], log.epoch = log.end, 1
            one.leaders[T0] = two.leaders[T0] = 2
            two.append(T0, b"b")
            assert await take(consumer, 1) == [b"b"]


@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_topic_that_we_may_not_see_is_an_error_not_silence(by_hand):
    async with FetchServer(("t", 1)) as server:
        server.topic_errors["t"] = codes.TOPIC_AUTHORIZATION_FAILED
        async with reading(server, *([T0] if by_hand else [])) as consumer:
            if not by_hand:
                consumer.unsubscribe()
                consumer.subscribe(["t"])
            with pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED"):
                await take(consumer, 1)


async def test_a_leader_that_hangs_over_a_position_is_asked_again_soon(monkeypatch):
    monkeypatch.setattr(offsets, "FIRST_ATTEMPT_S", 0.3)
    async with FetchServer(("t", 1)) as server:
        server.append(T0, b"a")
        answer, silent = server.answers["ListOffsets"], [None, None]
        server.answers["ListOffsets"] = lambda r: silent.pop() if silent else answer(r)
        async with reading(server, T0) as consumer:
            assert await take(consumer, 1) == [b"a"]
        assert len(server.seen("ListOffsets")) == 3


# --- offsets that the log does not have ---


@pytest.mark.parametrize(("policy", "expected"), [("earliest", b"6"), ("latest", b"new")])
async def test_an_offset_out_of_range_is_reset_by_the_policy(policy, expected):
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(6))
        server.append(T0, *numbered(4, 6))
        server.logs[T0].start = 6
        async with reading(server, T0, auto_offset_reset=policy) as consumer:
            await consumer.position(T0)
            consumer.seek(T0, 2)
            await until(lambda: len(server.seen("ListOffsets")) >= 2)
            await asyncio.sleep(0.05)
            server.append(T0, b"new")
            assert (await take(consumer, 1))[0] == expected


async def test_without_a_policy_the_error_names_the_offset_and_a_seek_goes_on():
    async with FetchServer(("t", 2)) as server:
        server.append(T0, *numbered(3))
        async with reading(server, T0, T1, auto_offset_reset="none") as consumer:
            consumer.seek(T0, 99)
            consumer.seek(T1, 0)
            for _ in range(2):
                with pytest.raises(OffsetOutOfRange, match="99") as caught:
                    await take(consumer, 1, T0)
                assert caught.value.topic == "t"
                assert (caught.value.partition, caught.value.offset) == (0, 99)
            consumer.seek(T0, 1)
            assert await take(consumer, 2) == numbered(2, 1)


async def test_a_failed_partition_does_not_keep_others_from_being_read():
    async with FetchServer(("t", 2)) as server:  # noqa: SIM117
        async with reading(server, T0, T1, auto_offset_reset="none") as consumer:
            consumer.seek(T0, 99)
            consumer.seek(T1, 0)
            got, errors = [], 0
            for n in range(5):
                server.append(T1, b"%d" % n)
            async with asyncio.timeout(30):
                while len(got) < 5 or not errors:
                    try:
                        for messages in (
                            await consumer.getmany(timeout_ms=100, max_records=1)
                        ).values():
                            got += [m.value for m in messages]
                    except OffsetOutOfRange:
                        errors += 1
            assert got == numbered(5)


async def test_a_topic_made_anew_is_read_from_its_beginning():
    async with FetchServer(("t", 1), version=13) as server:
        server.append(T0, *numbered(5))
        async with reading(server, T0, auto_offset_reset="latest") as consumer:
            assert await consumer.position(T0) == 5
            old, server.topic_ids = server.topic_ids, {}
            server.wake()
            await asyncio.sleep(0.1)
            server.topic_ids = {"t": uuid.uuid4()}
            assert server.topic_ids != old
            log = server.logs[T0] = type(server.logs[T0])()
            for n in range(8):
                log.append(b"new %d" % n)
            server.wake()
            assert await take(consumer, 8) == [b"new %d" % n for n in range(8)]


# --- damage ---


@pytest.mark.parametrize("past", ["one past the batch's start", "past the batch"])
async def test_a_corrupt_batch_is_told_after_what_is_before_it_and_can_be_passed(past):
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(3))
        server.append(T0, *numbered(3, 3))
        server.append(T0, *numbered(3, 6))
        server.logs[T0].damage(1)
        async with reading(server, T0) as consumer:
            assert await take(consumer, 3) == numbered(3)
            for _ in range(2):
                with pytest.raises(CorruptFrame) as caught:
                    await take(consumer, 1)
                error = caught.value
                assert (error.topic, error.partition, error.offset) == ("t", 0, 3)
                assert await consumer.position(T0) == 3
            consumer.seek(T0, 4 if past == "one past the batch's start" else 6)
            assert await take(consumer, 3) == numbered(3, 6)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_batch_that_was_damaged_on_its_way_is_fetched_again(times):
    """Symptom: one bit flipped on the way ended the consumer, though the log was whole."""
    async with FetchServer(("t", 1)) as server:
        for first in (0, 3, 6):
            server.append(T0, *numbered(3, first))
        real = server._fetch
        sent = 0

        async def flipped(frame: bytes, version: int, correlation_id: int) -> bytes:
            nonlocal sent
            body = bytearray(await real(frame, version, correlation_id))
            at = body.find(server.logs[T0].batches[1].data)
            if at >= 0 and (sent := sent + 1) <= times:
                body[at + 70] ^= 1
            return bytes(body)

        server._fetch = flipped
        async with reading(server, T0) as consumer:
            assert await take(consumer, 9) == numbered(9)
            assert sent == times + 1


async def test_records_that_do_not_parse_are_told_where_they_are_and_can_be_passed():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(3))
        server.append(T0, *numbered(3, 3))
        stored = server.logs[T0].batches[0]
        data = bytearray(stored.data)
        data[61] ^= 0x7E  # the first record's length; the CRC is not looked at here
        server.logs[T0].batches[0] = stored._replace(data=bytes(data))
        async with reading(server, T0, check_crcs=False) as consumer:
            with pytest.raises(CorruptFrame) as caught:
                await take(consumer, 1)
            assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 0, 0)
            consumer.seek(T0, 1)
            assert await take(consumer, 3) == numbered(3, 3)


async def test_an_answer_that_is_garbage_costs_the_connection_and_nothing_else():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, b"a")
        real = server._fetch
        sent = 0

        async def garbage(frame: bytes, version: int, correlation_id: int) -> bytes:
            nonlocal sent
            body = await real(frame, version, correlation_id)
            sent += 1
            return body[:4] + struct.pack(">i", -5) * 20 if sent <= 2 else body

        server._fetch = garbage
        async with reading(server, T0) as consumer:
            assert await take(consumer, 1) == [b"a"]
            assert sent >= 3
