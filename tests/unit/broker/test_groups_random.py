"""Whatever members do, in whatever order: each request is answered, and nothing is left over."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from faustc.broker.coordinators import Coordinators
from faustc.broker.group_state import JoinAnswer, JoinRequest, State, SyncAnswer
from faustc.broker.groups import Committer
from faustc.broker.offsets_store import Committed
from faustc.client.codes import MEMBER_ID_REQUIRED, NONE
from faustc.types import TopicPartition
from tests.unit.broker.clock import FakeClock

TP = TopicPartition("t", 0)
SESSION_S, REBALANCE_S = 10, 20


class Client:
    """One client, which does what it is told to, sensible or not."""

    def __init__(self, world: World, instance: str | None) -> None:
        self.world = world
        self.instance = instance
        self.member_id = ""
        self.generation = -1
        self.least = -1
        self.leads: tuple[str, ...] = ()
        self.asked = 0
        self.answered: set[int] = set()
        self.waits = False

    def join(self, protocols: tuple[str, ...] = ("range",)) -> None:
        request = JoinRequest(
            "g",
            self.member_id,
            self.instance,
            "c",
            "h",
            SESSION_S * 1000,
            REBALANCE_S * 1000,
            "consumer",
            dict.fromkeys(protocols, b""),
        )
        self.world.all.groups.join(request, partial(self._joined, self._ask()))

    def _ask(self) -> int:
        self.asked += 1
        self.waits = True
        return self.asked

    def _answer(self, request: int) -> None:
        assert request not in self.answered, "answered twice"
        self.answered.add(request)
        if request == self.asked:
            self.waits = False

    def _joined(self, request: int, told: JoinAnswer) -> None:
        self._answer(request)
        if told.error in (NONE, MEMBER_ID_REQUIRED):
            self.member_id = told.member_id
        if told.error == NONE:
            assert told.generation >= self.least, "generations never fall"
            self.least = told.generation
            self.generation = told.generation
            self.leads = tuple(row[0] for row in told.members)
            if self.leads and not told.skip_assignment:
                assert self.member_id in self.leads
        elif told.error == MEMBER_ID_REQUIRED:
            self.join()
        else:
            self.member_id = ""

    def who(self) -> Committer:
        return Committer("g", self.generation, self.member_id, self.instance)

    def sync(self) -> None:
        parts = {name: f"{self.generation}:{name}".encode() for name in self.leads}
        self.world.all.groups.sync(self.who(), parts, partial(self._synced, self._ask()))

    def _synced(self, request: int, told: SyncAnswer) -> None:
        self._answer(request)
        if told.error == NONE and told.assignment:
            # One generation's assignment never reaches a member in another one.
            assert told.assignment.startswith(b"%d:" % self.generation)

    def sync_as_follower(self) -> None:
        """Sync, if that means to wait for a leader that is slower."""
        if not self.leads:
            self.sync()

    def heartbeat(self) -> None:
        self.world.all.groups.heartbeat(self.who())

    def commit(self) -> None:
        self.world.all.groups.commit(self.who(), {TP: Committed(1)})

    def leave(self) -> None:
        self.world.all.groups.leave("g", [(self.member_id, self.instance)])

    def restart(self) -> None:
        """Lose its id, as a process that starts again."""
        self.member_id = ""

    def join_otherwise(self) -> None:
        self.join(("sticky", "range"))


class World:
    """A group, and clients that come and go."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.clients: list[Client] = []
        self.all = self._open()

    def _open(self) -> Coordinators:
        opened = Coordinators(self.folder, self.clock, self.clock.now_ms, lambda *marker: None)
        opened.start()
        return opened

    def restart(self) -> None:
        self.all.close()
        self.all = self._open()
        for client in self.clients:
            client.waits = False  # their connections died
            # As in Kafka, a generation is written down when it has been assigned.
            client.least = -1

    def all_do(self, action: str) -> None:
        """Have all do it who do not wait for an answer, as good clients would next."""
        self.clock.advance(0)
        for client in self.clients:
            if not client.waits:
                getattr(client, action)()
        self.clock.advance(0)

    def check(self) -> None:
        group = self.all.groups.find("g")
        if group is None:
            return
        if group.state is State.STABLE:
            assert group.members
            assert group.leader in group.members
            assert all(m.protocols.get(group.protocol) is not None for m in group.members.values())
        if group.state is State.EMPTY:
            assert not group.members
        assert set(group.static.values()) == {
            m.member_id for m in group.members.values() if m.instance_id is not None
        }
        for member in group.members.values():
            assert member.session is not None or member.is_waiting, "somebody is never dropped"


ACTIONS = ["join", "join_otherwise", "sync", "heartbeat", "commit", "leave", "restart"]
steps = st.one_of(
    st.tuples(st.just("new"), st.sampled_from([None, None, "i0", "i1"])),
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4)),
    st.tuples(st.sampled_from(["join", "sync", "leave"]), st.integers(0, 4)),
    st.tuples(st.just("all"), st.sampled_from(["join", "join", "sync", "sync_as_follower"])),
    st.tuples(st.just("advance"), st.sampled_from([0, 0, 1, 5, 11, 25])),
    st.tuples(st.just("broker"), st.none()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=60))
def test_every_request_is_answered_and_in_the_end_nobody_is_left(
    script: list[tuple[str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for name, argument in script:
            if name == "new":
                world.clients.append(Client(world, argument))
                world.clients[-1].join()
            elif name == "advance":
                world.clock.advance(argument)
            elif name == "all":
                world.all_do(argument)
            elif name == "broker":
                world.restart()
            elif world.clients:
                client = world.clients[argument % len(world.clients)]
                # While a request is parked, the client may give it up and ask again.
                getattr(client, name)()
            world.check()
        world.clock.advance(1000)
        world.check()
        for client in world.clients:
            assert not client.waits, "its last request was never answered"
        group = world.all.groups.find("g")
        if group is not None:
            assert group.members == {}
            assert group.expected == {}
        assert world.clock.waiting == 0
        world.all.close()
