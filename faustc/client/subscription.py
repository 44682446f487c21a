"""Which partitions a consumer reads: shared out by a group, all of some topics, or by hand."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from faustc.client import codes
from faustc.client.client import Client
from faustc.client.cluster import Cluster
from faustc.client.committer import Committer
from faustc.client.fetcher import Fetcher
from faustc.client.group import GroupListener, GroupMember
from faustc.client.offsets import EARLIEST
from faustc.client.wakeup import Wakeup
from faustc.exceptions import FaustError, ImproperlyConfigured
from faustc.types import NamePattern, TopicPartition

logger = logging.getLogger(__name__)

# A topic that is subscribed to and does not exist is looked for this often.
LOOK_AGAIN_S = 1.0
IDLE_S = 60.0


class RebalanceListener(Protocol):
    """Told which partitions come and go; either method may be a coroutine function.

    May also have on_partitions_lost(lost), for partitions that somebody else
    may have by now; without it on_partitions_revoked is called for those too.
    """

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> Any:
        """Finish with these, before others get them; nothing of them is handed out any more."""

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> Any:
        """Prepare for these, for example seek; nothing of them is handed out yet."""


MakeMember = Callable[[GroupListener, Collection[str], NamePattern | None], GroupMember]


class Subscription:
    """Turns what the user subscribed to into partitions that the fetcher reads.

    Changes are only noted here; `run` carries them out, since joining or
    leaving a group takes a while. What goes wrong there is raised by `poll`.
    """

    def __init__(self, make_member: MakeMember | None) -> None:
        self.topics: frozenset[str] = frozenset()
        self.pattern: NamePattern | None = None
        self.by_hand: frozenset[TopicPartition] | None = None
        self.member: GroupMember | None = None
        self._make_member = make_member
        self._listener: RebalanceListener | None = None
        self._wakeup = Wakeup()
        self._failure: Exception | None = None
        self._known_topics: frozenset[str] | None = None
        self._closed = False
        self._applied: tuple[frozenset[str], NamePattern | None] = (frozenset(), None)

    def bind(self, client: Client, fetcher: Fetcher, committer: Committer) -> None:
        """Take the parts of a consumer that starts."""
        self._client = client
        self._fetcher = fetcher
        self._committer = committer
        client.on_metadata.append(self._on_metadata)

    # -- what the user wants -------------------------------------------------------------

    def subscribe(
        self,
        topics: Collection[str],
        pattern: str | NamePattern | None,
        listener: RebalanceListener | None,
    ) -> None:
        """Note the topics, or the pattern matched from the start of their names."""
        if isinstance(topics, str):
            topics = (topics,)
        if bool(topics) == (pattern is not None):
            raise ImproperlyConfigured("subscribe to topics, or to a pattern")
        if self.by_hand is not None:
            raise ImproperlyConfigured("partitions are assigned by hand: unsubscribe() first")
        self.topics = frozenset(topics)
        self.pattern = re.compile(pattern) if isinstance(pattern, str) else pattern
        self._listener = listener
        self._wakeup.set()

    def unsubscribe(self) -> None:
        """Note that nothing is wanted; what is assigned is given back."""
        self.topics = frozenset()
        self.pattern = None
        self.by_hand = None
        self._wakeup.set()

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        """Note partitions that the user chose; no group shares them out."""
        if self.topics or self.pattern is not None:
            raise ImproperlyConfigured("topics are subscribed to: unsubscribe() first")
        self.by_hand = frozenset(TopicPartition(*tp) for tp in tps)

    # -- life ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry out what was noted, and follow the cluster, until cancelled."""
        while True:
            await self._wakeup.wait(LOOK_AGAIN_S if self._missing() else IDLE_S)
            if self._missing():
                self._client.request_refresh()
            try:
                await self.apply()
            except FaustError as error:
                logger.error("Not subscribed: %s", error)
                self._failed(error)

    async def apply(self) -> None:
        """Carry out what was noted. Raises what joining a group may raise."""
        wanted = (self.topics, self.pattern)
        if self._make_member is None:
            if wanted != self._applied:
                self._follow()
            await self._read_alone()
        elif wanted != self._applied:
            if not any(wanted):
                await self._leave()
            elif self.member is None:
                member = self._make_member(self, self.topics, self.pattern)
                member.on_failure = self._failed
                self.member = member
                try:
                    await member.start(self._client.request_timeout_s)
                except BaseException:
                    self.member = None
                    raise
            else:
                await self.member.update_subscription(topics=self.topics, pattern=self.pattern)
        self._applied = wanted

    def apply_by_hand(self) -> None:
        """Read exactly the partitions that were assigned by hand, if any were."""
        wanted = self.by_hand
        if wanted is None:
            return
        gone = set(self._fetcher.cursors) - wanted
        self._fetcher.remove(gone)
        self._committer.forget(gone)
        self._client.add_topics(*{tp.topic for tp in wanted})
        self._fetcher.add(sorted(wanted))

    async def close(self, timeout_s: float) -> None:
        """Leave the group, which revokes and commits first."""
        self._closed = True
        if self._on_metadata in self._client.on_metadata:
            self._client.on_metadata.remove(self._on_metadata)
        await self._leave(timeout_s)

    async def _leave(self, timeout_s: float = 30.0) -> None:
        if self.member is not None:
            try:
                await self.member.stop(timeout_s)  # calls on_revoke, which commits by the member
            finally:
                self.member = None

    def poll(self) -> None:
        """Tell the group that user code is at work; raise what ended the subscription."""
        if self._failure is not None:
            raise self._failure
        if self.member is not None:
            self.member.poll()

    def _failed(self, error: Exception) -> None:
        self._failure = error
        self._fetcher.ready.wake()

    # -- without a group -----------------------------------------------------------------

    def _on_metadata(self, cluster: Cluster) -> None:
        if self._make_member is None:
            self._wakeup.set()

    def _follow(self) -> None:
        """Have the client keep the metadata of what is subscribed to."""
        self._known_topics = None
        if self.pattern is not None:
            self._client.set_topics(None)
        else:
            self._client.add_topics(*self.topics)

    def _missing(self) -> bool:
        if self._make_member is not None or self._client.closed:
            return False
        return not self.topics <= self._client.cluster.topics()

    async def _read_alone(self) -> None:
        """Read every partition of every topic that is subscribed to."""
        if self.by_hand is not None:
            return
        cluster = self._client.cluster
        topics = self.topics
        if self.pattern is not None:
            topics = frozenset(
                topic
                for topic in cluster.topics()
                if self.pattern.match(topic) and not cluster.is_internal(topic)
            )
        for topic in topics:
            code = cluster.topic_error(topic)
            if code != codes.NONE and not codes.retriable(code):
                raise codes.error_for(code, topic)
        held = set(self._fetcher.cursors)
        wanted = {
            TopicPartition(topic, number)
            for topic in topics
            for number in cluster.partitions(topic) or ()
        }
        # A topic that is away may come back; one that nobody wants any more goes.
        gone = frozenset(tp for tp in held - wanted if tp.topic not in topics)
        new = frozenset(wanted - held)
        if gone:
            await self.on_revoke(gone)
        first = self._known_topics is None
        self._known_topics = topics
        if new:
            # What appears while we listen is read from its beginning: nothing of it is missed.
            await self._begin(new, None if first else EARLIEST)

    # -- told by the group ---------------------------------------------------------------

    async def on_assign(self, partitions: frozenset[TopicPartition]) -> None:
        """Begin to read partitions; user code hears of it before it gets any message."""
        await self._begin(partitions, None)

    async def on_revoke(self, partitions: frozenset[TopicPartition]) -> None:
        """Hand out nothing more, commit, tell user code, and forget them."""
        self._fetcher.hold(partitions, True)
        try:
            await self._committer.commit_done(partitions)
            await self._tell("on_partitions_revoked", partitions)
        finally:
            self._forget(partitions)

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        """Hand out nothing more and forget them; it is too late to commit."""
        self._fetcher.hold(partitions, True)
        try:
            lost = hasattr(self._listener, "on_partitions_lost")
            await self._tell("on_partitions_lost" if lost else "on_partitions_revoked", partitions)
        finally:
            self._forget(partitions)

    async def _begin(self, partitions: frozenset[TopicPartition], start: int | None) -> None:
        self._client.add_topics(*{tp.topic for tp in partitions})
        self._fetcher.add(sorted(partitions), held=True, start=start)
        await self._tell("on_partitions_assigned", partitions)
        self._fetcher.hold(partitions, False)

    def _forget(self, partitions: frozenset[TopicPartition]) -> None:
        self._fetcher.remove(partitions)
        self._committer.forget(partitions)

    async def _tell(self, name: str, partitions: frozenset[TopicPartition]) -> None:
        if self._listener is not None:
            outcome = getattr(self._listener, name)(set(partitions))
            if inspect.isawaitable(outcome):
                await outcome
