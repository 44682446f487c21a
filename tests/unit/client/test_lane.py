"""One partition's queue: order and sequences through every way a send can go wrong."""

from __future__ import annotations

import pytest

from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder
from faustc.client.failures import Failures
from faustc.client.identity import MAX_EPOCH, Identity, Persona, after
from faustc.client.lane import Lane
from faustc.client.parcel import Parcel
from faustc.exceptions import ConnectionLost, DeliveryFailed, KafkaError
from faustc.types import TopicPartition

TP = TopicPartition("orders", 3)
LOST = ConnectionLost("cut")


class Scene:
    """A lane with a producer id, and parcels of two messages each."""

    def __init__(self, *, idempotent: bool = True) -> None:
        self.persona = Persona(idempotent=idempotent)
        if idempotent:
            self.persona.become(7, 0)
        self.failures = Failures()
        self.lane = Lane(TP)
        self.lane.node = 1
        # not the first parcel ever
        self.lane.identity = self.persona.current
        self.lane.known = True

    def fill(self, parcels: int, *, deadline: float = 100.0) -> list[Parcel]:
        made = []
        for number in range(parcels):
            builder = BatchBuilder(max_bytes=10_000)
            parcel = Parcel(TP, builder, self.failures, opened_at=0, deadline=deadline)
            for each in (0, 1):
                parcel.append(None, b"%d.%d" % (number, each), 1, None)
            self.lane.open = parcel
            self.lane.close_open()
            made.append(parcel)
        return made

    def next(self, now: float = 0.0, window: int = 5) -> Parcel | None:
        return self.lane.next(now, self.persona, window)


def stamped(parcel: Parcel | None) -> tuple[int, int, int]:
    assert parcel is not None
    (batch,) = decode(parcel.data)
    assert (batch.producer_epoch, batch.base_sequence) == (parcel.identity.epoch, parcel.sequence)
    return batch.producer_id, batch.producer_epoch, batch.base_sequence


def test_sequences_run_on_and_the_window_holds() -> None:
    scene = Scene()
    scene.fill(4)
    assert [stamped(scene.next(window=3)) for _ in range(3)] == [(7, 0, 0), (7, 0, 2), (7, 0, 4)]
    assert scene.next(window=3) is None
    scene.lane.written(scene.lane.in_flight[0], 0, -1)
    assert stamped(scene.next(window=3)) == (7, 0, 6)


def test_the_first_parcel_goes_alone() -> None:
    scene = Scene()
    scene.persona.bump()
    one, two, three = scene.fill(3)
    assert scene.next() is one
    assert scene.next() is None
    scene.lane.put_back(one, LOST)
    assert scene.next() is one
    scene.lane.written(one, 0, -1)
    assert [scene.next(), scene.next()] == [two, three]


def test_nothing_newer_passes_a_retry_and_the_oldest_goes_alone() -> None:
    scene = Scene()
    one, two, three, four = scene.fill(4)
    assert [scene.next() for _ in range(3)] == [one, two, three]
    scene.lane.put_back(two, LOST)
    assert scene.next() is None, "one and three are still unanswered"
    scene.lane.put_back(one, LOST)
    scene.lane.put_back(three, LOST)
    assert scene.next() is one
    assert scene.next() is None
    scene.lane.written(one, 0, -1)
    assert scene.next() is two
    scene.lane.written(two, 2, -1)
    assert scene.next() is three
    scene.lane.written(three, 4, -1)
    assert scene.next() is four
    assert [p.sequence for p in (one, two, three, four)] == [0, 2, 4, 6]


def test_a_retry_is_not_overtaken_by_more_than_the_broker_remembers() -> None:
    """Written, but refused again and again, while newer ones are taken."""
    scene = Scene()
    old, *newer = scene.fill(8)
    assert [scene.next(), scene.next()] == [old, newer[0]]
    scene.lane.put_back(old, KafkaError("written, but not by all replicas"))
    scene.lane.written(newer[0], 2, -1)
    assert [scene.next() for _ in range(5)] == [old, newer[1], newer[2], newer[3], None]


def test_held_lane_waits_its_time() -> None:
    scene = Scene()
    scene.fill(1)
    scene.lane.hold_until = 5.0
    assert scene.next(now=4.9) is None
    assert scene.next(now=5.0) is not None


def test_new_leader_gets_nothing_until_the_old_one_has_answered() -> None:
    scene = Scene()
    one, two = scene.fill(2)
    assert scene.next() is one
    scene.lane.node = 2
    assert scene.next() is None
    scene.lane.put_back(one, LOST)
    assert scene.next() is one
    scene.lane.written(one, 0, -1)
    assert scene.next() is two


def test_lost_sequence_behind_another_is_only_sent_again() -> None:
    scene = Scene()
    one, two = scene.fill(2)
    scene.next(), scene.next()
    scene.lane.lost_sequence(two, KafkaError("out of order"))
    scene.lane.put_back(one, LOST)
    assert stamped(scene.next()) == (7, 0, 0)
    scene.lane.written(one, 0, -1)
    assert stamped(scene.next()) == (7, 0, 2)


def test_lost_sequence_of_the_first_begins_a_new_epoch_for_all_that_wait() -> None:
    scene = Scene()
    done, one, two, new = scene.fill(4)
    scene.next()
    scene.lane.written(done, 0, -1)
    scene.next(), scene.next()
    scene.lane.lost_sequence(one, KafkaError("unknown producer"))
    assert scene.next() is None, "two is still unanswered"
    scene.lane.lost_sequence(two, KafkaError("out of order"))
    assert scene.next() is one
    assert stamped(one) == (7, 1, 0)
    scene.lane.written(one, 2, -1)
    assert scene.next() is two
    assert stamped(two) == (7, 1, 2)
    scene.lane.written(two, 4, -1)
    scene.next()
    assert stamped(new) == (7, 1, 4)


