"""A producer that tells of each message before it sends it, for who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

__all__ = ["AnnouncingProducer"]

#: Told the key, value, partition, timestamp in seconds, and a list of headers it may change.
Announce = Callable[..., None]


class AnnouncingProducer:
    """Stands before a producer while somebody listens; without one it is not there at all."""

    def __init__(self, producer: Any, announce: Announce) -> None:
        self.producer = producer
        self._announce = announce

    def __getattr__(self, name: str) -> Any:
        return getattr(self.producer, name)

    def _headers(
        self, key: bytes | None, value: bytes | None, options: dict[str, Any]
    ) -> list[Any]:
        given = options.get("headers") or ()
        headers = list(given.items() if isinstance(given, Mapping) else given)
        timestamp_ms = options.get("timestamp_ms")
        self._announce(
            key=key,
            value=value,
            partition=options.get("partition"),
            timestamp=None if timestamp_ms is None else timestamp_ms / 1000,
            headers=headers,
        )
        return headers

    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any
    ) -> Any:
        """Tell of a message, then send it with the headers that came of it."""
        options["headers"] = self._headers(key, value, options)
        return await self.producer.send(topic, value, key=key, **options)

    async def send_many(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        **options: Any,
    ) -> Any:
        """Tell of each and send it by itself: each may get headers of its own."""
        if keys is not None and len(keys) != len(values):
            raise ValueError(f"{len(values)} values, {len(keys)} keys")
        sent = []
        for number, value in enumerate(values):
            key = None if keys is None else keys[number]
            sent.append(await self.send(topic, value, key, **options))
        return _All(sent)


class _All:
    """The promises of several sends; awaiting it gives the metadata of each."""

    def __init__(self, sent: Sequence[Any]) -> None:
        self._sent = sent

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._wait().__await__()

    async def _wait(self) -> list[Any]:
        return list(await asyncio.gather(*map(_awaited, self._sent)))


async def _awaited(promise: Any) -> Any:
    return await promise
