"""Batches on their way from the fetcher to those who read them.

One fetched batch is shared: every reader of its topic gets the same `SharedBatch`,
in an `Inbox` per partition. A reader works on one `Portion` at a time, the
messages of one batch; the concurrent actors of an agent share it and take
turns message by message.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import length_hint
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

from faustc.engine.ledger import Ledger
from faustc.exceptions import KafkaError
from faustc.types import NamePattern, TopicPartition

__all__ = ["Fault", "Inbox", "Portion", "Reader", "SharedBatch"]


class BatchOfMessages(Protocol):
    """What a fetched batch has to offer."""

    @property
    def next_offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def messages(self) -> list[Any]: ...


class SharedBatch:
    """One batch, parsed once however many readers it has."""

    __slots__ = ("_batch", "_messages", "_readers", "count", "next_offset", "size_bytes", "tp")

    def __init__(self, tp: TopicPartition, batch: BatchOfMessages, readers: int) -> None:
        self.tp = tp
        self.next_offset = batch.next_offset
        self.size_bytes = batch.size_bytes
        self.count = len(batch)
        self._batch = batch
        self._readers = readers
        self._messages: list[Any] | None = None

    def messages(self) -> list[Any]:
        """Return the messages, in a list that is the caller's to empty."""
        self._readers -= 1
        if self._messages is None:
            messages = self._batch.messages()
            if self._readers > 0:
                self._messages = messages
                return messages.copy()
            return messages
        return self._messages if self._readers <= 0 else self._messages.copy()


class Portion:
    """The messages a reader is at: part of one batch, with the ledger they are acknowledged to.

    `pending` is one iterator for all actors that share the reader, so each
    message goes to exactly one of them.
    """

    __slots__ = ("_messages", "ledger", "pending", "tp")

    def __init__(self, tp: TopicPartition, messages: list[Any], ledger: Ledger) -> None:
        self.tp = tp
        self.ledger = ledger
        self._messages = messages
        self.pending: Iterator[Any] = iter(messages)

    @property
    def left(self) -> int:
        """How many messages nobody has taken yet."""
        return length_hint(self.pending)

    def split(self) -> Portion:
        """Hand out no more here, and return what nobody took as a portion of its own."""
        left = self.left
        rest = self._messages[-left:] if left else []
        self._messages.clear()  # a list iterator sees it: actors stop at the next step
        return Portion(self.tp, rest, self.ledger)

    def close(self) -> None:
        """Hand out no more; what nobody took goes back to the ledger as never handed out."""
        left = self.left
        if left:
            self.ledger.cut(self._messages[-left].offset)
        # A list iterator sees that its list is empty: actors stop at the next step.
        self._messages.clear()


class Fault(NamedTuple):
    """An event that something failed on: its ledger, its message, and the reader it came from."""

    ledger: Any
    message: Any
    reader: Any


class Inbox:
    """Batches of one partition waiting for one reader, bounded in bytes (and in messages).

    The bound is where we stop asking for more, so it is passed by at most what
    one request brings.
    """

    __slots__ = (
        "_batches",
        "closed",
        "count",
        "done",
        "ledger",
        "max_bytes",
        "max_messages",
        "size_bytes",
        "tp",
    )

    def __init__(self, tp: TopicPartition, max_bytes: int, max_messages: int | None = None) -> None:
        self.tp = tp
        # Nobody takes anything any more. What comes is dropped, and since nothing of it is
        # ever handed out the ledger stays where it is, and the commits of the partition, too.
        self.closed = False
        self.max_bytes = max_bytes
        self.max_messages = max_messages
        self.size_bytes = 0
        self.count = 0
        self.ledger = Ledger()
        #: Runs of offsets that this reader was done with before: they are not handed out.
        self.done: Sequence[tuple[int, int]] = ()
        self._batches: deque[SharedBatch] = deque()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def has_room(self) -> bool:
        return self.size_bytes < self.max_bytes and (
            self.max_messages is None or self.count < self.max_messages
        )

    def put(self, batches: Iterable[SharedBatch]) -> None:
        """Queue batches, in the order of the log."""
        for batch in batches:
            self._batches.append(batch)
            self.size_bytes += batch.size_bytes
            self.count += batch.count

    @property
    def head(self) -> SharedBatch:
        """The batch that is opened next."""
        return self._batches[0]

    def take(self) -> Portion:
        """Open the next batch and note in the ledger that its messages are handed out.

        Raises CorruptFrame and UnsupportedCodec where it cannot be read; it is still the
        next one then.
        """
        messages = self._batches[0].messages()
        batch = self._remove_head()
        if self.done and messages:
            messages = _without(messages, self.done)
        self.ledger.hand_out(_offsets(messages), batch.next_offset)
        self.ledger.note(messages)
        return Portion(self.tp, messages, self.ledger)

    def skip(self) -> Portion:
        """Pass the next batch as if there were nothing in it."""
        self.ledger.hand_out((), self._remove_head().next_offset)
        return Portion(self.tp, [], self.ledger)

    def _remove_head(self) -> SharedBatch:
        batch = self._batches.popleft()
        self.size_bytes -= batch.size_bytes
        self.count -= batch.count
        return batch

    def clear(self) -> None:
        """Drop what waits; it was never handed out."""
        self._batches.clear()
        self.size_bytes = self.count = 0