def test_refused_parcel_leaves_no_gap() -> None:
    scene = Scene()
    one, two = scene.fill(2)
    scene.next(), scene.next()
    scene.lane.reject(one, DeliveryFailed("no"))
    scene.lane.put_back(two, LOST)
    assert stamped(scene.next()) == (7, 0, 2), "who knows: under its own number first"
    scene.lane.lost_sequence(two, KafkaError("out of order"))
    assert stamped(scene.next()) == (7, 1, 0)
    assert one.error is not None
    assert scene.failures.total == 2


def test_other_lanes_follow_the_epoch_when_nothing_is_in_flight() -> None:
    scene = Scene()
    one, two, three = scene.fill(3)
    scene.next()
    scene.persona.bump()  # another lane had a gap
    assert stamped(scene.next()) == (7, 0, 2), "one is in flight under the old epoch"
    scene.lane.put_back(two, LOST)
    scene.lane.written(one, 0, -1)
    assert stamped(scene.next()) == (7, 0, 2), "a retry may have been written: same numbers"
    scene.lane.written(two, 2, -1)
    scene.next()
    assert stamped(three) == (7, 1, 0)


def test_after_the_last_epoch_comes_a_new_producer_id() -> None:
    scene = Scene()
    scene.persona.become(7, MAX_EPOCH)
    one, _ = scene.fill(2)
    scene.next()
    scene.lane.reject(one, DeliveryFailed("no"))
    assert scene.next() is None
    assert scene.persona.wanted
    scene.persona.become(8, 0)
    assert stamped(scene.next()) == (8, 0, 0)


def test_expired_parcels_that_were_never_sent_cost_no_sequence() -> None:
    scene = Scene()
    old = scene.fill(2, deadline=10.0)
    (young,) = scene.fill(1, deadline=20.0)
    scene.lane.expire(10.0, 10.0, LOST)
    assert all(p.done and isinstance(p.error, DeliveryFailed) for p in old)
    assert old[0].error is not None
    assert old[0].error.__cause__ is LOST
    assert "orders/3" in str(old[0].error)
    assert "never sent" in str(old[0].error)
    assert scene.next() is young
    assert stamped(young) == (7, 0, 0)


def test_expired_retry_may_have_been_written_so_a_new_epoch_begins() -> None:
    scene = Scene()
    one, two = scene.fill(1, deadline=10.0) + scene.fill(1)
    scene.next()
    scene.lane.put_back(one, LOST)
    scene.lane.expire(11.0, 10.0, None)
    assert one.done
    assert scene.next() is two
    assert stamped(two) == (7, 1, 0)


@pytest.mark.parametrize("written", [True, False])
def test_expired_in_flight_is_known_when_it_is_answered(written: bool) -> None:
    scene = Scene()
    one, two = scene.fill(1, deadline=10.0) + scene.fill(1)
    scene.next()
    scene.lane.expire(11.0, 10.0, LOST)
    assert one.done
    if written:
        scene.lane.written(one, 0, -1)
    else:
        scene.lane.put_back(one, LOST)
    assert scene.next() is two
    assert stamped(two) == ((7, 0, 2) if written else (7, 1, 0))
    assert isinstance(one.error, DeliveryFailed), "what was told stays told"


def test_what_follows_a_lost_parcel_is_not_written_twice_under_a_new_epoch() -> None:
    """One expired in flight; two was written, but its answer got lost with the connection."""
    scene = Scene()
    one, two, three = scene.fill(1, deadline=10.0) + scene.fill(2)
    scene.next(), scene.next()
    scene.lane.expire(11.0, 10.0, LOST)
    scene.lane.put_back(one, LOST)
    scene.lane.put_back(two, LOST)
    assert scene.next() is two
    assert stamped(two) == (7, 0, 2), "the broker can tell that it has this one"
    assert scene.next() is None, "nothing newer while it is not known whether there is a gap"
    scene.lane.written(two, 2, -1)
    assert scene.next() is three
    assert stamped(three) == (7, 0, 4), "two could only be written behind one: no gap"


def test_halves_take_the_place_and_the_sequences_of_the_whole() -> None:
    scene = Scene()
    one, two = scene.fill(2)
    scene.next(), scene.next()
    scene.lane.divide(one, one.split(None))
    scene.lane.put_back(two, LOST)
    first, second = (part for _, part in one.parts)
    assert scene.next() is first
    assert stamped(first) == (7, 0, 0)
    scene.lane.written(first, 40, -1)
    assert not one.done
    assert scene.next() is second
    assert stamped(second) == (7, 0, 1)
    scene.lane.written(second, 44, -1)
    assert one.done
    assert [one.result(i, 5).offset for i in (0, 1)] == [40, 44]
    assert scene.next() is two
    assert stamped(two) == (7, 0, 2)


def test_without_idempotence_there_are_no_sequences_to_mend() -> None:
    scene = Scene(idempotent=False)
    one, two = scene.fill(2)
    scene.next()
    scene.lane.reject(one, DeliveryFailed("no"))
    assert scene.next() is two
    assert stamped(two) == (-1, -1, -1)


def test_abort_gives_up_everything() -> None:
    scene = Scene()
    parcels = scene.fill(3)
    scene.next()
    scene.lane.abort("the producer was stopped", None)
    assert all(isinstance(p.error, DeliveryFailed) for p in parcels)
    assert scene.lane.idle


def test_sequences_wrap_after_the_largest_int() -> None:
    assert after(2**31 - 1, 1) == 0
    assert after(2**31 - 2, 5) == 3
    assert Identity(1, 0) != Identity(1, 1)
