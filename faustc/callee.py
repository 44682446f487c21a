"""What can be done to an agent from outside: send it something, ask it, ask it many things."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any

from faustc import asking
from faustc.replies import ReplyPromise
from faustc.types import HeadersArg

__all__ = ["Callee"]


class Callee:
    """The calls of an agent; see faustc.asking for how they travel."""

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        callback: Callable[[Any], Any] | None = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
        force: bool = False,
        **options: Any,
    ) -> Any:
        """Send a message to its channel; see Topic.send.

        With reply_to (an agent, topic, channel, or a topic's name) what it yields for
        the message is sent there, each as a ReqRepResponse.
        """
        return await asking.send(
            self,
            value,
            headers,
            reply_to,
            correlation_id,
            key=key,
            partition=partition,
            timestamp=timestamp,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            callback=callback,
            force=force,
            **options,
        )

    async def cast(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
    ) -> None:
        """Send a message to its channel and expect no answer."""
        await self.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers
        )

    async def ask(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
    ) -> Any:
        """Send it a value; return the first value that it yields for it.

        May be called on any loop, of an app that is started or not. The reply comes
        to the app's reply topic, or to that of reply_to. Raises RequestFailed if the
        agent raised, NoReply if the app stops first or reply_expires passes; to wait for
        less than that, put it into asyncio.timeout().
        """
        return await asking.ask(
            self,
            value,
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            reply_to=reply_to,
            correlation_id=correlation_id,
        )

    async def ask_nowait(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
        force: bool = False,
    ) -> ReplyPromise:
        """Like ask, but return once it is sent, with a promise to await for the reply."""
        return await asking.ask_nowait(
            self,
            value,
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            reply_to=reply_to,
            correlation_id=correlation_id,
            force=force,
        )

    def map(
        self,
        values: AsyncIterable[Any] | Iterable[Any],
        key: Any = None,
        reply_to: Any = None,
    ) -> AsyncIterator[Any]:
        """Ask for each of many values; iterate over the replies as they come."""
        return asking.kvmap(self, asking.pairs(key, values), reply_to)

    def kvmap(
        self,
        items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]],
        reply_to: Any = None,
    ) -> AsyncIterator[Any]:
        """Ask for each of many pairs of key and value; iterate over the replies as they come."""
        return asking.kvmap(self, items, reply_to)

    async def join(
        self,
        values: AsyncIterable[Any] | Iterable[Any],
        key: Any = None,
        reply_to: Any = None,
    ) -> list[Any]:
        """Ask for each of many values; return the replies in the order of the values."""
        return await asking.kvjoin(self, asking.pairs(key, values), reply_to)

    async def kvjoin(
        self,
        items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]],
        reply_to: Any = None,
    ) -> list[Any]:
        """Ask for each of many pairs of key and value; return the replies in that order."""
        return await asking.kvjoin(self, items, reply_to)
