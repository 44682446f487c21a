"""Batches are shared by reference, bounded in bytes, served in turn, and stop at once on revoke."""

from __future__ import annotations

import asyncio

from faustc.engine.assignment import Assignment
from faustc.engine.inbox import Portion, Reader
from faustc.types import TP


class Msg:
    tp = TP("a", 0)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Batch:
    """A fetched batch, as the client hands it on."""

    def __init__(self, first: int, count: int, size_bytes: int = 100) -> None:
        self.start_offset = first
        self.next_offset = first + count
        self.size_bytes = size_bytes
        self.parsed = 0

    def __len__(self) -> int:
        return self.next_offset - self.start_offset

    def messages(self) -> list[Msg]:
        self.parsed += 1
        return [Msg(o) for o in range(self.start_offset, self.next_offset)]


A0, A1, B0 = TP("a", 0), TP("a", 1), TP("b", 0)


async def take_all(reader: Reader, portions: int) -> list[tuple[TP, list[int]]]:
    got = []
    for _ in range(portions):
        portion = await asyncio.wait_for(reader.portion(), 5)
        assert portion is not None
        got.append((portion.tp, [m.offset for m in portion.pending]))
        for offset in got[-1][1]:
            portion.ledger.ack(offset)
    return got


def make(*readers: Reader) -> Assignment:
    assignment = Assignment(lambda count: None)
    for reader in readers:
        assignment.add_reader(reader)
    return assignment


async def test_two_readers_get_the_same_batch_which_is_parsed_once() -> None:
    one, two = Reader("one", ["a"]), Reader("two", ["a"])
    assignment = make(one, two)
    assignment.open([A0])
    batch = Batch(0, 3)
    assignment.put(A0, [batch])
    assert await take_all(one, 1) == [(A0, [0, 1, 2])]
    assert assignment.committable() == {}  # the other reader has not even begun
    assert await take_all(two, 1) == [(A0, [0, 1, 2])]
    assert batch.parsed == 1
    assert assignment.committable() == {A0: 3}


async def test_commit_waits_for_the_slowest_reader() -> None:
    fast, slow = Reader("fast", ["a"]), Reader("slow", ["a"])
    assignment = make(fast, slow)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 4)])
    await take_all(fast, 1)
    portion = await slow.portion()
    assert portion is not None
    portion.ledger.ack(next(portion.pending).offset)
    assert assignment.committable() == {A0: 1}


async def test_partitions_are_served_in_turn_however_much_one_has() -> None:
    reader = Reader("r", ["a", "b"])
    assignment = make(reader)
    assignment.open([A0, A1, B0])
    assignment.put(A0, [Batch(n, 1) for n in range(4)])
    assignment.put(A1, [Batch(0, 1)])
    assignment.put(B0, [Batch(0, 1)])
    order = [tp for tp, _ in await take_all(reader, 6)]
    assert order == [A0, A1, B0, A0, A0, A0]


async def test_full_inbox_of_one_reader_stops_that_partition_only() -> None:
    fast, slow = Reader("fast", ["a"], max_bytes=150), Reader("slow", ["a"], max_bytes=150)
    assignment = make(fast, slow)
    assignment.open([A0, A1])
    assignment.put(A0, [Batch(0, 1), Batch(1, 1)])
    assert assignment.hungry() == [A1]
    await take_all(fast, 2)
    assert assignment.hungry() == [A1]
    assert assignment.full() == [A0]
    await take_all(slow, 1)
    assert set(assignment.hungry()) == {A0, A1}


async def test_an_inbox_may_be_bounded_in_messages_as_well() -> None:
    reader = Reader("r", ["a"], max_messages=5)
    assignment = make(reader)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 4)])
    assert assignment.hungry() == [A0]
    assignment.put(A0, [Batch(4, 1)])
    assert assignment.hungry() == []
    await take_all(reader, 1)
    assert assignment.hungry() == [A0]


async def test_after_a_stop_nothing_of_the_partition_reaches_the_reader() -> None:
    # given a reader in the middle of a batch, with more waiting
    reader = Reader("r", ["a"])
    assignment = make(reader)
    assignment.open([A0, A1])
    assignment.put(A0, [Batch(0, 5), Batch(5, 5)])
    portion = await reader.portion()
    assert portion is not None
    taken = [next(portion.pending).offset, next(portion.pending).offset]
    # when the partition is revoked
    assignment.stop([A0])
    assignment.put(A0, [Batch(10, 1)])
    # then the rest is not handed out, but what is in hand still counts
    assert list(portion.pending) == []
    assert assignment.outstanding() == 2
    for offset in taken:
        portion.ledger.ack(offset)
    assert await assignment.drained([A0], 1)
    assert assignment.committable([A0]) == {A0: 2}
    # and after the close nothing does
    assignment.close([A0])
    assert assignment.committable([A0]) == {}


async def test_a_late_acknowledgement_of_a_revoked_partition_is_dropped() -> None:
    reader = Reader("r", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 2)])
    portion = await reader.portion()
    assert portion is not None
    message = next(portion.pending)
    assignment.close([A0])
    assignment.open([A0])  # ours again, from the committed offset
    assert not portion.ledger.ack(message.offset)
    assignment.put(A0, [Batch(0, 2)])
    assert await take_all(reader, 1) == [(A0, [0, 1])]


async def test_drained_gives_up_at_its_deadline() -> None:
    reader = Reader("r", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 1)])
    portion = await reader.portion()
    assert portion is not None
    next(portion.pending)
    assert not await assignment.drained(None, 0.05)


