"""Where messages go: keys as Java's default has it, keyless ones to one partition at a time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faustc._native.partition import partition_for, scatter
from faustc.client.failures import Failures
from faustc.client.parcel import Parcel
from faustc.client.partitioner import STICKY_BYTES, TopicLanes

# From Apache Kafka's UtilsTest: murmur2 as Java's signed int.
JAVA_MURMUR2 = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "java"), JAVA_MURMUR2)
def test_key_goes_where_java_brings_it(key: bytes, java: int) -> None:
    for partitions in (1, 2, 7, 8, 1000):
        assert partition_for(key, partitions) == (java & 0x7FFFFFFF) % partitions
    assert partition_for(bytearray(key), 7) == partition_for(memoryview(key), 7)


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="0 partitions"):
        partition_for(b"k", 0)
    with pytest.raises(TypeError):
        partition_for("text", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 values, 1 keys"):
        scatter([b"1", b"2"], [b"k"], 3)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=9))), st.integers(1, 9))
def test_scattered_messages_are_each_in_their_place_in_order(
    keys: list[bytes | None], partitions: int
) -> None:
    values = [b"%d" % i for i in range(len(keys))]
    dealt = scatter(values, keys, partitions)
    expected: dict[int, list[tuple[bytes | None, bytes]]] = {}
    for key, value in zip(keys, values, strict=True):
        where = partitions if key is None else partition_for(key, partitions)
        expected.setdefault(where, []).append((key, value))
    found = {
        number: list(zip(some_keys, some_values, strict=True))
        for number, pair in enumerate(dealt)
        if pair is not None
        for some_values, some_keys in [pair]
    }
    assert found == expected


def test_sticky_lane_changes_after_enough_bytes_and_only_then() -> None:
    lanes = TopicLanes("t", 4, random.Random(1))
    lanes.update([1, 1, 2, 2])
    first = lanes.sticky
    lanes.closed(first, STICKY_BYTES - 1)
    assert lanes.sticky is first
    lanes.closed(lanes.lanes[first.tp.partition - 1], STICKY_BYTES)  # another lane's batch
    assert lanes.sticky is first
    lanes.closed(first, 1)
    assert lanes.sticky is not first


def test_keyless_messages_avoid_leaderless_and_backed_up_partitions() -> None:
    lanes = TopicLanes("t", 4, random.Random(2))
    lanes.update([1, -1, 1, 1])
    busy = lanes.lanes[2]
    busy.ready.extend(Parcel(busy.tp, None, Failures(), opened_at=0, deadline=1) for _ in range(50))
    chosen = Counter(lanes.turn().tp.partition for _ in range(400))
    assert 1 not in chosen
    assert chosen[2] < 20
    assert chosen[0] > 100
    assert chosen[3] > 100


def test_nothing_goes_to_partitions_that_a_topic_made_anew_lacks() -> None:
    lanes = TopicLanes("t", 4, random.Random(3))
    lanes.update([1, 1, 2, 2])
    while lanes.sticky.tp.partition < 2:
        lanes.turn()
    gone = lanes.lanes[2:]
    assert lanes.update([1, 1]) == gone
    assert {lane.node for lane in gone} == {-1}
    assert {lanes.turn().tp.partition for _ in range(50)} == {0, 1}
    assert {partition_for(b"%d" % n, lanes.size) for n in range(50)} == {0, 1}
    with pytest.raises(ValueError, match="only 0 to 1"):
        lanes.lane(2)
    lanes.update([1, 1, 1])
    assert lanes.lane(2) is gone[0], "its sequences go on"


def test_partitions_that_come_later_are_used() -> None:
    lanes = TopicLanes("t", 1)
    assert lanes.update([1]) == lanes.lanes
    kept = lanes.lanes[0]
    moved = lanes.update([1, 2])
    assert lanes.lanes[0] is kept
    assert moved == [lanes.lanes[1]]
    assert lanes.lane(1).node == 2
    with pytest.raises(ValueError, match="t has no partition 2, only 0 to 1"):
        lanes.lane(2)
    with pytest.raises(ValueError, match="no partition -1"):
        lanes.ask(lambda key, every, available: -1, b"k")
