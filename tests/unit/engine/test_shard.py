"""What a shard's store claims to have, when others wrote to the changelog as well."""

from __future__ import annotations

from faustc.engine.shard import Shard
from faustc.stores.memory import MemoryStore
from faustc.types import TopicPartition

TP = TopicPartition("t-changelog", 0)


def make() -> Shard:
    shard = Shard(TP, MemoryStore(TP, None, {}))
    shard.reached(10)
    return shard


def change(shard: Shard, key: bytes, value: bytes) -> None:
    shard.set(key, value)
    shard.take_off()


def test_a_store_is_as_far_as_what_it_wrote_itself() -> None:
    shard = make()
    change(shard, b"a", b"1")
    shard.landed(11, first=10)
    assert (shard.store.position, shard.get(b"a")) == (11, b"1")


def test_a_store_does_not_pass_what_another_worker_wrote_in_between() -> None:
    # Given: a worker that lost its partition and does not know it yet
    shard = make()
    change(shard, b"a", b"1")
    # When its change is in the changelog behind one of the new owner
    shard.landed(12, first=11)
    # Then its store has the value, and goes on from where it has everything
    assert (shard.store.position, shard.get(b"a")) == (10, b"1")
    change(shard, b"a", b"2")
    shard.landed(13, first=12)
    assert (shard.store.position, shard.get(b"a")) == (10, b"2")


def test_a_gap_is_nobody_elses_where_nobody_else_can_have_written() -> None:
    shard = make()
    change(shard, b"a", b"1")
    shard.landed(12)
    assert shard.store.position == 12