async def test_a_reader_that_joins_late_does_not_hold_back_commits() -> None:
    first = Reader("first", ["a"])
    assignment = make(first)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 3)])
    await take_all(first, 1)
    late = Reader("late", ["a"])
    assignment.add_reader(late)
    assert assignment.committable() == {A0: 3}
    assignment.put(A0, [Batch(3, 1)])
    await take_all(first, 1)
    assert assignment.committable() == {A0: 3}
    await take_all(late, 1)
    assert assignment.committable() == {A0: 4}


async def test_a_reader_that_leaves_holds_back_nothing() -> None:
    one, two = Reader("one", ["a"], max_bytes=50), Reader("two", ["a"], max_bytes=50)
    assignment = make(one, two)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 1)])
    await take_all(one, 1)
    assert assignment.hungry() == []
    assignment.remove_reader(two)
    assert assignment.hungry() == [A0]
    assert assignment.committable() == {A0: 1}


async def test_actors_that_share_a_reader_share_its_messages() -> None:
    reader = Reader("r", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    seen: list[int] = []

    async def actor() -> None:
        while (portion := await reader.portion()) is not None:
            for message in portion.pending:
                seen.append(message.offset)
                await asyncio.sleep(0)
                portion.ledger.ack(message.offset)

    actors = [asyncio.ensure_future(actor()) for _ in range(3)]
    assignment.put(A0, [Batch(0, 10), Batch(10, 10)])
    async with asyncio.timeout(30):
        while len(seen) < 20:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert await assignment.drained(None, 1)
    reader.close()
    await asyncio.gather(*actors)
    assert sorted(seen) == list(range(20))
    assert assignment.committable() == {A0: 20}


async def test_control_records_at_the_end_are_passed_only_when_the_inbox_is_empty() -> None:
    reader = Reader("r", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 2), Batch(2, 2)])
    assert isinstance(await reader.portion(), Portion)
    assignment.reach({A0: 6})
    await take_all(reader, 1)
    assert assignment.committable() == {A0: 2}
    await take_all(reader, 1)
    assignment.reach({A0: 6})
    assert assignment.committable() == {A0: 6}


async def test_what_is_fetched_before_the_tables_of_a_partition_are_whole_is_kept() -> None:
    reader = Reader("r", ["a"])
    assignment = make(reader)
    # Given: a partition that was lost and is ours again, while a fetch for it was under way
    assignment.open([A0])
    assignment.close([A0])
    # When the fetch brings what the consumer will not bring again
    assignment.put(A0, [Batch(0, 2)])
    assert reader.poll() is None
    assignment.open([A0])
    # Then it is read
    assert [offsets for _, offsets in await take_all(reader, 1)] == [[0, 1]]
    # When it is lost before it is opened, it is somebody else's
    assignment.close([A0])
    assignment.put(A0, [Batch(2, 2)])
    assignment.close([A0])
    assignment.open([A0])
    assert reader.poll() is None


async def test_what_is_given_back_comes_again_before_what_was_given_back_earlier() -> None:
    reader = Reader("one", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 4)])
    portion = await reader.portion()
    assert portion is not None
    taken = [(portion.ledger, next(portion.pending)) for _ in range(4)]
    reader.give_back(taken[1:])
    # when the first of those is taken again and given back again
    again = await reader.portion()
    assert again is not None
    reader.give_back([(again.ledger, next(again.pending))])
    # then it is still the first
    assert [offsets for _, offsets in await take_all(reader, 2)] == [[1], [2, 3]]


async def test_what_is_given_back_after_a_stop_is_waited_for_by_nobody() -> None:
    reader = Reader("one", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 3)])
    portion = await reader.portion()
    assert portion is not None
    first, second = ((portion.ledger, next(portion.pending)) for _ in range(2))
    portion.ledger.ack(first[1].offset)
    assignment.stop([A0])
    assert assignment.outstanding() == 1
    reader.give_back([second])
    assert reader.poll() is None
    assert assignment.outstanding() == 0
    assert assignment.committable() == {A0: 1}


async def test_a_closed_reader_holds_back_commits_and_not_the_other_readers() -> None:
    ended, other = Reader("ended", ["a"], max_bytes=100), Reader("other", ["a"])
    assignment = make(ended, other)
    assignment.open([A0])
    assignment.put(A0, [Batch(0, 3)])
    await take_all(ended, 1)
    await take_all(other, 1)
    ended.close()
    for first in (3, 6, 9):
        assert assignment.hungry() == [A0]
        assignment.put(A0, [Batch(first, 3)])
    await take_all(other, 3)
    assignment.reach({A0: 12})
    assert assignment.committable() == {A0: 3}


async def test_what_comes_before_its_tables_are_whole_is_read_then() -> None:
    """It was asked for, was lost and came back to us, all in one wait for messages."""
    reader = Reader("one", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.close([A0])
    assignment.put(A0, [Batch(7, 2)])
    assignment.put(A0, [Batch(9, 1)])
    assert reader.inbox(A0) is None
    assignment.open([A0])
    assert await take_all(reader, 2) == [(A0, [7, 8]), (A0, [9])]
    assert assignment.committable() == {A0: 10}


async def test_what_comes_after_a_revocation_is_its_next_owners() -> None:
    reader = Reader("one", ["a"])
    assignment = make(reader)
    assignment.open([A0])
    assignment.stop([A0])
    assignment.put(A0, [Batch(0, 2)])
    assignment.close([A0])
    assignment.put(A0, [Batch(2, 2)])
    assignment.close([A0])
    assignment.open([A0])
    assignment.put(A0, [Batch(5, 1)])
    assert await take_all(reader, 1) == [(A0, [5])]
