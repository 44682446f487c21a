"""Waiting for the replies of agents: promises, barriers, and the app's one reader of replies."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

from faustc.events import current_stream
from faustc.exceptions import DecodeError, NoReply, RequestFailed
from faustc.reqrep import ReqRepError, ReqRepResponse, value_in
from faustc.types import TopicPartition

__all__ = ["BarrierState", "Forward", "ReplyConsumer", "ReplyPromise", "ReplyTuple"]

logger = logging.getLogger(__name__)


class ReplyTuple(NamedTuple):
    """One reply of those that a barrier waits for."""

    correlation_id: str
    value: Any


class ReplyPromise(asyncio.Future[Any]):
    """What an agent will have yielded for one request; await it on the loop it was made on.

    Raises RequestFailed if the agent raised, NoReply when there will be none.
    """

    def __init__(self, reply_to: str, correlation_id: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.reply_to = reply_to
        self.correlation_id = correlation_id
        self._check()

    def _check(self) -> None:
        if not self.correlation_id:
            raise ValueError("a ReplyPromise needs the correlation_id of its request")

    def fulfill(self, correlation_id: str, value: Any) -> None:
        """Take the reply, if there was none before."""
        if correlation_id == self.correlation_id and not self.done():
            self.set_result(value)

    def fail(self, correlation_id: str, error: BaseException) -> None:
        """Raise an error where the promise is awaited, if there was no reply before."""
        if not self.done():
            self.set_exception(error)
            self.exception()  # one that nobody awaits is no news for the loop


class BarrierState(ReplyPromise):
    """Done when every promise that was added has its reply, in any order.

    Iterate over the replies as they come, with `iterate`; or await it, for True.
    """

    def __init__(self, reply_to: str, correlation_id: str = "", **options: Any) -> None:
        super().__init__(reply_to, correlation_id, **options)
        #: How many promises were added.
        self.size = 0
        #: How many there are in all; 0 while more may be added.
        self.total = 0
        #: How many have their reply.
        self.fulfilled = 0
        #: The promises that were added.
        self.pending: set[ReplyPromise] = set()
        self._open: set[str] = set()
        self._final = False
        self._results: deque[ReplyTuple] = deque()
        self._came: asyncio.Event = asyncio.Event()

    def _check(self) -> None:
        pass  # the promises have the ids

    def add(self, promise: ReplyPromise) -> None:
        """Wait for one more; before `finalize`."""
        if self._final:
            raise RuntimeError("the barrier is final, and takes no more promises")
        self.pending.add(promise)
        self._open.add(promise.correlation_id)
        self.size += 1

    def finalize(self) -> None:
        """Take no more: it is done once those added are."""
        self._final = True
        self.total = self.size
        self._look()

    def fulfill(self, correlation_id: str, value: Any) -> None:
        """Take the reply to one of the requests; further ones to the same are dropped."""
        if correlation_id in self._open and not self.done():
            self._open.discard(correlation_id)
            self.fulfilled += 1
            self._results.append(ReplyTuple(correlation_id, value))
            self._came.set()
            self._look()

    def fail(self, correlation_id: str, error: BaseException) -> None:
        """Let the whole barrier fail by one of its requests."""
        super().fail(correlation_id, error)
        self._came.set()

    def _look(self) -> None:
        if self._final and self.fulfilled >= self.total and not self.done():
            self.set_result(True)
            self._came.set()

    @property
    def ready(self) -> bool:
        """Whether `get` would return, or raise, at once."""
        return bool(self._results) or self.done()

    def get_nowait(self) -> ReplyTuple:
        """Return the next reply; raises asyncio.QueueEmpty if none has come."""
        if not self._results:
            raise asyncio.QueueEmpty
        return self._results.popleft()

    async def get(self) -> ReplyTuple:
        """Return the next reply, waiting for it; raises what a request failed by.

        Raises asyncio.QueueEmpty if all were returned.
        """
        while not self._results and not self.done():
            self._came.clear()
            await self._came.wait()
        if not self._results:
            self.result()
        return self.get_nowait()

    async def iterate(self) -> AsyncIterator[ReplyTuple]:
        """Yield replies as they come, until all are there; raises what a request failed by."""
        while True:
            try:
                yield await self.get()
            except asyncio.QueueEmpty:
                return


class _Waiting(Protocol):
    """Somebody waits for replies to one request."""

    lasting: bool
    stream: Any  # that has the event in hand for which it waits; None if nobody's

    def replied(self, response: ReqRepResponse) -> None: ...
    def lost(self, correlation_id: str, error: BaseException) -> None: ...


class _Promised:
    """A promise waits, on the loop it was made on."""

    lasting = False

    def __init__(self, promise: ReplyPromise) -> None:
        self.promise = promise
        found = current_stream.get()
        self.stream = found() if found is not None else None

    def replied(self, response: ReqRepResponse) -> None:
        cid = response.correlation_id
        if isinstance(response, ReqRepError):
            self.lost(cid, _failure(response))
        else:
            self._tell(self.promise.fulfill, cid, value_in(response))

    def lost(self, correlation_id: str, error: BaseException) -> None:
        self._tell(self.promise.fail, correlation_id, error)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        loop = self.promise.get_loop()
        if loop is asyncio.get_running_loop():
            function(*args)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(function, *args)


class Forward:
    """A channel in memory waits: every reply goes there, for as long as replies are kept."""

    lasting = True

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stream: Any = None

    def replied(self, response: ReqRepResponse) -> None:
        """Hand on a reply as it is."""
        self.channel.send_soon(key=response.key, value=response)

    def lost(self, correlation_id: str, error: BaseException) -> None:
        """Do nothing: there may have been replies, and nobody waits for more."""


class ReplyConsumer:
    """Brings replies to those who wait for them. One for each app, on the app's loop.

    A reply topic is read from the first request on whose replies go there, by
    this process alone. A wait ends with the reply, with its cancellation, when
    the app stops, or after `reply_expires`: by then the topic has dropped the reply.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._waiting: dict[str, tuple[float, list[_Waiting]]] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._open: set[str] = set()  # topics that are read
        self._opening = asyncio.Lock()

    def __len__(self) -> int:
        """Return to how many requests replies are waited for."""
        return len(self._waiting)

    # -- waiting -----------------------------------------------------------------------

    async def start(self) -> None:
        """Read the app's own reply topic from now on."""
        await self._read(self.app.conf.reply_to)

    async def add(self, correlation_id: str, promise: ReplyPromise) -> None:
        """Fulfill a promise (or barrier) when the reply comes; call it before sending.

        From any loop. Raises what connecting raises, and what creating the topic does.
        """
        await self.app.runner.home.run(
            self._add, correlation_id, promise.reply_to, _Promised(promise)
        )

    async def forward(self, correlation_id: str, channel: Any) -> None:
        """Hand replies that come to the app's own reply topic on to a channel."""
        conf = self.app.conf
        await self.app.runner.home.run(self._add, correlation_id, conf.reply_to, Forward(channel))

    async def _add(self, correlation_id: str, topic: str, waiting: _Waiting) -> None:
        if topic not in self._open:
            await self._read(topic)
        loop = asyncio.get_running_loop()
        until = loop.time() + self.app.conf.reply_expires
        self._waiting.setdefault(correlation_id, (until, []))[1].append(waiting)
        if self._timer is None:
            self._timer = loop.call_at(until, self._expire)

    def forget(self, *correlation_ids: str) -> None:
        """Wait no more, from any thread: whoever waited has gone."""
        loop = self.app.runner.home.loop
        if loop is not None and loop.is_running():
            self.app.runner.home.soon(self._forget, correlation_ids)

    def _forget(self, correlation_ids: Sequence[str]) -> None:
        for correlation_id in correlation_ids:
            self._waiting.pop(correlation_id, None)

    def _expire(self) -> None:
        """Give up those who waited for so long that the topic has dropped their replies."""
        loop = asyncio.get_running_loop()
        self._timer = None
        expires_s = self.app.conf.reply_expires
        while self._waiting:
            correlation_id, (until, _) = next(iter(self._waiting.items()))
            if until > loop.time():
                self._timer = loop.call_at(until, self._expire)
                break
            self._lose(correlation_id, f"within {expires_s:g} s (reply_expires)")

    def _lose(self, correlation_id: str, why: str) -> None:
        _, waiting = self._waiting.pop(correlation_id)
        error = NoReply(f"no reply to request {correlation_id} {why}")
        for one in waiting:
            one.lost(correlation_id, error)

    def give_up(self, partitions: Collection[TopicPartition] | None) -> None:
        """Hold up the end of partitions (None: of all) no longer for events that wait for replies.

        Who would reply may be waiting for the same end: such an event is given up, and
        comes again to the next owner of its partition.
        """
        streams = {one.stream for _, waiting in self._waiting.values() for one in waiting}
        for stream in streams - {None}:
            for ledger, message in _in_hand(stream):
                if partitions is None or message.tp in partitions:
                    logger.info(
                        "Offset %d of %s/%d waits for a reply while its partition goes; it comes "
                        "again", message.offset, message.topic, message.partition,
                    )  # fmt: skip
                    ledger.cut(message.offset)

    def close(self) -> None:
        """Give up all who wait; called on the app's loop, when the app stops."""
        while self._waiting:
            self._lose(next(iter(self._waiting)), f"before app {self.app.conf.id} stopped")
        self.reset()

    def reset(self) -> None:
        """Forget everything that lived on the app's loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._waiting = {}
        self._open = set()
        self._opening = asyncio.Lock()

    # -- reading -----------------------------------------------------------------------

    async def _read(self, topic: str) -> None:
        async with self._opening:
            if topic in self._open:
                return
            described = self.app.topic(
                topic,
                partitions=1,
                deleting=True,
                retention=self.app.conf.reply_expires,
                value_type=ReqRepResponse,
            )
            engine = await self.app.runner.sending_engine()
            [spec] = described.specs()
            await engine.open_mailbox(spec, self._delivery(described))
            self._open.add(topic)

    def _delivery(self, topic: Any) -> Callable[[Sequence[Any]], None]:
        """Return what takes the messages of a reply topic."""
        decode = topic.message_decoders()[1]
        own = topic.name == self.app.conf.reply_to

        def deliver(messages: Sequence[Any]) -> None:
            for message in messages:
                try:
                    response = decode(message)
                except DecodeError as exc:
                    if own:  # in another topic there may be anything
                        self.app.runner.reply_undecodable(message, exc)
                    continue
                self._take(response)

        return deliver

    def _take(self, response: ReqRepResponse) -> None:
        found = self._waiting.get(response.correlation_id)
        if found is None:
            self.app.monitor.replies_dropped_total += 1  # late, repeated, or another's
            return
        _, waiting = found
        for one in waiting:
            one.replied(response)
        lasting = [one for one in waiting if one.lasting]
        if not lasting:
            del self._waiting[response.correlation_id]
        elif len(lasting) < len(waiting):
            waiting[:] = lasting


def _in_hand(holder: Any) -> list[tuple[Any, Any]]:
    """Return the events that a stream, or what stands for it in a task of its body, is at."""
    if hasattr(holder, "in_hand_with_ledgers"):
        return list(holder.in_hand_with_ledgers)
    event = holder.current_event
    # A task may live longer than its event.
    if event is None or getattr(event.ledger, "position", -1) > event.message.offset:
        return []
    return [(event.ledger, event.message)]


def _failure(response: ReqRepError) -> RequestFailed:
    told = response.value if isinstance(response.value, dict) else {}
    return RequestFailed(
        agent=str(told.get("agent", "?")),
        error_type=str(told.get("type", "?")),
        detail=str(told.get("detail", "")),
    )
