"""`agent.test_context()`: one agent by itself, fed by hand, without any broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

from faustc.agents import Agent
from faustc.asking import reply_topic, request
from faustc.channels import Channel, Feed
from faustc.clock import now_ms
from faustc.engine.nursery import Nursery
from faustc.events import Event, current_event
from faustc.exceptions import ImproperlyConfigured
from faustc.messages import LocalMessage, headers_list, timestamp_ms
from faustc.reqrep import ReqRepResponse, Request
from faustc.streams import Stream
from faustc.testing.strict import StrictLoop
from faustc.topics import Topic
from faustc.types import HeadersArg

__all__ = ["AgentTestWrapper"]

# How long an agent whose context ends may take to come to an end by itself.
END_S = 1.0


class _Hand:
    """Holds a message while it is decoded."""

    def __init__(self, message: Any) -> None:
        self.in_hand = message


class _Thrown:
    """Stands for a message at which the stream raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class TestChannel(Channel):
    """Gives an agent messages as the channel that it really reads would: with its types."""

    __test__ = False  # pytest collects classes by name

    def __init__(self, app: Any, original: Channel) -> None:
        super().__init__(app, name=original.name)
        self._original = original

    def message_decoders(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return those of the original."""
        return self._original.message_decoders()

    def decoders_for(
        self, reader: Any, envelopes: Any = None
    ) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return those of the original, which raise what was thrown."""
        decode_key, decode_value = self._original.decoders_for(reader, envelopes)

        def decode(value: Any) -> Any:
            if isinstance(value, _Thrown):
                raise value.error
            return decode_value(value)

        return decode_key, decode


class AgentTestWrapper(Agent):
    """A copy of an agent that reads what `put` gives it; `async with` starts and stops it.

    Values are serialized and read back as the agent's topic would have them, so a
    wrong model is found here, too. An exception of the agent is raised by the `put`
    whose event it was, and the agent goes on with the next event, as in a worker.

    results: what was yielded, by the offset of the event it was yielded for (the
    last, if there were several). errors: what was raised, likewise. replies: those to
    events that were put with reply_to, each with the name of where it would have gone.
    sent_offset and processed_offset: how many events were put, and how many the agent
    is done with.
    Leaving raises what reached the loop's exception handler.
    """

    #: Seconds that put waits for the agent to be done with an event.
    patience_s = 30.0

    def __init__(
        self, *args: Any, original_channel: Channel, channel: Channel | None = None, **options: Any
    ) -> None:
        app = options["app"]
        self._own_channel = channel is None
        if channel is None:
            channel = TestChannel(app, original_channel)
        elif isinstance(channel, Topic):
            raise ImproperlyConfigured("test_context(channel=...) takes a channel, not a topic")
        super().__init__(*args, channel=channel, **options)
        self.original_channel = original_channel
        self.results: dict[int, Any] = {}
        self.errors: dict[int, BaseException] = {}
        self.replies: list[tuple[str, ReqRepResponse]] = []
        self.sent_offset = 0
        self.processed_offset = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._thrown: set[int] = set()
        self._yielded: asyncio.Queue[Any] = asyncio.Queue()
        self._nursery: Nursery | None = None
        self._strict = StrictLoop()
        self._tasks: list[asyncio.Task[Any]] = []

    # -- life --------------------------------------------------------------------------

    async def __aenter__(self) -> AgentTestWrapper:
        self._strict.__enter__()
        self.app.tables.stand_alone()
        self._nursery = Nursery(f"test of {self.name}", self._crashed)
        for name, actor in self.actors():
            self._tasks.append(self._nursery.spawn(actor, name))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> None:
        self.close()
        self.app.tables.stood_alone()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_S)
        nursery, self._nursery = self._nursery, None
        assert nursery is not None
        await nursery.close()
        self._crashed(RuntimeError(f"the test context of {self.name} has ended"))
        self._strict.__exit__(kind, exc, traceback)

    def open(self) -> Feed:
        """Return what its actors read from."""
        if self._reader is None:
            self._reader = self.channel.open_feed()
            self._reader.on_ack = self._done
        assert isinstance(self._reader, Feed)
        return self._reader

    # -- feeding -----------------------------------------------------------------------

    async def put(
        self,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        *,
        reply_to: Any = None,
        correlation_id: str | None = None,
        wait: bool = True,
    ) -> Event:
        """Give the agent an event and return it, once the agent is done with it.

        Done is when its body came back for the next one, whether it yielded
        anything or not, or when a filter dropped it. timestamp is in seconds, by
        default now. With reply_to it is a request, and what is yielded for it goes to
        `replies`. Raises what the agent raised, or TimeoutError; with wait=False
        neither.
        """
        if reply_to is not None:
            correlation_id = correlation_id or str(uuid4())
            value, headers = request(
                self, value, headers, reply_topic(self.app, reply_to), correlation_id
            )
        if isinstance(self.original_channel, Topic):
            await self.original_channel.schema.ready()
        raw_key, raw_value, pairs = self._encode(
            key, value, headers_list(headers), key_serializer, value_serializer
        )
        message = self.to_message(
            raw_key, raw_value, partition=partition, timestamp=timestamp, headers=pairs
        )
        hand = _Hand(message)
        decode_key, decode_value = self.channel.decoders_for(hand, self.envelopes)
        event: Event = self.app.create_event(
            decode_key(raw_key), decode_value(raw_value), message.headers, message
        )
        await self._feed(message, wait)
        return event

    async def throw(self, exc: BaseException) -> None:
        """Raise an exception where the agent waits for its next event.

        Returns when the agent has dealt with it; if it let it through, that is in
        `errors`, and on_error was told.
        """
        if not self._own_channel:
            raise ImproperlyConfigured("throw() needs the test context's own channel")
        message = self.to_message(None, _Thrown(exc))
        self._thrown.add(message.offset)
        await self._feed(message, wait=True)

    async def crash_test_agent(self, exc: BaseException) -> None:
        """Fail every put that waits."""
        self._crashed(exc)

    def to_message(
        self,
        key: Any,
        value: Any,
        *,
        partition: int | None = None,
        offset: int | None = None,
        timestamp: float | None = None,
        timestamp_type: int = 0,
        headers: HeadersArg = None,
    ) -> LocalMessage:
        """Return a message as the agent's channel would bring it; timestamp is in seconds."""
        return LocalMessage(
            self.original_channel.name,
            partition or 0,
            self.sent_offset if offset is None else offset,
            now_ms() if timestamp is None else timestamp_ms(timestamp) or 0,
            timestamp_type,
            key,
            value,
            tuple(headers_list(headers) or ()),
        )

    def _encode(
        self, key: Any, value: Any, headers: Any, key_serializer: Any, value_serializer: Any
    ) -> tuple[Any, Any, Any]:
        original = self.original_channel
        if not self._own_channel or not isinstance(original, Topic):
            return key, value, headers
        return original.encode(
            key, value, headers, key_serializer=key_serializer, value_serializer=value_serializer
        )

    async def _feed(self, message: LocalMessage, wait: bool) -> None:
        if self._nursery is None:
            raise RuntimeError(f"agent {self.name}: put is for use within `async with`")
        feed = self.open()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent_offset += 1
        self._waiting[message.offset] = waiter
        feed.put_nowait(message)
        if not wait:
            waiter.add_done_callback(_look_at)
            return
        try:
            async with asyncio.timeout(self.patience_s):
                await waiter
        except TimeoutError as exc:
            raise TimeoutError(
                f"agent {self.name} is not done with the event at offset {message.offset} after "
                f"{self.patience_s:g} s; if it collects events or acknowledges them by hand, "
                "put with wait=False"
            ) from exc

    def _spawn(self, work: Any, name: str) -> Any:
        assert self._nursery is not None
        return self._nursery.spawn(work, name)

    # -- what the agent does -----------------------------------------------------------

    async def _to_sinks(self, value: Any) -> None:
        event = current_event()
        offset = event.message.offset if event is not None else self.sent_offset - 1
        self.results[offset] = value
        self._yielded.put_nowait(value)
        await super()._to_sinks(value)

    async def _report(self, stream: Stream[Any], exc: Exception) -> None:
        message = stream.in_hand
        if message is not None:
            self.errors[message.offset] = exc
        await super()._report(stream, exc)
        if message is None:
            self._crashed(exc)

    async def send_reply(self, request: Request, response: ReqRepResponse) -> None:
        """Keep a reply: there is nowhere to send it."""
        self.replies.append((request.reply_to, response))

    def _done(self, offset: int) -> None:
        waiter = self._waiting.pop(offset, None)
        if waiter is None:
            return
        self.processed_offset += 1
        error = self.errors.get(offset)
        if waiter.done():
            return  # whoever put it has given up
        if error is None or offset in self._thrown:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    def _crashed(self, exc: BaseException) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            if not waiter.done():
                waiter.set_exception(exc)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over what the agent yields, for as long as the context lasts."""
        while self._nursery is not None:
            yield await self._yielded.get()


def _look_at(waiter: asyncio.Future[None]) -> None:
    """Let nobody complain that an exception was not looked at: it is in `errors`."""
    if not waiter.cancelled():
        waiter.exception()


def wrap(
    agent: Agent,
    channel: Channel | None = None,
    supervisor_strategy: Any = None,
    on_error: Callable[[Agent, BaseException], Any] | None = None,
    **options: Any,
) -> AgentTestWrapper:
    """Make the wrapper that `agent.test_context` returns."""
    if on_error is not None:
        options["on_error"] = on_error
    wrapper: AgentTestWrapper = agent.clone(
        cls=AgentTestWrapper,
        channel=channel,
        original_channel=agent.channel,
        supervisor_strategy=supervisor_strategy,
        **options,
    )
    return wrapper
