"""Fetching: what is handed out, sessions, things under way when something changes, bounds."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from faustc.client import codes
from tests.unit.client.fetch_server import ABORT_MARKER, COMMIT_MARKER, FetchServer
from tests.unit.client.fetching import T0, T1, T2, nothing_more, numbered, reading, take
from tests.unit.client.wire_server import until

# --- what is handed out ---


@pytest.mark.parametrize("version", [11, 12, 13, 16])
async def test_messages_come_in_order_and_once_in_every_version(version):
    async with FetchServer(("t", 1), version=version) as server:
        server.append(T0, *numbered(5))
        server.append(T0, *numbered(5, 5))
        async with reading(server, T0) as consumer:
            assert await take(consumer, 10) == numbered(10)
            server.append(T0, b"later")
            assert await take(consumer, 1) == [b"later"]
            await nothing_more(consumer)
            assert await consumer.position(T0) == 11
            assert consumer.highwater(T0) == 11


async def test_a_start_inside_a_batch_hands_out_only_what_is_at_or_after_it():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(10))
        async with reading(server, T0) as consumer:
            consumer.seek(T0, 7)
            assert await take(consumer, 3) == numbered(3, 7)
            await nothing_more(consumer)


async def test_the_position_passes_gaps_empty_batches_and_control_records():
    async with FetchServer(("t", 1)) as server:
        log = server.logs[T0]
        log.append(b"a", gap=5)
        log.append(b"b")
        log.append(COMMIT_MARKER, key=COMMIT_MARKER, control=True, transactional=True, gap=3)
        async with reading(server, T0) as consumer:
            assert await take(consumer, 2) == [b"a", b"b"]
            # the gap behind the last batch is not in any batch: the broker sends nothing for it
            assert await consumer.position(T0) == 8


async def test_read_committed_drops_what_was_aborted_and_only_that():
    async with FetchServer(("t", 1)) as server:
        log = server.logs[T0]
        log.append(b"kept 1", transactional=True, producer_id=7, producer_epoch=0, base_sequence=0)
        gone = log.append(
            b"gone 1", transactional=True, producer_id=8, producer_epoch=0, base_sequence=0
        )
        log.append(b"plain", producer_id=8, producer_epoch=0, base_sequence=0)
        marker = {"control": True, "transactional": True, "producer_epoch": 0}
        log.append(b"", key=COMMIT_MARKER, producer_id=7, **marker)
        log.append(b"gone 2", transactional=True, producer_id=8, producer_epoch=0, base_sequence=1)
        log.append(b"", key=ABORT_MARKER, producer_id=8, **marker)
        log.append(b"kept 2", transactional=True, producer_id=8, producer_epoch=0, base_sequence=2)
        log.append(b"", key=COMMIT_MARKER, producer_id=8, **marker)
        log.aborted = [(8, gone.base)]
        async with reading(server, T0, isolation_level="read_committed") as consumer:
            assert await take(consumer, 3) == [b"kept 1", b"plain", b"kept 2"]
            assert await consumer.position(T0) == log.end
        async with reading(server, T0) as consumer:
            assert len(await take(consumer, 5)) == 5
            await nothing_more(consumer)


async def test_getone_getmany_iteration_and_batches_share_one_position():
    async with FetchServer(("t", 1)) as server:
        for start in range(0, 30, 10):
            server.append(T0, *numbered(10, start))
        async with reading(server, T0) as consumer:
            assert (await consumer.getone()).value == b"0"
            assert await take(consumer, 3) == numbered(3, 1)
            async for message in consumer:
                assert message.value == b"4"
                break
            assert await consumer.position(T0) == 5
            batches = (await consumer.getbatches(timeout_ms=1000, max_bytes=1))[T0]
            assert [m.value for m in batches[0].messages()] == numbered(5, 5)
            assert (batches[0].start_offset, batches[0].next_offset) == (5, 10)
            assert await take(consumer, 20) == numbered(20, 10)


# --- sessions (KIP-227) ---


async def test_an_incremental_request_names_only_what_changed():
    async with FetchServer(("t", 3)) as server:
        server.append(T0, b"a")
        async with reading(server, T0, T1, T2) as consumer:
            assert await take(consumer, 1) == [b"a"]
            await until(lambda: not server.fetches[-1].topics)
            server.append(T1, b"b")
            assert await take(consumer, 1) == [b"b"]
        named = [
            sorted((p.partition, p.fetch_offset) for t in f.topics for p in t.partitions)
            for f in server.fetches
            if f.session_epoch > 0
        ]
        assert len(server.seen("ListOffsets")) == 1, "one question for all partitions of a leader"
        assert all(len(parts) <= 1 for parts in named)
        assert [parts for parts in named if parts].count([(1, 1)]) == 1
        assert [] in named, "a request that repeats the last one names nothing"


@pytest.mark.parametrize(
    "error",
    [
        codes.FETCH_SESSION_ID_NOT_FOUND,
        codes.INVALID_FETCH_SESSION_EPOCH,
        codes.FETCH_SESSION_TOPIC_ID_ERROR,
        codes.UNKNOWN_TOPIC_ID,
    ],
)
async def test_a_session_that_the_broker_refuses_is_begun_anew_and_nothing_is_lost(error):
    async with FetchServer(("t", 2)) as server:
        server.append(T0, b"a")
        async with reading(server, T0, T1) as consumer:
            assert await take(consumer, 1) == [b"a"]
            server.top_errors = [error]
            server.append(T0, b"b")
            server.append(T1, b"c")
            assert sorted(await take(consumer, 2)) == [b"b", b"c"]  # type: ignore[type-var]
            await nothing_more(consumer)
        full = [f for f in server.fetches if f.session_epoch == 0]
        assert len(full) == 2
        assert sum(len(t.partitions) for t in full[1].topics) == 2
        if error == codes.FETCH_SESSION_ID_NOT_FOUND:
            assert full[1].session_id == 0
        else:
            assert full[1].session_id != 0, "the old session is closed by the same request"


async def test_a_broker_that_forgot_its_sessions_is_followed():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, b"a")
        async with reading(server, T0) as consumer:
            assert await take(consumer, 1) == [b"a"]
            server.forget_sessions()
            server.append(T0, b"b")
            assert await take(consumer, 1) == [b"b"]


# --- what becomes ready while a fetch waits at the broker ---

LONG_MS = 60_000


async def caught_up(server: FetchServer) -> None:
    """Wait until a fetch waits at the broker: the one after that which brought something."""
    await until(lambda: len(server.fetches) > 1 and server.fetches[-1].max_wait_ms == LONG_MS)


def waiting(server: FetchServer) -> int:
    return sum(fetch.max_wait_ms == LONG_MS for fetch in server.fetches)


async def test_what_was_sought_does_not_wait_for_the_fetch_under_way():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(10))
        async with reading(server, T0, fetch_max_wait_ms=LONG_MS) as consumer:
            assert await take(consumer, 10) == numbered(10)
            await caught_up(server)
            for offset in (3, 8):
                consumer.seek(T0, offset)
                assert await take(consumer, 10 - offset) == numbered(10 - offset, offset)
            server.append(T0, b"and on")  # ends the one that waited, whose answer is outdated
            assert await take(consumer, 1) == [b"and on"]
            await nothing_more(consumer)


async def test_what_was_resumed_or_newly_assigned_does_not_wait_either():
    async with FetchServer(("t", 3)) as server:
        for tp in (T0, T1, T2):
            server.append(tp, b"%d" % tp.partition)
        async with reading(server, T0, fetch_max_wait_ms=LONG_MS) as consumer:
            assert await take(consumer, 1) == [b"0"]
            await caught_up(server)
            before = waiting(server)
            consumer.assign([T0, T1])
            assert await take(consumer, 1) == [b"1"]
            consumer.assign([T0, T1, T2])
            consumer.pause(T2)
            await nothing_more(consumer)
            consumer.resume(T2)
            assert await take(consumer, 1) == [b"2"]
            assert waiting(server) == before, "it still waits"


async def test_the_side_fetches_go_on_as_what_they_brought_is_taken():
    async with FetchServer(("t", 1)) as server:
        for start in range(0, 60, 2):
            server.append(T0, *numbered(2, start))
        options = {"fetch_max_wait_ms": LONG_MS, "max_partition_fetch_bytes": 100}
        async with reading(server, T0, **options) as consumer:
            assert await take(consumer, 60) == numbered(60)
            await caught_up(server)
            consumer.seek(T0, 0)
            assert await take(consumer, 60) == numbered(60)
            await nothing_more(consumer)
            before = len(server.fetches)
            await nothing_more(consumer)
            assert len(server.fetches) == before, "what has nothing new waits with the others"


async def test_a_side_fetch_that_fails_only_costs_the_wait():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(3))
        async with reading(server, T0, fetch_max_wait_ms=700) as consumer:
            assert await take(consumer, 3) == numbered(3)
            await until(lambda: server.fetches[-1].max_wait_ms == 700)
            server.top_errors = [codes.UNKNOWN_SERVER_ERROR]
            consumer.seek(T0, 1)
            assert await take(consumer, 2) == numbered(2, 1)
            await nothing_more(consumer)


# --- things under way when something changes ---


async def test_an_answer_to_an_old_position_is_dropped_after_a_seek():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(5))
        server.gate.clear()
        async with reading(server, T0) as consumer:
            await until(lambda: server.fetches)
            consumer.seek(T0, 3)
            server.gate.set()
            assert await take(consumer, 2) == numbered(2, 3)
            await nothing_more(consumer)


async def test_nothing_of_a_partition_comes_after_it_was_taken_away():
    async with FetchServer(("t", 2)) as server:
        server.append(T0, *numbered(5))
        async with reading(server, T0, T1) as consumer:
            assert await take(consumer, 1) == [b"0"]  # four more are buffered
            server.gate.clear()
            server.append(T0, b"under way")
            seen = len(server.fetches)
            await until(lambda: len(server.fetches) > seen)
            consumer.assign([T1])
            server.gate.set()
            server.append(T1, b"other")
            assert await take(consumer, 1) == [b"other"]
            await nothing_more(consumer)
            assert consumer.assignment() == {T1}


async def test_iteration_stops_handing_out_a_batch_that_was_paused_or_sought_away():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, *numbered(10))
        async with reading(server, T0) as consumer:
            seen = []
            async for message in consumer:
                seen.append(message.offset)
                if len(seen) == 3:
                    consumer.seek(T0, 8)
                if len(seen) == 5:
                    break
            assert seen == [0, 1, 2, 8, 9]


async def test_a_cut_connection_loses_and_repeats_nothing():
    async with FetchServer(("t", 1)) as server:
        values = []
        async with reading(server, T0) as consumer:
            for turn in range(6):
                server.append(T0, *numbered(10, 10 * turn))
                if turn % 2:
                    server.cut()
                values += await take(consumer, 10)
        assert values == numbered(60)


async def test_a_broker_that_is_gone_for_a_while_is_found_again():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, b"a")
        async with reading(server, T0) as consumer:
            assert await take(consumer, 1) == [b"a"]
            port = server.port
            await server.stop()
            await nothing_more(consumer)
            await server.listen(port)
            server.append(T0, b"b")
            assert await take(consumer, 1) == [b"b"]


async def test_stopping_is_quick_though_the_broker_answers_nothing():
    async with FetchServer(("t", 1)) as server:
        server.gate.clear()
        async with asyncio.timeout(30):
            async with reading(server, T0) as consumer:
                await until(lambda: server.fetches)
                waiting = asyncio.create_task(consumer.getmany(timeout_ms=60_000))
                await asyncio.sleep(0.01)
        with pytest.raises(Exception, match="stopped"):
            await waiting


# --- fairness and bounds ---


async def test_partitions_take_turns():
    async with FetchServer(("t", 3)) as server:
        for tp in (T0, T1, T2):
            for n in range(20):
                server.append(tp, b"%d" % n)
        async with reading(server, T0, T1, T2) as consumer:
            await asyncio.sleep(0.2)
            turns = []
            for _ in range(9):
                turns += list(await consumer.getmany(timeout_ms=1000, max_records=2))
            assert {turns.count(tp) for tp in (T0, T1, T2)} == {3}


@pytest.mark.parametrize("by", ["iteration", "getone"])
async def test_partitions_take_turns_batch_by_batch_when_read_one_by_one(by):
    async with FetchServer(("t", 2)) as server:
        for tp in (T0, T1):
            for n in range(5):
                server.append(tp, *numbered(4, 4 * n))
        async with reading(server, T0, T1) as consumer:
            await asyncio.sleep(0.2)
            seen = []
            if by == "getone":
                for _ in range(40):
                    seen.append((await consumer.getone()).tp)
            else:
                async for message in consumer:
                    seen.append(message.tp)
                    if len(seen) == 40:
                        break
            for start in range(0, 40, 8):
                assert seen[start : start + 8].count(T0) == 4


async def test_a_partition_that_nobody_reads_does_not_starve_another_of_the_same_broker():
    async with FetchServer(("t", 2)) as server:
        big = b"x" * 1000
        for _ in range(300):
            server.append(T0, big)
            server.append(T1, big)
        options = {"max_partition_fetch_bytes": 20_000, "fetch_max_bytes": 60_000}
        async with reading(server, T0, T1, fetch_max_wait_ms=2000, **options) as consumer:
            started = asyncio.get_running_loop().time()
            assert len(await take(consumer, 300, T1)) == 300
            took = asyncio.get_running_loop().time() - started
            assert took < 2, "no fetch for the unread partition held up the other"


async def test_what_is_buffered_stays_within_fetch_max_bytes():
    async with FetchServer(("t", 3)) as server:
        for tp in (T0, T1, T2):
            for _ in range(400):
                server.append(tp, b"x" * 1000)
        options = {"max_partition_fetch_bytes": 100_000, "fetch_max_bytes": 150_000}
        async with reading(server, T0, T1, T2, **options) as consumer:
            await asyncio.sleep(0.3)
            fetcher = consumer._fetcher
            # the budget, and beyond it one small fetch for each partition that had nothing
            buffered = [c.buffered_bytes for c in fetcher.cursors.values()]
            assert all(buffered)
            assert sum(buffered) <= 150_000 + 3 * 65_536
            assert len(await take(consumer, 1200)) == 1200


async def test_a_paused_partition_keeps_what_it_has_and_is_not_fetched():
    async with FetchServer(("t", 2)) as server:
        server.append(T0, *numbered(4))
        async with reading(server, T0, T1) as consumer:
            assert await take(consumer, 1) == [b"0"]
            consumer.pause(T0)
            assert consumer.paused() == {T0}
            await nothing_more(consumer)
            await asyncio.sleep(0.1)
            seen = len(server.fetches)
            server.append(T0, b"late")
            server.append(T1, b"other")
            assert await take(consumer, 1) == [b"other"]
            after = server.fetches[seen:]
            assert all(p.partition != 0 for f in after for t in f.topics for p in t.partitions)
            consumer.resume(T0)
            assert await take(consumer, 4) == [*numbered(3, 1), b"late"]


async def test_one_call_without_a_limit_still_hands_out_a_bounded_amount():
    async with FetchServer(("t", 1)) as server:
        big = bytes(500_000)
        for _ in range(40):
            server.append(T0, big, compression="zstd")
        async with reading(server, T0) as consumer:
            await asyncio.sleep(0.2)
            count = 0
            while count < 40:
                messages = (await consumer.getmany(timeout_ms=1000))[T0]
                assert sum(len(m.value) for m in messages) < 5 * 1024 * 1024
                count += len(messages)
            assert count == 40


async def test_batches_that_were_handed_out_are_let_go_of():
    async with FetchServer(("t", 1)) as server:
        for _ in range(10):
            server.append(T0, bytes(300_000), compression="zstd")
        tracemalloc.start()
        try:
            async with reading(server, T0) as consumer:
                for _ in range(10):
                    assert (await consumer.getone()).serialized_value_size == 300_000
                held, _ = tracemalloc.get_traced_memory()
                assert held < 1_500_000, "an answer is not kept until the next one comes"
        finally:
            tracemalloc.stop()


async def test_one_large_message_comes_through_small_limits():
    async with FetchServer(("t", 1)) as server:
        server.append(T0, b"x" * 500_000)
        server.append(T0, b"after")
        options = {"max_partition_fetch_bytes": 1000, "fetch_max_bytes": 1000}
        async with reading(server, T0, **options) as consumer:
            assert [len(v or b"") for v in await take(consumer, 2)] == [500_000, 5]
