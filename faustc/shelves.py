"""What an agent's function opened is there when the function is started again.

A stream that a function makes reads from where it was made. Were it lost with the
function, a failure would skip whatever had been fetched for it; so its reader is kept
and given to the next stream over the same channel.
"""

from __future__ import annotations

import contextvars
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Shelf", "Spawn", "current_shelf"]

Spawn = Callable[[Coroutine[Any, Any, Any], str], Any]


class Shelf:
    """Keeps the readers of the streams that one actor's function makes.

    relays are those that forward for the agent, by what they do: all its actors share
    them. spawn starts a task that lasts as long as the agent.
    """

    def __init__(self, spawn: Spawn, relays: dict[Any, Any]) -> None:
        self.spawn = spawn
        self.relays = relays
        self._joins: defaultdict[Any, deque[Any]] = defaultdict(deque)  # not in use
        self._joins_used: list[tuple[Any, Any]] = []
        self._pinned: list[Any] = []
        self._idle: defaultdict[str, deque[tuple[Any, Any]]] = defaultdict(
            deque
        )  # by label of channel
        self._used: list[tuple[weakref.finalize[Any, Any], weakref.ref[Any], Any, Any]] = []

    def take(self, channel: Any) -> Any:
        """Return a reader of a channel that nobody uses any more, None if there is none."""
        idle = self._idle[channel.label]
        while idle:
            _, reader = idle.popleft()
            if not reader.closed:
                return reader
        return None

    def keep(self, stream: Any, channel: Any, reader: Any) -> None:
        """Keep a reader that a stream uses, for when the stream is gone."""
        # Called by the garbage collector, on any thread.
        gone = weakref.finalize(stream, self._idle[channel.label].append, (channel, reader))
        gone.atexit = False
        self._used = [one for one in self._used if one[0].alive]
        self._used.append((gone, weakref.ref(stream), channel, reader))

    def join(self, key: Any) -> Any:
        """Return what the function joined in its last run, with all that waits there."""
        idle = self._joins[key]
        if not idle:
            return None
        self._joins_used.append((key, idle[0]))
        return idle.popleft()

    def keep_join(self, key: Any, joining: Any, streams: list[Any]) -> None:
        """Keep a join for the next run of the function; its streams keep their readers."""
        self._joins_used.append((key, joining))
        self._pinned += streams

    def put_back(self) -> None:
        """Take back every reader: the function has ended, whoever still holds its streams."""
        for key, joining in self._joins_used:
            self._joins[key].append(joining)
        self._joins_used.clear()
        used, self._used = self._used, []
        for gone, reference, channel, reader in used:
            stream = reference()
            if any(stream is pinned for pinned in self._pinned):
                self._used.append((gone, reference, channel, reader))
                continue
            if gone.detach() is not None:
                self._idle[channel.label].append((channel, reader))
            if stream is not None and stream._reader is not None:
                stream.hand_back()

    def close(self, close_reader: Callable[[Any, Any], None]) -> None:
        """Let go of everything; the function is not started again."""
        for gone, _, channel, reader in self._used:
            gone.detach()
            close_reader(channel, reader)
        for idle in self._idle.values():
            for channel, reader in idle:
                close_reader(channel, reader)
        self._used.clear()
        self._idle.clear()


current_shelf: contextvars.ContextVar[Shelf | None] = contextvars.ContextVar(
    "current_shelf", default=None
)