def _without(messages: list[Any], done: Sequence[tuple[int, int]]) -> list[Any]:
    """Leave out the messages whose offsets are in one of these runs."""
    first, last = messages[0].offset, messages[-1].offset
    near = [run for run in done if run[0] <= last and run[1] > first]
    if not near:
        return messages
    return [m for m in messages if not any(a <= m.offset < end for a, end in near)]


def _offsets(messages: Sequence[Any]) -> Sequence[int]:
    if not messages:
        return ()
    first, last = messages[0].offset, messages[-1].offset
    if last - first + 1 == len(messages):
        return range(first, last + 1)
    return [message.offset for message in messages]


class Reader:
    """All that one agent, or one stream, reads: an inbox per partition, served in turn.

    Partitions come and go with the assignment. The actors of one agent share
    its reader.
    """

    def __init__(
        self,
        name: str,
        topics: Iterable[str],
        *,
        pattern: NamePattern | None = None,
        max_bytes: int = 1 << 20,
        max_messages: int | None = None,
        tracked: bool = True,
    ) -> None:
        self.name = name
        self.topics = frozenset(topics)
        self.pattern = pattern  # matched from the start of a topic's name, beside the topics
        self.max_bytes = max_bytes
        self.max_messages = max_messages
        self.tracked = tracked  # False: its acknowledgements move no committed offset
        self.closed = False
        self.patience_s = 0.0  # its events are in hand for so long without being stuck
        self.taken_total = 0  # messages of opened portions
        # Asked what to do with a batch whose records cannot be read; True: pass it.
        self.on_unreadable: Callable[[SharedBatch, KafkaError], bool] | None = None
        self.on_take: Callable[[int], None] | None = None  # told the size of each portion opened
        self.on_done: Callable[[float], None] | None = None  # told the seconds an event took
        self._opened = 0, 0.0  # how many messages the current portion had, and when
        self.new_ledger: Callable[[TopicPartition], Ledger] | None = None  # for ones that tell
        self.holders: WeakSet[Any] = WeakSet()  # streams that may have collected some
        self._returned: deque[Portion] = deque()
        self._stopped: set[TopicPartition] = set()
        self._inboxes: dict[TopicPartition, Inbox] = {}
        self._turns: deque[Inbox] = deque()  # inboxes that have something, in whose turn it is
        self._current: Portion | None = None
        self._thrown: deque[tuple[BaseException, Fault | None]] = deque()
        self.fault: Fault | None = None  # what was thrown is about this event
        self._ready = asyncio.Event()
        self._watchers: WeakSet[asyncio.Event] = WeakSet()

    def __repr__(self) -> str:
        what = sorted(self.topics) + ([] if self.pattern is None else [str(self.pattern)])
        return f"<Reader {self.name} of {', '.join(what)}>"

    def wants(self, topic: str) -> bool:
        """Say whether it reads a topic."""
        if topic in self.topics:
            return True
        return self.pattern is not None and self.pattern.match(topic) is not None

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        return frozenset(self._inboxes)

    def inbox(self, tp: TopicPartition) -> Inbox | None:
        """Return the inbox of a partition, None when it is not ours."""
        return self._inboxes.get(tp)

    def open(self, tp: TopicPartition) -> Inbox:
        """Begin to read a partition, from whatever is put first."""
        self._stopped.discard(tp)
        inbox = self._inboxes[tp] = Inbox(tp, self.max_bytes, self.max_messages)
        if self.new_ledger is not None:
            inbox.ledger = self.new_ledger(tp)
        inbox.closed = self.closed
        return inbox

    def stop(self, tp: TopicPartition) -> None:
        """Hand out no more of a partition; acknowledgements are still taken."""
        inbox = self._inboxes.get(tp)
        if inbox is None:
            return
        self._stopped.add(tp)
        inbox.clear()
        if inbox in self._turns:
            self._turns.remove(inbox)
        for holder in list(self.holders):
            holder.release(tp)
        for portion in [p for p in self._returned if p.tp == tp]:
            portion.close()
            self._returned.remove(portion)
        if self._current is not None and self._current.tp == tp:
            self._current.close()
            self._current = None

    def drop(self, tp: TopicPartition) -> None:
        """Forget a partition; a late acknowledgement lands on a closed ledger."""
        self.stop(tp)
        self._stopped.discard(tp)
        inbox = self._inboxes.pop(tp, None)
        if inbox is not None:
            inbox.ledger.close()

    def left(self, holder: Any) -> None:
        """Note that a stream was left in the middle of an event, perhaps after a stop."""
        for tp in self._stopped:
            holder.release(tp)

    def put(self, tp: TopicPartition, batches: Sequence[SharedBatch]) -> None:
        """Queue fetched batches of one partition."""
        inbox = self._inboxes[tp]
        if inbox.closed:
            return
        if not len(inbox):
            self._turns.append(inbox)
        inbox.put(batches)
        self._wake()

    def _wake(self) -> None:
        self._ready.set()
        for event in self._watchers:
            event.set()

    def watch(self, event: asyncio.Event) -> None:
        """Set an event, too, whenever there may be something new."""
        self._watchers.add(event)

    def throw(self, error: BaseException, fault: Fault | None = None) -> None:
        """Raise an error where somebody waits for the next message, before any that waits.

        fault is the event that it is about, if there is one.
        """
        self._thrown.append((error, fault))
        for portion in self._returned.copy():
            self._returned.append(portion.split())
            self._returned.popleft()
        if self._current is not None:
            self._current = self._current.split()
        self._wake()

    def stopped(self, tp: TopicPartition) -> bool:
        """Say whether nothing more of a partition is handed out."""
        return self.closed or tp in self._stopped

    def owns(self, ledger: Any) -> bool:
        """Say whether a ledger is that of one of our partitions."""
        return any(inbox.ledger is ledger for inbox in self._inboxes.values())

    def give_back(self, messages: Sequence[tuple[Ledger, Any]]) -> None:
        """Take back what was handed out and is not done: it comes again, before anything else.

        Once nothing more is handed out it is as if it never had been.
        """
        by_ledger: dict[int, tuple[Ledger, list[Any]]] = {}
        for ledger, message in messages:
            by_ledger.setdefault(id(ledger), (ledger, []))[1].append(message)
        for ledger, some in reversed(by_ledger.values()):
            if ledger.closed:
                continue
            tp = some[0].tp
            if self.stopped(tp):
                ledger.cut(min(message.offset for message in some))
            else:
                self._returned.appendleft(Portion(tp, some, ledger))
        self._wake()

    async def portion(self) -> Portion | None:
        """Return what is to be worked on next; None once the reader is closed.

        Raises what was thrown; `fault` then has the event it is about.
        """
        while not self.closed:
            portion = self.poll()
            if portion is not None:
                return portion
            self._ready.clear()
            await self._ready.wait()
        return None

    def poll(self) -> Portion | None:
        """Return what is to be worked on next, None if nothing is there; raises like `portion`."""
        if self._thrown:
            error, self.fault = self._thrown.popleft()
            raise error
        while self._returned:
            if self._returned[0].left:
                return self._returned[0]
            self._returned.popleft()
        current = self._current
        if current is not None:
            if current.left:
                return current
            self._current = None
            self._note_done()
        while self._turns:
            current = self._current = self._take(self._turns.popleft())
            if current is not None and current.left:
                return current
        return None

    def take_from(self, tp: TopicPartition) -> Portion | None:
        """Return the next messages of one partition, for who does not take them in turn.

        They are then that caller's, who closes the portion when the partition goes.
        """
        if self._thrown:
            self.poll()  # raises it
        for portion in [p for p in self._returned if p.tp == tp]:
            self._returned.remove(portion)
            if portion.left:
                return portion
        inbox = self._inboxes.get(tp)
        while inbox is not None and len(inbox):
            self._turns.remove(inbox)
            found = self._take(inbox)
            if found is not None and found.left:
                return found
        return None

    def _take(self, inbox: Inbox) -> Portion | None:
        try:
            portion = inbox.take()
        except KafkaError as error:
            if self.on_unreadable is None:
                # Its turn stays: without, nothing more of it would ever be handed out.
                self._turns.appendleft(inbox)
                raise
            if not self.on_unreadable(inbox.head, error):
                self.close()  # nothing is committed past it
                return None
            portion = inbox.skip()
        if len(inbox):
            self._turns.append(inbox)
        self.taken_total += portion.left
        self._opened = portion.left, time.monotonic()
        if self.on_take is not None:
            self.on_take(portion.left)
        return portion

    def _note_done(self) -> None:
        """Tell how long a portion took, per event: its last one is done."""
        count, since = self._opened
        if count and self.on_done is not None:
            self.on_done((time.monotonic() - since) / count)
        self._opened = 0, 0.0

    def close(self) -> None:
        """Wake whoever waits and hand out no more. Acknowledgements are still taken.

        Should its partitions stay ours, other readers of them go on, and nothing is
        committed that this one did not do.
        """
        self.closed = True
        for tp, inbox in list(self._inboxes.items()):
            inbox.closed = True
            self.stop(tp)
        self._wake()
