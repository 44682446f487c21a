"""Order by key: actors side by side, of which one has all the events of a key.

A splitter takes messages from the agent's reader and puts each into the lane of its
key. A lane is a reader for its actor. Lanes are short, so the splitter is never far
ahead; a lane that is full makes it wait, the others go on with what they have.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from faustc._native.checksum import murmur2
from faustc.engine.inbox import Fault

__all__ = ["Lane", "Splitter"]

# So many messages wait in a lane. A revoke waits for those below the last one begun.
DEPTH = 16


class Lane:
    """The events of some keys, as a reader for one actor."""

    def __init__(self, splitter: Splitter) -> None:
        self.closed = False
        self.fault: Fault | None = None
        self.holders: WeakSet[Any] = WeakSet()
        self.queue: deque[tuple[Any, Any]] = deque()  # (ledger, message)
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
            await self._ready.wait()
        return None

    def poll(self) -> Any:
        """Return what is to be worked on next, None if there is nothing; raises what was thrown."""
        if self._thrown:
            error, self.fault = self._thrown.popleft()
            raise error
        while self.queue:
            ledger, message = self.queue.popleft()
            self._splitter.room.set()
            if not ledger.closed:
                self._splitter.begun(message)
                return Single(ledger, message)
        return None

    def put(self, ledger: Any, message: Any) -> None:
        """Add a message, whatever waits already."""
        self.queue.append((ledger, message))
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
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

    def give_back(self, messages: Sequence[tuple[Any, Any]]) -> None:
        """Take back, in front, what was taken and is not done."""
        self.queue.extendleft(reversed([one for one in messages if not one[0].closed]))
        self.wake()

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle of an event, perhaps after a stop."""
        self._splitter.reader.left(holder)

    def close(self) -> None:
        """Hand out nothing more."""
        self.closed = True
        self.wake()


class Single:
    """A portion of one message: the next one may be of another partition."""

    __slots__ = ("ledger", "pending")

    def __init__(self, ledger: Any, message: Any) -> None:
        self.ledger = ledger
        self.pending = iter((message,))


class Splitter:
    """Puts the messages of a reader into lanes by their keys; messages without one in turn.

    It is a holder of that reader: of a partition that goes it gives back what it has
    above the last event that was begun, and what is below is finished.
    """

    def __init__(self, reader: Any, lanes: int) -> None:
        self.reader = reader
        self.room = asyncio.Event()
        self.lanes = [Lane(self) for _ in range(lanes)]
        self._turn = 0
        self._top: dict[Any, int] = {}  # the highest offset begun, by partition
        self._held: tuple[Any, Any, Lane] | None = None  # a message whose lane is full
        reader.holders.add(self)

    def begun(self, message: Any) -> None:
        """Note that a message was handed to its actor."""
        top = self._top.get(message.tp, -1)
        if message.offset > top:
            self._top[message.tp] = message.offset

    def lane_of(self, key: Any) -> Lane:
        """Return the lane of a key; the same for as long as the app runs."""
        if key is None:
            self._turn = (self._turn + 1) % len(self.lanes)
            return self.lanes[self._turn]
        number = murmur2(key) if isinstance(key, bytes) else hash(key)
        return self.lanes[(number & 0x7FFFFFFF) % len(self.lanes)]

    async def run(self) -> None:
        """Split until the reader is closed."""
        reader = self.reader
        while (portion := await reader.portion()) is not None:
            for message in portion.pending:
                lane = self.lane_of(message.key)
                if len(lane.queue) < DEPTH or await self._room_in(lane, portion.ledger, message):
                    lane.put(portion.ledger, message)
            await asyncio.sleep(0)
        self.close()

    async def _room_in(self, lane: Lane, ledger: Any, message: Any) -> bool:
        """Wait until a lane has room; False if the message's partition went meanwhile."""
        held = self._held = ledger, message, lane
        while self._held is held and len(lane.queue) >= DEPTH:
            self.room.clear()
            await self.room.wait()
        still_ours = self._held is held
        self._held = None
        return still_ours

    def release(self, tp: Any) -> None:
        """Give back what nobody needs to finish, of a partition that goes."""
        above = self._top.get(tp, -1)
        gone = []
        for lane in self.lanes:
            for holder in list(lane.holders):
                holder.release(tp)
            kept = deque(one for one in lane.queue if one[1].tp != tp or one[1].offset <= above)
            gone += [one for one in lane.queue if one[1].tp == tp and one[1].offset > above]
            lane.queue = kept
        if self._held is not None and self._held[1].tp == tp:
            ledger, message, lane = self._held
            self._held = None
            if message.offset > above:
                gone.append((ledger, message))
            else:
                lane.put(ledger, message)
        self.room.set()
        if gone:
            ledger, first = min(gone, key=lambda one: one[1].offset)
            ledger.cut(first.offset)

    def close(self) -> None:
        """End every lane."""
        for lane in self.lanes:
            lane.close()
