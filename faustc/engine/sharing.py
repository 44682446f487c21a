"""What this worker tells its group beside its topics, and what it hears beside its partitions.

The group lives on a thread of its own: what it says is brought to the app's loop, in order with
the partitions that are taken and given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from faustc.types import TopicPartition

if TYPE_CHECKING:
    from faustc.client.copartitioned import Copartitioned, Share

__all__ = ["Sharing"]

logger = logging.getLogger(__name__)

NOTHING: frozenset[TopicPartition] = frozenset()


class Sharing:
    """The assignor of one worker, as its engine sees it.

    on_standbys is called on the app's loop with *all* partitions whose tables are to be followed
    for whoever has them, with each generation and whenever partitions have come or gone. A
    partition is named by the first of the topics that go with it. One that was ours is in
    there once its revocation is over, so its store is closed by then; one that is to be ours
    stays in there until it was given, so its tables need not be left between the two.
    on_gone is called, where the group's leader is, with the transactional ids of members that
    are none any more.
    """

    def __init__(
        self,
        on_standbys: Callable[[frozenset[TopicPartition]], object],
        on_gone: Callable[[frozenset[str]], object] = lambda gone: None,
    ) -> None:
        from faustc.client.copartitioned import Copartitioned

        self.assignor: Copartitioned = Copartitioned(self._heard)
        #: What every worker has, by its web address; empty for who has none.
        self.addresses: Mapping[str, frozenset[TopicPartition]] = {}
        #: How many partitions the group's topics have.
        self.counts: Mapping[str, int] = {}
        self.standbys = NOTHING
        self._on_standbys = on_standbys
        self._on_gone = on_gone
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted = NOTHING
        self._target = NOTHING
        self._ours = NOTHING

    # -- what is so now, by Faust's names -----------------------------------------------

    def assigned_actives(self) -> frozenset[TopicPartition]:
        """Return the partitions that are ours."""
        return self._ours

    def assigned_standbys(self) -> frozenset[TopicPartition]:
        """Return the partitions whose tables we follow."""
        return self.standbys

    def is_active(self, tp: TopicPartition) -> bool:
        """Say whether a partition is ours."""
        return tp in self._ours

    def is_standby(self, tp: TopicPartition) -> bool:
        """Say whether we follow the tables of a partition."""
        return tp in self.standbys

    # -- what we tell ------------------------------------------------------------------

    def keep_together(self, topics: Collection[str], standbys: int = 0) -> bool:
        """Let one worker have the partitions of one number of all these; say if that is news.

        standbys: how many others are to follow their tables.
        """
        group, groups = frozenset(topics), self.assignor.groups
        if groups.get(group, -1) >= standbys:
            return False
        self.assignor.groups = {**groups, group: standbys}
        return True

    def keep_sizes(self, sizes: Collection[int], standbys: int) -> None:
        """Let one worker have partitions of one number of all topics that have so many.

        That is how tables go with topics; standbys: how many others are to follow them.
        """
        self.assignor.sizes = dict.fromkeys(sizes, standbys)

    def leading_topic(self, topic: str) -> str:
        """Return the first of the topics that are kept together with one; itself, if none are."""
        groups = [group for group in self.assignor.groups if topic in group]
        size = self.counts.get(topic)
        if size in self.assignor.sizes:
            groups.append(frozenset(t for t, count in self.counts.items() if count == size))
        return min(map(min, groups), default=topic)

    def tell_address(self, url: str) -> None:
        """Say where our web server is; from the next rebalance on."""
        self.assignor.url = url

    def tell_held(self, held: Mapping[TopicPartition, int]) -> None:
        """Say whose tables we have some state of, in a store or in memory, and how much.

        A partition (of any of the topics that go with a table) and the sum of the positions in the
        changelogs of its tables. Who has most is preferred when it is given away; so call
        this often enough, with all there is: it is free until a rebalance.
        """
        self.assignor.held = dict(held)

    def tell_producer(self, transactional_id: str) -> None:
        """Say by which id our transactions go, for who is to abort what we may leave open."""
        self.assignor.producer = transactional_id

    def tell_aborted(self, transactional_id: str) -> None:
        """Say that what a former member left open is aborted."""
        self.assignor.aborted |= {transactional_id}

    # -- what we hear ------------------------------------------------------------------

    def start(self) -> None:
        """Hear it on the running loop."""
        self._loop = asyncio.get_running_loop()

    def _heard(self, share: Share, target: frozenset[TopicPartition]) -> None:
        """Bring it to the app's loop; runs on the group's thread, before partitions move."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._told, share, target)
        except RuntimeError:
            logger.debug("Nobody is left to hear of a new generation")

    def _told(self, share: Share, target: frozenset[TopicPartition]) -> None:
        self.addresses, self.counts = share.addresses, share.counts
        self._wanted, self._target = share.standbys, target
        self._settle()
        if share.gone:
            self._on_gone(share.gone)

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Note that these are ours now; call it once their tables are."""
        self._ours |= frozenset(partitions)
        self._settle()

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Note that these are not ours any more; call it once their tables are not."""
        self._ours -= frozenset(partitions)
        self._settle()

    def _settle(self) -> None:
        stay = self.standbys & self._target  # promoted soon
        standbys = (self._wanted | stay) - self._ours
        self.standbys = standbys
        self._on_standbys(standbys)
