"""Calling agents: requests go to their channel, replies come to a topic of ours."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any
from uuid import uuid4

from faustc.channels import Channel
from faustc.exceptions import ImproperlyConfigured
from faustc.messages import headers_list
from faustc.replies import BarrierState, ReplyPromise
from faustc.reqrep import enveloped, request_headers
from faustc.topics import Topic

__all__ = ["ask", "ask_nowait", "kvjoin", "kvmap", "pairs", "reply_topic", "send"]

logger = logging.getLogger(__name__)

# How many requests of one map or join wait for their replies at a time: each costs memory,
# at the agents as well, and agents do not work faster for having more of them in their queue.
MAX_WAITING = 10_000


def reply_topic(app: Any, reply_to: Any) -> str:
    """Return the name of the topic that an agent, topic, channel or name means.

    A channel in memory has none: replies to it come by the app's own reply topic.
    """
    if reply_to is None or reply_to == "":
        return str(app.conf.reply_to)
    if isinstance(reply_to, str):
        return reply_to
    channel = getattr(reply_to, "channel", reply_to)  # an agent's
    if isinstance(channel, Topic):
        return channel.get_topic_name()
    if isinstance(channel, Channel):
        return str(app.conf.reply_to)
    raise ImproperlyConfigured(
        f"reply_to is an agent, a topic, a channel or a name, not {channel!r}"
    )


def _in_memory(reply_to: Any) -> Channel | None:
    channel = getattr(reply_to, "channel", reply_to)
    return channel if isinstance(channel, Channel) and not isinstance(channel, Topic) else None


def request(
    agent: Any,
    value: Any,
    headers: Any,
    topic: str,
    correlation_id: str,
    *,
    takes_errors: bool = False,
) -> tuple[Any, Any]:
    """Return value and headers of a request."""
    ours = request_headers(topic, correlation_id, takes_errors=takes_errors)
    if not agent.use_reply_headers:
        value, ours = enveloped(value, topic, correlation_id), ours[2:]
    return value, [*(headers_list(headers) or ()), *ours]


async def send(
    agent: Any,
    value: Any,
    headers: Any,
    reply_to: Any,
    correlation_id: str | None,
    **options: Any,
) -> Any:
    """Send an agent a message; with reply_to, one that it replies to."""
    if reply_to:
        correlation_id = correlation_id or str(uuid4())
        topic = reply_topic(agent.app, reply_to)
        channel = _in_memory(reply_to)
        if channel is not None:
            await agent.app.runner.replies.forward(correlation_id, channel)
        value, headers = request(agent, value, headers, topic, correlation_id)
    return await agent.channel.send(value=value, headers=headers, **options)


async def ask_nowait(
    agent: Any,
    value: Any = None,
    *,
    headers: Any = None,
    reply_to: Any = None,
    correlation_id: str | None = None,
    **options: Any,
) -> ReplyPromise:
    """Send a request and return the promise of its reply."""
    _warn_if_mute(agent)
    replies = agent.app.runner.replies
    correlation_id = correlation_id or str(uuid4())
    promise = ReplyPromise(reply_topic(agent.app, reply_to), correlation_id)
    channel = _in_memory(reply_to)
    if channel is not None:
        await replies.forward(correlation_id, channel)
    # Before it is sent: the reply may be quicker than we are.
    await replies.add(correlation_id, promise)
    promise.add_done_callback(
        lambda done: replies.forget(correlation_id) if done.cancelled() else None
    )
    try:
        value, headers = request(
            agent, value, headers, promise.reply_to, correlation_id, takes_errors=True
        )
        await agent.channel.send(value=value, headers=headers, **options)
    except BaseException:
        promise.cancel()
        raise
    return promise


async def ask(agent: Any, value: Any = None, **options: Any) -> Any:
    """Send a request and return the reply."""
    return await (await ask_nowait(agent, value, force=True, **options))


async def pairs(key: Any, values: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterator[Any]:
    """Give every value the same key."""
    async for value in _each(values):
        yield key, value


def _each(values: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterable[Any]:
    return values if isinstance(values, AsyncIterable) else _asynchronous(values)


async def _asynchronous(values: Iterable[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


class _Requests:
    """The requests of one map or join, sent while replies to earlier ones come in."""

    def __init__(self, agent: Any, reply_to: Any) -> None:
        _warn_if_mute(agent)
        self.agent = agent
        self.replies = agent.app.runner.replies
        self.barrier = BarrierState(reply_topic(agent.app, reply_to))
        self.ids: list[str] = []

    async def send(self, key: Any, value: Any) -> None:
        """Send one more."""
        agent, barrier = self.agent, self.barrier
        promise = ReplyPromise(barrier.reply_to, str(uuid4()))
        correlation_id = promise.correlation_id
        barrier.add(promise)
        self.ids.append(correlation_id)
        await self.replies.add(correlation_id, barrier)
        value, headers = request(
            agent, value, None, barrier.reply_to, correlation_id, takes_errors=True
        )
        await agent.channel.send(key=key, value=value, headers=headers)

    @property
    def many(self) -> bool:
        """Whether so many wait for their replies that it is better not to send more now."""
        return self.barrier.size - self.barrier.fulfilled >= MAX_WAITING

    def close(self) -> None:
        """Wait for no more replies."""
        self.barrier.cancel()
        if self.barrier.fulfilled < self.barrier.size:
            self.replies.forget(*self.ids)


async def kvmap(agent: Any, items: Any, reply_to: Any = None) -> AsyncIterator[Any]:
    """Yield the replies to many requests as they come."""
    requests = _Requests(agent, reply_to)
    barrier = requests.barrier
    try:
        async for key, value in _each(items):
            await requests.send(key, value)
            while barrier.ready or requests.many:
                yield (await barrier.get()).value
        barrier.finalize()
        async for _, result in barrier.iterate():
            yield result
    finally:
        requests.close()


async def kvjoin(agent: Any, items: Any, reply_to: Any = None) -> list[Any]:
    """Return the replies to many requests, in the order of the requests."""
    requests = _Requests(agent, reply_to)
    barrier = requests.barrier
    found: dict[str, Any] = {}
    try:
        async for key, value in _each(items):
            await requests.send(key, value)
            while barrier.ready or requests.many:
                correlation_id, result = await barrier.get()
                found[correlation_id] = result
        barrier.finalize()
        async for correlation_id, result in barrier.iterate():
            found[correlation_id] = result
    finally:
        requests.close()
    return [found[correlation_id] for correlation_id in requests.ids]


def _warn_if_mute(agent: Any) -> None:
    """Say so once if an agent yields nothing, so that nobody would ever answer."""
    if inspect.iscoroutinefunction(agent.fun) and not agent.mute_warned:
        agent.mute_warned = True
        logger.warning(
            "Agent %s is asked for a reply, but its function does not yield, as it stands here; "
            "use cast() or send() where no reply is wanted",
            agent.name,
        )
