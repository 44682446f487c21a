"""What came out against what went in. Pure: no Kafka in here, and nothing of faustc.

Everything is judged by the input topic as it can be read: an event is a partition and an offset
of it, and each output names the event that it was made for. Per key the producer numbers records
1, 2, 3, ..., so a number is also the count that is due with it.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["SOMEWHERE", "Evidence", "Fault", "Figures", "Input", "Output", "Sent", "check"]


#: The offset of what is acknowledged without one.
SOMEWHERE = -2


class Sent(NamedTuple):
    """A record of the ledger; partition and offset are those of its acknowledgement.

    The offset is -1 without one, and SOMEWHERE where it did not say.
    """

    key: str
    n: int
    partition: int = -1
    offset: int = -1


class Input(NamedTuple):
    """A record of the input topic."""

    partition: int
    offset: int
    key: str
    n: int


class Output(NamedTuple):
    """A record of the output topic, as read_committed shows it; appended_ms by the broker."""

    partition: int
    offset: int
    appended_ms: int
    key: str
    n: int
    count: int
    source: tuple[int, int]
    worker: str = ""


class Fault(NamedTuple):
    """The end of a worker that duplicates may come from."""

    at_s: float  # since the epoch
    kind: str
    worker: str


@dataclass
class Evidence:
    """All that was read after a run.

    table is the changelog's replay. ends and committed are by partition of the input.
    samples are moments (since the epoch, taken after the answer came) with what was
    committed then.
    """

    guarantee: str
    ledger: Sequence[Sent]
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    table: Mapping[str, int]
    ends: Mapping[int, int]
    committed: Mapping[int, int]
    samples: Sequence[tuple[float, Mapping[int, int]]] = ()
    faults: Sequence[Fault] = ()


@dataclass
class Figures:
    """What is wrong, in numbers: all zero is a perfect run."""

    records: int = 0
    unacknowledged: int = 0
    #: Acknowledged to the producer, and not in the input topic where that said: not our doing.
    input_missing: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    #: Outputs that no event of the input accounts for.
    foreign: int = 0
    #: Outputs whose count is below what is due: the table forgot something.
    counted_short: int = 0
    #: ... is above it: an event was counted twice.
    counted_over: int = 0
    table_missing: int = 0
    table_surplus: int = 0
    #: Of the surplus what no duplicate of the same key accounts for.
    surplus_alone: int = 0
    #: Events that a committed offset had passed before their output was written.
    overtaken: int = 0
    #: Events at the end that no committed offset has passed.
    uncommitted: int = 0
    #: Duplicates by the end of a worker that they come from, and those that come from none.
    per_fault: list[int] = field(default_factory=list)
    other_duplicates: int = 0

    @property
    def most_per_fault(self) -> int:
        return max(self.per_fault, default=0)

    @property
    def median_per_fault(self) -> float:
        return statistics.median(self.per_fault) if self.per_fault else 0

    def wrong(self, guarantee: str) -> dict[str, int]:
        """Return the figures that break the guarantee; none for a good run."""
        names = ["input_missing", "lost", "reordered", "foreign", "counted_short"]
        names += ["table_missing", "surplus_alone", "overtaken", "uncommitted"]
        if guarantee == "exactly_once":
            names += ["duplicated", "counted_over", "table_surplus"]
        return {name: value for name in names if (value := getattr(self, name))}


def check(evidence: Evidence) -> Figures:
    """Compare what came out with what went in."""
    figures = Figures(records=len(evidence.ledger))
    events = {(record.partition, record.offset): record for record in evidence.inputs}
    written = {(record.key, record.n) for record in evidence.inputs}
    for sent in evidence.ledger:
        if sent.offset == SOMEWHERE:
            figures.input_missing += (sent.key, sent.n) not in written
            continue
        if sent.offset < 0:
            figures.unacknowledged += 1
            continue
        found = events.get((sent.partition, sent.offset))
        if found is None or (found.key, found.n) != (sent.key, sent.n):
            figures.input_missing += 1
    first = _compare_outputs(figures, events, evidence.outputs)
    figures.lost = len(events.keys() - first.keys())
    _compare_table(figures, evidence)
    for partition, end in evidence.ends.items():
        figures.uncommitted += max(0, end - evidence.committed.get(partition, 0))
    figures.overtaken = _overtaken(first, evidence.samples)
    _blame(figures, evidence, first)
    return figures


def _in_order(outputs: Iterable[Output]) -> list[Output]:
    return sorted(outputs, key=lambda output: (output.partition, output.offset))


def _compare_outputs(
    figures: Figures, events: Mapping[tuple[int, int], Input], outputs: Sequence[Output]
) -> dict[tuple[int, int], Output]:
    """Count what is wrong with outputs; return the first one of each event."""
    first: dict[tuple[int, int], Output] = {}
    highest: dict[str, int] = defaultdict(int)
    for output in _in_order(outputs):
        event = events.get(output.source)
        if event is None or (event.key, event.n) != (output.key, output.n):
            figures.foreign += 1
            continue
        figures.counted_short += output.count < output.n
        figures.counted_over += output.count > output.n
        if output.source in first:
            figures.duplicated += 1
            continue
        first[output.source] = output
        # Only first outputs: what is delivered again goes back to where it was.
        figures.reordered += output.n < highest[output.key]
        highest[output.key] = max(highest[output.key], output.n)
    return first


def _compare_table(figures: Figures, evidence: Evidence) -> None:
    truth = Counter(record.key for record in evidence.inputs)
    told = Counter(output.key for output in evidence.outputs)
    for key in truth.keys() | evidence.table.keys():
        off = evidence.table.get(key, 0) - truth[key]
        figures.table_missing += max(0, -off)
        figures.table_surplus += max(0, off)
        figures.surplus_alone += max(0, off - max(0, told[key] - truth[key]))


def _overtaken(
    first: Mapping[tuple[int, int], Output], samples: Sequence[tuple[float, Mapping[int, int]]]
) -> int:
    """Count the events whose output was written after a commit was seen that passes them."""
    by_partition: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (partition, offset), output in first.items():
        by_partition[partition].append((offset, output.appended_ms))
    count = 0
    for partition, written in by_partition.items():
        written.sort(reverse=True)
        for at_s, committed in samples:
            while written and written[-1][0] < committed.get(partition, 0):
                _, appended_ms = written.pop()
                count += appended_ms > at_s * 1000 + 1  # the broker's clock has milliseconds
    return count


def _blame(figures: Figures, evidence: Evidence, first: Mapping[tuple[int, int], Output]) -> None:
    """Share duplicates out among the ends of workers.

    A duplicate is due to the end of the worker that wrote the output before it, of the same event:
    the next end after that.
    """
    ends: dict[str, list[int]] = defaultdict(list)
    for index, fault in enumerate(evidence.faults):
        ends[fault.worker].append(index)
    counts = [0] * len(evidence.faults)
    before: dict[tuple[int, int], Output] = {}
    for output in _in_order(evidence.outputs):
        if output.source not in first:
            continue
        origin = before.get(output.source)
        before[output.source] = output
        if origin is None:
            continue
        for index in ends[origin.worker]:
            if evidence.faults[index].at_s * 1000 + 1 >= origin.appended_ms:
                counts[index] += 1
                break
        else:
            figures.other_duplicates += 1
    figures.per_fault = counts
