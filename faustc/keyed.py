"""Order by key: actors side by side, of which only one at a time has events of a key.

A splitter takes messages from the agent's reader and queues them by key. A key is
free, or it belongs to the lane that has events of it in hand; a lane is the reader of
one actor. So the events of a key are processed one after the other, whoever does it,
and a slow one holds up its own key and no other. What waits is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any
from weakref import WeakSet

from faustc.engine.inbox import Fault
from faustc.iteration import Iteration

__all__ = ["Lane", "Splitter"]

# So many messages wait, for each lane. A revoke waits for those below the last one begun.
DEPTH = 16

Entry = tuple[Any, Any]  # ledger, message


class Lane:
    """What one actor reads: the next event whose key nobody else has."""

    def __init__(self, splitter: Splitter) -> None:
        self.closed = False
        self.fault: Fault | None = None
        self.holders: WeakSet[Any] = WeakSet()
        self.keys: set[Hashable] = set()  # those that are its own
        self.waiting = False
        self._splitter = splitter
        self._thrown: deque[tuple[BaseException, Fault | None]] = deque()
        self._ready = asyncio.Event()
        self._watchers: WeakSet[asyncio.Event] = WeakSet()

    async def portion(self) -> Any:
        """Return what is to be worked on next; None once it is closed."""
        while not self.closed:
            if (portion := self.poll()) is not None:
                return portion
            self._ready.clear()
            self.waiting = True
            try:
                await self._ready.wait()
            finally:
                self.waiting = False
        return None

    def poll(self) -> Any:
        """Return what is to be worked on next, None if there is nothing; raises what was thrown."""
        if self._thrown:
            error, self.fault = self._thrown.popleft()
            raise error
        return None if self.closed else self._splitter.take(self)

    def in_hand(self) -> set[Hashable]:
        """Return the keys of what its actor is not done with."""
        return {
            key_of(message)
            for holder in self.holders
            if isinstance(holder, Iteration)
            for message in holder.messages_held()
        }

    @property
    def looks(self) -> bool:
        """Whether somebody would see what comes, if told."""
        return self.waiting or bool(self._watchers)

    def wake(self) -> None:
        """Let whoever waits look again."""
        self.waiting = False
        self._ready.set()
        for event in self._watchers:
            event.set()

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        self._watchers.add(event)

    def throw(self, error: BaseException, fault: Fault | None = None) -> None:
        """Raise an error where the next message is waited for."""
        self._thrown.append((error, fault))
        self.wake()

    def owns(self, ledger: Any) -> bool:
        """Say whether a ledger is one that messages here may have."""
        return bool(self._splitter.reader.owns(ledger))

    def stopped(self, tp: Any) -> bool:
        """Say whether nothing more of a partition is handed out."""
        return bool(self._splitter.reader.stopped(tp))

    def give_back(self, messages: Sequence[Entry]) -> None:
        """Take back, in front, what was taken and is not done."""
        self._splitter.put_back(messages)

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle of an event, perhaps after a stop."""
        self._splitter.reader.left(holder)

    def close(self) -> None:
        """Hand out nothing more; its keys are for others."""
        self.closed = True
        self._splitter.free(self, self.keys)
        self.wake()


class Single:
    """A portion of one message: the next one may be of another partition."""

    __slots__ = ("ledger", "pending")

    def __init__(self, ledger: Any, message: Any) -> None:
        self.ledger = ledger
        self.pending = iter((message,))


def key_of(message: Any) -> Hashable:
    """Return what a message is ordered by; one without a key is in order with no other."""
    key = message.key
    if key is None:
        return message.topic, message.partition, message.offset
    try:
        hash(key)
    except TypeError:  # of a channel in memory
        return repr(key)
    return key  # type: ignore[no-any-return]


