"""The monitor: the numbers of one app, `app.monitor`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from faustc.clock import monotonic
from faustc.engine.counters import Counters
from faustc.sensors.base import Sensor
from faustc.types import TopicPartition

__all__ = ["Monitor", "TableState"]


class TableState:
    """How often keys of one table were read, set and deleted."""

    def __init__(
        self,
        table: Any,
        *,
        keys_retrieved: int = 0,
        keys_updated: int = 0,
        keys_deleted: int = 0,
        events_late: int = 0,
    ) -> None:
        self.table = table
        self.keys_retrieved = keys_retrieved
        self.keys_updated = keys_updated
        self.keys_deleted = keys_deleted
        #: Events that came for a window after it had expired.
        self.events_late = events_late

    def asdict(self) -> dict[str, int]:
        """Return the counts."""
        return {
            "keys_retrieved": self.keys_retrieved,
            "keys_updated": self.keys_updated,
            "keys_deleted": self.keys_deleted,
            "events_late": self.events_late,
        }


class Monitor(Counters, Sensor):
    """Counts what one app receives, sends, fails at and commits. Read from any thread.

    Its numbers about messages and events come from whole batches, so it costs nothing
    per message. What is per second, or active, is as of the last second. Latencies are
    in seconds; max_..._history is how many of them are kept. A subclass may
    override the callbacks of Sensor; `count` is for numbers of your own.
    """

    def __init__(
        self,
        *,
        max_avg_history: int | None = None,
        max_commit_latency_history: int | None = None,
        max_send_latency_history: int | None = None,
        max_assignment_latency_history: int | None = None,
        time: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        if max_avg_history is not None:
            self.max_avg_history = max_avg_history
        if max_commit_latency_history is not None:
            self.max_commit_latency_history = max_commit_latency_history
        if max_send_latency_history is not None:
            self.max_send_latency_history = max_send_latency_history
        if max_assignment_latency_history is not None:
            self.max_assignment_latency_history = max_assignment_latency_history
        Counters.__init__(self)
        self.time = time
        self.commit_latency: deque[float] = deque(maxlen=self.max_commit_latency_history)
        self.assignment_latency: deque[float] = deque(maxlen=self.max_assignment_latency_history)
        self.assignments_completed = 0
        self.assignments_failed = 0
        self.rebalance_return_latency: deque[float] = deque(maxlen=self.max_avg_history)
        self.rebalance_end_latency: deque[float] = deque(maxlen=self.max_avg_history)
        self.topic_buffer_full: Counter[TopicPartition] = Counter()
        self.metric_counts: Counter[str] = Counter()
        self.tables: dict[str, TableState] = {}
        self.http_response_codes: Counter[int] = Counter()
        self.http_response_latency: deque[float] = deque(maxlen=self.max_avg_history)
        Sensor.__init__(self, **options)

    # -- Faust's names -----------------------------------------------------------------

    @property
    def messages_sent(self) -> int:
        """How many messages were given to the producer."""
        return self.messages_sent_total

    @property
    def rebalances(self) -> int:
        """How often partitions were given out anew."""
        return self.rebalances_total

    @property
    def tp_committed_offsets(self) -> dict[TopicPartition, int]:
        """The last offset committed, of each partition that is ours."""
        return self.committed

    @property
    def rebalance_return_avg(self) -> float:
        """The median of rebalance_return_latency."""
        return _median(self.rebalance_return_latency)

    @property
    def rebalance_end_avg(self) -> float:
        """The median of rebalance_end_latency."""
        return _median(self.rebalance_end_latency)

    @property
    def http_response_latency_avg(self) -> float:
        """The median of http_response_latency."""
        return _median(self.http_response_latency)

    # -- for users ---------------------------------------------------------------------

    def count(self, metric_name: str, count: int = 1) -> None:
        """Add to a number of your own, which is in metric_counts."""
        self.metric_counts[metric_name] += count

    def secs_since(self, start_time: float) -> float:
        """Return how many seconds ago a moment was that `time()` gave."""
        return self.time() - start_time

    def ms_since(self, start_time: float) -> float:
        """Return how many milliseconds ago a moment was."""
        return self.secs_to_ms(self.secs_since(start_time))

    def secs_to_ms(self, timestamp: float) -> float:
        """Turn seconds into milliseconds."""
        return timestamp * 1000.0

    def on_tp_commit(self, tp_offsets: Mapping[TopicPartition, int]) -> None:
        """Note offsets that were committed."""
        self.committed.update(tp_offsets)

    def track_tp_end_offset(self, tp: TopicPartition, offset: int) -> None:
        """Note where the log of a partition ends."""
        self.tp_end_offsets[tp] = offset

    # -- what it is told ---------------------------------------------------------------

    def on_topic_buffer_full(self, tp: TopicPartition) -> None:
        self.topic_buffer_full[tp] += 1

    def on_table_get(self, table: Any, key: Any) -> None:
        self.table_state(table).keys_retrieved += 1

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        self.table_state(table).keys_updated += 1

    def on_table_del(self, table: Any, key: Any) -> None:
        self.table_state(table).keys_deleted += 1

    def table_state(self, table: Any) -> TableState:
        """Return the counts of a table, which counts by itself what nobody else is told of."""
        if table.name not in self.tables:
            self.tables[table.name] = TableState(table)
        return self.tables[table.name]

    def on_commit_initiated(self, consumer: Any) -> Any:
        return self.time()

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        self.commit_latency.append(self.secs_since(state))

    def on_assignment_start(self, assignor: Any) -> Any:
        return {"time_start": self.time()}

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None:
        self.assignment_latency.append(self.secs_since(state["time_start"]))
        self.assignments_failed += 1

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        self.assignment_latency.append(self.secs_since(state["time_start"]))
        self.assignments_completed += 1

    def on_rebalance_start(self, app: Any) -> Any:
        return {"time_start": self.time()}

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        self.rebalance_return_latency.append(self.secs_since(state["time_start"]))

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        self.rebalance_end_latency.append(self.secs_since(state["time_start"]))

    def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
        return {"time_start": self.time()}

    def on_web_request_end(
        self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None
    ) -> None:
        self.http_response_codes[500 if response is None else int(response.status)] += 1
        self.http_response_latency.append(self.secs_since(state["time_start"]))

    # -- as data -----------------------------------------------------------------------

    def asdict(self) -> dict[str, Any]:
        """Return every number under the names that Faust's monitor has, and our own.

        Partitions are named topic/number; in the three topic_..._offsets they are by topic.
        """
        found = {name: _plain(getattr(self, name)) for name in NUMBERS}
        found["tables"] = {name: table.asdict() for name, table in self.tables.items()}
        found["http_response_codes"] = dict(self.http_response_codes)
        for ours, offsets in (
            ("topic_committed_offsets", self.committed),
            ("topic_read_offsets", self.tp_read_offsets),
            ("topic_end_offsets", self.tp_end_offsets),
        ):
            found[ours] = _by_topic(offsets)
        return found


NUMBERS = (
    "messages_active", "messages_received_total", "messages_received_by_topic", "messages_s",
    "messages_sent", "messages_sent_total", "messages_sent_by_topic", "bytes_received_total",
    "events_active", "events_total", "events_s", "events_runtime_avg", "events_by_task",
    "events_by_stream", "commit_latency", "send_latency", "send_errors", "assignment_latency",
    "assignments_completed", "assignments_failed", "topic_buffer_full", "metric_counts",
    "rebalances", "rebalances_total", "rebalance_return_latency", "rebalance_end_latency",
    "rebalance_return_avg", "rebalance_end_avg", "http_response_latency",
    "http_response_latency_avg", "decode_errors_total", "decode_errors_by_topic",
    "agent_errors_total", "agent_errors_by_agent", "retries_total", "dead_letters_total",
    "dead_letters_by_topic", "replies_dropped_total",
    "commits_total", "commit_failures_total", "commits_failing",
    "committed", "lag", "lag_total",
)  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_name(key): count for key, count in value.items()}
    return list(value) if isinstance(value, deque) else value


def _name(key: Any) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _by_topic(offsets: Mapping[TopicPartition, int]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for tp, offset in list(offsets.items()):
        found.setdefault(tp.topic, {})[tp.partition] = offset
    return found


def _median(values: deque[float]) -> float:
    from statistics import median  # slow to import

    return median(values) if values else 0.0
