"""Whatever becomes of requests and answers, a partition has each message once, and in order.

The broker's side is the embedded broker's own: a partition with its check of sequences.
"""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faustc._native.builder import BatchBuilder
from faustc.broker.producers import Refused
from faustc.client.codes import DUPLICATE_SEQUENCE_NUMBER
from faustc.client.failures import Failures
from faustc.client.identity import Persona
from faustc.client.lane import Lane
from faustc.client.parcel import Parcel
from faustc.exceptions import BrokerError, ConnectionLost
from faustc.types import TopicPartition
from tests.unit.broker.partitions import NOW_MS, Rig

TP = TopicPartition("t", 0)
WINDOW = 5
MOST = 12  # parcels that wait


class Request:
    """One request on its way; answer is where it was written, or why not."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.answer: int | Refused | str | None = None


class Partition(RuleBasedStateMachine):
    """A lane, one connection, and the partition at its other end."""

    def __init__(self) -> None:
        super().__init__()
        self.persona = Persona(idempotent=True)
        self.persona.become(7, 0)
        self.lane = Lane(TP)
        self.lane.node = 1
        self.rig = Rig()
        self.wire: deque[Request] = deque()
        self.made = 0
        self.acked: dict[int, int] = {}  # number of a message -> offset
        self.numbers: dict[int, int] = {}  # of parcels, by id; they are kept below
        self.parcels: list[Parcel] = []

    # -- what may happen

    @precondition(lambda self: self.lane.backlog < MOST)
    @rule()
    def fill(self) -> None:
        parcel = Parcel(TP, BatchBuilder(max_bytes=10_000), Failures(), opened_at=0, deadline=1e9)
        parcel.append(None, b"%d" % self.made, NOW_MS, None)
        self.lane.open = parcel
        self.lane.close_open()
        self.numbers[id(parcel)] = self.made
        self.parcels.append(parcel)
        self.made += 1

    @rule()
    def send(self) -> None:
        parcel = self.lane.next(0.0, self.persona, WINDOW)
        if parcel is not None:
            self.wire.append(Request(parcel))

    @precondition(lambda self: any(request.answer is None for request in self.wire))
    @rule()
    def arrive(self) -> None:
        """The broker takes the next request, and does with it what it does."""
        request = next(request for request in self.wire if request.answer is None)
        try:
            request.answer = self.rig.partition.append(bytes(request.parcel.data)).base_offset
        except Refused as refused:
            request.answer = refused

    @precondition(lambda self: any(request.answer is None for request in self.wire))
    @rule()
    def refuse(self) -> None:
        """The broker does not lead just now: nothing is written."""
        next(request for request in self.wire if request.answer is None).answer = "not leader"

    @precondition(lambda self: self.wire and self.wire[0].answer is not None)
    @rule()
    def answer(self) -> None:
        """The first answer comes."""
        request = self.wire.popleft()
        parcel, answer = request.parcel, request.answer
        if isinstance(answer, int):
            self._written(parcel, answer)
        elif isinstance(answer, str):
            self.lane.put_back(parcel, ConnectionLost(answer))
        else:
            assert isinstance(answer, Refused)
            assert answer.code != DUPLICATE_SEQUENCE_NUMBER, "the broker has forgotten it"
            self.lane.lost_sequence(parcel, BrokerError(answer.code, "a sequence"))

    @precondition(lambda self: self.wire)
    @rule()
    def cut(self) -> None:
        """The connection is lost, with every answer that was on it."""
        while self.wire:
            self.lane.put_back(self.wire.popleft().parcel, ConnectionLost("cut"))

    def _written(self, parcel: Parcel, offset: int) -> None:
        self.lane.written(parcel, offset, -1)
        self.acked[self.numbers[id(parcel)]] = offset

    # -- what must hold

    @invariant()
    def each_is_there_once_and_in_order(self) -> None:
        there = [int(message.value or b"-1") for message in self.rig.messages()]
        assert there == sorted(set(there)), there

    @invariant()
    def what_is_acknowledged_is_where_it_is_said_to_be(self) -> None:
        offsets = {int(m.value or b"-1"): m.offset for m in self.rig.messages()}
        for number, offset in self.acked.items():
            assert offsets.get(number) == offset

    def teardown(self) -> None:
        """Without further trouble all of it gets there."""
        for _ in range(20 * (self.made + 1)):
            self.send()
            while any(request.answer is None for request in self.wire):
                self.arrive()
            while self.wire:
                self.answer()
        there = [int(message.value or b"-1") for message in self.rig.messages()]
        assert there == list(range(self.made))
        assert sorted(self.acked) == there


Partition.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestPartition = Partition.TestCase
