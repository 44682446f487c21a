"""Incremental fetches (KIP-227): what a consumer fetches is remembered, only changes travel."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

# Kafka's max.incremental.fetch.session.cache.slots.
MAX_SESSIONS = 1000
NO_SESSION = 0
FULL = 0
FINAL = -1
_LAST_EPOCH = 0x7FFFFFFF


class Key(NamedTuple):
    """A partition as the request names it: by topic name, or by id (as 16 bytes)."""

    topic: str | bytes
    partition: int


@dataclass(slots=True)
class Wanted:
    """What is to be fetched of a partition, and what was last told of it."""

    offset: int
    max_bytes: int
    leader_epoch: int = -1
    told: tuple[int, int, int] | None = None  # error, high watermark, log start


@dataclass(slots=True)
class FetchSession:
    """One consumer's partitions, in the order in which they are served next."""

    id: int
    epoch: int = 1
    wanted: OrderedDict[Key, Wanted] = field(default_factory=OrderedDict)

    def advance(self) -> None:
        """Expect the next request."""
        self.epoch = 1 if self.epoch == _LAST_EPOCH else self.epoch + 1


class FetchSessions:
    """The sessions of all consumers; the one that was idle longest makes room."""

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self) -> FetchSession:
        """Open a session under an id that nobody guesses."""
        session_id = secrets.randbelow(0x7FFFFFFE) + 1
        while session_id in self._sessions:
            session_id = secrets.randbelow(0x7FFFFFFE) + 1
        session = self._sessions[session_id] = FetchSession(session_id)
        while len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)
        return session

    def find(self, session_id: int) -> FetchSession | None:
        """Return a session and make it the last to be dropped; None if it is gone."""
        session = self._sessions.get(session_id)
        if session is not None:
            self._sessions.move_to_end(session_id)
        return session

    def end(self, session_id: int) -> None:
        """Forget a session."""
        self._sessions.pop(session_id, None)
