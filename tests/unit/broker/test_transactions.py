"""The transaction coordinator on virtual time: epochs, fencing, ends, time-outs, restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from faustc.broker.coordinators import Coordinators
from faustc.broker.groups import Committer
from faustc.broker.offsets_store import Committed
from faustc.broker.transaction_state import LAST_EPOCH, MOVES, State
from faustc.broker.transactions import Claim, Producer
from faustc.client.codes import (
    CONCURRENT_TRANSACTIONS,
    INVALID_PRODUCER_EPOCH,
    INVALID_PRODUCER_ID_MAPPING,
    INVALID_REQUEST,
    INVALID_TRANSACTION_TIMEOUT,
    INVALID_TXN_STATE,
    NONE,
    PRODUCER_FENCED,
    TRANSACTION_ABORTABLE,
)
from faustc.types import TopicPartition
from tests.unit.broker.clock import FakeClock

A = TopicPartition("a", 0)
B = TopicPartition("b", 3)
TIMEOUT_MS = 60_000


class Rig:
    """A coordinator, and the markers that it wrote."""

    def __init__(self, clock: FakeClock, folder: Path | None = None) -> None:
        self.clock = clock
        self.folder = folder
        self.markers: list[tuple[TopicPartition, int, int, bool]] = []
        self.disk_is_full = False
        self.all = Coordinators(folder, clock, clock.now_ms, self.write_marker)
        self.all.start()
        self.txns = self.all.transactions

    def write_marker(self, tp: TopicPartition, producer_id: int, epoch: int, commit: bool) -> None:
        if self.disk_is_full:
            raise OSError(28, "No space left on device")
        self.markers.append((tp, producer_id, epoch, commit))

    def restart(self) -> Rig:
        self.all.close()
        return Rig(self.clock, self.folder)

    def claim(self, name: str = "t") -> Claim:
        """Become the producer of this id, as a client does that is told to ask again."""
        producer = self.txns.init_producer(name, TIMEOUT_MS)
        if producer.error == CONCURRENT_TRANSACTIONS:
            producer = self.txns.init_producer(name, TIMEOUT_MS)
        assert producer.error == NONE
        return Claim(name, producer.producer_id, producer.epoch)

    def begin(self, claim: Claim, *partitions: TopicPartition) -> None:
        assert self.txns.add_partitions(claim, partitions or (A,)) == NONE

    def end(self, claim: Claim, commit: bool = True, *, bumps: bool = False) -> Producer:
        return self.txns.end(claim, commit, bumps=bumps)

    def exhaust(self, claim: Claim) -> Claim:
        self.txns.find(claim.transactional_id).epoch = LAST_EPOCH
        return claim._replace(epoch=LAST_EPOCH)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def rig(clock: FakeClock, tmp_path: Path) -> Rig:
    return Rig(clock, tmp_path)


# -- producer ids and epochs


def test_producer_ids_are_never_given_twice_not_even_after_a_restart(rig):
    given = [rig.txns.init_producer(None, 0) for _ in range(1500)]
    rig = rig.restart()
    given += [rig.txns.init_producer(None, 0) for _ in range(10)]
    assert len({p.producer_id for p in given}) == 1510
    assert {(p.error, p.epoch) for p in given} == {(NONE, 0)}


def test_each_producer_of_a_transactional_id_gets_the_next_epoch(rig):
    first = rig.claim()
    second = rig.claim()
    assert first.epoch == 0
    assert second == first._replace(epoch=1)
    assert rig.restart().claim().epoch == 2
    assert rig.claim("other").producer_id != first.producer_id


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", TIMEOUT_MS), INVALID_REQUEST),
        (("t", 0), INVALID_TRANSACTION_TIMEOUT),
        (("t", 900_001), INVALID_TRANSACTION_TIMEOUT),
        (("t", TIMEOUT_MS, 5, -1), INVALID_REQUEST),
        (("t", TIMEOUT_MS, -1, 5), INVALID_REQUEST),
    ],
)
def test_bad_requests_for_an_id_are_refused_by_name(rig, arguments, error):
    assert rig.txns.init_producer(*arguments).error == error


def test_an_older_producer_is_fenced_everywhere(rig):
    old = rig.claim()
    rig.claim()
    assert rig.txns.add_partitions(old, [A]) == PRODUCER_FENCED
    assert rig.txns.add_group(old, "g") == PRODUCER_FENCED
    assert rig.end(old).error == PRODUCER_FENCED
    # a write of its is refused in the words of a log
    write = rig.txns.admit_write(old, [A], adds=True, knows_abortable=True)
    assert write == INVALID_PRODUCER_EPOCH


def test_a_new_producer_aborts_what_the_older_one_left_and_asks_again(rig):
    old = rig.claim()
    rig.begin(old, A, B)
    # when a new one comes, it is told to wait for the abort
    assert rig.txns.init_producer("t", TIMEOUT_MS).error == CONCURRENT_TRANSACTIONS
    # then the marker has a higher epoch, by which logs fence the old one
    assert rig.markers == [(tp, old.producer_id, old.epoch + 1, False) for tp in (A, B)]
    new = rig.claim()
    assert new == old._replace(epoch=old.epoch + 2)
    assert rig.end(old).error == PRODUCER_FENCED


def test_a_producer_may_go_on_as_itself_after_an_error(rig):
    old = rig.claim()
    # KIP-360: it names who it is
    new = rig.txns.init_producer("t", TIMEOUT_MS, old.producer_id, old.epoch)
    assert new == Producer(NONE, old.producer_id, old.epoch + 1)
    # asked again, since the answer was lost, it gets the same one
    assert rig.txns.init_producer("t", TIMEOUT_MS, old.producer_id, old.epoch) == new
    # but not once another one came
    rig.claim()
    again = rig.txns.init_producer("t", TIMEOUT_MS, new.producer_id, new.epoch)
    assert again.error == PRODUCER_FENCED


def test_a_producer_that_is_not_known_cannot_go_on(rig):
    claim = rig.claim()
    stranger = rig.txns.init_producer("t", TIMEOUT_MS, claim.producer_id + 1, 0)
    assert stranger.error == PRODUCER_FENCED
    # unless nobody is known by that name, as after the data folder was deleted
    assert rig.txns.init_producer("fresh", TIMEOUT_MS, 7000, 3).epoch == 0


def test_a_stale_producer_does_not_abort_the_current_ones_transaction(rig):
    old = rig.claim()
    new = rig.claim()
    rig.begin(new)
    stale = rig.txns.init_producer("t", TIMEOUT_MS, old.producer_id, old.epoch)
    assert stale.error == PRODUCER_FENCED
    assert rig.end(new).error == NONE


def test_when_epochs_run_out_there_is_a_new_producer_id(rig):
    claim = rig.exhaust(rig.claim())
    new = rig.claim()
    assert new.producer_id != claim.producer_id
    assert new.epoch == 0
    assert rig.restart().claim() == new._replace(epoch=1)


# -- version 1: add, write, end


def test_a_commit_marks_every_partition_and_shows_the_offsets(rig):
    claim = rig.claim()
    rig.begin(claim, A)
    rig.begin(claim, B, A)
    assert rig.txns.add_group(claim, "g") == NONE
    rig.all.groups.hold(Committer("g"), claim.producer_id, {A: Committed(9)})
    assert rig.end(claim) == Producer(NONE, claim.producer_id, claim.epoch)
    assert rig.markers == [(tp, claim.producer_id, claim.epoch, True) for tp in (A, B)]
    assert rig.all.offsets.get("g", A) == Committed(9)


def test_an_abort_marks_every_partition_and_drops_the_offsets(rig):
    claim = rig.claim()
    rig.begin(claim)
    rig.all.groups.hold(Committer("g"), claim.producer_id, {A: Committed(9)})
    assert rig.end(claim, commit=False).error == NONE
    assert rig.markers == [(A, claim.producer_id, claim.epoch, False)]
    assert rig.all.offsets.get("g", A) is None
    assert not rig.all.offsets.is_held("g", A)


@pytest.mark.parametrize("commit", [True, False])
def test_asking_again_for_the_same_end_is_harmless_and_for_the_other_one_refused(rig, commit):
    claim = rig.claim()
    rig.begin(claim)
    rig.end(claim, commit)
    assert rig.end(claim, commit).error == NONE
    assert rig.end(claim, not commit).error == INVALID_TXN_STATE
    assert len(rig.markers) == 1


def test_a_transaction_that_never_began_cannot_end(rig):
    claim = rig.claim()
    assert rig.end(claim).error == INVALID_TXN_STATE
    assert rig.end(claim, commit=False).error == INVALID_TXN_STATE


def test_transactions_follow_each_other_and_do_not_share_partitions(rig):
    claim = rig.claim()
    for tp in (A, B):
        rig.begin(claim, tp)
        rig.end(claim)
    assert [marker[0] for marker in rig.markers] == [A, B]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"transactional_id": "none such"}, INVALID_PRODUCER_ID_MAPPING),
        ({"producer_id": 99}, INVALID_PRODUCER_ID_MAPPING),
        ({"epoch": 5}, PRODUCER_FENCED),
        ({"transactional_id": ""}, INVALID_REQUEST),
        ({"transactional_id": None}, INVALID_REQUEST),
    ],
)
def test_who_is_not_the_producer_is_told_why(rig, change, error):
    wrong = rig.claim()._replace(**change)
    assert rig.txns.add_partitions(wrong, [A]) == error
    assert rig.end(wrong).error == error


def test_a_late_write_must_not_open_a_transaction_that_nobody_ends(rig):
    claim = rig.claim()

    def write(tp, knows_abortable=False):
        return rig.txns.admit_write(claim, [tp], adds=False, knows_abortable=knows_abortable)

    assert write(A) == INVALID_TXN_STATE
    rig.begin(claim, A)
    assert write(A) == NONE
    assert write(B, knows_abortable=True) == TRANSACTION_ABORTABLE
    rig.end(claim)
    assert write(A) == INVALID_TXN_STATE


def test_offsets_are_refused_unless_their_group_was_added(rig):
    claim = rig.claim()

    def write(group):
        return rig.txns.admit_write(claim, (), group, adds=False, knows_abortable=False)

    assert write("g") == INVALID_TXN_STATE
    rig.txns.add_group(claim, "g")
    assert write("g") == NONE
    assert write("other") == INVALID_TXN_STATE


# -- version 2 (KIP-890)


def test_in_version_2_the_first_write_opens_and_the_end_bumps_the_epoch(rig):
    claim = rig.claim()
    assert rig.txns.admit_write(claim, [A], adds=True, knows_abortable=True) == NONE
    assert rig.txns.admit_write(claim, (), "g", adds=True, knows_abortable=True) == NONE
    after = rig.end(claim, bumps=True)
    assert after == Producer(NONE, claim.producer_id, claim.epoch + 1)
    assert rig.markers == [(A, claim.producer_id, claim.epoch + 1, True)]
    # a write that was on its way is fenced by its epoch
    late = rig.txns.admit_write(claim, [A], adds=True, knows_abortable=True)
    assert late == INVALID_PRODUCER_EPOCH


@pytest.mark.parametrize("commit", [True, False])
def test_in_version_2_a_lost_answer_is_given_again(rig, commit):
    claim = rig.claim()
    rig.begin(claim)
    after = rig.end(claim, commit, bumps=True)
    assert rig.end(claim, commit, bumps=True) == after
    assert rig.end(claim, not commit, bumps=True).error == INVALID_TXN_STATE
    rig = rig.restart()
    assert rig.end(claim, commit, bumps=True) == after
    assert rig.markers == []


def test_in_version_2_an_abort_of_nothing_bumps_the_epoch_and_a_commit_is_refused(rig):
    claim = rig.claim()
    assert rig.end(claim, bumps=True).error == INVALID_TXN_STATE
    after = rig.end(claim, commit=False, bumps=True)
    assert after == Producer(NONE, claim.producer_id, claim.epoch + 1)
    claim = claim._replace(epoch=after.epoch)
    assert rig.end(claim, bumps=True).error == INVALID_TXN_STATE
    assert rig.end(claim, commit=False, bumps=True).epoch == claim.epoch + 1


def test_in_version_2_the_last_epoch_ends_with_a_new_producer_id(rig):
    claim = rig.exhaust(rig.claim())
    rig.begin(claim)
    rig.all.groups.hold(Committer("g"), claim.producer_id, {A: Committed(9)})
    after = rig.end(claim, bumps=True)
    assert after.error == NONE
    assert after.producer_id != claim.producer_id
    assert after.epoch == 0
    assert rig.markers == [(A, claim.producer_id, LAST_EPOCH + 1, True)]
    assert rig.all.offsets.get("g", A) == Committed(9)
    assert rig.end(claim, bumps=True) == after
    rig.begin(Claim("t", after.producer_id, 0))


# -- time-outs


def test_a_transaction_left_open_is_aborted_in_time_and_its_producer_fenced(rig, clock):
    claim = rig.claim()
    rig.begin(claim)
    clock.advance(59)
    rig.begin(claim, B)  # more partitions do not give more time
    assert rig.markers == []
    clock.advance(1)
    assert rig.markers == [(tp, claim.producer_id, claim.epoch + 1, False) for tp in (A, B)]
    assert rig.end(claim).error == PRODUCER_FENCED
    assert clock.waiting == 0


def test_each_transaction_has_the_whole_time(rig, clock):
    claim = rig.claim()
    for _ in range(3):
        rig.begin(claim)
        clock.advance(59)
        assert rig.end(claim).error == NONE
    assert all(commit for *_, commit in rig.markers)
    assert clock.waiting == 0


# -- restarts and broken disks


def test_an_open_transaction_survives_a_restart_with_its_partitions_and_offsets(rig):
    claim = rig.claim()
    rig.begin(claim, A, B)
    rig.txns.add_group(claim, "g")
    rig.all.groups.hold(Committer("g"), claim.producer_id, {A: Committed(9)})
    rig = rig.restart()
    assert rig.txns.find("t").state is State.ONGOING
    assert rig.end(claim).error == NONE
    assert [marker[0] for marker in rig.markers] == [A, B]
    assert rig.restart().all.offsets.get("g", A) == Committed(9)


def test_the_time_of_an_open_transaction_runs_on_over_a_restart(rig, clock):
    claim = rig.claim()
    rig.begin(claim)
    rig.all.close()
    clock.advance(59)
    rig = Rig(clock, rig.folder)
    assert rig.markers == []
    clock.advance(1)
    assert [commit for *_, commit in rig.markers] == [False]


def test_what_was_decided_before_a_crash_is_finished_after_it(rig, clock):
    claim = rig.claim()
    rig.begin(claim, A)
    rig.all.groups.hold(Committer("g"), claim.producer_id, {A: Committed(9)})
    # when the broker dies between the decision and the markers
    rig.disk_is_full = True
    assert rig.end(claim).error == NONE
    rig.all.close()
    # then the next one writes them
    rig = Rig(clock, rig.folder)
    assert rig.markers == [(A, claim.producer_id, claim.epoch, True)]
    assert rig.all.offsets.get("g", A) == Committed(9)
    assert rig.end(claim).error == NONE


def test_a_full_disk_delays_the_markers_and_nothing_else_happens_until_then(rig, clock):
    claim = rig.claim()
    rig.begin(claim)
    rig.disk_is_full = True
    assert rig.end(claim).error == NONE
    clock.advance(3)
    assert rig.end(claim).error == CONCURRENT_TRANSACTIONS
    assert rig.txns.add_partitions(claim, [B]) == CONCURRENT_TRANSACTIONS
    assert rig.txns.init_producer("t", TIMEOUT_MS).error == CONCURRENT_TRANSACTIONS
    assert rig.end(claim, commit=False).error == INVALID_TXN_STATE
    rig.disk_is_full = False
    clock.advance(1)
    assert rig.markers == [(A, claim.producer_id, claim.epoch, True)]
    rig.begin(claim, B)


def test_a_rewritten_journal_knows_the_same(rig):
    claim = rig.claim()
    rig.begin(claim, A)
    rig.all.groups.hold(Committer("g"), claim.producer_id, {A: Committed(9)})
    before = rig.txns.find("t").entry()
    rig.all._journal._rewrite()
    rig = rig.restart()
    assert rig.txns.find("t").entry() == before
    assert rig.end(claim).error == NONE
    assert rig.all.offsets.get("g", A) == Committed(9)


def test_every_state_has_its_moves():
    assert set(MOVES) == set(State)
    assert MOVES[State.PREPARE_COMMIT] == {State.COMPLETE_COMMIT}
