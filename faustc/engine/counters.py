"""Numbers that the engine keeps about itself while it runs."""

from __future__ import annotations

from collections import Counter, deque

from faustc.clock import monotonic
from faustc.types import TopicPartition

__all__ = ["Counters"]


class Counters:
    """Plain counts, raised per batch where the event is not rare.

    `lag` is, per partition that is ours, how many offsets lie between what
    every agent is done with and the end of the log, as of the last look.
    Latencies and run times are in seconds, the last hundred or so of each.
    """

    max_avg_history = 100
    max_commit_latency_history = 30
    max_send_latency_history = 30
    max_assignment_latency_history = 30

    def __init__(self) -> None:
        self.messages_received_total = 0
        self.messages_received_by_topic: Counter[str] = Counter()
        self.messages_active = 0  # fetched and not done with
        self.messages_s = 0
        self.bytes_received_total = 0
        self.messages_sent_by_topic: Counter[str] = Counter()
        self.events_total = 0
        self.events_by_stream: Counter[str] = Counter()
        self.events_by_task: Counter[str] = Counter()
        self.events_active = 0  # handed out and not done with
        self.events_s = 0
        self.events_runtime: deque[float] = deque(maxlen=self.max_avg_history)
        self.events_runtime_avg = 0.0
        self.decode_errors_total = 0
        self.decode_errors_by_topic: Counter[str] = Counter()
        self.agent_errors_total = 0
        self.agent_errors_by_agent: Counter[str] = Counter()
        self.retries_total = 0
        self.replies_dropped_total = 0
        self.dead_letters_total = 0
        self.dead_letters_by_topic: Counter[str] = Counter()
        self.commits_total = 0
        self.commit_failures_total = 0
        self.commits_failing = 0  # one after the other, up to now
        self.rebalances_total = 0
        self.committed: dict[TopicPartition, int] = {}
        self.lag: dict[TopicPartition, int] = {}
        self.tp_read_offsets: dict[TopicPartition, int] = {}
        self.tp_end_offsets: dict[TopicPartition, int] = {}
        self.stream_inbound_time: dict[TopicPartition, float] = {}
        self.send_errors = 0
        self.send_latency: deque[float] = deque(maxlen=self.max_send_latency_history)
        #: Seconds that a reader has been at one event, if that is too long.
        self.stuck: dict[tuple[str, TopicPartition], float] = {}
        self._sampled = 0, 0

    @property
    def messages_sent_total(self) -> int:
        """How many messages were given to the producer."""
        return sum(self.messages_sent_by_topic.values())

    @property
    def lag_total(self) -> int:
        """The lag of all partitions that are ours."""
        return sum(self.lag.values())

    def note_read(self, tp: TopicPartition, offset: int) -> None:
        """Note that messages of a partition came, up to an offset."""
        self.tp_read_offsets[tp] = offset
        self.stream_inbound_time[tp] = monotonic()

    def sample(self, events_active: int, waiting: int, since_s: float) -> None:
        """Work out what is per second, since_s after the last time.

        events_active were handed out and are not done, waiting were fetched only.
        """
        events, messages = self._sampled
        self._sampled = self.events_total, self.messages_received_total
        self.events_s = round((self.events_total - events) / since_s)
        self.messages_s = round((self.messages_received_total - messages) / since_s)
        self.events_active = events_active
        self.messages_active = events_active + waiting
        if self.events_runtime:
            from statistics import median  # slow to import

            self.events_runtime_avg = median(self.events_runtime)