class Splitter:
    """Queues the messages of a reader by their keys, for lanes to take them.

    It is a holder of that reader: of a partition that goes it gives back what it has
    above the last event that was begun, and what is below is finished.
    """

    def __init__(self, reader: Any, lanes: int) -> None:
        self.reader = reader
        self.lanes = [Lane(self) for _ in range(lanes)]
        self._room = asyncio.Event()
        self._max = DEPTH * lanes
        self._queues: dict[Hashable, deque[Entry]] = {}  # of keys with an owner, or something
        self._free: dict[Hashable, None] = {}  # those without an owner, in whose turn it is
        self._owners: dict[Hashable, Lane] = {}
        self._top: dict[Any, int] = {}  # the highest offset begun, by partition
        self._held: Entry | None = None  # what there is no room for
        self._count = 0
        reader.holders.add(self)

    @property
    def waiting(self) -> int:
        """How many messages wait for a lane."""
        return self._count

    @property
    def busy(self) -> bool:
        """Whether something waits, or is in hand."""
        return bool(self._count or self._owners)

    # -- in ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Queue what comes until the reader is closed."""
        reader = self.reader
        while not reader.closed:
            try:
                portion = await reader.portion()
            except Exception as exc:  # noqa: BLE001 - thrown there for an actor to raise
                fault, reader.fault = reader.fault, None
                self.lanes[0].throw(exc, fault)
                continue
            if portion is not None:
                await self._queue(portion)
                await asyncio.sleep(0)
        self.close()

    async def _queue(self, portion: Any) -> None:
        ledger = portion.ledger
        for message in portion.pending:
            if self._count < self._max or await self._has_room(ledger, message):
                self._put(ledger, message)

    async def _has_room(self, ledger: Any, message: Any) -> bool:
        """Wait for room; False if the message's partition went meanwhile."""
        held = self._held = ledger, message
        while self._held is held and self._count >= self._max:
            self._room.clear()
            await self._room.wait()
        still_ours = self._held is held
        self._held = None
        return still_ours

    def _put(self, ledger: Any, message: Any) -> None:
        key = key_of(message)
        self._queues.setdefault(key, deque()).append((ledger, message))
        self._count += 1
        owner = self._owners.get(key)
        if owner is not None:
            if owner.waiting:  # it collects
                owner.wake()
        else:
            self._free[key] = None
            self._call()

    def _call(self) -> None:
        """Wake a lane if there is something that nobody has."""
        if self._free:
            for lane in self.lanes:
                if lane.looks:
                    lane.wake()
                    return

    # -- out -----------------------------------------------------------------------------

    def take(self, lane: Lane) -> Single | None:
        """Give a lane its next message. The keys that it has nothing in hand of become free."""
        if lane.keys:
            self.free(lane, lane.keys - lane.in_hand())
        while (entry := self._next(lane)) is not None:
            self._count -= 1
            self._room.set()
            ledger, message = entry
            if not ledger.closed:
                if message.offset > self._top.get(message.tp, -1):
                    self._top[message.tp] = message.offset
                self._call()
                return Single(ledger, message)
        return None

    def _next(self, lane: Lane) -> Entry | None:
        for key in lane.keys:
            if queue := self._queues[key]:
                return queue.popleft()
        if not self._free:
            return None
        key = next(iter(self._free))
        del self._free[key]
        self._owners[key] = lane
        lane.keys.add(key)
        return self._queues[key].popleft()

    def free(self, lane: Lane, keys: set[Hashable]) -> None:
        """Let others have keys of a lane."""
        for key in list(keys):
            lane.keys.discard(key)
            del self._owners[key]
            if self._queues[key]:
                self._free[key] = None
            else:
                del self._queues[key]
        self._call()

    def put_back(self, messages: Sequence[Entry]) -> None:
        """Take back what was taken and is not done: the next of its key."""
        refused = []
        for ledger, message in reversed(messages):
            if ledger.closed:
                continue
            if self.reader.closed or self.reader.stopped(message.tp):
                refused.append((ledger, message))
                continue
            key = key_of(message)
            self._queues.setdefault(key, deque()).appendleft((ledger, message))
            self._count += 1
            if key not in self._owners:
                self._free[key] = None
        if refused:
            self.reader.give_back(refused)
        for lane in self.lanes:
            lane.wake()

    # -- ends ----------------------------------------------------------------------------

    def release(self, tp: Any) -> None:
        """Give back what nobody needs to finish, of a partition that goes."""
        for lane in self.lanes:
            for holder in list(lane.holders):
                holder.release(tp)
        above = self._top.get(tp, -1)
        gone = self._drop(lambda message: message.tp == tp and message.offset > above)
        held = self._held
        if held is not None and held[1].tp == tp:
            self._held = None
            if held[1].offset > above:
                gone.append(held)
            else:
                self._put(*held)
        self._room.set()
        _cut(gone)

    def _drop(self, which: Any) -> list[Entry]:
        gone: list[Entry] = []
        for key, queue in list(self._queues.items()):
            gone += [entry for entry in queue if which(entry[1])]
            kept = deque(entry for entry in queue if not which(entry[1]))
            self._count -= len(queue) - len(kept)
            if kept or key in self._owners:
                self._queues[key] = kept
            else:
                del self._queues[key]
                self._free.pop(key, None)
        return gone

    def close(self) -> None:
        """End every lane; what waits was never begun."""
        for lane in self.lanes:
            lane.close()
        _cut(self._drop(lambda message: True))


def _cut(entries: list[Entry]) -> None:
    """Let what was handed out and not begun, of each partition, be as if it never was."""
    first: dict[int, Entry] = {}
    for ledger, message in entries:
        known = first.get(id(ledger))
        if known is None or message.offset < known[1].offset:
            first[id(ledger)] = ledger, message
    for ledger, message in first.values():
        if not ledger.closed and hasattr(ledger, "cut"):
            ledger.cut(message.offset)
