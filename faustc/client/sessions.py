"""What a broker remembers of our fetches, so that we send only what changes (KIP-227)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from faustc.client import codes
from faustc.types import TopicPartition

MAX_EPOCH = 0x7FFFFFFF
NO_SESSION = -1

# Codes for a whole answer after which the broker's memory and ours differ.
SESSION_ERRORS = frozenset(
    {
        codes.FETCH_SESSION_ID_NOT_FOUND,
        codes.INVALID_FETCH_SESSION_EPOCH,
        codes.FETCH_SESSION_TOPIC_ID_ERROR,
        codes.INCONSISTENT_TOPIC_ID,
        codes.UNKNOWN_TOPIC_ID,
    }
)

Parts = list[tuple[int, int, int, int]]


class Want(NamedTuple):
    """One partition to fetch: where from, how much, and in which leader's term."""

    topic_id: bytes
    leader_epoch: int
    fetch_offset: int
    max_bytes: int


class FetchPlan(NamedTuple):
    """What encode_fetch takes: the session, and the partitions that are new, changed or gone."""

    session_id: int
    session_epoch: int
    topics: list[tuple[str, bytes, Parts]]
    forgotten: list[tuple[str, bytes, list[int]]]


def sessionless(wants: Mapping[TopicPartition, Want]) -> FetchPlan:
    """Return a request for `wants` that the broker answers once and forgets."""
    return FetchSession().plan(wants, by_id=False)._replace(session_epoch=NO_SESSION)


class FetchSession:
    """The fetch session with one broker; must never see two requests at once.

    Epoch 0 asks for a new session and names every partition. Later requests
    name what changed; the broker answers for all it remembers. An answer that
    got lost leaves both sides unsure, so the next request starts over.
    """

    def __init__(self) -> None:
        self.id = 0
        self.epoch = 0
        self._by_id = False
        self._sent: dict[TopicPartition, Want] = {}

    def plan(self, wants: Mapping[TopicPartition, Want], *, by_id: bool) -> FetchPlan:
        """Return the request that makes the broker fetch exactly `wants`.

        by_id says that the request's version names topics by id (13 and up):
        a session cannot change that on its way.
        """
        if by_id != self._by_id:
            self.lost()
            self._by_id = by_id
        sent = self._sent
        changed: dict[tuple[str, bytes], Parts] = {}
        gone: dict[tuple[str, bytes], list[int]] = {}
        full = self.epoch == 0
        for tp, want in wants.items():
            before = None if full else sent.get(tp)
            if before == want:
                continue
            part = (tp.partition, want.leader_epoch, want.fetch_offset, want.max_bytes)
            changed.setdefault((tp.topic, want.topic_id), []).append(part)
            if before is not None and before.topic_id != want.topic_id:
                gone.setdefault((tp.topic, before.topic_id), []).append(tp.partition)
        if not full:
            for tp, before in sent.items():
                if tp not in wants:
                    gone.setdefault((tp.topic, before.topic_id), []).append(tp.partition)
        self._sent = dict(wants)
        return FetchPlan(
            self.id,
            self.epoch,
            [(topic, topic_id, parts) for (topic, topic_id), parts in changed.items()],
            [(topic, topic_id, parts) for (topic, topic_id), parts in gone.items()],
        )

    def answered(self, error: int, session_id: int) -> None:
        """Take note of an answer's top-level error code and session id."""
        if error == codes.FETCH_SESSION_ID_NOT_FOUND:
            self.id = 0
            self.lost()
        elif error:
            self.lost()
        elif session_id == 0:
            # The broker keeps no session for us (its cache is full): each request names everything.
            self.id = 0
            self.epoch = 0
        else:
            self.epoch = 1 if self.epoch == MAX_EPOCH else self.epoch + 1
            self.id = session_id

    def lost(self) -> None:
        """Start over with the next request; it also closes the session we had."""
        self.epoch = 0
        self._sent = {}
