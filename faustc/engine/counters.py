"""Numbers that the engine keeps about itself while it runs."""

from __future__ import annotations

from collections import Counter

from faustc.types import TopicPartition

__all__ = ["Counters"]


class Counters:
    """Plain counts, raised per batch where the event is not rare.

    `lag` is, per partition that is ours, how many offsets lie between what
    every agent is done with and the end of the log, as of the last look.
    """

    def __init__(self) -> None:
        self.messages_received_total = 0
        self.messages_received_by_topic: Counter[str] = Counter()
        self.bytes_received_total = 0
        self.messages_sent_total = 0
        self.messages_sent_by_topic: Counter[str] = Counter()
        self.events_total = 0
        self.events_by_stream: Counter[str] = Counter()
        self.decode_errors_total = 0
        self.decode_errors_by_topic: Counter[str] = Counter()
        self.agent_errors_total = 0
        self.agent_errors_by_agent: Counter[str] = Counter()
        self.retries_total = 0
        self.dead_letters_total = 0
        self.dead_letters_by_topic: Counter[str] = Counter()
        self.replies_dropped_total = 0
        self.commits_total = 0
        self.commit_failures_total = 0
        self.rebalances_total = 0
        self.committed: dict[TopicPartition, int] = {}
        self.lag: dict[TopicPartition, int] = {}

    @property
    def lag_total(self) -> int:
        """The lag of all partitions that are ours."""
        return sum(self.lag.values())
