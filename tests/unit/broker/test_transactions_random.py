"""Whatever producers do, whenever the broker dies: a transaction is all there, or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from faustc.broker.coordinators import Coordinators
from faustc.broker.groups import Committer
from faustc.broker.offsets_store import Committed
from faustc.broker.transaction_state import LAST_EPOCH, State
from faustc.broker.transactions import Claim
from faustc.client.codes import CONCURRENT_TRANSACTIONS, NONE
from faustc.types import TopicPartition
from tests.unit.broker.clock import FakeClock

PARTITIONS = [TopicPartition("t", n) for n in range(3)]
OFFSETS = TopicPartition("input", 0)
TIMEOUT_S = 60


class World:
    """One transactional id, the producers that claim it, and the logs that they write to.

    A log is, for each partition, the transactions that wrote to it (open), and how
    each of them ended there; what the coordinator lets through is written at once.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.claims: list[Claim] = []
        self.open: dict[TopicPartition, set[int]] = {tp: set() for tp in PARTITIONS}
        self.ended: dict[int, set[bool]] = {}
        self.touched: dict[int, set[TopicPartition]] = {}
        self.promised: dict[int, bool] = {}
        self.offset_of: dict[int, int] = {}
        self.number = 0
        self.disk_is_full = False
        self.all = self._start()

    def _start(self) -> Coordinators:
        made = Coordinators(self.folder, self.clock, self.clock.now_ms, self.write_marker)
        made.start()
        return made

    def write_marker(self, tp: TopicPartition, producer_id: int, epoch: int, commit: bool) -> None:
        if self.disk_is_full:
            raise OSError(28, "No space left on device")
        for number in self.open[tp]:
            self.ended.setdefault(number, set()).add(commit)
        self.open[tp].clear()

    def restart(self) -> None:
        self.disk_is_full = False
        self.all.close()
        self.all = self._start()

    def init(self, goes_on: int | None) -> None:
        known = (-1, -1)
        if goes_on is not None and self.claims:
            claim = self.claims[goes_on % len(self.claims)]
            known = (claim.producer_id, claim.epoch)
        for _ in range(2):
            told = self.all.transactions.init_producer("x", TIMEOUT_S * 1000, *known)
            if told.error != CONCURRENT_TRANSACTIONS:
                break
        if told.error == NONE:
            self.claims.append(Claim("x", told.producer_id, told.epoch))
            self.number += 1

    def _claim(self, which: int) -> Claim | None:
        return self.claims[which % len(self.claims)] if self.claims else None

    def write(self, which: int, partition: int) -> None:
        claim = self._claim(which)
        if claim is None:
            return
        tp = PARTITIONS[partition]
        told = self.all.transactions.admit_write(claim, [tp], adds=True, knows_abortable=True)
        if told == NONE:
            self.open[tp].add(self.number)
            self.touched.setdefault(self.number, set()).add(tp)

    def write_offset(self, which: int) -> None:
        claim = self._claim(which)
        if claim is None:
            return
        coordinator = self.all.transactions
        told = coordinator.admit_write(claim, (), "g", adds=True, knows_abortable=True)
        if told == NONE:
            self.offset_of[self.number] = self.number
            held = {OFFSETS: Committed(self.number)}
            assert self.all.groups.hold(Committer("g"), claim.producer_id, held) == NONE

    def end(self, which: int, commit: bool, bumps: bool) -> None:
        claim = self._claim(which)
        if claim is None:
            return
        before = self.all.transactions.find("x").state
        told = self.all.transactions.end(claim, commit, bumps=bumps)
        if told.error != NONE:
            return
        if before is State.ONGOING:
            self.promised[self.number] = commit
            self.number += 1
        if (told.producer_id, told.epoch) != claim[1:]:
            self.claims.append(claim._replace(producer_id=told.producer_id, epoch=told.epoch))

    def use_epochs_up(self) -> None:
        transaction = self.all.transactions.find("x")
        if transaction is not None and transaction.state is State.ONGOING:
            return
        if transaction is not None and not transaction.is_ending and transaction.epoch >= 0:
            # As if 32,766 producers had come and gone.
            transaction.epoch, transaction.last_epoch = LAST_EPOCH, -1
            self.all.transactions._keep(transaction)
            self.claims.append(Claim("x", transaction.producer_id, LAST_EPOCH))
            self.number += 1  # whatever was written before belongs to those producers

    def check(self) -> None:
        for number, ends in self.ended.items():
            assert len(ends) == 1, "a transaction ended one way here and another way there"
            if number in self.promised:
                assert ends == {self.promised[number]}, "not as its producer was told"

    def check_end(self) -> None:
        """Nothing is open any more, and what is committed is what was promised."""
        assert all(not numbers for numbers in self.open.values())
        for number in self.touched:
            assert number in self.ended
            if True in self.ended[number]:
                assert self.promised.get(number)
        visible = self.all.offsets.get("g", OFFSETS)
        committed = [n for n in self.offset_of if self.promised.get(n)]
        assert (visible.offset if visible else None) == max(committed, default=None)
        assert not self.all.offsets.is_held("g", OFFSETS)


steps = st.one_of(
    st.tuples(st.just("init"), st.none() | st.integers(-2, -1)),
    st.tuples(st.just("write"), st.integers(-2, -1), st.integers(0, 2)),
    st.tuples(st.just("write"), st.just(-1), st.integers(0, 2)),
    st.tuples(st.just("write_offset"), st.integers(-2, -1)),
    st.tuples(st.just("end"), st.integers(-2, -1), st.booleans(), st.booleans()),
    st.tuples(st.just("end"), st.just(-1), st.booleans(), st.booleans()),
    st.tuples(st.just("advance"), st.sampled_from([1, 30, 61])),
    st.tuples(st.just("restart")),
    st.tuples(st.just("full")),
    st.tuples(st.just("use_epochs_up")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=50))
def test_every_transaction_ends_one_way_everywhere_and_as_promised(script: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.init(None)
        for name, *arguments in script:
            if name == "advance":
                world.clock.advance(*arguments)
            elif name == "full":
                world.disk_is_full = not world.disk_is_full
            else:
                getattr(world, name)(*arguments)
            world.check()
        world.disk_is_full = False
        world.clock.advance(2 * TIMEOUT_S)
        world.check()
        world.check_end()
        assert world.clock.waiting == 0
        world.restart()
        world.check_end()
        world.all.close()
