"""Where messages gather: memory is taken in steps, bounded, and given back."""

from __future__ import annotations

import pytest

from faustc._native.batch import decode
from faustc.client.accumulator import FIRST_STEP, Accumulator
from faustc.client.delivery import Deliveries
from faustc.client.identity import Persona
from faustc.client.lane import Lane
from faustc.client.partitioner import TopicLanes
from faustc.exceptions import KafkaTimeout, MessageTooLarge, ProducerClosed

KIB = 1024


class Scene:
    def __init__(self, partitions: int = 2, **options: int) -> None:
        self.woken: list[Lane] = []
        sizes = {
            "max_batch_size": 256 * KIB,
            "max_request_size": 1024 * KIB,
            "buffer_memory": 1024 * KIB,
            **options,
        }
        self.accumulator = Accumulator(
            compression=None,
            delivery_timeout_s=10,
            max_block_s=0.02,
            wake=self.woken.append,
            **sizes,
        )
        self.lanes = TopicLanes("t", partitions)
        self.lanes.update([1] * partitions)
        self.accumulator.topics["t"] = self.lanes

    @property
    def used(self) -> int:
        return self.accumulator.memory.capacity - self.accumulator.memory.free

    async def append(self, value: bytes | None, partition: int = 0) -> None:
        lane = self.lanes.lane(partition)
        await self.accumulator.append(self.lanes, lane, None, value, 1, None)

    def send_one(self, partition: int = 0) -> list[bytes | None]:
        """Let the broker have the next parcel of a partition; return its values."""
        lane = self.lanes.lane(partition)
        parcel = lane.next(0.0, Persona(idempotent=False), 5)
        assert parcel is not None
        self.accumulator.sealed(parcel)
        values = [message.value for batch in decode(parcel.data) for message in batch]
        lane.written(parcel, 0, -1)
        return values


async def test_memory_is_taken_in_steps_as_a_batch_grows() -> None:
    scene = Scene()
    await scene.append(b"x")
    assert scene.used == FIRST_STEP
    seen = set()
    while not scene.lanes.lane(0).ready:
        await scene.append(b"x" * 1000)
        seen.add(scene.used)
    assert {FIRST_STEP, 4 * FIRST_STEP, 16 * FIRST_STEP} <= seen
    assert scene.lanes.lane(0).ready[0].reserved == 256 * KIB


async def test_many_slow_partitions_do_not_use_up_the_buffer() -> None:
    scene = Scene(partitions=64)
    for partition in range(64):
        await scene.append(b"x", partition)
    assert scene.used == 64 * FIRST_STEP == scene.accumulator.memory.capacity


async def test_everything_is_given_back_when_brokers_have_it() -> None:
    scene = Scene()
    for number in range(400):
        await scene.append(b"%d" % number * 500)
    scene.lanes.lane(0).close_open()
    values = []
    while scene.lanes.lane(0).ready:
        values += scene.send_one()
    assert values == [b"%d" % number * 500 for number in range(400)]
    assert scene.used == 0
    assert not scene.accumulator.incomplete


async def test_when_memory_is_short_batches_are_closed_small_and_senders_wait() -> None:
    scene = Scene(buffer_memory=40 * KIB)
    for _ in range(32):
        await scene.append(b"x" * 1000)
        assert scene.used <= 40 * KIB
    with pytest.raises(KafkaTimeout, match="of 40960 bytes of buffer_memory"):
        await scene.append(b"x" * 1000)
    assert len(scene.lanes.lane(0).ready) == 2, "never grew past the first step"
    scene.send_one()
    await scene.append(b"y")


async def test_one_large_message_has_a_batch_of_its_own_and_no_more_than_the_limits() -> None:
    scene = Scene(max_batch_size=16 * KIB, max_request_size=500_000)
    await scene.append(b"s")
    await scene.append(b"x" * 400_000)
    await scene.append(b"s" * 200)
    scene.lanes.lane(0).close_open()
    assert [len(scene.send_one()) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(MessageTooLarge, match="for t; max_request_size is 500000"):
        await scene.append(b"x" * 500_000)
    small = Scene(buffer_memory=50_000)
    with pytest.raises(MessageTooLarge, match="buffer_memory is 50000"):
        await small.append(b"x" * 60_000)


async def test_a_message_that_is_none_leaves_no_empty_batch() -> None:
    scene = Scene()
    with pytest.raises(TypeError):
        await scene.append("text")  # type: ignore[arg-type]
    assert scene.lanes.lane(0).open is None
    assert scene.used == 0
    with pytest.raises(TypeError, match=r"values\[1\]"):
        await scene.accumulator.append_many(
            Deliveries(1),
            scene.lanes,
            scene.lanes.lane(1),
            [b"1", "2"],  # type: ignore[list-item]
            None,
        )
    assert scene.used == 0


async def test_bulk_fills_batch_after_batch_and_keyless_ones_turn() -> None:
    scene = Scene(max_batch_size=16 * KIB)
    values = [b"%04d" % number * 25 for number in range(1000)]
    runs = Deliveries(1)
    await scene.accumulator.append_many(runs, scene.lanes, None, values, None)
    assert len(runs) == 1000
    found = []
    for partition in (0, 1):
        scene.lanes.lane(partition).close_open()
        mine = []
        while scene.lanes.lane(partition).ready:
            mine += scene.send_one(partition)
        assert mine, "both partitions had their turn"
        assert mine == sorted(mine)
        found += mine
    assert sorted(found) == values


async def test_nothing_is_taken_once_refused() -> None:
    scene = Scene()
    scene.accumulator.refuse = ProducerClosed("stopped")
    with pytest.raises(ProducerClosed, match="stopped"):
        await scene.append(b"x")
    assert scene.used == 0
