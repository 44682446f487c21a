"""How two streams are joined: what waits for a counterpart, for how long, and what came of it.

Every event waits in memory, by its key, until nothing that is still to come may match
it: until the other side's time has passed its window. Only then, and once the pairs
that it is in are done, is it acknowledged. So a crash repeats what was waiting, pairs
included, and loses nothing.

A side's time, in each partition, is the timestamp of the next message there. Where
everything has been read it is the time of day, since whatever comes will be newer.
Messages are taken in the order of their time, so that after a long stop neither side
runs ahead of the other, and what waits is what is in the window.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from weakref import WeakSet

from faustc.channels import Feed
from faustc.clock import now_ms
from faustc.engine.inbox import Fault, Reader
from faustc.exceptions import DecodeError, DecodeLater, FaustError, Skip
from faustc.messages import LocalMessage
from faustc.operators import maybe_await
from faustc.types import TopicPartition

__all__ = ["Joined", "Joining", "Rules"]

FOREVER = float("inf")
# So many messages are taken before the loop has its turn.
RUN = 200
# How often, in seconds, it is looked whether something has waited long enough.
LOOK_S = 1.0
# The same while a message is there that the other side is not known to be as far as.
LOOK_SOON_S = 0.05


class Joined(NamedTuple):
    """The values of a pair; None stands for a counterpart that never came."""

    left: Any
    right: Any


class Rules(NamedTuple):
    """What matches, and what is made of that which does not.

    keys find the key of a value, of each side; None takes the message's. A right event
    matches a left one from before_ms earlier to after_ms later. keep says for each side
    whether an event without a counterpart is handed out. grace_ms is how much later
    than their time messages may come. max_events is how many events may wait, per side.
    """

    keys: tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]
    before_ms: float
    after_ms: float
    keep: tuple[bool, bool]
    grace_ms: float
    max_events: int


class Waiting:
    """One event that waits for counterparts.

    pairs counts those it is in that are not done. held counts the counterparts that are
    not done with, and would be alone if they came again without it; holds are the
    events of which it is such a counterpart.
    """

    __slots__ = (
        "closed", "done", "held", "holds", "key", "lane", "ledger", "matched", "message", "pairs",
        "value",
    )  # fmt: skip

    def __init__(self, lane: Lane, ledger: Any, message: Any, key: Any, value: Any) -> None:
        self.lane = lane
        self.ledger = ledger
        self.message = message
        self.key = key
        self.value = value
        self.matched = False
        self.closed = False
        self.done = False
        self.pairs = 0
        self.held = 0
        self.holds: list[Waiting] = []


class Lane:
    """One partition of one side; in memory there is one lane, whose number is -1."""

    def __init__(self, side: Side, tp: TopicPartition) -> None:
        self.side = side
        self.tp = tp
        self.head: Any = None  # the message to be taken next
        self.caught_up = False  # nothing more is to be read
        self.seen_ms = -FOREVER  # the latest time in it
        self.open: dict[int, Waiting] = {}  # not acknowledged, by offset
        self.closing: deque[Waiting] = deque()  # those whose window is not over
        self.order: deque[Waiting] = deque()  # those that are not done, or after one that is not
        self._portion: Any = None
        self._pending: Iterator[Any] = iter(())

    @property
    def ledger(self) -> Any:
        """The ledger of the message at the head."""
        return self._portion.ledger

    def fill(self) -> None:
        """Have a message at the head, if there is one."""
        while self.head is None:
            self.head = next(self._pending, None)
            if self.head is None:
                self._portion = self.side.take(self.tp)
                if self._portion is None:
                    return
                self._pending = iter(self._portion.pending)
                if self._portion is self.side.reader:  # it has its messages itself
                    self.head = next(self._pending, None)
                    if self.head is None:
                        return

    def time_ms(self, now: float) -> float:
        """Return the time before which nothing more is to be expected."""
        if self.head is not None:
            return max(self.seen_ms, float(self.head.timestamp))
        return now if self.caught_up else self.seen_ms

    def release(self) -> None:
        """Give back everything: the partition goes to somebody else."""
        if self.open:
            lowest = self.open[min(self.open)]
            lowest.ledger.cut(lowest.message.offset)
        elif self.head is not None:
            self.ledger.cut(self.head.offset)
        if isinstance(self.side.reader, Reader) and self._portion is not None:
            self._portion.close()
        self.head = None


class Side:
    """One of the two streams, and what of it waits."""

    def __init__(self, index: int, part: Any, reader: Any, span_ms: float) -> None:
        self.index = index
        self.part = part
        self.reader = reader
        self.span_ms = span_ms  # so much later than an event may its counterpart be
        self.count = 0
        self.by_key: defaultdict[Any, list[Waiting]] = defaultdict(list)
        self.lanes: dict[TopicPartition, Lane] = {}

    def look(self) -> None:
        """Open lanes for the partitions that are ours."""
        partitions = self.reader.partitions if isinstance(self.reader, Reader) else MEMORY
        for tp in partitions:
            if tp not in self.lanes:
                self.lanes[tp] = Lane(self, tp)

    def take(self, tp: TopicPartition) -> Any:
        """Return the next messages of a partition."""
        if isinstance(self.reader, Reader):
            return self.reader.take_from(tp)
        return self.reader.poll()

    async def read_up(self, lane: Lane, engine: Any) -> None:
        """Find out whether everything of a lane without a head has been read."""
        if isinstance(self.reader, Reader):
            lane.caught_up = await engine.caught_up(lane.tp)
        elif isinstance(self.reader, Feed):
            lane.caught_up = True
        elif self.reader.closed:
            lane.caught_up, lane.seen_ms = False, FOREVER


MEMORY = (TopicPartition("", -1),)


class Joining:
    """Reads two readers as one, whose messages are pairs. It is the ledger of those, too."""

    def __init__(self, stream: Any, readers: list[tuple[Any, Any]], rules: Rules) -> None:
        self.label = " & ".join(part.label for part, _ in readers)
        self.closed = False
        self.fault: Fault | None = None
        self.holders: WeakSet[Any] = WeakSet()
        self.busy = False  # as a holder of channels in memory
        self._app = stream.app
        self._rules = rules
        spans = rules.after_ms, rules.before_ms
        self._sides = [Side(n, *readers[n], spans[n]) for n in (0, 1)]
        self._thrown: deque[BaseException] = deque()
        self._out: deque[LocalMessage] = deque()
        self._pairs: dict[int, tuple[Waiting, ...]] = {}
        self._number = 0
        self._ready = asyncio.Event()
        for _, reader in readers:
            reader.watch(self._ready)
            reader.holders.add(self)
            if isinstance(reader, Reader):
                reader.patience_s = (max(spans) + rules.grace_ms) / 1000

    # -- as a portion --------------------------------------------------------------------

    @property
    def ledger(self) -> Joining:
        return self

    @property
    def pending(self) -> Iterator[LocalMessage]:
        return self

    def __iter__(self) -> Joining:
        return self

    def __next__(self) -> LocalMessage:
        if not self._out or self._thrown:
            raise StopIteration
        return self._out.popleft()

    # -- as a ledger ---------------------------------------------------------------------

    def ack(self, offset: int) -> bool:
        """Note that a pair is done."""
        pair = self._pairs.pop(offset, None)
        for one in pair or ():
            one.pairs -= 1
            self._settle(one)
        return pair is not None

    def members(self, message: LocalMessage) -> list[tuple[Any, Any]]:
        """Return the ledgers and messages of the events that a pair is made of."""
        return [(one.ledger, one.message) for one in self._pairs.get(message.offset, ())]

    def cut(self, offset: int) -> None:
        """Do nothing: the events of the pair are what is given back."""

    def owns(self, ledger: Any) -> bool:
        """Say whether it is the ledger of our pairs."""
        return ledger is self

    # -- as a reader ---------------------------------------------------------------------

    async def portion(self) -> Joining | None:
        """Return self once there are pairs; None at the end."""
        while True:
            if self._thrown:
                raise self._thrown.popleft()
            if self._out:
                return self
            self._ready.clear()
            taken = await self._step()
            if self._out:
                continue
            if taken:
                await asyncio.sleep(0)
            elif all(side.reader.closed for side in self._sides):
                self.closed = True
                return None
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Wait for messages; while something waits for the other side, not for long."""
        lanes = [lane for side in self._sides for lane in side.lanes.values()]
        patience_s = LOOK_S if any(lane.closing for lane in lanes) else None
        if any(lane.head is not None for lane in lanes):
            patience_s = LOOK_SOON_S
        try:
            async with asyncio.timeout(patience_s):
                await self._ready.wait()
        except TimeoutError:
            pass  # time has passed, which is news as well

    def give_back(self, messages: list[tuple[Any, LocalMessage]]) -> None:
        """Take back, in front, pairs that nobody has looked at."""
        self._out.extendleft(message for _, message in reversed(messages))
        self._ready.set()

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle of a pair."""
        for side in self._sides:
            side.reader.left(holder)

    def throw(self, error: BaseException) -> None:
        """Raise an error where somebody waits for the next pair."""
        self._thrown.append(error)
        self._ready.set()

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        for side in self._sides:
            side.reader.watch(event)

    # -- as a holder ---------------------------------------------------------------------

    def release(self, tp: TopicPartition) -> None:
        """Give back what waits of a partition that goes, and its counterpart here."""
        for side in self._sides:
            lane = side.lanes.pop(tp, None)
            if lane is None:
                continue
            lane.release()
            for one in lane.open.values():
                self._forget(one)
            # Their counterparts are not acknowledged either: they are to meet again.
            gone = set(lane.open.values())
            self._pairs = {n: pair for n, pair in self._pairs.items() if not gone & {*pair}}
            self._out = deque(m for m in self._out if m.offset in self._pairs)
            for stream in list(self.holders):
                stream.release(TopicPartition(self.label, tp.partition))

    # -- matching ------------------------------------------------------------------------

    async def _step(self) -> int:
        """Take what is there, in the order of its time; return how many messages that was."""
        for side in self._sides:
            side.look()
        await self._look_up()
        now = now_ms()
        taken = 0
        while True:
            self._close(now)
            lane = self._next(now)
            if lane is None or taken >= RUN:
                return taken
            await self._take(lane)
            taken += 1
            lane.fill()
            if lane.head is None:
                lane.caught_up = False  # until it is looked up again

    async def _look_up(self) -> None:
        engine = None
        for side in self._sides:
            for lane in list(side.lanes.values()):
                lane.fill()
                if lane.head is None:
                    engine = engine or self._app.runner.engine
                    await side.read_up(lane, engine)

    def _next(self, now: float) -> Lane | None:
        """Return the lane whose message is the earliest, if its counterparts are as far."""
        found: Lane | None = None
        full = [side.count >= self._rules.max_events for side in self._sides]
        ready = False
        for side in self._sides:
            for lane in side.lanes.values():
                if lane.head is None or self._other_time(lane, now) < lane.head.timestamp:
                    continue
                ready = True
                earlier = found is None or lane.head.timestamp < found.head.timestamp
                if earlier and not full[side.index]:
                    found = lane
        if ready and all(full):
            raise FaustError(
                f"join of {self.label}: {self._rules.max_events} events of each side wait within "
                "the window; give it a shorter one, or a larger max_events="
            )
        return found

    def _other_time(self, lane: Lane, now: float) -> float:
        """Return how far the partitions are that have a lane's counterparts."""
        number = lane.tp.partition
        lanes = [
            other
            for other in self._sides[1 - lane.side.index].lanes.values()
            if number == -1 or other.tp.partition in (number, -1)
        ]
        if not lanes:
            return -FOREVER  # not ours: whoever has it has no counterpart either
        return min(other.time_ms(now) for other in lanes)

    async def _take(self, lane: Lane) -> None:
        """Match one message. It stays at the head until that is done, should we be cancelled."""
        side, message, ledger = lane.side, lane.head, lane.ledger
        part = side.part
        key_of = self._rules.keys[side.index]
        try:
            with part.holding(message, ledger):
                value = await part.made(message)
                key = part.key_in_hand if key_of is None else await maybe_await(key_of(value))
            hash(key)
        except DecodeLater as exc:
            await exc.wait()  # it stays at the head
            return
        except (DecodeError, Skip) as exc:
            lane.head = None
            await part.drop(message, ledger, exc)
            return
        except Exception:
            lane.head, self.fault = None, Fault(ledger, message, side.reader)
            raise
        if lane.head is not message:
            return  # it was taken away meanwhile
        lane.head = None
        lane.seen_ms = max(lane.seen_ms, message.timestamp)
        one = Waiting(lane, ledger, message, key, value)
        lane.open[message.offset] = one
        lane.closing.append(one)
        lane.order.append(one)
        side.count += 1
        if key is not None:
            self._match(one)
            side.by_key[key].append(one)

    def _match(self, one: Waiting) -> None:
        """Make pairs of an event and those on the other side that are in its window."""
        rules, index = self._rules, one.lane.side.index
        for other in self._sides[1 - index].by_key.get(one.key, ()):
            left, right = (one, other) if index == 0 else (other, one)
            later = right.message.timestamp - left.message.timestamp
            if -rules.before_ms <= later <= rules.after_ms:
                self._hand_out(one, left, right)
                if rules.keep == (True, False):
                    self._hold(right, left)
                elif rules.keep == (False, True):
                    self._hold(left, right)

    def _hold(self, one: Waiting, counterpart: Waiting) -> None:
        """Keep an event until its counterpart is done with, which must not come again alone.

        An outer join would keep both for each other, for ever, so it keeps neither.
        """
        one.held += 1
        counterpart.holds.append(one)

    def _hand_out(self, last: Waiting, left: Waiting | None, right: Waiting | None) -> None:
        pair = tuple(one for one in (left, right) if one is not None)
        for one in pair:
            one.matched = True
            one.pairs += 1
        number, self._number = self._number, self._number + 1
        self._pairs[number] = pair
        value = Joined(left and left.value, right and right.value)
        message = last.message
        self._out.append(
            LocalMessage(
                self.label,
                last.lane.tp.partition,
                number,
                max(one.message.timestamp for one in pair),
                message.timestamp_type,
                last.key,
                value,
                message.headers,
            )
        )

    def _close(self, now: float) -> None:
        """End the waiting of those whose window the other side has passed."""
        for side in self._sides:
            for lane in side.lanes.values():
                if not lane.closing:
                    continue
                limit = self._other_time(lane, now) - side.span_ms - self._rules.grace_ms
                while lane.closing and lane.closing[0].message.timestamp < limit:
                    one = lane.closing.popleft()
                    self._forget(one)
                    one.closed = True
                    if not one.matched and self._rules.keep[side.index]:
                        self._hand_out(one, *((one, None) if side.index == 0 else (None, one)))
                    self._settle(one)

    def _forget(self, one: Waiting) -> None:
        """Match it no more."""
        if one.closed:
            return
        side = one.lane.side
        side.count -= 1
        if one.key is not None:
            same = side.by_key[one.key]
            same.remove(one)
            if not same:
                del side.by_key[one.key]

    def _settle(self, one: Waiting) -> None:
        """Acknowledge an event once it is needed no more."""
        if one.done or not one.closed or one.pairs or one.held:
            return
        one.done = True
        one.lane.open.pop(one.message.offset, None)
        one.ledger.ack(one.message.offset)
        # Only when all before it are done does the position pass it.
        order = one.lane.order
        while order and order[0].done:
            for counterpart in order.popleft().holds:
                counterpart.held -= 1
                self._settle(counterpart)
