"""One call of an agent's function by hand: `agent()`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any

__all__ = ["ActorRef", "AsyncIterableActor", "AwaitableActor", "actor_ref"]


class ActorRef:
    """An agent's function called with a stream of its own; nobody restarts it.

    it is what the function returned. The events are acknowledged as its body goes on.
    """

    def __init__(
        self,
        agent: Any,
        stream: Any,
        it: Any,
        index: int | None = None,
        active_partitions: Any = None,
    ) -> None:
        self.agent = agent
        self.stream = stream
        self.it = it
        self.index = index
        self.active_partitions = active_partitions

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.agent.name}>"

    async def stop(self) -> None:
        """Read no more: the stream ends."""
        await self.stream.stop()


class AsyncIterableActor(ActorRef):
    """That of a function which yields: iterate over it for what it yields."""

    def __aiter__(self) -> AsyncIterator[Any]:
        values: AsyncIterator[Any] = self.it.__aiter__()
        return values


class AwaitableActor(ActorRef):
    """That of a function which does not yield: await it to run it to its end."""

    def __await__(self) -> Generator[Any, None, Any]:
        result: Any = yield from self.it.__await__()
        return result


def actor_ref(agent: Any, stream: Any, index: int | None, active_partitions: Any) -> ActorRef:
    """Call the function of an agent with a stream."""
    it = agent.started(stream)
    cls = AsyncIterableActor if isinstance(it, AsyncGenerator) else AwaitableActor
    return cls(agent, stream, it, index, active_partitions)
